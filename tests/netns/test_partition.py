"""Cut cables: one link lost changes nothing but an alarm, all links lost never makes two owners."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial

import pytest

from tests.netns.situation import (
    ALL_VIPS,
    QUICK,
    Since,
    alarms,
    blocked,
    is_well,
    link,
    restore,
    role,
    settle,
    status,
    wait_logged,
)
from tests.rig.nullmodem import Direction
from tests.rig.pair import Pair
from tests.rig.setting import NODES, Setting
from tests.rig.wait import boottime_ns

INTERVALS = 4


def expected_ways(direction: Direction) -> dict[str, tuple[str, str]]:
    """What each node's status must say of the cut link: (in, out)."""
    down = {NODES[source] for source in direction.sources}
    return {
        node: ("down" if peer in down else "up", "down" if node in down else "up")
        for node, peer in (("alpha", "beta"), ("beta", "alpha"))
    }


@pytest.mark.parametrize("direction", list(Direction))
@pytest.mark.parametrize("name", ["direct", "serial"])
def test_one_link_lost_is_named_by_both_and_moves_nothing(shared: Pair, name: str, direction: Direction) -> None:
    pair, since = shared, Since(shared)
    cut = pair.cut_ethernet if name == "direct" else pair.cut_serial
    cut(direction)
    ways = expected_ways(direction)

    def named() -> bool:
        return all(
            (link(document, name)["in"], link(document, name)["out"]) == ways[node.name]
            and any(code in ("link_in_down", "link_out_down") and about == name for code, about in alarms(node))
            for node in pair.nodes.values()
            if (document := status(node))
        )

    pair.wait(named, 20, f"both nodes to name {name}, {direction.value}")
    other = "serial" if name == "direct" else "direct"
    for node in pair.nodes.values():
        shown = node.hblink("status", "--json")
        assert shown.returncode == 1, "degraded is not good"
        document = json.loads(shown.stdout)
        assert (link(document, other)["in"], link(document, other)["out"]) == ("up", "up")
        codes = {each["code"] for each in document["alarms"]}
        assert {"degraded", "jeopardy"} <= codes, "one link is left"
        assert document["peer_role"] == ("standby" if node is pair.alpha else "active")
    assert role(pair.alpha) == "active"
    pair.heal()
    settle(pair, "alpha")
    for node in pair.nodes.values():
        assert node.hblink("status", "--json").returncode == 0
    since.assert_nothing_moved()


def test_crossed_one_way_losses_leave_no_link_and_still_one_owner(shared: Pair) -> None:
    """Ethernet carries only one way and serial only the other: each node is heard, and proves by that that it is fresh.

    What a node echoes it may have heard on any link (R6).
    """
    pair, since = shared, Since(shared)
    pair.cut_ethernet(Direction.ALPHA_TO_BETA)
    pair.cut_serial(Direction.BETA_TO_ALPHA)
    for node, silent, deaf in ((pair.alpha, "serial", "direct"), (pair.beta, "direct", "serial")):
        down = {("link_in_down", silent), ("link_out_down", deaf)}
        pair.wait(partial(lambda node, down: down <= alarms(node), node, down), 30, f"{node.name} to name both links")
    asked = boottime_ns()
    pair.wait(lambda: boottime_ns() - asked > INTERVALS * 1_000_000_000, 10, "four times deadtime")
    since.assert_nothing_moved()
    assert (role(pair.alpha), role(pair.beta)) == ("active", "standby")
    doubts = {"half_open", "peer_late", "peer_lost"}  # a busy machine may raise one for a moment
    pair.wait(
        lambda: not any(code in doubts for node in pair.nodes.values() for code, _ in alarms(node)),
        10,
        "both nodes to hear a peer that is fresh",
    )


@pytest.mark.parametrize("direction", [Direction.ALPHA_TO_BETA, Direction.BETA_TO_ALPHA])
def test_the_same_direction_of_both_links_is_the_loss_of_all(shared: Pair, direction: Direction) -> None:
    """Whoever is heard and does not hear proves nothing fresh: the standby fences, be it the deaf one or not."""
    pair, since = shared, Since(shared)
    pair.cut_ethernet(direction)
    pair.cut_serial(direction)
    pair.wait_active("beta", 40)
    assert since.fences() == {"alpha": 1, "beta": 0}
    pair.heal()
    settle(pair, "beta")
    assert since.fences() == {"alpha": 1, "beta": 0}
    since.assert_never_two_owners()


def test_both_cut_one_fence_by_the_standby_and_the_victim_returns_inert(shared: Pair) -> None:
    pair, since = shared, Since(shared)
    pair.cut_links()
    pair.wait_active("beta")
    ((off_at, off), *_) = since.commands("alpha")
    assert not off
    assert off_at < since.appeared(pair.beta)[0]
    gone = [change.at for change in pair.observer.held(since.at) if change.node == "alpha" and not change.present]
    assert max(gone) <= since.appeared(pair.beta)[0], "the old owner was dead before the new one began"

    # The victim was powered on again; it hears nobody, and accuses nobody.
    pair.wait(lambda: blocked(pair.alpha, "inert_peer_on"), 60, "alpha to be back, and blocked")
    pair.wait(lambda: ("inert", None) in alarms(pair.alpha), 10, "alpha to say that it is inert")
    assert pair.alpha.has(*ALL_VIPS) == set()
    refused = pair.alpha.hblink("fence", "confirm", "beta", "--yes")
    assert refused.returncode == 1, "its BMC says that beta is on"
    assert "says that it is powered on" in " ".join(refused.stdout.split())
    assert since.commands("beta") == [], "nobody commanded the BMC of the owner"
    assert since.fences() == {"alpha": 1, "beta": 0}

    pair.heal()
    settle(pair, "beta")
    since.assert_never_two_owners()
    assert since.fences() == {"alpha": 1, "beta": 0}


