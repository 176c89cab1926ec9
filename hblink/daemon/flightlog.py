"""The flight recorder: the last steps in memory, and all of them in a file if one is asked for.

Lines are those of hblink.flight. The ring is bounded; the file goes through the writer thread. A recorder must never
change the flight: what cannot be written is dropped and counted.
"""

from __future__ import annotations

from collections import deque
from itertools import islice

from hblink.core.effect import Effect
from hblink.core.event import Event
from hblink.core.state import State
from hblink.core.value import Settings
from hblink.daemon.writer import Writer
from hblink.flight import head_line, step_line

RING_STEPS = 2048


class FlightLog:
    """Record steps. The ring keeps them as values, so that an uneventful frame costs no formatting."""

    def __init__(self, settings: Settings, node: str, version: str, writer: Writer, fd: int | None) -> None:
        self._head = head_line(settings, node, version)
        self._count = 0  # of all steps so far
        self._ring: deque[tuple[int, Event, State, State, tuple[Effect, ...]]] = deque(maxlen=RING_STEPS)
        self._writer = writer
        self._fd = fd
        self._write(self._head)

    def note(self, at: int, event: Event, before: State, after: State, effects: tuple[Effect, ...]) -> None:
        """Record one step."""
        self._count += 1
        self._ring.append((at, event, before, after, effects))
        if self._fd is not None:
            self._write(step_line(at, event, before, after, effects))

    def broken(self, at: int, event: Event, before: State, message: str) -> None:
        """Record the event that broke an invariant, as a step without effects, for whoever looks into it."""
        del message  # it is in the log; the event alone reproduces it
        self.note(at, event, before, before, ())

    def page(self, start: int, count: int) -> tuple[list[str], int]:
        """Return the lines of up to `count` steps from the one numbered `start` on, and the number after them.

        Steps are numbered from 0 in this life of the daemon. Where it begins, or steps before it have left the ring,
        the page begins with the head, and its first step carries the whole state, so that it can be replayed.
        """
        oldest = self._count - len(self._ring)
        first = max(start, oldest)
        entries = list(islice(self._ring, first - oldest, first - oldest + count))
        begins = first == 0 or first != start
        lines = [step_line(*entry, whole=begins and index == 0) for index, entry in enumerate(entries)]
        return [self._head, *lines] if begins and lines else lines, first + len(entries)

    def _write(self, line: str) -> None:
        if self._fd is not None:
            self._writer.append(self._fd, line.encode("ascii") + b"\n")
