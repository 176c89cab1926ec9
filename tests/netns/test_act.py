"""What operators do to a running pair: standby and online, maintenance on and off, alone and at awkward moments."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator

import pytest

from tests.netns.situation import ALL_VIPS, Since, alarms, blocked, is_well, role, settle, status, wait_logged
from tests.rig.node import Node
from tests.rig.pair import Pair
from tests.rig.wait import boottime_ns

SECOND = 1_000_000_000


def type_in(node: Node, *words: str) -> None:
    """Run a command of the operator that must be done."""
    done = node.hblink(*words)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def acted(shared: Pair) -> Iterator[Pair]:
    """Give the module's pair; after the test every order is taken back, so that it can be mended for the next one."""
    yield shared
    shared.heal()
    for node in shared.nodes.values():
        if node.daemon_pid is not None:
            node.hblink("maintenance", "off")
            node.hblink("online")


def test_standby_moves_the_service_and_keeps_it_away_until_online(acted: Pair) -> None:
    pair, since = acted, Since(acted)
    type_in(pair.alpha, "standby")
    pair.wait_active("beta")
    assert status(pair.alpha)["standby_ordered"] is True
    assert ("standby_ordered", None) in alarms(pair.alpha)
    why = json.loads(pair.alpha.hblink("why", "--json").stdout)
    assert {cause["next"] for cause in why["causes"] if cause["code"] == "standby_ordered"} == {"hblink online"}
    refused = pair.beta.hblink("switchover")
    assert refused.returncode == 1, "the peer said standby"

    pair.alpha.kill_daemon(signal.SIGTERM)  # an order outlives the daemon that took it
    assert pair.alpha.wait_daemon() == 0
    pair.alpha.start_daemon()
    pair.wait(lambda: status(pair.alpha).get("standby_ordered"), 20, "alpha to remember")
    pair.beta.crash()
    pair.wait(lambda: blocked(pair.alpha, "standby_ordered"), 60, "alpha to stay away although nobody serves")
    assert pair.alpha.has(*ALL_VIPS) == set()
    assert since.fences() == {"alpha": 0, "beta": 0}

    type_in(pair.alpha, "online")
    pair.wait_active("alpha", 90)
    assert since.fences()["beta"] == 1
    pair.wait(lambda: all(is_well(node) for node in pair.nodes.values()), 60, "both to be well")
    since.assert_never_two_owners()


def test_standby_is_refused_while_nobody_could_serve_instead(acted: Pair) -> None:
    pair, since = acted, Since(acted)
    pair.beta.crash()
    pair.wait(lambda: ("peer_lost", None) in alarms(pair.alpha), 10, "alpha to miss beta")
    refused = pair.alpha.hblink("standby", "--json")
    assert refused.returncode == 1
    assert json.loads(refused.stdout)["reason"] == "peer_not_ready"
    assert json.loads(refused.stdout)["next"] == "is beta up? On beta: systemctl status hblink"
    assert role(pair.alpha) == "active"
    assert status(pair.alpha)["standby_ordered"] is False
    since.assert_nothing_moved()


@pytest.mark.parametrize("console", ["alpha", "beta"])
def test_in_maintenance_a_lost_peer_is_neither_fenced_nor_replaced(acted: Pair, console: str) -> None:
    pair, since = acted, Since(acted)
    type_in(pair.nodes[console], "maintenance", "on")
    for node in pair.nodes.values():
        pair.wait(lambda node=node: ("maintenance", None) in alarms(node), 10, f"{node.name} to know")
        assert f"*** MAINTENANCE ({console}): NO TAKEOVER, NO FENCE ***" == node.hblink("status").stdout.splitlines()[0]
    wait_logged(pair, pair.alpha, "maintenance", since.at)
    pair.cut_links()
    cut = boottime_ns()
    pair.wait(lambda: boottime_ns() - cut > 4 * SECOND, 10, "several deadtimes")
    # A hiccup of its own lets beta listen again first.
    pair.wait(lambda: status(pair.beta).get("reason") == "maintenance", 10, "beta to say what holds it")
    assert (role(pair.alpha), role(pair.beta)) == ("active", "standby")
    refused = pair.beta.hblink("fence", "confirm", "alpha", "--yes")
    assert refused.returncode == 1
    since.assert_nothing_moved()
    pair.heal()
    pair.wait(lambda: status(pair.beta).get("peer_role") == "active", 20, "the links")
    type_in(pair.nodes[console], "maintenance", "off")
    settle(pair, "alpha")
    since.assert_nothing_moved()


def lifetimes(node: Node) -> set[str]:
    """Return the lifetimes of the VIPs in the node's kernel, as ip(8) shows them."""
    shown = node.run("ip", "-json", "address", "show").stdout
    own = {vip.split("/")[0] for vip in ALL_VIPS}
    return {
        "forever" if address["valid_life_time"] == 0xFFFFFFFF else "lease"
        for interface in json.loads(shown)
        for address in interface["addr_info"]
        if address["local"] in own
    }


