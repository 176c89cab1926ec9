"""The wiring of the guard: the watchdog is petted while this daemon can be trusted, and ResetSelf resets the machine.

Petting needs a loop that is on time and a service that is not stuck in its stop; a broken invariant ends the process,
and with it the petting (SAFETY S11). It must never be petted from anywhere else.
"""

from __future__ import annotations

from collections.abc import Callable

from hblink.core.event import GuardChanged
from hblink.core.lease import pet_end
from hblink.core.state import State
from hblink.core.value import MS, SECOND, Role, Settings
from hblink.daemon.context import Context
from hblink.daemon.journal import Kind, Priority
from hblink.guard.reset import reset_machine
from hblink.guard.watchdog import Watchdog, WatchdogError
from hblink.loop import Timer

_PETS_PER_TIMEOUT = 5
_RETRY_NS = 30 * SECOND
# Roles in which something may run that this daemon has not started.
_UNCLEAN = frozenset({Role.STARTING, Role.HALTED})


class Guard:
    """Arm the configured watchdog, if any, and say in the heartbeat that it is armed."""

    def __init__(
        self,
        context: Context,
        settings: Settings,
        state: Callable[[], State],
        *,
        open_watchdog: Callable[..., Watchdog] = Watchdog,
        reset: Callable[[], str] = reset_machine,
    ) -> None:
        self._context = context
        self._settings = settings
        self._state = state
        self._open = open_watchdog
        self._reset = reset
        self._watchdog: Watchdog | None = None
        self._complaint: WatchdogError | None = None
        self._timer: Timer | None = None
        self._withheld = False
        self._begun = False

    def start(self) -> None:
        """Nothing yet: `follow` arms the watchdog once nothing runs here that an earlier daemon has left."""

    def follow(self, state: State) -> None:
        """Arm the watchdog after the clean start; called after every step.

        Not before: opening the device begins its time anew, and what a killed daemon left armed is to reset a machine
        on which the clean start does not succeed.
        """
        if self._begun or state.role in _UNCLEAN or self._context.config.guard.watchdog is None:
            return
        self._begun = True
        self._timer = self._context.loop.call_at(self._context.loop.now(), lambda _now: self._arm())

    def _arm(self) -> None:
        """Arm the watchdog; what cannot be armed is said, and tried again."""
        config = self._context.config.guard
        assert config.watchdog is not None
        now = self._context.loop.now()
        try:
            self._watchdog = self._open(config.watchdog, config.timeout_ns)
        except WatchdogError as error:
            if self._complaint is None or self._complaint.reason != error.reason:
                self._log(Priority.ERROR, f"no watchdog: {error}", now, reason=error.reason)
            self._complaint = error
            self._timer = self._context.loop.call_at(now + _RETRY_NS, lambda _now: self._arm())
            return
        self._complaint = None
        report = self._watchdog.report
        text = f"watchdog armed: {report.identity}, {report.timeout_ns // SECOND} s"
        self._log(Priority.NOTICE, text, now, can_stop=report.can_stop)
        if report.timeout_ns > config.timeout_ns:
            self._log(Priority.WARNING, f"the driver made {config.timeout_ns // MS} ms longer", now)
        self._say_armed()
        self._schedule(now)

    def close(self) -> None:
        """Stop the timer after a clean stop, when nothing has to be reset. With `nowayout` the machine resets."""
        if self._timer is not None:
            self._timer.cancel()
        if self._watchdog is None:
            return
        if self._state().role is Role.HALTED:
            self._watchdog.abandon()  # something may still run here: the reset is wanted
        elif not self._watchdog.disarm():
            now = self._context.loop.now()
            self._log(Priority.CRITICAL, "the watchdog cannot be stopped (nowayout): this machine will reset", now)
        self._watchdog = None

    def reset_self(self, now: int) -> None:
        """Reset this machine: a stop has failed past its bound."""
        self._log(Priority.CRITICAL, "a stop has failed past its bound: resetting this machine", now)
        complaint = self._reset()
        self._log(Priority.CRITICAL, f"still here: {complaint or 'the kernel did not reset'}", now)

    def document(self) -> dict[str, object]:
        """Describe the guard, for `status`: `armed`, `device`, `timeout_ms`, and the coded reason if it is not.

        The promises are those of the lease mode (S2e): of this node, and the last word of the peer.
        """
        config = self._context.config.guard
        report = None if self._watchdog is None else self._watchdog.report
        return {
            "armed": report is not None,
            "device": None if config.watchdog is None else str(config.watchdog),
            "timeout_ms": None if report is None else report.timeout_ns // MS,
            "reason": None if self._complaint is None else self._complaint.reason,
            "self_reset_ms": None if config.self_reset_ns is None else config.self_reset_ns // MS,
            "lease_mode": config.lease_mode,
            "promise_ms": _ms(self._state().promise_ns),
            "peer_promise_ms": _ms(self._state().peer.promise_ns),
        }

    def _say_armed(self) -> None:
        """Say that it is armed, and how long it takes; a timer of the kernel itself is none to rely on (S2e)."""
        assert self._watchdog is not None
        report = self._watchdog.report
        self._context.feed(GuardChanged(True, report.timeout_ns if report.is_hardware else None))

    def _schedule(self, now: int) -> None:
        assert self._watchdog is not None
        due_at = now + self._watchdog.report.timeout_ns // _PETS_PER_TIMEOUT
        self._timer = self._context.loop.call_at(due_at, lambda later: self._pet(due_at, later))

    def _pet(self, due_at: int, now: int) -> None:
        assert self._watchdog is not None
        late = now - due_at > self._watchdog.report.timeout_ns // _PETS_PER_TIMEOUT
        why = self._distrust(now)
        if why is not None and not self._withheld:
            self._log(Priority.CRITICAL, f"{why}: the watchdog is no longer petted", now)
        self._withheld = why is not None
        if not late and why is None:
            self._pet_now(now)
        self._schedule(now)

    def _distrust(self, now: int) -> str | None:
        """Why this daemon is not to be trusted with the service any longer; None if it is (S11, S2e)."""
        if self._state().role is Role.HALTED:
            return "a stop has failed"
        end_at = pet_end(self._settings, self._state())
        return "the service runs past its lease" if end_at is not None and now > end_at else None

    def _pet_now(self, now: int) -> None:
        assert self._watchdog is not None
        try:
            self._watchdog.pet()
        except WatchdogError as error:
            self._log(Priority.CRITICAL, f"the watchdog cannot be petted: {error}", now, reason=error.reason)
            self._complaint = error
            self._context.feed(GuardChanged(armed=False))
        else:
            if self._complaint is not None:
                self._complaint = None
                self._say_armed()

    def _log(self, priority: Priority, text: str, now: int, **fields: object) -> None:
        self._context.log(priority, text, now, Kind.DAEMON, **fields)


def _ms(duration_ns: int | None) -> int | None:
    return None if duration_ns is None else duration_ns // MS