def test_both_cut_while_the_other_node_is_active(shared: Pair) -> None:
    """Who fences goes by the token, not by the preference."""
    pair = shared
    assert pair.alpha.hblink("switchover").returncode == 0
    settle(pair, "beta")
    since = Since(pair)
    pair.cut_links()
    pair.wait_active("alpha")
    assert since.fences() == {"alpha": 0, "beta": 1}
    pair.wait(lambda: role(pair.beta) == "blocked", 60, "beta to be back, and blocked")
    pair.heal()
    settle(pair, "alpha")
    assert since.fences() == {"alpha": 0, "beta": 1}
    since.assert_never_two_owners()


def test_both_cut_and_no_bmc_blocks_until_the_operator_swears(shared: Pair) -> None:
    pair, since = shared, Since(shared)
    pair.cut_bmc("alpha")
    pair.cut_bmc("beta")
    pair.cut_links()
    document = pair.wait(lambda: blocked(pair.beta, "fence_failed"), 60, "beta to be blocked")
    assert document["operator"] == "hblink fence confirm alpha"
    assert "alpha" in document["confirm_hint"]
    screen = pair.beta.hblink("status")
    assert screen.returncode == 1
    assert "hblink fence confirm alpha" in screen.stdout
    assert role(pair.alpha) == "active", "it goes on"
    assert pair.held() == {"alpha": ALL_VIPS, "beta": set()}
    since.assert_nothing_moved()

    # A slip of the hand does nothing.
    for wrong in ("beta", "gamma"):
        refused = pair.beta.hblink("fence", "confirm", wrong, "--yes")
        assert refused.returncode == 1
        assert wrong in refused.stderr
    unsaid = pair.beta.hblink("fence", "confirm", "alpha")  # its question is not answered
    assert unsaid.returncode == 1
    assert "nothing was done" in unsaid.stderr
    assert pair.beta.has(*ALL_VIPS) == set()

    # The machine is really dead: then the operator's word is enough.
    pair.alpha.crash()
    sworn = pair.beta.hblink("fence", "confirm", "alpha", "--yes")
    assert sworn.returncode == 0, sworn.stdout + sworn.stderr
    assert "never on both" in sworn.stderr
    pair.wait_active("beta")
    assert status(pair.beta)["grant"] == "operator"
    since.assert_never_two_owners()
    assert since.fences() == {"alpha": 0, "beta": 0}


def test_a_confirmation_is_refused_while_the_peer_is_heard_or_powered_on(shared: Pair) -> None:
    pair, since = shared, Since(shared)
    heard = pair.beta.hblink("fence", "confirm", "alpha", "--yes")
    assert heard.returncode == 1
    assert "was heard a moment ago" in " ".join(heard.stdout.split())
    active = pair.alpha.hblink("fence", "confirm", "beta", "--yes")
    assert active.returncode == 1, "an active node has nothing to confirm"
    since.assert_nothing_moved()

    pair.bmc("alpha").refuses = True  # it can be read, and does not obey
    pair.cut_links()
    pair.wait(lambda: role(pair.beta) == "blocked", 60, "beta to be blocked")
    powered = pair.beta.hblink("fence", "confirm", "alpha", "--yes")
    assert powered.returncode == 1
    assert "says that it is powered on" in " ".join(powered.stdout.split())
    assert pair.held() == {"alpha": ALL_VIPS, "beta": set()}


def test_a_confirmation_is_used_once(shared: Pair) -> None:
    """What the operator swore of one death is not true of the next."""
    pair = shared
    pair.cut_bmc("alpha")
    pair.alpha.crash()
    pair.wait(lambda: role(pair.beta) == "blocked", 60, "beta to be blocked")
    assert pair.beta.hblink("fence", "confirm", "alpha", "--yes").returncode == 0
    pair.wait_active("beta")
    restore(pair)
    since = Since(pair)
    pair.cut_bmc("alpha")
    pair.cut_links()
    pair.wait(lambda: role(pair.beta) == "blocked", 60, "beta to be blocked again")
    assert pair.held() == {"alpha": ALL_VIPS, "beta": set()}
    since.assert_never_two_owners()


def test_without_a_device_the_written_wish_takes_over_after_the_lease(
    build_pair: Callable[[Setting], Pair],
) -> None:
    """guarantee = "at-least-one": the operator accepted, in writing, what a partition may do."""
    wish = Setting(timing={**QUICK.timing, "lease_ms": 2000}, fence=False, guarantee="at-least-one")
    pair = build_pair(wish)
    pair.start()
    pair.wait_active("alpha")
    pair.wait(lambda: role(pair.beta) == "standby", 20, "a standby")
    since = Since(pair)
    pair.alpha.crash()
    pair.wait_active("beta")
    wait_logged(pair, pair.beta, "blocked -> claiming", since.at)
    assert since.appeared(pair.beta)[0] - since.at > 2_000_000_000, "not before the lease of a living peer has ended"
    assert status(pair.beta)["grant"] == "written_wish"


def test_without_a_device_at_most_one_blocks(build_pair: Callable[[Setting], Pair]) -> None:
    pair = build_pair(Setting(timing=QUICK.timing, fence=False, guarantee="at-most-one"))
    pair.start()
    pair.wait_active("alpha")
    pair.wait(lambda: is_well(pair.beta), 30, "a standby")
    since = Since(pair)
    pair.cut_links()
    pair.wait(lambda: blocked(pair.beta, "no_fence_device"), 60, "beta to be blocked")
    assert pair.held() == {"alpha": ALL_VIPS, "beta": set()}
    pair.heal()
    settle(pair, "alpha")
    since.assert_nothing_moved()
