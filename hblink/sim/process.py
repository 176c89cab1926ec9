"""A simulated process: the order of things in `hblink.loop`, with the world's time instead of a selector.

What is due and what came in wait while the process is frozen. When it goes on, it first says how late it is, then
reads, then runs its timers: as the real loop does. This module must never know what the callbacks are for.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable

from hblink.sim.timeline import Appointment, Clock, Timeline

Callback = Callable[[int], None]  # called with now, by the node's clock


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

    def freeze(self) -> None:
        """Run nothing until `thaw`; time goes on."""
        self.frozen = True

    def thaw(self) -> None:
        """Go on, late."""
        self.frozen = False
        self._run()

    def kill(self) -> None:
        """Run nothing any more."""
        self.alive = False
        self._timers.clear()
        self._inbox.clear()
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
            self._inbox.popleft()(self.now())
        due_before = self.now()
        while (deadline := self._next_deadline()) is not None and deadline <= due_before and not self.frozen:
            timer = heapq.heappop(self._timers)[2]
            callback, timer.callback = timer.callback, None
            if callback is not None:
                callback(self.now())
        self._running = False
        self._arm()

    def _check(self) -> None:
        """Say how late the loop is, once, before anything else happens."""
        deadline, now = self._next_deadline(), self.now()
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
