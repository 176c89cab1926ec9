"""Simulated links: bytes from one node to the other, late, lost, doubled or damaged as the weather of each path says.

Ethernet carries datagrams; a serial line carries bytes in order at its bit rate, and takes nothing while it is still
sending. Everything that was ever sent is kept for whoever wants to replay it. This module must never understand what it
carries.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from hblink.core.value import MS, SECOND
from hblink.sim.plan import LinkPlan
from hblink.sim.timeline import Timeline

_BITS_PER_BYTE = 10
_ARCHIVE_MAX = 4096
_TOLERABLE_NS = 10 * MS  # more delay than this is a disturbance


@dataclass(slots=True)
class Weather:
    """What one direction of one link does to what it carries; the shares are per mille of the frames."""

    cut: bool = False
    loss: int = 0
    duplication: int = 0
    damage: int = 0
    delay_ns: int = 0
    jitter_ns: int = 0  # up to this much more, which reorders datagrams

    @property
    def calm(self) -> bool:
        """Whether everything arrives, once, whole and soon."""
        return self == Weather()


@dataclass(frozen=True, slots=True)
class Sent:
    """A frame that a node once put on a link, as bytes on that medium."""

    sender: int
    link: int
    data: bytes


class Path:
    """One direction of one link."""

    def __init__(self, timeline: Timeline, random: Random, plan: LinkPlan, deliver: Callable[[bytes], None]) -> None:
        self._timeline = timeline
        self._random = random
        self._deliver = deliver
        self._arrived_at = 0  # of the last bytes on a serial line: they keep their order
        self.plan = plan
        self.weather = Weather()
        self.free_at = 0  # when a serial line has carried what was written last
        self.disturbed_at = -SECOND  # when something was last kept from arriving, whole and soon

    def send(self, data: bytes) -> bool:
        """Carry `data` if the line is free; False if it is not, and nothing was taken."""
        now = self._timeline.now
        if now < self.free_at:
            return False
        carried_at = now
        if self.plan.baud is not None:
            carried_at = self.free_at = now + -(-len(data) * _BITS_PER_BYTE * SECOND // self.plan.baud)
        copies = 2 if self._strikes(self.weather.duplication) else 1
        for _ in range(copies):
            self._carry(data, carried_at)
        return True

    def inject(self, data: bytes) -> None:
        """Let `data` come out at the receiving end, whoever made it."""
        self._timeline.call_after(self.plan.latency_ns, lambda: self._arrive(data))

    def disturb(self) -> None:
        """Take note that this path is not to be relied upon now."""
        self.disturbed_at = self._timeline.now

    def _carry(self, data: bytes, carried_at: int) -> None:
        weather, now = self.weather, self._timeline.now
        if self._strikes(weather.loss):
            self.disturb()
            return
        if self._strikes(weather.damage):
            self.disturb()
            data = _damaged(data, self._random)
        delay_ns = weather.delay_ns
        if weather.jitter_ns:
            delay_ns += self._random.randrange(weather.jitter_ns)
        at = carried_at + self.plan.latency_ns + delay_ns
        if self.plan.baud is not None:
            at = self._arrived_at = max(at, self._arrived_at)
        if at - now > _TOLERABLE_NS:
            self.disturb()
        self._timeline.call_at(at, lambda: self._arrive(data))

    def _arrive(self, data: bytes) -> None:
        if self.weather.cut:
            self.disturb()
        else:
            self._deliver(data)

    def _strikes(self, share: int) -> bool:
        return share > 0 and self._random.randrange(1000) < share


class Network:
    """All paths between two nodes. `deliver(receiver, link, data)` is called for what arrives."""

    def __init__(
        self,
        timeline: Timeline,
        random: Random,
        links: Sequence[LinkPlan],
        deliver: Callable[[int, int, bytes], None],
    ) -> None:
        self._random = random
        self.links = tuple(links)
        self.archive: list[Sent] = []
        self._paths = tuple(
            tuple(self._path(timeline, random, sender, link, deliver) for link in range(len(links)))
            for sender in range(2)
        )

    def path(self, sender: int, link: int) -> Path:
        """The direction of `link` that carries what `sender` says."""
        return self._paths[sender][link]

    def send(self, sender: int, link: int, data: bytes) -> bool:
        """Send `data`, in the form of the medium; False if the line was busy."""
        taken = self.path(sender, link).send(data)
        if taken:
            self._keep(Sent(sender, link, data))
        return taken

    def heal(self) -> None:
        """Make every path calm."""
        for paths in self._paths:
            for path in paths:
                if not path.weather.calm:
                    path.disturb()
                path.weather = Weather()

    def _path(
        self, timeline: Timeline, random: Random, sender: int, link: int, deliver: Callable[[int, int, bytes], None]
    ) -> Path:
        return Path(timeline, random, self.links[link], lambda data: deliver(1 - sender, link, data))

    def _keep(self, sent: Sent) -> None:
        """Keep what was sent; when there is no more room, in place of something older, picked at random."""
        if len(self.archive) < _ARCHIVE_MAX:
            self.archive.append(sent)
        else:
            self.archive[self._random.randrange(_ARCHIVE_MAX)] = sent


def _damaged(data: bytes, random: Random) -> bytes:
    """Return `data` with a byte changed, cut short, or with a byte missing."""
    at = random.randrange(len(data))
    kind = random.randrange(3)
    if kind == 0:
        return data[:at] + bytes((data[at] ^ 1 << random.randrange(8),)) + data[at + 1 :]
    if kind == 1:
        return data[:at]
    return data[:at] + data[at + 1 :]
