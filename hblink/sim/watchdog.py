"""A simulated hardware watchdog: it resets its machine unless it is petted, whatever the kernel and the daemon do.

It is no part of the machine that it watches, so a pause of that does not stop it. This module must never ask whether
the reset is wanted.
"""

from __future__ import annotations

from collections.abc import Callable

from hblink.sim.timeline import Appointment, Timeline


class Watchdog:
    """A timer that is armed by the first `pet`, and calls `bite` once it has run out."""

    def __init__(self, timeline: Timeline, timeout_ns: int, bite: Callable[[], None]) -> None:
        self._timeline = timeline
        self._timeout_ns = timeout_ns
        self._bite = bite
        self._due: Appointment | None = None

    def pet(self) -> None:
        """Begin the time anew."""
        self.stop()
        self._due = self._timeline.call_after(self._timeout_ns, self._bite)

    def stop(self) -> None:
        """The magic close of a clean end, or a reset."""
        if self._due is not None:
            self._due.cancel()
            self._due = None
