"""What a step stands on: the pair, the instant it began, what the daemons say, and the audit at its end.

A step passes when the VIPs were answered by the nodes that it expects, in that order and by no others, and when exactly
the fences that it expects were sent. The audit looks from outside the guests.
"""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tests.rig.agent import AgentError
from tests.rig.guest import GuestDownError
from tests.rig.setting import NODES
from tests.rig.wait import boottime_ns
from tests.vm.pair import VIPS, GuestPair

T = TypeVar("T")
STATUS_S = 20
ANSWER_S = 120  # a starved guest may fail to answer in time, once or twice


@dataclass(slots=True)
class Result:
    """One step: what it was, how it ended, and what is worth a line in the summary."""

    name: str
    seconds: float = 0.0
    path: dict[str, list[str]] = field(default_factory=dict)  # by VIP: who answered, in order
    gap_ms: int = 0
    fences: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    error: str = ""


@dataclass(slots=True)
class Record:
    """What steps learn of the guests for later ones and for the table."""

    machine_ids: dict[str, str] = field(default_factory=dict)
    ready_s: dict[str, float] = field(default_factory=dict)  # power on to READY
    memory_mib: dict[str, float] = field(default_factory=dict)  # resident
    load_percent: dict[str, float] = field(default_factory=dict)  # of the guest's one processor


