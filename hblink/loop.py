"""The event loop: one `selectors` selector, one callback at a time, the clock read once per callback.

It notices its own lateness: before any callback runs, `on_stall` is told when the earliest timer is overdue by more
than the limit, so that a node that was frozen can drop what it holds before it reads a single byte (SAFETY S7). What
has come in is read before timers run: a loop that is late must not take for silence what it has not read (S6).
It must never block in anything but `select`, and never swallow an exception.
"""

from __future__ import annotations

import heapq
import itertools
import selectors
import time
from collections.abc import Callable

Callback = Callable[[int], None]  # called with now, in nanoseconds of the loop's clock

LATE_NS = 5_000_000  # after longer than this, what was seen to have come in is looked at again before timers run


def boottime_ns() -> int:
    """CLOCK_BOOTTIME in nanoseconds: it goes on while the machine is suspended (clock_gettime(2))."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class Timer:
    """A callback due at `at`; `cancel` may be called at any time, also after it ran."""

    __slots__ = ("at", "callback")

    def __init__(self, at: int, callback: Callback) -> None:
        self.at = at
        self.callback: Callback | None = callback

    def cancel(self) -> None:
        self.callback = None


class Loop:
    """Run callbacks for readable descriptors and due timers until `stop`.

    `clock` returns nanoseconds; `on_stall(late_ns, now)` is called when the loop is later than `stall_limit_ns`.
    """

    def __init__(self, clock: Callable[[], int] = boottime_ns, stall_limit_ns: int = 1_000_000_000) -> None:
        self._clock = clock
        self._selector = selectors.DefaultSelector()
        self._timers: list[tuple[int, int, Timer]] = []
        self._order = itertools.count()
        self._running = False
        self._stall_told_at = 0
        self.checked_at = clock()  # when lateness was last looked at: before the callback that runs now
        self.stall_limit_ns = stall_limit_ns
        self.on_stall: Callable[[int, int], None] | None = None
        self.on_lateness: Callable[[int], None] | None = None

    def now(self) -> int:
        """The loop's clock."""
        return self._clock()

    def check(self) -> None:
        """Tell of a stall within the callback that runs now: its caller is about to judge what time it is."""
        now = self._clock()
        late_ns = now - self.checked_at
        self.checked_at = now
        if late_ns > self.stall_limit_ns and self.on_stall is not None:
            self._stall_told_at = now
            self.on_stall(late_ns, now)

    def watch(self, fd: int, callback: Callback) -> None:
        """Call `callback(now)` whenever `fd` is readable. The descriptor must be non-blocking."""
        self._selector.register(fd, selectors.EVENT_READ, callback)

    def unwatch(self, fd: int) -> None:
        """Forget `fd`; call before it is closed."""
        self._selector.unregister(fd)

    def call_at(self, at: int, callback: Callback) -> Timer:
        """Call `callback(now)` once, as soon as the clock has reached `at`."""
        timer = Timer(at, callback)
        heapq.heappush(self._timers, (at, next(self._order), timer))
        return timer

    def stop(self) -> None:
        """Let `run` return after the callback that is running."""
        self._running = False

    def run(self) -> None:
        """Run until `stop`."""
        self._running = True
        while self._running:
            self.run_once()

    def run_once(self, longest_ns: int | None = None) -> None:
        """Wait for the next timer or descriptor, at most `longest_ns`, and run what is due."""
        deadline = self._next_deadline()
        wait_ns = None if deadline is None else max(0, deadline - self._clock())
        if longest_ns is not None:
            wait_ns = longest_ns if wait_ns is None else min(wait_ns, longest_ns)
        ready = self._selector.select(None if wait_ns is None else wait_ns / 1e9)
        if deadline is not None and self._checked_now() - deadline > LATE_NS:
            ready = self._selector.select(0)  # a wait that was stopped (SIGSTOP) ends without a word of what came in
        looked_at = self._clock()
        self._read(ready)
        if self._clock() - looked_at > LATE_NS:
            looked_at = self._clock()
            self._read(self._selector.select(0))
        self._run_timers(looked_at)

    def _read(self, ready: list[tuple[selectors.SelectorKey, int]]) -> None:
        for key, _ in ready:
            if self._selector.get_map().get(key.fd) is key:  # an earlier callback may have let go of it
                key.data(self._checked_now())

    def _next_deadline(self) -> int | None:
        while self._timers and self._timers[0][2].callback is None:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def _checked_now(self) -> int:
        """Read the clock; if the earliest timer is long overdue, say so, once, before anything else happens."""
        now = self._clock()
        self.checked_at = now
        deadline = self._next_deadline()
        if deadline is not None and self.on_stall is not None:
            late_ns = now - max(deadline, self._stall_told_at)
            if late_ns > self.stall_limit_ns:
                self._stall_told_at = now
                self.on_stall(late_ns, now)
        return now

    def _run_timers(self, looked_at: int) -> None:
        """Run what is due; what a slow callback or a pause made late comes after another look at what came in."""
        due_before = self._checked_now()
        ran = False
        while (deadline := self._next_deadline()) is not None and deadline <= due_before:
            now = self._checked_now()
            if ran and now - looked_at > LATE_NS:
                return
            ran = True
            timer = heapq.heappop(self._timers)[2]
            callback, timer.callback = timer.callback, None
            if self.on_lateness is not None:
                self.on_lateness(now - deadline)
            if callback is not None:
                callback(now)
