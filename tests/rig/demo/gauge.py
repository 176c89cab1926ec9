"""Readings of the pair for the picture: roles, links, addresses, BMCs, what the client sees, the logs.

It only reads. What the nodes believe comes from their status documents, what they hold from their kernels' own
announcements, and what the client sees from the client: none of the three is derived from another.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.rig.node import Node
from tests.rig.pair import Pair
from tests.rig.setting import NODES, VIP
from tests.rig.wait import boottime_ns

MARK_NS = 500_000_000  # what one mark of the client's strip stands for
SPARSE = 0.4  # a strip's mark says "nobody" when fewer of its questions were answered
RATE_WINDOW_NS = 1_500_000_000
LOG_LINES = 3
_LOG_LINE = re.compile(r"(?P<at>\d+\.\d{3}) (?P<node>\w+) (?P<text>.*)")

Status = dict[str, Any]


@dataclass(frozen=True, slots=True)
class NodeReading:
    """One node; `condition` is its role, or DEAD, OFF, BOOTING. What only a daemon knows is None while none answers."""

    name: str
    condition: str
    held: int  # VIPs that its kernel has
    epoch: int | None
    alarms: tuple[str, ...]
    can_fence: bool | None
    outlook: str | None  # what it would do if its peer died now
    power: bool  # what its BMC says
    fences: int

    @property
    def runs(self) -> bool:
        """Whether there is a living machine in the box."""
        return self.condition not in ("DEAD", "OFF")

    @property
    def speaks(self) -> bool:
        """Whether its daemon runs."""
        return self.epoch is not None


@dataclass(frozen=True, slots=True)
class WayReading:
    """One direction of a link: `state` is up, DOWN or --, as `hblink status` says; `rate` is a second's worth."""

    state: str
    rate: float
    unit: str


@dataclass(frozen=True, slots=True)
class LinkReading:
    """A link: from alpha to beta, and back."""

    name: str
    there: WayReading
    back: WayReading


@dataclass(frozen=True, slots=True)
class ClientReading:
    """What the client sees of the first VIP; `marks` has one letter for each MARK_NS since the start."""

    owner: str | None
    age_ms: float | None
    longest_ms: float | None
    marks: str


@dataclass(frozen=True, slots=True)
class Reading:
    """The pair at one instant."""

    nodes: tuple[NodeReading, NodeReading]
    links: tuple[LinkReading, ...]
    client: ClientReading
    vips: int
    log: tuple[str, ...]


class Rate:
    """How fast a counter grows, over the last RATE_WINDOW_NS; a counter that falls back starts again."""

    def __init__(self) -> None:
        self._samples: deque[tuple[int, int]] = deque()

    def update(self, count: int | None, now: int) -> float:
        """Take in the counter's value (None: nobody counts) and return the growth each second."""
        if count is None or (self._samples and count < self._samples[-1][1]):
            self._samples.clear()
        if count is None:
            return 0.0
        self._samples.append((now, count))
        while now - self._samples[0][0] > RATE_WINDOW_NS:
            self._samples.popleft()
        (first_at, first), (last_at, last) = self._samples[0], self._samples[-1]
        return (last - first) * 1e9 / (last_at - first_at) if last_at > first_at else 0.0


