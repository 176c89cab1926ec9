"""What happened in a simulated world: lines for people, and a digest of everything for telling two runs apart."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from hblink.sim.timeline import Timeline


@dataclass(frozen=True, slots=True)
class Line:
    """One fact: when, on which node (or empty for the world's own), and what."""

    at: int
    node: str
    text: str

    def __str__(self) -> str:
        return f"{self.at // 1_000_000 / 1000:9.3f}  {self.node:<5}  {self.text}"


class Log:
    """Take lines and frames in the order in which they come."""

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self._digest = hashlib.sha256()
        self.lines: list[Line] = []

    def add(self, node: str, text: str) -> None:
        """Write down that `text` happened to `node` now."""
        line = Line(self._timeline.now, node, text)
        self.lines.append(line)
        self._digest.update(f"{line.at} {node} {text}\n".encode())

    def frame(self, data: bytes) -> None:
        """Take a frame that was sent into the digest."""
        self._digest.update(self._timeline.now.to_bytes(8, "big") + data)

    @property
    def digest(self) -> str:
        """SHA-256 over all lines and all frames so far, in hexadecimal."""
        return self._digest.hexdigest()
