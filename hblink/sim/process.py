"""A simulated process: the order of things in `hblink.loop`, with the world's time instead of a selector.

What is due and what came in wait while the process is frozen. When it goes on, it first says how late it is, then
reads, then runs its timers: as the real loop does. It can also be caught in the middle of a callback, which then goes
on with what it knew. This module must never know what the callbacks are for.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable
from enum import Enum, unique

from hblink.sim.timeline import Appointment, Clock, Timeline

Callback = Callable[[int], None]  # called with now, by the node's clock


@unique
class Spot(Enum):
    """Where a process is when it comes to a stand."""

    BETWEEN = "between"  # two callbacks: it waits in select(2)
    READING = "reading"  # a callback has just been told what time it is
    ACTING = "acting"  # a decision has been taken and is about to be carried out


class Timer:
    """A callback due at `at` of the node's clock."""

    __slots__ = ("at", "callback")

    def __init__(self, at: int, callback: Callback) -> None:
        self.at = at
        self.callback: Callback | None = callback

    def cancel(self) -> None:
        """Let the instant pass without the callback."""
        self.callback = None


class Process:
    """Run timers and incoming calls by the clock of one kernel boot, until killed."""

    def __init__(self, timeline: Timeline, clock: Clock, stall_limit_ns: int, on_stall: Callable[[int, int], None]):
        self._timeline = timeline
        self._clock = clock
        self._stall_limit_ns = stall_limit_ns
        self._on_stall = on_stall
        self._timers: list[tuple[int, int, Timer]] = []
        self._order = itertools.count()
        self._inbox: deque[Callback] = deque()
        self._wake: Appointment | None = None
        self._running = False
        self._stall_told_at = 0
        self._checked_at = self.now()  # when lateness was last looked at
        self._catch: Spot | None = None  # where the process is to come to a stand
        self._held: Callable[[], None] | None = None  # what it was about to do when it did
        self.frozen = False
        self.alive = True

    def now(self) -> int:
        """The node's clock."""
        return self._clock.read(self._timeline.now)

    def call_at(self, at: int, callback: Callback) -> Timer:
        """Call `callback(now)` once, as soon as the node's clock has reached `at` and the process runs."""
        timer = Timer(at, callback)
        heapq.heappush(self._timers, (at, next(self._order), timer))
        self._arm()
        return timer

    def deliver(self, callback: Callback) -> None:
        """Something came in: call `callback(now)` as soon as the process runs."""
        if self.alive:
            self._inbox.append(callback)
            self._run()

    def freeze(self, spot: Spot = Spot.BETWEEN) -> None:
        """Run nothing until `thaw`, from now on or as soon as the process comes by `spot`; time goes on."""
        if spot is Spot.BETWEEN:
            self.frozen = True
        else:
            self._catch = spot

    def thaw(self) -> None:
        """Go on, late; first with what was begun."""
        self.frozen = False
        self._catch = None
        held, self._held = self._held, None
        if held is not None and self.alive:
            self._running = True
            held()
            self._running = False
        self._run()

    @property
    def stands(self) -> bool:
        """Whether the process stands still, or is about to."""
        return self.frozen or self._catch is not None

    def pass_by(self, spot: Spot, rest: Callable[[], None]) -> None:
        """Do `rest` now; after the next `thaw` if the process comes to a stand here."""
        if self._catch is spot:
            self.frozen, self._catch = True, None
            self._held = rest
        else:
            rest()

    def check(self) -> None:
        """Tell of a stall within the callback that runs now, as hblink.loop.Loop.check does."""
        now = self.now()
        late_ns, self._checked_at = now - self._checked_at, now
        if late_ns > self._stall_limit_ns:
            self._stall_told_at = now
            self._on_stall(late_ns, now)

    def kill(self) -> None:
        """Run nothing any more."""
        self.alive = False
        self._timers.clear()
        self._inbox.clear()
        self._held = None
        if self._wake is not None:
            self._wake.cancel()

    def step_clock(self, clock: Clock) -> None:
        """Read another clock from now on: the boot time jumped."""
        self._clock = clock
        self._arm()

    def _run(self) -> None:
        """One turn of the loop: lateness, what came in, timers; callbacks take no time, so nothing comes in between."""
        if self._running or self.frozen or not self.alive:
            return
        self._running = True
        self._check()
        while self._inbox and not self.frozen:
            self._call(self._inbox.popleft())
        due_before = self.now()
        while (deadline := self._next_deadline()) is not None and deadline <= due_before and not self.frozen:
            timer = heapq.heappop(self._timers)[2]
            callback, timer.callback = timer.callback, None
            if callback is not None:
                self._call(callback)
        self._running = False
        self._arm()

    def _call(self, callback: Callback) -> None:
        now = self._checked_at = self.now()
        self.pass_by(Spot.READING, lambda: callback(now))

    def _check(self) -> None:
        """Say how late the loop is, once, before anything else happens."""
        deadline, now = self._next_deadline(), self.now()
        self._checked_at = now
        if deadline is not None and now - max(deadline, self._stall_told_at) > self._stall_limit_ns:
            late_ns = now - max(deadline, self._stall_told_at)
            self._stall_told_at = now
            self._on_stall(late_ns, now)

    def _next_deadline(self) -> int | None:
        while self._timers and self._timers[0][2].callback is None:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def _arm(self) -> None:
        """Wake up when the earliest timer is due."""
        if self._running or not self.alive:
            return
        if self._wake is not None:
            self._wake.cancel()
        deadline = self._next_deadline()
        if deadline is not None:
            self._wake = self._timeline.call_at(self._clock.when(deadline), self._run)
