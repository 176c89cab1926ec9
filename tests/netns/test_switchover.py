"""Planned moves: asked for at either console, over whatever link is left, and by ending a daemon."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.netns.situation import (
    ALL_VIPS,
    FENCE,
    QUICK,
    Since,
    alarms,
    logged,
    logged_at,
    role,
    settle,
    status,
    wait_logged,
)
from tests.rig.pair import Pair
from tests.rig.setting import VIPS, Setting
from tests.rig.wait import boottime_ns


def leave(pair: Pair, links: str) -> None:
    """Leave these links, and wait until both nodes know."""
    if links == "both":
        return
    name = "direct" if links == "serial" else "serial"
    (pair.cut_ethernet if name == "direct" else pair.cut_serial)()
    down = ("link_in_down", name)
    pair.wait(lambda: all(down in alarms(node) for node in pair.nodes.values()), 20, f"{name} to be named")


@pytest.mark.parametrize("links", ["both", "serial", "direct"])
@pytest.mark.parametrize("console", ["alpha", "beta"])
def test_a_switchover_moves_every_vip_without_a_fence(shared: Pair, console: str, links: str) -> None:
    pair = shared
    leave(pair, links)
    since = Since(pair)
    done = pair.nodes[console].hblink("switchover")
    assert done.returncode == 0, done.stdout + done.stderr
    pair.wait_active("beta")
    assert pair.beta.has(*ALL_VIPS) == ALL_VIPS
    since.assert_never_two_owners()
    assert since.fences() == {"alpha": 0, "beta": 0}
    order = [(change.node, change.present) for change in pair.observer.held(since.at)]
    assert order == [("alpha", False)] * len(VIPS) + [("beta", True)] * len(VIPS)
    wait_logged(pair, pair.alpha, "yielding -> standby", since.at)
    wait_logged(pair, pair.beta, "-> claiming", since.at)
    released = logged_at(pair.alpha, "yielding -> standby", since.at)
    claimed = logged_at(pair.beta, "-> claiming", since.at)
    assert len(released) == len(claimed) == 1
    assert released[0] <= claimed[0]
    assert "grant=yielded" in logged(pair.beta, "-> claiming", since.at)[0]
    for address, _ in VIPS:
        print(f"{console}, {links}: {address} gap {pair.observer.gap_ns(address, since.at) / 1e6:.0f} ms")


def test_a_switchover_is_refused_while_the_peer_is_not_there(shared: Pair) -> None:
    pair, since = shared, Since(shared)
    pair.beta.crash()
    pair.wait(lambda: ("peer_lost", None) in alarms(pair.alpha), 10, "alpha to miss beta")
    refused = pair.alpha.hblink("switchover", "--json")
    assert refused.returncode == 1
    answer = {"ok": False, "reason": "peer_not_ready", "next": "is beta up? On beta: systemctl status hblink"}
    assert json.loads(refused.stdout) == answer
    assert role(pair.alpha) == "active"
    since.assert_nothing_moved()


def test_a_peer_that_dies_in_the_middle_leaves_one_owner(shared: Pair) -> None:
    pair, since = shared, Since(shared)
    pair.beta.stop()
    answer = pair.alpha.hblink("switchover", timeout_s=60)
    assert answer.returncode == 1, answer.stdout
    pair.beta.crash()
    pair.wait_active("alpha", 90)
    since.assert_never_two_owners()
    settle(pair, "alpha")


def test_no_planned_move_to_a_peer_that_a_command_may_still_switch_off(
    build_pair: Callable[[Setting], Pair],
) -> None:
    pair = build_pair(replace(QUICK, fence_extra={**FENCE, "latency_ms": 60000}))
    pair.start()
    settle(pair, "alpha")
    pair.cut_bmc("alpha")
    pair.cut_links()
    pair.wait(lambda: role(pair.beta) == "blocked", 60, "beta to be blocked, its command unanswered")
    pair.nullmodem.heal()
    pair.wait(lambda: status(pair.beta)["peer_role"] == "active", 20, "beta to hear alpha")
    assert status(pair.beta)["fence"]["outstanding"]
    away = pair.beta.hblink("switchover")
    assert away.returncode == 0, "away from the node that may yet die: " + away.stdout
    pair.wait_active("beta")
    since = Since(pair)
    back = pair.beta.hblink("switchover", "--json")
    refused = json.loads(back.stdout)
    assert (refused["ok"], refused["reason"]) == (False, "fence_outstanding")
    asked = pair.alpha.hblink("switchover")
    assert asked.returncode == 1
    assert role(pair.beta) == "active"
    since.assert_nothing_moved()


def test_ending_the_active_daemon_hands_over(shared: Pair) -> None:
    pair, since = shared, Since(shared)
    pair.alpha.kill_daemon(signal.SIGTERM)
    assert pair.alpha.wait_daemon() == 0
    pair.wait_active("beta")
    assert "grant=yielded" in wait_logged(pair, pair.beta, "-> claiming", since.at)[0]
    said = pair.alpha.notifications.said
    pair.wait(lambda: "STOPPING=1" in [text for _, text in said(since.at)], 10, "STOPPING")
    pair.wait(lambda: ("peer_lost", None) in alarms(pair.beta), 10, "beta to miss alpha")
    assert role(pair.beta) == "active"
    assert since.fences() == {"alpha": 0, "beta": 0}
    pair.alpha.start_daemon()
    settle(pair, "beta")  # no failback
    assert since.fences() == {"alpha": 0, "beta": 0}
    since.assert_never_two_owners()


def test_ending_the_standby_daemon_does_nothing_to_the_service(shared: Pair) -> None:
    pair, since = shared, Since(shared)
    pair.beta.kill_daemon(signal.SIGTERM)
    assert pair.beta.wait_daemon() == 0
    pair.wait(lambda: ("peer_lost", None) in alarms(pair.alpha), 10, "alpha to miss beta")
    pair.beta.start_daemon()
    settle(pair, "alpha")
    since.assert_nothing_moved()


def test_the_last_daemon_ends_in_bounded_time_and_serves_again(shared: Pair) -> None:
    """Nobody is there to take the service: it stops with the daemon, and comes back with it, by a fence."""
    pair, since = shared, Since(shared)
    pair.beta.crash()
    pair.wait(lambda: ("peer_lost", None) in alarms(pair.alpha), 10, "alpha to miss beta")
    pair.alpha.kill_daemon(signal.SIGTERM)
    assert pair.alpha.wait_daemon() == 0
    assert pair.held() == {"alpha": set(), "beta": set()}, "released, not left to the lease"
    asked = boottime_ns()
    pair.alpha.start_daemon()
    pair.wait_active("alpha", 90)
    print(f"alone again after {(boottime_ns() - asked) / 1e9:.1f} s")
    assert since.fences() == {"alpha": 0, "beta": 1}
    settle(pair, "alpha")
    since.assert_never_two_owners()
