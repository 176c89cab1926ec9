"""The observer: what a client on the service LAN sees of the VIPs, and in what order the nodes' kernels had them.

It reads what its program (`probe.py`) wrote down, and only judges.
"""

from __future__ import annotations

import bisect
import itertools
import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.rig.namespace import Namespace
from tests.rig.process import PYTHON, end
from tests.rig.wait import boottime_ns, wait_until


@dataclass(frozen=True, slots=True)
class Vip:
    """An address to ask for: without prefix; the client's interface; the client's own address of the same family."""

    address: str
    interface: str
    source: str


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of `node` (or of a hardware address that no node has) to `who` or `echo`, or an `announce`ment."""

    at: int
    kind: str
    vip: str
    node: str
    round: int


@dataclass(frozen=True, slots=True)
class Change:
    """An address that came into a node's kernel or left it."""

    at: int
    node: str
    vip: str
    present: bool


@dataclass(frozen=True, slots=True)
class Dual:
    """One question that several nodes answered."""

    at: int
    vip: str
    nodes: frozenset[str]


def _at(answer: Answer) -> int:
    return answer.at


class Observer:
    """Watches from `client`; `nodes` are by name, `owners` maps hardware addresses to names of nodes.

    Every instant is CLOCK_BOOTTIME in nanoseconds. `close` ends the program and keeps what it saw.
    """

    def __init__(
        self,
        client: Namespace,
        nodes: Mapping[str, Namespace],
        owners: Mapping[str, str],
        vips: Sequence[Vip],
        output: Path,
        *,
        interval_ms: float = 10,
    ) -> None:
        self.output = output
        self._answers: dict[tuple[str, str], list[Answer]] = {}  # by kind and VIP, in the order of time
        self.changes: list[Change] = []
        self.late_ms: list[int] = []  # rounds that were late: a starved observer measures gaps that are its own
        self._owners = dict(owners)
        self._starved: list[tuple[int, int]] = []  # from when to when they were late
        self._offset = 0
        self._ready = False
        self._marks_asked, self._marks = 0, 0
        request = {
            "client": str(client.path),
            "nodes": {name: str(node.path) for name, node in nodes.items()},
            "vips": [{"address": vip.address, "interface": vip.interface, "source": vip.source} for vip in vips],
            "interval_ms": interval_ms,
        }
        with output.open("w") as sink:
            self._process = subprocess.Popen(
                [*PYTHON, str(Path(__file__).with_name("probe.py")), json.dumps(request)],
                stdin=subprocess.PIPE,
                stdout=sink,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        wait_until(self._is_ready, 30, "the observer to start")

    def close(self) -> None:
        """End the program; what it saw can still be asked."""
        if self._process.poll() is None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process.wait(15)
        assert self._process.stderr is not None
        words = self._process.stderr.read() if not self._process.stderr.closed else ""
        status = end(self._process)
        self.read()
        assert status == 0, f"the observer failed: {words}"

    def read(self) -> None:
        """Take in what was written down since the last time."""
        with self.output.open("rb") as source:
            source.seek(self._offset)
            data = source.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.splitlines():
            entry = json.loads(line)
            match entry["kind"]:
                case "ready":
                    self._ready = True
                case "late":
                    self.late_ms.append(entry["late_ms"])
                    self._starved.append((entry["at"] - entry["late_ms"] * 1_000_000, entry["at"]))
                case "mark":
                    self._marks += 1
                case "address":
                    self.changes.append(Change(entry["at"], entry["node"], entry["vip"], entry["present"]))
                case kind:
                    node = self._owners.get(entry["mac"], entry["mac"])
                    answer = Answer(entry["at"], kind, entry["vip"], node, entry["round"])
                    self._answers.setdefault((kind, answer.vip), []).append(answer)

    def catch_up(self) -> None:
        """Take in all that has happened until now: the program may be behind, and is told to say when it is not."""
        if self._process.poll() is None:
            assert self._process.stdin is not None
            self._marks_asked += 1
            self._process.stdin.write("\n")
            self._process.stdin.flush()
            wait_until(self._has_caught_up, 30, "the observer to catch up", interval_s=0.001)
        self.read()

    def seen(self, vip: str, kind: str = "who", since: int = 0, until: int | None = None) -> list[Answer]:
        """Return the answers of one kind for `vip` within [since, until]."""
        self.read()
        answers = self._answers.get((kind, vip.split("/")[0]), [])
        first = bisect.bisect_left(answers, since, key=_at)
        return answers[first:] if until is None else answers[first : bisect.bisect_right(answers, until, key=_at)]

    def owner(self, vip: str, within_ms: float = 150) -> str | None:
        """Return the node that last answered for `vip`, None if none did `within_ms`."""
        latest = self.seen(vip, since=boottime_ns() - int(within_ms * 1e6))
        return latest[-1].node if latest else None

    def wait_owner(self, vip: str, node: str | None, timeout_s: float = 20, logs: Sequence[Path] = ()) -> int:
        """Wait until `node` (None: nobody) answers for `vip`; return the instant at which that was seen."""
        wait_until(lambda: self.owner(vip) == node, timeout_s, f"{vip} to be answered by {node}", logs=logs)
        return boottime_ns()

    def gap_ns(self, vip: str, since: int, until: int | None = None, kind: str = "echo", *, own: bool = True) -> int:
        """Return the longest time within [since, until] (default: now) without an answer.

        Without `own`, the time is left out in which the program was late itself, and did not ask.
        """
        last = boottime_ns() if until is None else until
        self.catch_up()
        instants = [since, *(answer.at for answer in self.seen(vip, kind, since, last)), last]
        return max(
            later - earlier - (0 if own else self.starved_ns(earlier, later))
            for earlier, later in itertools.pairwise(instants)
        )

    def starved_ns(self, since: int, until: int) -> int:
        """Return how much of [since, until] the program was late: by so much its own dates may be too late."""
        return sum(max(0, min(until, end) - max(since, begin)) for begin, end in self._starved)

    def dual(self, since: int = 0) -> list[Dual]:
        """Return the questions that more than one node answered: there must never be any."""
        self.catch_up()
        groups: dict[tuple[int, str], list[Answer]] = {}
        for kind, vip in self._answers:
            if kind == "who":
                for answer in self.seen(vip, since=since):
                    groups.setdefault((answer.round, vip), []).append(answer)
        return [
            Dual(group[0].at, vip, nodes)
            for (_, vip), group in groups.items()
            if len(nodes := frozenset(answer.node for answer in group)) > 1
        ]

    def held(self, since: int = 0) -> list[Change]:
        """Return the comings and goings of VIPs in the kernels, renewals of a lease left out."""
        self.catch_up()
        present: dict[tuple[str, str], bool] = {}
        real: list[Change] = []
        for change in self.changes:
            if present.get((change.node, change.vip), False) != change.present:
                present[change.node, change.vip] = change.present
                real.append(change)
        return [change for change in real if change.at >= since]

    def overlaps(self, since: int = 0) -> list[Change]:
        """Return each arrival of a VIP in a kernel while another node's kernel still had it: there must be none.

        An address whose host died counts as held until the rig has taken its links down.
        """
        holding: dict[str, set[str]] = {}
        found: list[Change] = []
        for change in self.held():
            holders = holding.setdefault(change.vip, set())
            if not change.present:
                holders.discard(change.node)
                continue
            if holders - {change.node} and change.at >= since:
                found.append(change)
            holders.add(change.node)
        return found

    def _has_caught_up(self) -> bool:
        self.read()
        return self._marks >= self._marks_asked or self._process.poll() is not None

    def _is_ready(self) -> bool:
        assert self._process.poll() is None, f"the observer ended: {self._process.communicate()[1]}"
        self.read()
        return self._ready
