"""What would happen if the peer died now: whatever time it names, the decision does it then and not before."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from hblink.core.event import (
    HealthMeasured,
    MaintenanceRequested,
    ServiceCarrierChanged,
    Stalled,
    StandbyRequested,
)
from hblink.core.state import CheckPurpose
from hblink.core.value import (
    MS,
    SECOND,
    Grant,
    Guarantee,
    Memory,
    Reason,
    Role,
    StartAlone,
)
from hblink.daemon.forecast import forecast, reason_ends_at
from hblink.fencing.device import FenceReason
from tests.unit.one import ALPHA, BETA, Node, active_alpha, standby_beta
from tests.unit.test_core_allowance import WAIT, bereft_beta, fail_the_fence, waiting_beta

WAIT_S = WAIT // SECOND
SILENT = FenceReason.UNREACHABLE
DEAD = "the fence of alpha does not work (unreachable)"
KNOWN = Memory(3, ran=True, peer_heard=True, last_authentic_at=99 * SECOND)


def said(node: Node, broken: FenceReason | None = None) -> tuple[str, str]:
    found = forecast(node.settings, node.state, "alpha", broken, node.now)
    assert len(found["text"]) <= 2 * 57, "two lines of the screen"
    return found["code"], found["text"]


def seconds(text: str) -> float:
    """The last time that the text names."""
    return float(re.findall(r"([0-9.]+) s\b", text)[-1])


def restarted_beta(**settings: Any) -> Node:
    """Beta, whose daemon was restarted two seconds after the last frame of alpha, and does not hear it."""
    memory = Memory(2, ran=True, peer_heard=True, last_authentic_at=98 * SECOND)
    return Node(replace(BETA, **settings), memory)


def test_while_the_peer_is_heard_it_is_deadtime_and_the_two_readings() -> None:
    node = standby_beta()
    assert said(node) == ("takeover", "would fence alpha and take over in about 2.0 s")
    node.wait(BETA.deadtime_ns)
    assert node.state.role is Role.FENCING
    assert said(node) == ("busy", "is fencing alpha; takes over when that has read OFF twice")


@pytest.mark.parametrize("wait_ns", [0, SECOND, 11 * SECOND, 40 * SECOND])
def test_after_a_restart_beside_a_silent_peer_it_is_this_node_s_turn_that_counts(wait_ns: int) -> None:
    node = restarted_beta().wait(wait_ns)
    code, text = said(node)
    assert code == "takeover"
    in_s = seconds(text) - BETA.off_interval_ns / SECOND
    assert in_s > 5
    node.wait(int((in_s - 1) * SECOND))
    assert node.state.role is Role.STANDBY
    node.wait(2 * SECOND)
    assert node.state.role is Role.FENCING


def test_the_reason_says_how_long_it_lasts() -> None:
    node = restarted_beta()
    assert node.state.reason is Reason.LISTENING
    assert reason_ends_at(BETA, node.state, node.now) == node.now + BETA.initdead_ns
    node.wait(BETA.initdead_ns)
    assert node.state.reason is Reason.WAITING_FOR_SLOT
    ends_at = reason_ends_at(BETA, node.state, node.now)
    assert ends_at is not None
    assert "its turn to fence alpha comes in" in said(node)[1]
    node.wait(ends_at - node.now - 1)
    assert node.state.role is Role.STANDBY
    node.wait(1)
    assert node.state.role is Role.FENCING
    assert reason_ends_at(BETA, standby_beta().state, node.now) is None


def test_a_node_that_has_hiccuped_listens_first() -> None:
    node = standby_beta().tell(Stalled(900 * MS))
    code, text = said(node)
    assert code == "takeover"
    node.wait(int((seconds(text) - 1.0 - 0.1) * SECOND))
    assert node.state.role is Role.STANDBY
    node.wait(200 * MS)
    assert node.state.role is Role.FENCING


def test_what_answers_nothing_upstream_waits_a_moment() -> None:
    node = standby_beta().tell(HealthMeasured(0))
    assert seconds(said(node)[1]) == 3.0
    node.wait(BETA.deadtime_ns + BETA.deadtime_ns - 1)
    assert (node.state.role, node.state.reason) == (Role.STANDBY, Reason.UPSTREAM_LOST)
    node.wait(1)
    assert node.state.role is Role.FENCING


def test_whoever_served_and_was_not_heard_since_serves_again_without_a_fence() -> None:
    node = Node(ALPHA, replace(KNOWN, epoch=2, grant=Grant.FENCED))
    code, text = said(node)
    assert (code, text) == ("takeover", "serves again in 10 s: has not heard alpha since it served last")
    node.wait(10 * SECOND - 1)
    assert node.state.role is Role.STANDBY
    node.wait(1)
    assert node.state.role is Role.CLAIMING


def test_a_fence_that_does_not_work_is_tried_before_it_blocks() -> None:
    node = standby_beta()
    code, text = said(node, SILENT)
    assert code == "blocked"
    assert (
        text == "the fence of alpha does not work (unreachable): would block in 21 s, until: hblink fence confirm alpha"
    )
    node.wait(BETA.deadtime_ns)
    node.wait(20 * SECOND)
    assert (node.state.role, node.state.reason) == (Role.BLOCKED, Reason.FENCE_FAILED)
    assert "is blocked until: hblink fence confirm alpha" in said(node, SILENT)[1]
    code, text = said(node)
    assert code == "blocked"
    assert text.startswith("is blocked, fence_failed: tries again to fence alpha in ")
    node.wait(int((seconds(text) - 1) * SECOND))
    assert node.state.role is Role.BLOCKED
    node.wait(2 * SECOND)
    assert node.state.role is Role.FENCING


@pytest.mark.parametrize(("settings", "words"), [
    ({"has_fence": False}, "no fence device: would block in 1.0 s, until: hblink fence confirm alpha"),
    ({"has_fence": False, "guarantee": Guarantee.AT_LEAST_ONE}, "no fence device: would take over unproven in 6.0 s"),
])  # fmt: skip
def test_without_a_device(settings: dict[str, Any], words: str) -> None:
    node = standby_beta(**settings)
    assert said(node)[1] == words
    node.wait(6 * SECOND)
    assert node.state.role is (Role.CLAIMING if "unproven" in words else Role.BLOCKED)


def test_the_written_wish_waits_for_the_fence_that_fails() -> None:
    node = standby_beta(guarantee=Guarantee.AT_LEAST_ONE)
    assert said(node, SILENT)[1].endswith("(unreachable): would take over unproven in 21 s")
    node.wait(21 * SECOND - 1)
    assert node.state.role is Role.FENCING
    node.wait(1)
    assert node.state.role is Role.CLAIMING


def test_a_promise_of_the_peer_is_waited_for() -> None:
    node = waiting_beta()
    code, text = said(node)
    assert (code, text) == ("takeover", f"no fence device: would wait for the lease and take over in {WAIT_S:.0f} s")
    node.wait(WAIT_S * SECOND - 1)
    assert node.state.role is Role.BLOCKED
    node.wait(1)
    assert node.state.role is Role.CLAIMING


def test_a_promise_ends_the_cap_on_fences_too() -> None:
    node = waiting_beta(fence_cap=1)
    node.settings = replace(node.settings, has_fence=True)
    node.state = replace(node.state, fences=(node.now - SECOND,))
    words = "fenced alpha too often within the hour: would wait for the lease and take over in"
    assert said(node) == ("takeover", f"{words} {WAIT_S:.0f} s")


def test_a_loss_of_power_that_is_evident_is_waited_for() -> None:
    node = bereft_beta()
    code, text = said(node, SILENT)
    assert (code, text) == ("takeover", f"{DEAD}: would take over in 21 s, as alpha has lost its power")
    fail_the_fence(node)
    assert node.state.role is Role.BLOCKED
    assert said(node, SILENT)[1] == f"{DEAD}: would take over in 0.0 s, as alpha has lost its power"
    node.wait(1)
    assert node.state.check is not None
    assert node.state.check.purpose is CheckPurpose.POWER_LOSS


def test_a_device_that_lied_is_as_good_as_none() -> None:
    node = standby_beta()
    node.state = replace(node.state, fence_lied=True)
    assert said(node) == (
        "blocked", "the fence device of alpha lied: would block in 1.0 s, until: hblink fence confirm alpha"
    )  # fmt: skip


def test_a_peer_that_was_fenced_too_often() -> None:
    node = standby_beta(fence_cap=1)
    node.state = replace(node.state, fences=(node.now - 1800 * SECOND,))
    code, text = said(node)
    assert code == "blocked"
    assert "would block for 30 min at most" in text
    node.wait(2 * SECOND)
    assert node.state.reason is Reason.FENCE_CAP
    assert reason_ends_at(node.settings, node.state, node.now) == node.state.fences[0] + 3600 * SECOND


def test_a_service_that_did_not_start_here_holds_for_a_while() -> None:
    node = standby_beta()
    node.state = replace(node.state, start_hold_until=node.now + 42 * SECOND)
    assert said(node) == ("forbidden", "would not take over for 42 s more: start_failed")


@pytest.mark.parametrize(("break_it", "words"), [
    (lambda node: node.tell(StandbyRequested(1)), "would not take over: standby_ordered"),
    (lambda node: node.tell(ServiceCarrierChanged(False)), "would not take over: no_service_carrier"),
    (lambda node: node.tell(MaintenanceRequested(1, on=True)), "maintenance: nothing, for as long as it lasts"),
], ids=["standby", "carrier", "maintenance"])  # fmt: skip
def test_what_is_forbidden_has_no_time(break_it: Callable[[Node], Node], words: str) -> None:
    node = standby_beta()
    break_it(node)
    assert said(node) == ("forbidden", words)
    node.wait(60 * SECOND)
    assert node.state.role in (Role.STANDBY, Role.BLOCKED)
    assert said(node) == ("forbidden", words)


@pytest.mark.parametrize(("settings", "words"), [
    ({}, "starts alone only if its BMC reads OFF"),
    ({"start_alone": StartAlone.WAIT}, "starts alone only by: hblink fence confirm alpha"),
    ({"has_fence": False}, "starts alone only by: hblink fence confirm alpha"),
])  # fmt: skip
def test_an_inert_node_says_what_it_may_do(settings: dict[str, Any], words: str) -> None:
    node = Node(replace(BETA, **settings))
    code, text = said(node)
    assert code == "inert"
    assert words in text
    node.wait(30 * SECOND)
    assert said(node) == ("inert", f"inert: has not heard alpha since it booted; {words}")


def test_an_inert_node_that_may_start_by_a_fence_says_so() -> None:
    node = Node(replace(BETA, start_alone=StartAlone.FENCE), Memory(2, orderly=True))
    assert said(node)[1].endswith("starts alone, by a fence if its BMC reads ON, in 10 s at the earliest")


def test_whoever_serves_has_nothing_to_take_over() -> None:
    assert said(active_alpha())[0] == "keep"
