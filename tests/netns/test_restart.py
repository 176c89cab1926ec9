"""The daemon is restarted, as an upgrade does it: bounded, without a fence, and the other node says what goes on."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import replace

import pytest

from hblink.core.value import MS, SECOND
from tests.netns.situation import ALL_VIPS, QUICK, Since, logged_at, role, settle, status, wait_logged
from tests.rig.node import Node
from tests.rig.pair import Pair
from tests.rig.setting import VIP, Setting
from tests.rig.wait import boottime_ns

RESTART_S = 30.0  # end, start and be well again; most of it is the start of a Python


def says(pair: Pair, node: Node, state: str) -> None:
    """Wait until the status of `node` names this state of its peer."""
    pair.wait(lambda: status(node).get("peer_state") == state, 30, f"{node.name} to say that its peer is {state}")


def test_the_standby_is_restarted_and_the_active_says_so(shared: Pair) -> None:
    pair, since = shared, Since(shared)
    pair.beta.kill_daemon(signal.SIGTERM)
    assert pair.beta.wait_daemon() == 0
    says(pair, pair.alpha, "ended")
    assert "its daemon was ended on purpose" in pair.alpha.hblink("status").stdout
    assert len(wait_logged(pair, pair.alpha, "beta: its daemon is being ended by its operator", since.at)) == 1
    pair.beta.start_daemon()
    says(pair, pair.alpha, "restarted")
    assert "its daemon has restarted" in pair.alpha.hblink("status").stdout
    settle(pair, "alpha")
    wait_logged(pair, pair.alpha, "beta: its daemon has restarted", since.at)
    since.assert_nothing_moved()


def test_a_standby_that_is_restarted_beside_a_dead_peer_says_when_its_turn_comes(shared: Pair) -> None:
    pair, since = shared, Since(shared)
    pair.beta.kill_daemon(signal.SIGKILL)
    pair.beta.wait_daemon()
    pair.alpha.crash()
    crashed = boottime_ns()
    pair.wait(lambda: boottime_ns() - crashed > 3 * SECOND, 10, "the window of its slot to be over")
    pair.beta.start_daemon()
    pair.wait(lambda: status(pair.beta).get("reason") == "waiting_for_slot", 20, "beta to wait for its turn")
    document, asked = status(pair.beta), boottime_ns()
    left_ms = document["reason_left_ms"]
    assert left_ms > 5000
    assert document["if_peer_died_now"]["text"].startswith("its turn to fence alpha comes in ")
    assert "because      for " in pair.beta.hblink("status").stdout
    assert "s more" in pair.beta.hblink("why").stdout
    pair.wait_active("beta", 90)
    (fenced,) = logged_at(pair.beta, "standby -> fencing", since.at)
    assert abs(fenced - asked - left_ms * MS) < 3 * SECOND
    assert status(pair.beta)["reason_left_ms"] is None
    since.assert_never_two_owners()


def test_the_active_is_restarted_and_the_service_moves_once_without_a_fence(shared: Pair) -> None:
    pair, since = shared, Since(shared)
    pair.alpha.kill_daemon(signal.SIGTERM)
    assert pair.alpha.wait_daemon() == 0
    pair.wait_active("beta")
    says(pair, pair.beta, "ended")
    pair.alpha.start_daemon()
    says(pair, pair.beta, "restarted")
    settle(pair, "beta")
    assert (boottime_ns() - since.at) / 1e9 < RESTART_S
    assert since.fences() == {"alpha": 0, "beta": 0}
    since.assert_never_two_owners()
    gap_ns = pair.observer.gap_ns(VIP, since.at, own=False)
    assert gap_ns < 500_000_000
    print(f"active restarted: gap {gap_ns / 1e6:.0f} ms, whole restart {(boottime_ns() - since.at) / 1e9:.1f} s")


def test_a_daemon_that_is_killed_and_started_at_once_serves_again_without_a_fence(
    build_pair: Callable[[Setting], Pair],
) -> None:
    """As a unit with Restart=always does it; deadtime is longer than the start, so nobody suspects the old session."""
    timing = {**QUICK.timing, "deadtime_ms": 5000, "initdead_ms": 10000, "handover_ms": 7000, "lease_ms": 10000}
    pair = build_pair(replace(QUICK, timing=timing))
    pair.start()
    settle(pair, "alpha")
    since = Since(pair)
    pair.alpha.kill_daemon(signal.SIGKILL)
    pair.alpha.wait_daemon()
    pair.alpha.start_daemon()
    settle(pair, "alpha")
    says(pair, pair.beta, "restarted")
    assert pair.alpha.has(*ALL_VIPS) == ALL_VIPS
    assert "grant=not_taken" in wait_logged(pair, pair.alpha, "-> claiming", since.at)[0]
    assert since.fences() == {"alpha": 0, "beta": 0}
    since.assert_never_two_owners()
    print(f"killed and restarted: gap {pair.observer.gap_ns(VIP, since.at) / 1e6:.0f} ms")


@pytest.mark.parametrize("first", ["beta", "alpha"])
def test_both_are_upgraded_one_after_the_other(shared: Pair, first: str) -> None:
    pair, since = shared, Since(shared)
    for node in (pair.nodes[first], pair.other(pair.nodes[first])):
        node.kill_daemon(signal.SIGTERM)
        assert node.wait_daemon() == 0
        node.start_daemon()
        settle(pair)
    assert {role(node) for node in pair.nodes.values()} == {"active", "standby"}
    assert since.fences() == {"alpha": 0, "beta": 0}
    since.assert_never_two_owners()


def test_a_node_that_reboots_is_not_mistaken_for_a_restart(shared: Pair) -> None:
    pair = shared
    pair.beta.power_off()
    says(pair, pair.alpha, "silent")
    pair.beta.boot()
    says(pair, pair.alpha, "rebooted")
    settle(pair, "alpha")