def test_in_maintenance_the_active_daemon_may_die_and_the_addresses_stay(acted: Pair) -> None:
    pair, since = acted, Since(acted)
    assert lifetimes(pair.alpha) == {"lease"}
    type_in(pair.alpha, "maintenance", "on", "--for", "1h")
    pair.wait(lambda: lifetimes(pair.alpha) == {"forever"}, 10, "the addresses to have no lease")
    assert 0 < status(pair.alpha)["maintenance"]["ends_ms"] <= 3_600_000
    pair.alpha.kill_daemon(signal.SIGKILL)
    pair.alpha.wait_daemon()
    ended = boottime_ns()
    pair.wait(lambda: boottime_ns() - ended > 7 * SECOND, 10, "longer than the lease")
    assert pair.alpha.has(*ALL_VIPS) == ALL_VIPS
    since.assert_nothing_moved()
    pair.alpha.start_daemon()
    pair.wait(lambda: role(pair.alpha) == "active", 30, "alpha to serve again")
    assert status(pair.alpha)["maintenance"]["here"] is True, "remembered"
    type_in(pair.alpha, "maintenance", "off")
    pair.wait(lambda: lifetimes(pair.alpha) == {"lease"}, 10, "the addresses to be leases again")
    settle(pair, "alpha")
    assert since.fences() == {"alpha": 0, "beta": 0}
    since.assert_never_two_owners()


def test_what_both_have_ordered_each_takes_back_and_the_last_one_ends_it(acted: Pair) -> None:
    pair, since = acted, Since(acted)
    for node in pair.nodes.values():
        type_in(node, "maintenance", "on")
    both = {"here": True, "peer": True, "ends_ms": None}
    pair.wait(lambda: all(status(node)["maintenance"] == both for node in pair.nodes.values()), 5, "both to know")
    done = pair.alpha.hblink("maintenance", "off")
    assert done.returncode == 1, "the pair is still in it"
    assert "done, but beta has ordered it too" in done.stdout
    assert "->  on beta: hblink maintenance off" in done.stdout
    assert status(pair.alpha)["maintenance"] == {"here": False, "peer": True, "ends_ms": None}
    again = pair.alpha.hblink("maintenance", "off", "--json")
    answer = json.loads(again.stdout)
    assert (again.returncode, answer["ok"], answer["reason"]) == (1, False, "peer_maintenance")
    assert answer["next"] == "on beta: hblink maintenance off"
    type_in(pair.beta, "maintenance", "off")
    settle(pair, "alpha")
    since.assert_nothing_moved()


def test_the_maintenance_of_a_dead_peer_is_taken_back_where_why_says_so(acted: Pair) -> None:
    pair, since = acted, Since(acted)
    type_in(pair.alpha, "maintenance", "on")
    pair.wait(lambda: ("maintenance", None) in alarms(pair.beta), 5, "beta to know")
    pair.alpha.crash()
    pair.wait(lambda: status(pair.beta)["reason"] == "maintenance", 10, "beta to miss alpha")
    causes = json.loads(pair.beta.hblink("why", "--json").stdout)["causes"]
    said = [each["next"] for each in causes if each["code"] == "maintenance"]
    assert said == ["make sure that alpha is dead, then here: hblink maintenance off"] * 2
    type_in(pair.beta, "maintenance", "off")
    pair.wait_active("beta", 60)
    assert since.fences() == {"alpha": 1, "beta": 0}
    since.assert_never_two_owners()


def test_maintenance_ends_by_itself_and_what_it_held_back_happens(acted: Pair) -> None:
    pair, since = acted, Since(acted)
    type_in(pair.beta, "maintenance", "on", "--for", "12s")
    pair.wait(lambda: ("maintenance", None) in alarms(pair.alpha), 10, "alpha to know")
    pair.alpha.crash()
    crashed = boottime_ns()
    pair.wait(lambda: boottime_ns() - crashed > 3 * SECOND, 10, "several deadtimes")
    assert since.fences() == {"alpha": 0, "beta": 0}
    pair.wait_active("beta", 90)  # a missed fencing slot is waited out
    assert since.fences()["alpha"] == 1
    assert status(pair.beta)["maintenance"]["here"] is False
    since.assert_never_two_owners()


@pytest.mark.parametrize("words", [["on", "--for", "0s"], ["on", "--for", "8d"], ["off", "--for", "1h"], ["perhaps"]])
def test_nonsense_is_a_matter_of_usage(acted: Pair, words: list[str]) -> None:
    assert acted.alpha.hblink("maintenance", *words).returncode == 2
    assert status(acted.alpha)["maintenance"] == {"here": False, "peer": False, "ends_ms": None}
