"""The peer's BMC as a simulated daemon uses it: one request at a time, a deadline for each, readiness by polling.

As `hblink.fencing.fence` does it: a command displaces a reading and is refused beside another command; a request that
is given up is UNKNOWN or not accepted, and may still be carried out. This module must never command by itself.
"""

from __future__ import annotations

from collections.abc import Callable
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
    deadline: Timer | None = None
    over: bool = False


class Fence:
    """Answer each request of the core with exactly one event, in a later turn of the process."""

    def __init__(
        self,
        process: Process,
        plan: Plan,
        bmc: Bmc,
        target: str,
        feed: Callable[[Event, int], None],
        note: Callable[[str], None],
    ) -> None:
        self._process = process
        self._plan = plan
        self._bmc = bmc
        self._target = target
        self._feed = feed
        self._note = note
        self._running: _Request | None = None
        self._waiting: _Request | None = None
        self._ready: bool | None = None
        self._polling: Timer | None = None

    def poll(self) -> None:
        """Look at the device for readiness alone, unless it is busy; again and again from now on."""
        if self._running is None:
            self._begin(_Request("poll", 0))
        else:
            self._poll_later()

    def read(self, op_id: int) -> None:
        """Read the power state: PowerRead."""
        request = _Request("read", op_id)
        if self._running is None:
            self._begin(request)
        elif self._running.kind == "poll":
            self._displace(request)
        else:
            self._drop_waiting()
            self._waiting = request

    def command(self, op_id: int, *, on: bool) -> None:
        """Command a change of power: PowerCommanded."""
        request = _Request("on" if on else "off", op_id)
        self._note(f"{request.kind} -> BMC of {self._target}")
        self._drop_waiting()
        if self._running is None:
            self._begin(request)
        elif self._running.kind in ("poll", "read"):
            self._displace(request)
        else:
            self._process.call_at(self._process.now(), lambda now: self._answer(request, None, False, now))

    def withdraw_off(self) -> None:
        """Give up an `off` under way that is no longer wanted; the BMC, which has it already, obeys all the same."""
        request = self._running
        if request is not None and request.kind == "off":
            request.over = True
            if request.deadline is not None:
                request.deadline.cancel()
            self._running = None
            self._process.call_at(self._process.now(), lambda now: self._answer(request, None, False, now))
            self._begin_waiting()

    def _displace(self, request: _Request) -> None:
        displaced = self._running
        assert displaced is not None
        displaced.over = True
        if displaced.deadline is not None:
            displaced.deadline.cancel()
        if displaced.kind == "read":
            self._process.call_at(self._process.now(), lambda now: self._answer(displaced, None, False, now))
        self._begin(request)

    def _drop_waiting(self) -> None:
        dropped, self._waiting = self._waiting, None
        if dropped is not None:
            self._process.call_at(self._process.now(), lambda now: self._answer(dropped, None, False, now))

    def _begin(self, request: _Request) -> None:
        self._running = request
        until = self._process.now() + self._plan.command_timeout_ns
        request.deadline = self._process.call_at(until, lambda now: self._end(request, None, False, now))
        if request.kind in ("poll", "read"):
            self._bmc.read(lambda power: self._process.deliver(lambda now: self._end(request, power, True, now)))
        else:
            self._bmc.command(
                request.kind == "on", lambda: self._process.deliver(lambda now: self._end(request, None, True, now))
            )

    def _end(self, request: _Request, power: Power | None, answered: bool, now: int) -> None:
        """The device has answered, or its time is over: whichever comes first."""
        if request.over:
            return
        request.over = True
        if request.deadline is not None:
            request.deadline.cancel()
        self._running = None
        if self._ready is not answered:
            self._ready = answered
            self._feed(FenceReadinessChanged(answered), now)
        if request.kind == "poll":
            self._poll_later()
        else:
            self._answer(request, power, answered, now)
        self._begin_waiting()

    def _begin_waiting(self) -> None:
        if self._waiting is not None and self._running is None:
            waiting, self._waiting = self._waiting, None
            self._begin(waiting)

    def _poll_later(self) -> None:
        if self._polling is not None:
            self._polling.cancel()
        wait_ns = self._plan.poll_interval_ns if self._ready else self._plan.poll_interval_ns // 2
        self._polling = self._process.call_at(self._process.now() + wait_ns, lambda _now: self.poll())

    def _answer(self, request: _Request, power: Power | None, accepted: bool, now: int) -> None:
        if request.kind == "read":
            reading = power or Power.UNKNOWN
            self._note(f"BMC of {self._target} reads {reading.value}")
            self._feed(PowerRead(request.op_id, reading), now)
        else:
            self._note(f"BMC of {self._target} {'accepted' if accepted else 'did not accept'} {request.kind}")
            self._feed(PowerCommanded(request.op_id, accepted), now)
