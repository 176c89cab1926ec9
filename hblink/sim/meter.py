"""What a client and an accountant would have seen: who answered for the address, for how long nobody or both did."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hblink.sim.timeline import Timeline

if TYPE_CHECKING:
    from hblink.sim.host import Host


class Meter:
    """Measure from the first moment at which the address was answered for; all durations in nanoseconds."""

    def __init__(self, timeline: Timeline, hosts: Sequence[Host]) -> None:
        self._timeline = timeline
        self._hosts = tuple(hosts)
        self._since = 0
        self._answering = 0
        self._running = 0
        self._last: str | None = None
        self._gap_began = 0
        self.dual_vip_ns = 0
        self.dual_service_ns = 0
        self.gaps_ns: list[int] = []  # every time without an owner that has ended
        self.moves_ns: list[int] = []  # of these, those after which another node answered
        self.first_at: int | None = None

    def survey(self) -> None:
        """Look again: called after every change, and at the end."""
        now = self._timeline.now
        elapsed = now - self._since
        self._since = now
        if self._answering == 2:
            self.dual_vip_ns += elapsed
        if self._running == 2:
            self.dual_service_ns += elapsed
        names = [host.name for host in self._hosts if host.answers]
        self._running = sum(host.service for host in self._hosts)
        if self._answering and not names:
            self._gap_began = now
        elif names and not self._answering:
            self._end_gap(names[0])
        if names:
            self._last = names[0]
        self._answering = len(names)

    def gap_ns(self) -> int:
        """How long nobody has been answering, now."""
        return 0 if self._answering or self.first_at is None else self._timeline.now - self._gap_began

    def _end_gap(self, name: str) -> None:
        now = self._timeline.now
        if self.first_at is None:
            self.first_at = now
            return
        self.gaps_ns.append(now - self._gap_began)
        if name != self._last:
            self.moves_ns.append(now - self._gap_began)