class Stage:
    """The pair during one step. `begin` sets the instant that the audit starts from."""

    def __init__(self, pair: GuestPair, name: str, record: Record) -> None:
        self.pair, self.record = pair, record
        self.result = Result(name)
        self.settled = False  # somebody serves: a starved guest that has not answered lately will
        self.begin()

    def begin(self) -> None:
        """Audit from now on: from an answer of the present owner, if there is one, so that it stands in the path."""
        self.since = boottime_ns()
        self.offs_before = self.pair.offs
        if self.settled or self.pair.owner() is not None:
            seen = self.pair.observer.seen
            self.wait(
                lambda: all(seen(vip, "who", self.since) for vip, _ in VIPS), ANSWER_S, "the owner to answer once more"
            )

    def note(self, text: str) -> None:
        """Add a remark to the summary."""
        self.result.notes.append(text)

    # ---- asking ----

    def status(self, node: str) -> dict[str, Any]:
        """Return the daemon's status document, empty while nobody answers."""
        try:
            done = self.pair.guests[node].run(None, STATUS_S)
        except (AgentError, GuestDownError):
            return {}
        with contextlib.suppress(ValueError):
            document = json.loads(done.output).get("status")
            if isinstance(document, dict):
                return document
        return {}

    def document(self, node: str) -> dict[str, Any]:
        """Return the daemon's status document, which has to come."""
        return self.wait(lambda: self.status(node), ANSWER_S, f"the daemon of {node} to answer")

    def wait(self, condition: Callable[[], T | None], timeout_s: float, what: str) -> T:
        """Wait for a condition with a deadline."""
        return self.pair.wait(condition, timeout_s, what)

    def wait_role(self, node: str, roles: Iterable[str], timeout_s: float = 300) -> dict[str, Any]:
        """Wait until the daemon of `node` has one of `roles`; return its status."""
        wanted = set(roles)

        def there() -> dict[str, Any] | None:
            document = self.status(node)
            return document if document.get("role") in wanted else None

        return self.wait(there, timeout_s, f"{node} to be {' or '.join(sorted(wanted))}")

    def wait_boot(self, node: str, timeout_s: float = 480) -> None:
        """Wait until the shell in `node` answers."""
        self.wait(lambda: self.pair.guests[node].answers(15), timeout_s, f"{node} to boot")

    def wait_owner(self, node: str, timeout_s: float = 240) -> None:
        """Wait until `node` answers for every VIP."""
        self.wait(lambda: self.pair.owner() == node, timeout_s, f"{node} to answer for the VIPs")

    def settle(self, active: str | None = None, timeout_s: float = 480) -> str:
        """Wait for one active and one standby with both links up and a proven fence; return the active's name."""

        def settled() -> str | None:
            owner = self.pair.owner()
            if owner is None or (active is not None and owner != active):
                return None
            documents = [self.status(owner), self.status(other(owner))]
            if [document.get("role") for document in documents] != ["active", "standby"]:
                return None
            well = all(
                document["fence"]["ready"] is True
                and not document["fence"]["outstanding"]
                and all(link["in"] == link["out"] == "up" for link in document["links"])
                for document in documents
            )
            return owner if well else None

        owner = self.wait(settled, timeout_s, f"a healthy pair, active {active or 'either'}")
        self.settled = True
        return owner

    def let_pass(self, seconds: float) -> None:
        """Let time pass under observation: what must not happen gets the time to happen."""
        until = boottime_ns() + int(seconds * 1e9)
        self.wait(lambda: boottime_ns() >= until, seconds + 60, f"{seconds} s")

    # ---- measuring ----

    def is_down(self, node: str, link: str) -> bool:
        """Whether the daemon of `node` says that nothing comes in on `link`."""
        return any(each["name"] == link and each["in"] == "down" for each in self.status(node).get("links", []))

    def hears(self, node: str) -> bool:
        """Whether the daemon of `node` says that something comes in on a link."""
        return any(each["in"] == "up" for each in self.status(node).get("links", []))

    def measure_boot(self, node: str) -> None:
        """Record how long `node` took from power on to READY, loader included."""
        guest = self.pair.guests[node]
        asked = "systemctl show --property ActiveEnterTimestampMonotonic --value hblink; cut -d' ' -f1 /proc/uptime"
        ready_us, uptime_s = guest.run(asked).output.split()
        since_ready_s = float(uptime_s) - int(ready_us) / 1e6
        self.record.ready_s[node] = (boottime_ns() - guest.started_at) / 1e9 - since_ready_s

    def measure_load(self, seconds: float = 20.0) -> None:
        """Record memory and processor time of both daemons, over `seconds` of ordinary duty."""
        ask = (
            "pid=$(systemctl show --property MainPID --value hblink); cut -d' ' -f14,15 /proc/$pid/stat;"
            " cut -d' ' -f1 /proc/uptime; sed -n 's/^VmRSS:[^0-9]*\\([0-9]*\\) kB/\\1/p' /proc/$pid/status"
        )
        first = {node: self.pair.guests[node].run(ask).output.split() for node in NODES}
        self.let_pass(seconds)
        for node in NODES:
            user, system, uptime, resident = map(float, self.pair.guests[node].run(ask).output.split())
            was_user, was_system, was_uptime, _ = map(float, first[node])
            ticks = user + system - was_user - was_system  # of 10 ms: USER_HZ is 100 on every Debian kernel
            self.record.load_percent[node] = ticks / (uptime - was_uptime)
            self.record.memory_mib[node] = resident / 1024

    # ---- judging ----

    def audit(self, *path: list[str], offs: dict[str, int] | None = None) -> None:
        """Hold what was seen since `begin` against the expectation.

        `path` are the allowed orders of owners, each without repetition; `offs` are the commands to switch off that
        each BMC must have had, none where not named.
        """
        observer = self.pair.observer
        dual = observer.dual(self.since)
        assert not dual, f"two nodes answered: {dual[:3]}"
        for vip, _ in VIPS:
            owners = [
                node for node, _ in itertools.groupby(answer.node for answer in observer.seen(vip, "who", self.since))
            ]
            self.result.path[vip] = owners
            assert owners in list(path), f"{vip} was answered by {owners}, not by {' or '.join(map(str, path))}"
        self.result.gap_ms = observer.gap_ns(VIPS[0][0], self.since, kind="who") // 1_000_000
        now = self.pair.offs
        self.result.fences = {node: now[node] - self.offs_before[node] for node in NODES}
        wanted = {node: (offs or {}).get(node, 0) for node in NODES}
        assert self.result.fences == wanted, f"commands to switch off: {self.result.fences}, not {wanted}"


def other(node: str) -> str:
    """Return the other node's name."""
    return NODES[1 - NODES.index(node)]
