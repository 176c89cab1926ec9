"""The peer's fence devices as a simulated daemon uses them: one request at a time, a deadline for each, polled.

As `hblink.fencing.fence` does it: a command displaces a reading and is refused beside another command; a request that
is given up is UNKNOWN or not accepted, and may still be carried out. Each `off` goes to one level of the ladder, the
next one after a refusal; after an acceptance only the level that gave it is read. A device that turns out to be this
machine's own is not used. This module must never command by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from hblink.core.event import Event, FenceReadinessChanged, PowerCommanded, PowerRead
from hblink.core.value import Power
from hblink.sim.bmc import Bmc
from hblink.sim.plan import Plan
from hblink.sim.process import Process, Timer

_Kind = Literal["poll", "read", "off", "on"]


@dataclass(slots=True)
class _Request:
    kind: _Kind
    op_id: int
    level: int = 0  # which device is asked
    deadline: Timer | None = None
    over: bool = False


class Fence:
    """Answer each request of the core with exactly one event, in a later turn of the process."""

    def __init__(
        self,
        process: Process,
        plan: Plan,
        devices: Sequence[tuple[str, Bmc]],
        target: str,
        *,
        own: bool,
        feed: Callable[[Event], None],
        note: Callable[[str], None],
    ) -> None:
        self._process = process
        self._plan = plan
        self._devices = tuple(devices)
        self._target = target
        self._own = own
        self._feed = feed
        self._note = note
        self._running: _Request | None = None
        self._waiting: _Request | None = None
        self._ready: bool | None = None
        self._polling: Timer | None = None
        self._aim = 0  # the level that the next `off` goes to
        self._trusted: int | None = None  # the level that has accepted one, and is read from then on
        self._sent: set[int] = set()  # levels that were sent an `off`, and are to be sent `on`

    def start(self) -> None:
        """Begin to look at the device for readiness."""
        if self._own:
            self._note(f"BMC of {self._target} is this node's own: not used")
        self._poll()

    def _poll(self) -> None:
        """Look at the device for readiness alone, unless it is busy; again and again from now on."""
        if self._running is None:
            self._begin(_Request("poll", 0))
        else:
            self._poll_later()

    def read(self, op_id: int) -> None:
        """Read the power state: PowerRead."""
        request = _Request("read", op_id, self._trusted or 0)
        if self._running is None:
            self._begin(request)
        elif self._running.kind == "poll":
            self._displace(request)
        else:
            self._drop_waiting()
            self._waiting = request

    def command(self, op_id: int, *, on: bool) -> None:
        """Command a change of power: PowerCommanded."""
        request = _Request("on", op_id, max(self._sent, default=0)) if on else _Request("off", op_id, self._aim)
        self._sent.add(request.level)
        self._note(f"{request.kind} -> {self._devices[request.level][0]} of {self._target}")
        self._drop_waiting()
        if self._running is None:
            self._begin(request)
        elif self._running.kind in ("poll", "read"):
            self._displace(request)
        else:
            self._process.call_at(self._process.now(), lambda _now: self._answer(request, None, False))

    def end_attempt(self) -> None:
        """Give up an `off` under way that is no longer wanted; the BMC, which has it already, obeys all the same."""
        self._aim, self._trusted = 0, None
        request = self._running
        if request is not None and request.kind == "off":
            request.over = True
            if request.deadline is not None:
                request.deadline.cancel()
            self._running = None
            self._process.call_at(self._process.now(), lambda _now: self._answer(request, None, False))
            self._begin_waiting()

    def _displace(self, request: _Request) -> None:
        displaced = self._running
        assert displaced is not None
        displaced.over = True
        if displaced.deadline is not None:
            displaced.deadline.cancel()
        if displaced.kind == "read":
            self._process.call_at(self._process.now(), lambda _now: self._answer(displaced, None, False))
        self._begin(request)

    def _drop_waiting(self) -> None:
        dropped, self._waiting = self._waiting, None
        if dropped is not None:
            self._process.call_at(self._process.now(), lambda _now: self._answer(dropped, None, False))

    def _begin(self, request: _Request) -> None:
        self._running = request
        until = self._process.now() + self._plan.command_timeout_ns
        if self._own:
            until = self._process.now()
        request.deadline = self._process.call_at(until, lambda _now: self._end(request, None, False))
        if self._own:
            return
        level = request.level
        bmc = self._devices[level][1]

        def end(power: Power | None) -> None:
            if request.level == level:
                self._process.deliver(lambda _now: self._end(request, power, True))

        if request.kind in ("poll", "read"):
            bmc.read(end)
        else:
            bmc.command(request.kind == "on", lambda: end(None))

    def _end(self, request: _Request, power: Power | None, answered: bool) -> None:
        """The device has answered, or its time is over: whichever comes first."""
        if request.over:
            return
        if request.deadline is not None:
            request.deadline.cancel()
        if self._goes_on(request, answered):
            self._begin(request)
            return
        request.over = True
        self._running = None
        if self._ready is not answered:
            self._ready = answered
            self._feed(FenceReadinessChanged(answered))
        if request.kind == "poll":
            self._poll_later()
        else:
            gone = not answered and not self._own and request.level + 1 == len(self._devices)
            self._answer(request, power, answered, gone=gone and self._trusted is None)
        self._begin_waiting()

    def _goes_on(self, request: _Request, answered: bool) -> bool:
        """Whether another level is to be asked for the same request; notes what an `off` has led to."""
        if request.kind == "off":
            self._trusted = request.level if answered else None
            self._aim = request.level if answered else (request.level + 1) % len(self._devices)
            return False
        if request.kind == "on":
            lower = [level for level in self._sent if level < request.level]
            request.level = max(lower, default=request.level)
            return bool(lower)
        if answered or self._own or self._trusted is not None or request.level + 1 == len(self._devices):
            return False
        request.level += 1
        return True

    def _begin_waiting(self) -> None:
        if self._waiting is not None and self._running is None:
            waiting, self._waiting = self._waiting, None
            self._begin(waiting)

    def _poll_later(self) -> None:
        if self._polling is not None:
            self._polling.cancel()
        wait_ns = self._plan.poll_interval_ns if self._ready else self._plan.poll_interval_ns // 2
        self._polling = self._process.call_at(self._process.now() + wait_ns, lambda _now: self._poll())

    def _answer(self, request: _Request, power: Power | None, accepted: bool, *, gone: bool = False) -> None:
        device = self._devices[request.level][0]
        if request.kind == "read":
            reading = power or Power.UNKNOWN
            self._note(f"{device} of {self._target} reads {reading.value}")
            self._feed(PowerRead(request.op_id, reading, gone))
        else:
            self._note(f"{device} of {self._target} {'accepted' if accepted else 'did not accept'} {request.kind}")
            self._feed(PowerCommanded(request.op_id, accepted))
