"""Simulated time: one queue of appointments, in nanoseconds of the world's own clock, and the clocks that nodes read.

Appointments for the same instant are kept in the order in which they were made, so a run depends on nothing but its
inputs. This module must never read a real clock.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass

_MILLION = 1_000_000


class Appointment:
    """A callback due at one instant; `cancel` may be called at any time, also after it ran."""

    __slots__ = ("callback",)

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        """Let the instant pass without the callback."""
        self.callback = None


class Timeline:
    """The world's time, and all that is going to happen."""

    __slots__ = ("_heap", "_order", "now")

    def __init__(self) -> None:
        self.now = 0
        self._heap: list[tuple[int, int, Appointment]] = []
        self._order = itertools.count()

    def call_at(self, at: int, callback: Callable[[], None]) -> Appointment:
        """Call `callback` at the instant `at`, or as soon as possible if that has passed."""
        appointment = Appointment(callback)
        heapq.heappush(self._heap, (max(at, self.now), next(self._order), appointment))
        return appointment

    def call_after(self, delay_ns: int, callback: Callable[[], None]) -> Appointment:
        """Call `callback` in `delay_ns`."""
        return self.call_at(self.now + delay_ns, callback)

    def run_until(self, at: int) -> None:
        """Let everything happen that is due up to and at `at`; afterwards `now` is `at`."""
        while self._heap and self._heap[0][0] <= at:
            due_at, _, appointment = heapq.heappop(self._heap)
            self.now = due_at
            callback, appointment.callback = appointment.callback, None
            if callback is not None:
                callback()
        self.now = at


@dataclass(frozen=True, slots=True)
class Clock:
    """A node's CLOCK_BOOTTIME: it read `base` at the world's instant `zero`, and runs `ppm` parts per million fast."""

    zero: int = 0
    base: int = 0
    ppm: int = 0

    def read(self, at: int) -> int:
        """What this clock shows at the world's instant `at`."""
        elapsed = at - self.zero
        return self.base + elapsed + elapsed * self.ppm // _MILLION

    def when(self, reading: int) -> int:
        """The first instant of the world at which this clock shows `reading` or more."""
        at = self.zero + (reading - self.base) * _MILLION // (_MILLION + self.ppm)
        while self.read(at) < reading:
            at += 1
        while self.read(at - 1) >= reading:
            at -= 1
        return at

    def stepped(self, at: int, by_ns: int) -> Clock:
        """This clock after a jump of `by_ns` at the world's instant `at`."""
        return Clock(at, self.read(at) + by_ns, self.ppm)