class Strip:
    """What the client sees of one VIP, taken in as it comes; gaps count from the first answer on."""

    def __init__(self, pair: Pair, began_at: int) -> None:
        self._observer = pair.observer
        self._began_at = began_at
        self._expected = MARK_NS / (pair.setting.observe_interval_ms * 1e6)
        self._counts: dict[int, Counter[str]] = {}
        self._last_at: int | None = None
        self._longest_ns = 0

    def read(self, now: int) -> ClientReading:
        """Take in what came since the last call."""
        since = self._began_at if self._last_at is None else self._last_at + 1
        for answer in self._observer.seen(VIP, "echo", since):
            if self._last_at is not None:
                self._longest_ns = max(self._longest_ns, answer.at - self._last_at)
            self._last_at = answer.at
            self._counts.setdefault((answer.at - self._began_at) // MARK_NS, Counter())[answer.node] += 1
        marks = "".join(self._mark(index) for index in range((now - self._began_at) // MARK_NS))
        if self._last_at is None:
            return ClientReading(None, None, None, marks)
        age = max(0, now - self._last_at)
        longest_ms = max(self._longest_ns, age) / 1e6
        return ClientReading(self._observer.owner(VIP), age / 1e6, longest_ms, marks)

    def _mark(self, index: int) -> str:
        counts = self._counts.get(index)
        if counts is None or counts.total() < SPARSE * self._expected:
            return "."
        return counts.most_common(1)[0][0][0].upper()


class Log:
    """The daemons' logs, merged by the time of their lines; lines that a traceback may have left are passed over."""

    def __init__(self, paths: list[Path], began_at: int) -> None:
        self._began_s = began_at / 1e9
        self._offsets = dict.fromkeys(paths, 0)
        self._lines: list[tuple[float, str, str]] = []

    def read(self) -> list[tuple[float, str, str]]:
        """Return every line so far as (seconds since the start, node, text), in the order of time."""
        for path, offset in self._offsets.items():
            if not path.exists():
                continue
            with path.open("rb") as source:
                source.seek(offset)
                data = source.read()
            whole = data[: data.rfind(b"\n") + 1]
            self._offsets[path] = offset + len(whole)
            for line in whole.decode("ascii", "replace").splitlines():
                if found := _LOG_LINE.fullmatch(line):
                    self._lines.append((float(found["at"]) - self._began_s, found["node"], found["text"]))
        self._lines.sort(key=lambda line: line[0])
        return self._lines

    def last(self, node: str, start: str) -> str | None:
        """Return the newest line of `node` that begins with `start`."""
        return next((text for _, who, text in reversed(self.read()) if who == node and text.startswith(start)), None)


class Gauge:
    """Reads a pair; `began_at` is the story's beginning."""

    def __init__(self, pair: Pair, began_at: int) -> None:
        self._pair = pair
        self._strip = Strip(pair, began_at)
        self.log = Log(pair.logs, began_at)
        self._rates: dict[tuple[str, str], Rate] = {}

    def read(self) -> Reading:
        """Read everything once: a few milliseconds."""
        pair, now = self._pair, boottime_ns()
        statuses = {name: node.status() if node.alive else None for name, node in pair.nodes.items()}
        client = self._strip.read(now)  # also brings the kernels' announcements
        held = self._held()
        first, second = (
            _node(node, statuses[name], held[name], pair.bmc(name).power, pair.fences[name])
            for name, node in pair.nodes.items()
        )
        lines = [f"{at:5.1f} {node:5} {text}" for at, node, text in self.log.read()[-LOG_LINES:]]
        links = self._links(statuses, now)
        return Reading((first, second), links, client, len(pair.setting.vips), tuple(lines))

    def _held(self) -> dict[str, int]:
        held: dict[str, set[str]] = {name: set() for name in NODES}
        for change in self._pair.observer.changes:
            if change.present:
                held[change.node].add(change.vip)
            else:
                held[change.node].discard(change.vip)
        return {name: len(vips) for name, vips in held.items()}

    def _links(self, statuses: dict[str, Status | None], now: int) -> tuple[LinkReading, ...]:
        alpha, beta = NODES
        carried = dict(zip(NODES, self._pair.nullmodem.statistic(), strict=True))
        found = []
        for name, title in (("direct", "Ethernet cable"), ("serial", f"null modem {self._pair.setting.baud}")):
            ways = []
            for source, sink in ((alpha, beta), (beta, alpha)):
                mine, theirs = _link(statuses[sink], name), _link(statuses[source], name)
                state = mine.get("in") or theirs.get("out") or "unknown"
                serial = name == "serial"
                # Counted where it arrives: bytes by the null modem, if there is somebody to read them.
                count = mine.get("received") and carried[source].delivered if serial else mine.get("received")
                rate = self._rates.setdefault((name, source), Rate()).update(count, now)
                ways.append(
                    WayReading({"up": "up", "down": "DOWN"}.get(state, "--"), rate, "B/s" if serial else "fr/s")
                )
            found.append(LinkReading(title, *ways))
        return tuple(found)


def _link(status: Status | None, name: str) -> Status:
    links: list[Status] = [] if status is None else status["links"]
    return next((link for link in links if link["name"] == name), {})


def _node(node: Node, status: Status | None, held: int, power: bool, fences: int) -> NodeReading:
    if status is None:
        condition = "BOOTING" if node.alive else "DEAD" if power else "OFF"
        return NodeReading(node.name, condition, held, None, (), None, None, power, fences)
    return NodeReading(
        node.name,
        status["role"].upper(),
        held,
        status["epoch"],
        tuple(alarm["code"] for alarm in status["alarms"]),
        status["fence"]["ready"],
        status["if_peer_died_now"]["code"],
        power,
        fences,
    )
