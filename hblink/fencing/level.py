"""One device of the ladder: one client at a time, looked at about once a minute, and looked at again before each shot.

BMCs have few session slots, and a client killed in mid-session holds one until the BMC times it out (often 60 s). So
the device is polled about once a minute, never beside another request, and a poll that runs when `off` is wanted is not
killed: it serves as the look before the shot. Before every `off` the device is read and its identity compared; what
does not answer, or is somebody else, is sent no command. Only the core's own reading, and `on`, displace a poll.

A look is power and GUID, and then the serial number in a session of its own, which takes longer than all the rest: a
shot does without it where it can (`hblink.fencing.identity`), and ends a reading of it that is under way, in a way that
keeps no slot. A device that does not come to an end of it is not asked again for an hour.

This module must never send a command that it was not asked for, or send one twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hblink.core.value import SECOND, Power
from hblink.fencing.device import (
    Commanded,
    FenceDevice,
    FenceReason,
    Inspection,
    OnCommanded,
    OnReading,
    Reading,
    Running,
    SerialNumber,
)
from hblink.fencing.identity import Identities, Identity
from hblink.fencing.record import Answer, FenceWarning, LevelSettings, OnStep, Readiness, Step
from hblink.loop import Loop, Timer

POLL_INTERVAL_NS = 60 * SECOND
# While it has never answered: at boot its network may come after the daemon. Doubled each time; no session came about,
# so none is held.
FIRST_RETRY_NS = 2 * SECOND
# After a reading of the serial number that came to no end: each such one costs a session slot, for a minute or so.
SERIAL_PAUSE_NS = 3600 * SECOND
_ENDLESS = frozenset({FenceReason.TIMED_OUT, FenceReason.BAD_ANSWER})
# What a device is not sent `off` for, however often it says it would: the machine behind it is not the peer.
_REFUSED = frozenset({FenceReason.WRONG_DEVICE, FenceReason.OWN_DEVICE, FenceReason.BAD_PARAMETER, FenceReason.LIED})


class _Request:
    """What the device is working on; `shooter` is who waits for a look that allows the shot.

    `found` is what a look has found so far, while the device is asked for its serial number.
    """

    __slots__ = ("found", "killed", "running", "shooter", "step")

    def __init__(self, step: Step, shooter: OnCommanded | None = None) -> None:
        self.step = step
        self.shooter = shooter
        self.running: Running | None = None
        self.found: Inspection | None = None
        self.killed = False


class Level:
    """Use `device`. `on_step` hears of every answer; `on_ready` when `readiness.ready` is another than before.

    Each of `read`, `shoot` and `switch_on` answers exactly once, in a later turn of the loop; the caller keeps to one
    of them at a time. `phase_ns` delays the second poll: the two nodes' BMCs may share a controller.
    """

    def __init__(
        self,
        loop: Loop,
        device: FenceDevice,
        settings: LevelSettings,
        identities: Identities,
        *,
        on_step: OnStep,
        on_ready: Callable[[int], None],
        phase_ns: int = 0,
        poll_interval_ns: int = POLL_INTERVAL_NS,
    ) -> None:
        self._loop = loop
        self._device = device
        self.settings = settings
        self._identities = identities
        self._on_step = on_step
        self._on_ready = on_ready
        self._phase_ns = phase_ns
        self._poll_interval_ns = poll_interval_ns
        self._retry_ns = FIRST_RETRY_NS
        self._poll_timer: Timer | None = None
        self._request: _Request | None = None
        self._closed = False
        self._lied = False
        self._serial: str | None = None  # told last; it stands until another is told, so that no shorter look clears it
        self._tells_serial = True  # as of the last time it was asked
        self._serial_from = 0  # when it may be asked for it again
        self.readiness = Readiness()

    @property
    def refused(self) -> bool:
        """Whether it is not to be sent `off`, going by the last look."""
        return self._lied or self.readiness.reason in _REFUSED

    @property
    def looking(self) -> bool:
        """Whether a look is under way that a shot waits for."""
        return self._request is not None and self._request.step is Step.LOOK

    def poll(self) -> bool:
        """Look at the device now, for readiness alone; False if it is busy (its answer will serve as well)."""
        if self._closed or self._request is not None:
            return False
        self._look(_Request(Step.POLL))
        return True

    def read(self, step: Step, on_answer: OnReading) -> None:
        """Read the power state, now."""
        request = self._displace(step)
        request.running = self._device.read_power(lambda answer, now: self._on_read(request, answer, on_answer, now))

    def shoot(self, on_answer: OnCommanded) -> None:
        """Look, compare, and send `off`; not accepted, with nothing sent, if the look fails or finds another."""
        if self._lied:
            lied = Commanded(False, FenceReason.LIED, self.readiness.detail, 0)
            self._loop.call_at(self._loop.now(), lambda now: on_answer(lied, now))
        elif self._request is not None and self._request.step is Step.POLL:
            self._request.shooter = on_answer
            self._request.step = Step.LOOK
            self._hurry(self._request)
        else:
            self._look(_Request(Step.LOOK, on_answer))

    def switch_on(self, on_answer: OnCommanded) -> None:
        """Send `on`, now."""
        request = self._displace(Step.ON)
        request.running = self._device.power_on(lambda answer, now: self._on_commanded(request, answer, on_answer, now))

    def kill(self) -> None:
        """End what runs for the caller; it still answers. A poll goes on."""
        if self._request is not None and self._request.step is not Step.POLL:
            self._kill(self._request)

    def disable(self, why: str, now: int) -> None:
        """Use this device no more before `enable`: what it said was not true."""
        self._lied = True
        self._take(Readiness(False, now, Power.UNKNOWN, FenceReason.LIED, why), now)

    def enable(self) -> None:
        """Use this device again, if it was disabled; the next look tells what it is fit for."""
        if self._lied:
            self._lied = False
            self.poll()

    def forget(self) -> bool:
        """Learn anew who the device is, and whether it tells its serial number; False if nothing was known of it."""
        self._serial, self._tells_serial, self._serial_from = None, True, 0
        return self._identities.forget(self.settings.name)

    def close(self) -> None:
        """Kill whatever runs and call nobody back any more."""
        self._closed = True
        if self._poll_timer is not None:
            self._poll_timer.cancel()
        if self._request is not None and self._request.running is not None:
            self._request.killed = True
            self._request.running.kill()

    def _displace(self, step: Step) -> _Request:
        """Make way: once SIGKILL is sent, a poll sends no further packet; of a serial number, it ends the session."""
        if self._request is not None:
            self._kill(self._request)
        self._request = _Request(step)
        return self._request

    def _kill(self, request: _Request) -> None:
        request.killed = True
        if request.running is not None:
            end = request.running.kill if request.found is None else request.running.interrupt
            end()

    def _look(self, request: _Request) -> None:
        self._request = request
        request.running = self._device.inspect(lambda answer, now: self._on_look(request, answer, now))

    def _on_look(self, request: _Request, answer: Inspection, now: int) -> None:
        if self._wants_serial(request, answer, now):
            request.found = answer
            request.running = self._device.read_serial(lambda told, at: self._on_serial(request, answer, told, at))
        else:
            self._conclude_look(request, answer, now)

    def _wants_serial(self, request: _Request, found: Inspection, now: int) -> bool:
        """Whether to ask for the serial number too: for readiness never for so long that a look takes beyond its bound.

        A shot that rests on it does not go without, whatever the look has cost until then.
        """
        settings = self.settings
        possible = settings.tells_identity and found.reason is FenceReason.OK
        in_time = found.elapsed_ns <= settings.command_timeout_ns // 2 and now >= self._serial_from
        wanted = in_time if request.shooter is None else self._shot_needs_serial(found)
        return possible and wanted and self._request is request and not self._closed

    def _shot_needs_serial(self, found: Inspection) -> bool:
        """Whether the GUID cannot tell who it is, and the serial number might."""
        if found.guid is not None:
            return self._identities.has_guid_of_own(found.guid)
        known = self.settings.serial or self._identities.learned(self.settings.name).serial
        return self._tells_serial or known is not None

    def _hurry(self, request: _Request) -> None:
        """A shot waits for this look: end what it can do without."""
        if request.found is not None and request.running is not None and not self._shot_needs_serial(request.found):
            request.running.interrupt()

    def _on_serial(self, request: _Request, found: Inspection, told: SerialNumber, now: int) -> None:
        """End a look with the serial number, or without: what it has found until then stands unless it was killed."""
        answered = told.reason is FenceReason.OK
        if self._shot_needs_serial(found) and (answered or request.shooter is not None):
            found = replace(found, elapsed_ns=found.elapsed_ns + told.elapsed_ns)  # what a shot costs, or has cost
        if request.killed:
            found = replace(found, power=Power.UNKNOWN, reason=FenceReason.CANCELLED, detail="ended before its end")
        elif answered:
            self._tells_serial = told.serial is not None
        elif told.reason in _ENDLESS:
            self._serial_from = now + SERIAL_PAUSE_NS
        self._conclude_look(request, replace(found, serial=told.serial), now)

    def _conclude_look(self, request: _Request, answer: Inspection, now: int) -> None:
        shooter = request.shooter
        if answer.reason is FenceReason.OK:
            settings = self.settings
            self._serial = answer.serial or self._serial
            configured, told = Identity(settings.guid, settings.serial), Identity(answer.guid, self._serial)
            if shooter is not None and self._shot_needs_serial(answer):
                told = Identity(answer.guid, answer.serial)  # what was told earlier may have been another board
            reason, why = self._identities.judge(settings.name, configured, told)
            if reason is not FenceReason.OK:
                answer = replace(answer, power=Power.UNKNOWN, reason=reason, detail=why)
        self._settle(request, answer, answer.power, now)
        if shooter is None or self._closed:
            return
        if answer.reason is not FenceReason.OK:
            shooter(Commanded(False, answer.reason, answer.detail, answer.elapsed_ns), now)
            return
        shot = _Request(Step.OFF)
        self._request = shot
        shot.running = self._device.power_off(lambda said, at: self._on_commanded(shot, said, shooter, at))

    def _on_read(self, request: _Request, answer: Reading, on_answer: OnReading, now: int) -> None:
        self._settle(request, answer, answer.power, now)
        if not self._closed:
            on_answer(answer, now)

    def _on_commanded(self, request: _Request, answer: Commanded, on_answer: OnCommanded, now: int) -> None:
        self._settle(request, answer, Power.UNKNOWN, now)
        if not self._closed:
            on_answer(answer, now)

    def _settle(self, request: _Request, answer: Answer, power: Power, now: int) -> None:
        """Take note of an answer, before anybody is told of it."""
        if self._request is request:
            self._request = None
        if self._closed:
            return
        if answer.reason is not FenceReason.CANCELLED and not self._lied:
            known = self.readiness
            guid, policy = known.guid, known.policy
            if isinstance(answer, Inspection):
                guid, policy = answer.guid, answer.policy
            ready = answer.reason is FenceReason.OK
            warnings = self._warnings(answer, guid, policy) if ready else ()
            spent, serial = answer.elapsed_ns, self._serial
            self._take(
                Readiness(ready, now, power, answer.reason, answer.detail, warnings, guid, policy, spent, serial), now
            )
        self._on_step(request.step, answer, now)
        self._schedule_poll(now)

    def _warnings(self, answer: Answer, guid: str | None, policy: str | None) -> tuple[FenceWarning, ...]:
        settings = self.settings
        wanted = settings.restore_policy
        unexpected = policy == "always-off" if wanted is None else policy is not None and policy != wanted
        slow = FenceWarning.SLOW in self.readiness.warnings
        if isinstance(answer, Inspection):  # an agent's `off` may take its time
            slow = answer.elapsed_ns > settings.command_timeout_ns // 2
        needs_serial = guid is None or settings.serial is not None
        found = (
            (FenceWarning.SLOW, slow),
            (FenceWarning.RESTORE_POLICY, unexpected),
            (FenceWarning.NO_IDENTITY, settings.tells_identity and self._serial is None and needs_serial),
        )
        return tuple(warning for warning, holds in found if holds)

    def _take(self, readiness: Readiness, now: int) -> None:
        before, self.readiness = self.readiness.ready, readiness
        if readiness.ready is not before:
            self._on_ready(now)

    def _schedule_poll(self, now: int) -> None:
        """One interval after any answer, half of it while nothing answers; the first time, the phase too.

        Sooner until the device has been reached for the first time, as it may be the network here that is not up yet.
        No sooner after a refusal: a session that is refused half-way holds its slot, and accounts get locked.
        """
        if self._poll_timer is not None:
            self._poll_timer.cancel()
        reason = self.readiness.reason
        silent = reason in (FenceReason.UNREACHABLE, FenceReason.TIMED_OUT)
        wait_ns = self._poll_interval_ns // 2 if silent else self._poll_interval_ns
        if reason is FenceReason.UNREACHABLE and self._retry_ns < wait_ns:
            wait_ns, self._retry_ns = self._retry_ns, 2 * self._retry_ns
        else:
            self._retry_ns = self._poll_interval_ns
            wait_ns, self._phase_ns = wait_ns + self._phase_ns, 0
        self._poll_timer = self._loop.call_at(now + wait_ns, self._on_poll_due)

    def _on_poll_due(self, now: int) -> None:
        if not self.poll():
            self._schedule_poll(now)
