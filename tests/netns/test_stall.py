"""A daemon that was frozen for 2, 5 and 20 seconds: the active one, the standby, both.

Whoever slept drops the addresses before it reads anything, and accuses nobody. BMCs are cut where the active one
sleeps, else a fence would end the test before it wakes; that a frozen active is fenced is tested elsewhere.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.netns.situation import ALL_VIPS, Since, logged, role, settle, status, wait_logged
from tests.rig.node import Node
from tests.rig.pair import Pair
from tests.rig.setting import NODES
from tests.rig.wait import boottime_ns

SECOND = 1_000_000_000


def freeze(pair: Pair, nodes: list[Node], seconds: int) -> int:
    """Freeze the daemons for so long; return the instant before they went on."""
    for node in nodes:
        node.stop()
    frozen = boottime_ns()
    pair.wait(lambda: boottime_ns() - frozen >= seconds * SECOND, seconds + 5, f"{seconds} s")
    again = boottime_ns() // 1_000_000 * 1_000_000
    for node in nodes:
        node.cont()
    return again


def steps(node: Node, since: int) -> list[dict[str, Any]]:
    """Return the steps of the node's decision from `since` on, out of its flight record in memory."""
    dumped = node.hblink("events", "--flight")
    assert dumped.returncode == 0, dumped.stderr
    lines = [json.loads(line) for line in dumped.stdout.splitlines()]
    return [line for line in lines if line.get("at", 0) >= since]


def assert_stall_came_first(pair: Pair, node: Node, again: int, *, owned: bool) -> None:
    """The first thing that the decision heard was the stall; an owner's first wish was to let go."""
    line = wait_logged(pair, node, "the loop was late", again)[0]
    told = {name: int(value) for name, value in re.findall(r"(\w+)_ms=(\d+)", line)}
    assert told["ran"] + told["queued"] < told["late"] / 2, "it was frozen, which is neither"
    first = next(step for step in steps(node, again) if step["event"]["type"] != "Woke")
    assert first["event"]["type"] == "Stalled", first
    if owned:
        wishes = [effect["type"] for effect in first["effects"] if effect["type"] not in ("Remember", "RaiseAlarm")]
        assert wishes[:1] == ["Release"], first
        assert first["after"] == "yielding"


def assert_accused_nobody(node: Node, again: int) -> None:
    assert logged(node, "sending power", again) == []
    assert logged(node, "-> fencing", again) == []


@pytest.mark.parametrize("seconds", [2, 5, 20])
def test_the_active_one_sleeps(shared: Pair, seconds: int) -> None:
    pair, since = shared, Since(shared)
    pair.cut_bmc("alpha")
    again = freeze(pair, [pair.alpha], seconds)
    assert_stall_came_first(pair, pair.alpha, again, owned=True)
    wait_logged(pair, pair.alpha, "claiming -> active", again)
    assert status(pair.alpha)["grant"] == "not_taken"
    assert_accused_nobody(pair.alpha, again)
    assert pair.beta.has(*ALL_VIPS) == set()
    pair.heal()
    settle(pair, "alpha")
    assert since.fences() == {"alpha": 0, "beta": 0}
    since.assert_never_two_owners()


@pytest.mark.parametrize("seconds", [2, 5, 20])
def test_the_standby_sleeps(shared: Pair, seconds: int) -> None:
    pair, since = shared, Since(shared)
    again = freeze(pair, [pair.beta], seconds)
    assert_stall_came_first(pair, pair.beta, again, owned=False)
    settle(pair, "alpha")
    assert_accused_nobody(pair.beta, again)
    assert logged(pair.alpha, "active ->", since.at) == []
    since.assert_nothing_moved()


@pytest.mark.parametrize("seconds", [2, 5, 20])
def test_both_sleep(shared: Pair, seconds: int) -> None:
    pair, since = shared, Since(shared)
    again = freeze(pair, [pair.alpha, pair.beta], seconds)
    assert_stall_came_first(pair, pair.alpha, again, owned=True)
    assert_stall_came_first(pair, pair.beta, again, owned=False)
    settle(pair)
    for name in NODES:
        assert_accused_nobody(pair.nodes[name], again)
    assert {role(node) for node in pair.nodes.values()} == {"active", "standby"}
    assert since.fences() == {"alpha": 0, "beta": 0}
    since.assert_never_two_owners()
