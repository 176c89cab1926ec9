"""What the namespace tests ask again and again of a pair: what a daemon says, what it logged, whether all is well.

It only looks and waits; what is made and broken is the rig's.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from tests.rig.node import Node
from tests.rig.pair import Pair
from tests.rig.setting import NODES, VIPS, Setting
from tests.rig.wait import boottime_ns, wait_until

MS = 1_000_000
ALL_VIPS = {address for address, _ in VIPS}
# Short times where nothing but waiting hangs on them; the order of things is the same.
TIMING = {"deadtime_ms": 1000, "initdead_ms": 3000, "handover_ms": 3000}
FENCE = {"command_timeout_ms": 1000, "attempt_ms": 2500, "latency_ms": 2000}
QUICK = Setting(timing=TIMING, fence_extra=FENCE)


def status(node: Node) -> dict[str, Any]:
    """Return the node's status document, empty while nobody answers."""
    return node.status() or {}


def role(node: Node) -> str | None:
    """Return the node's role, None while nobody answers."""
    return status(node).get("role")


def link(document: dict[str, Any], name: str) -> dict[str, Any]:
    """Return what a status document says of one link."""
    found: dict[str, Any] = next(each for each in document["links"] if each["name"] == name)
    return found


def alarms(node: Node) -> set[tuple[str, str | None]]:
    """Return the standing alarms as (code, name of the link or None)."""
    return {(each["code"], each["link"]) for each in status(node).get("alarms", [])}


def blocked(node: Node, reason: str) -> dict[str, Any] | None:
    """Return the status document if it says that the node is blocked for that reason."""
    document = status(node)
    return document if (document.get("role"), document.get("reason")) == ("blocked", reason) else None


def is_well(node: Node) -> bool:
    """Whether the daemon answers, has a settled role and a settled peer, and nothing to complain about."""
    document = status(node)
    settled = {document.get("role"), document.get("peer_role")} == {"active", "standby"}
    return settled and not document["alarms"] and not document["fence"]["outstanding"]


def settle(pair: Pair, active: str | None = None, timeout_s: float = 60) -> Node:
    """Wait until both nodes are well and one (`active`, if given) alone owns the VIPs; return that one."""
    pair.wait(lambda: all(is_well(node) for node in pair.nodes.values()), timeout_s, "both nodes to be well")
    return pair.wait_active(active, timeout_s)


def restore(pair: Pair) -> Node:
    """Mend whatever a test broke, as a technician would, and give the service to alpha again; return alpha."""
    pair.heal()
    for name, node in pair.nodes.items():
        bmc = pair.bmc(name)
        bmc.off_delay_s, bmc.lies, bmc.refuses = 0.0, False, False
        node.revive()
        if any(code.startswith("fence_") for code, _ in alarms(node)):
            node.hblink("fence", "test")  # else what was mended is noticed up to a minute later
    if settle(pair) is not pair.alpha:
        assert pair.alpha.hblink("switchover").returncode == 0
    return settle(pair, "alpha")


def logged(node: Node, text: str, since: int = 0) -> list[str]:
    """Return the lines of the node's log that contain `text` and are not older than the instant `since`."""
    text_so_far = node.log.read_text(errors="replace") if node.log.exists() else ""
    lines = text_so_far.rpartition("\n")[0].splitlines()  # the last one may be on its way
    return [line for line in lines if text in line and _at(line) >= since]


def logged_at(node: Node, text: str, since: int = 0) -> list[int]:
    """Return the instants of those lines, to the millisecond that the log keeps."""
    return [_at(line) for line in logged(node, text, since)]


def wait_logged(pair: Pair, node: Node, text: str, since: int = 0, count: int = 1) -> list[str]:
    """Wait until the log has `count` such lines, as a thread writes them behind what they tell; return all there are.

    The log is in the order of what happened: all that was to be logged before them is there then.
    """

    def lines() -> list[str]:
        found = logged(node, text, since)
        return found if len(found) >= count else []

    return pair.wait(lines, 15, f"{node.name} to log {text!r}")


def programs(node: Node) -> dict[int, str]:
    """Return what runs on the node: process id to name, as far as it has not ended meanwhile."""
    found = {}
    for pid in node.namespace.processes():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found[pid] = Path(f"/proc/{pid}/comm").read_text().strip()
    return found


def _at(line: str) -> int:
    stamp = line.partition(" ")[0]
    return int(float(stamp) * 1e9) if stamp.replace(".", "", 1).isdigit() else 0


class Since:
    """What happened to a pair since this was made: fences, commands, owners."""

    def __init__(self, pair: Pair) -> None:
        self._pair = pair
        pair.observer.catch_up()
        # Rounded as the log rounds, all that was before is before it, and all that comes is not.
        self.at = (boottime_ns() // MS + 2) * MS
        wait_until(lambda: boottime_ns() >= self.at, 5, "the next millisecond", interval_s=0.001)
        self._commands = {name: len(pair.bmc(name).commands) for name in NODES}

    def commands(self, name: str) -> list[tuple[int, bool]]:
        """Return (instant, on) of the power commands that the BMC of `name` has had."""
        return [(command.at, command.on) for command in self._pair.bmc(name).commands[self._commands[name] :]]

    def fences(self) -> dict[str, int]:
        """Return how often each node was switched off."""
        return {name: sum(not on for _, on in self.commands(name)) for name in NODES}

    def assert_never_two_owners(self) -> None:
        """No question of the client was answered twice, and no kernel got a VIP that the other still had."""
        assert self._pair.observer.dual(self.at) == []
        assert self._pair.observer.overlaps(self.at) == []

    def assert_nothing_moved(self) -> None:
        """Nobody was fenced, and no VIP came or went."""
        assert {name: self.commands(name) for name in NODES} == {name: [] for name in NODES}
        assert self._pair.observer.held(self.at) == []

    def appeared(self, node: Node) -> list[int]:
        """Return the instants at which VIPs came into the node's kernel, in order."""
        changes = self._pair.observer.held(self.at)
        return [change.at for change in changes if change.node == node.name and change.present]
