"""The decision, situation by situation, with every instant and every word of the peer written out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hblink.core.effect import (
    Activate,
    Answer,
    Exit,
    PowerOff,
    PowerOn,
    RaiseAlarm,
    ReadPower,
    Reannounce,
    Release,
    Remember,
)
from hblink.core.event import (
    Activated,
    ActivationFailed,
    ConfirmRequested,
    Event,
    LinkClosed,
    LinkOpened,
    LinkSignalChanged,
    PeerHalfOpen,
    PowerCommanded,
    PowerRead,
    Released,
    ReleaseFailed,
    ServiceCarrierChanged,
    ServiceLost,
    ShutdownRequested,
    Stalled,
    SwitchoverRequested,
)
from hblink.core.state import advertise
from hblink.core.value import MS, SECOND, Advert, Grant, Guarantee, Memory, Power, Reason, Role
from tests.unit.one import ALPHA, BETA, STANDBY, Node, active_alpha, count, fencing_beta, only, read_off, standby_beta

# Claiming


def test_the_preferred_node_claims_when_the_peer_provably_has_not() -> None:
    node = active_alpha()
    assert (node.state.role, node.state.epoch, node.state.claimed_by) == (Role.ACTIVE, 2, Grant.NOT_TAKEN)


def test_it_does_not_claim_on_an_echo_of_what_it_sent_before_it_was_clean() -> None:
    node = Node(ALPHA)
    node.hear(STANDBY, age_ns=0)  # echoes what was sent in the very instant of the clean start
    assert node.state.role is Role.STANDBY


def test_the_other_node_never_elects_itself() -> None:
    node = Node(BETA)
    for _ in range(100):
        node.wait(100 * MS).hear(STANDBY)
    assert node.state.role is Role.STANDBY


def test_memory_is_written_before_the_service_is_started() -> None:
    node = Node(ALPHA).wait(100 * MS).hear(STANDBY)
    kinds = [type(effect) for effect in node.effects]
    assert kinds.index(Remember) < kinds.index(Activate)
    assert only(node, Remember).memory == Memory(2, True, True, Grant.NOT_TAKEN, node.now)


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.STANDBY])
def test_a_yield_counts_only_from_a_peer_that_stands_by(role: Role) -> None:
    node = standby_beta().hear(Advert(role, 2, yielded=True))
    assert node.state.role is Role.STANDBY


@pytest.mark.parametrize(("epoch", "claims"), [(2, True), (1, False), (3, False)])
def test_a_yield_counts_for_exactly_the_highest_epoch(epoch: int, claims: bool) -> None:
    node = standby_beta().hear(Advert(Role.STANDBY, epoch, yielded=True))
    assert (node.state.role is Role.CLAIMING) is claims


def test_a_yield_is_void_as_soon_as_anything_newer_came_that_cannot_be_applied() -> None:
    node = standby_beta().tell(ServiceCarrierChanged(False)).hear(Advert(Role.STANDBY, 2, yielded=True))
    assert node.state.role is Role.STANDBY
    node.tell(PeerHalfOpen(0)).tell(ServiceCarrierChanged(True))
    assert node.state.role is Role.STANDBY


# Fencing


def test_a_silent_peer_is_fenced_verified_off_and_switched_on_again() -> None:
    node = fencing_beta()
    off = only(node, PowerOff)
    node.now += 50 * MS
    node.tell(PowerCommanded(off.op_id, accepted=True))
    read_off(node)
    assert node.state.role is Role.FENCING, "one OFF is not enough"
    node.wait(BETA.off_interval_ns)
    read_off(node)
    assert (node.state.role, node.state.epoch, node.state.claimed_by) == (Role.CLAIMING, 3, Grant.FENCED)
    kinds = [type(effect) for effect in node.effects]
    assert kinds.index(Activate) < kinds.index(PowerOn)


def test_off_that_was_not_accepted_grants_nothing_and_is_sent_again() -> None:
    node = fencing_beta()
    node.tell(PowerCommanded(only(node, PowerOff).op_id, accepted=False))
    node.wait(BETA.off_retry_ns)
    assert count(node, PowerOff) == 2
    assert count(node, ReadPower) == 0


def test_an_off_of_unknown_outcome_is_outstanding_after_the_claim() -> None:
    node = fencing_beta()
    node.tell(PowerCommanded(only(node, PowerOff).op_id, accepted=False)).wait(BETA.off_retry_ns)
    node.tell(PowerCommanded(only(node, PowerOff).op_id, accepted=True))
    read_off(node).wait(BETA.off_interval_ns)
    read_off(node)
    assert node.state.role is Role.CLAIMING
    assert node.state.outstanding_until == node.now + BETA.fence_latency_ns


def test_a_fresh_frame_ends_the_attempt_and_leaves_the_off_outstanding() -> None:
    node = fencing_beta().hear(Advert(Role.ACTIVE, 2))
    assert node.state.role is Role.STANDBY
    assert node.state.outstanding_until is not None


@pytest.mark.parametrize("power", [Power.ON, Power.UNKNOWN])
def test_a_reading_that_is_not_off_begins_the_count_anew(power: Power) -> None:
    node = fencing_beta()
    node.tell(PowerCommanded(only(node, PowerOff).op_id, accepted=True))
    read_off(node).wait(BETA.off_interval_ns)
    attempt = node.state.attempt
    assert attempt is not None
    assert attempt.op_id is not None
    node.tell(PowerRead(attempt.op_id, power)).wait(BETA.poll_interval_ns)
    read_off(node)
    assert node.state.role is Role.FENCING


def test_an_answer_with_another_id_is_ignored() -> None:
    node = fencing_beta()
    node.tell(PowerCommanded(999, accepted=True)).tell(PowerRead(999, Power.OFF)).tell(PowerRead(999, Power.OFF))
    assert node.state.role is Role.FENCING
    assert count(node, ReadPower) == 0


def test_an_attempt_that_runs_out_blocks_and_tries_again_in_its_next_slot() -> None:
    node = fencing_beta()
    decided_at = node.now
    node.tell(PowerCommanded(only(node, PowerOff).op_id, accepted=True))
    while node.state.role is Role.FENCING:
        attempt = node.state.attempt
        if attempt is not None and attempt.op_id is not None:
            node.tell(PowerRead(attempt.op_id, Power.ON))
        node.wait(BETA.poll_interval_ns)
    assert (node.state.role, node.state.reason) == (Role.BLOCKED, Reason.FENCE_FAILED)
    node.wait(decided_at + 3 * BETA.slot_ns - node.now - MS)
    assert node.state.role is Role.BLOCKED
    node.wait(MS)
    assert node.state.role is Role.FENCING


def test_the_active_node_never_fences() -> None:
    node = active_alpha().wait(1000 * SECOND)
    assert node.state.role is Role.ACTIVE
    assert count(node, PowerOff) == 0


def test_a_holder_that_runs_nothing_waits_for_the_second_slot() -> None:
    node = active_alpha().wait(100 * MS).hear(STANDBY).tell(Stalled(2 * SECOND))
    node.tell(Released(only(node, Release).op_id))
    heard_at = node.state.peer.authentic_at
    assert heard_at is not None
    while node.state.role is Role.STANDBY:
        node.wait(100 * MS)
    assert node.state.role is Role.FENCING
    assert node.now - heard_at >= ALPHA.deadtime_ns + ALPHA.slot_ns


# A boot alone


def test_a_node_that_never_heard_its_peer_sends_no_command_while_the_peer_is_on() -> None:
    node = Node(BETA).wait(BETA.initdead_ns)
    for _ in range(20):
        check = node.state.check
        if check is not None and check.op_id is not None:
            node.tell(PowerRead(check.op_id, Power.ON))
        node.wait(BETA.inert_retry_ns)
    assert (node.state.role, node.state.reason) == (Role.BLOCKED, Reason.INERT_PEER_ON)
    assert count(node, PowerOff) == 0


def test_it_starts_alone_after_off_was_read_twice_before_and_after_the_command() -> None:
    node = Node(BETA).wait(BETA.initdead_ns)
    node.tell(PowerRead(only(node, ReadPower).op_id, Power.OFF)).wait(BETA.off_interval_ns)
    assert count(node, PowerOff) == 0
    node.tell(PowerRead(only(node, ReadPower).op_id, Power.OFF))
    node.tell(PowerCommanded(only(node, PowerOff).op_id, accepted=True))
    read_off(node).wait(BETA.off_interval_ns)
    read_off(node)
    assert node.state.role is Role.CLAIMING


# Letting go


def test_a_switchover_says_yielded_only_when_everything_has_stopped() -> None:
    node = active_alpha().wait(100 * MS).hear(STANDBY).tell(SwitchoverRequested(7))
    said = advertise(node.state, node.now)
    assert said is not None
    assert (said.role, said.yielded) == (Role.YIELDING, False)
    node.tell(Released(only(node, Release).op_id))
    said = advertise(node.state, node.now)
    assert said is not None
    assert (said.role, said.yielded, said.epoch) == (Role.STANDBY, True, 2)
    node.wait(10 * MS).hear(Advert(Role.ACTIVE, 3))
    assert only(node, Answer) == Answer(7, ok=True, reason=Reason.NONE)


def test_a_yield_that_nobody_took_is_not_taken_back_by_time_but_by_an_echo() -> None:
    node = active_alpha().wait(100 * MS).hear(STANDBY).tell(SwitchoverRequested(7))
    node.tell(Released(only(node, Release).op_id))
    waiting = Advert(Role.STANDBY, 2, able=False)
    for _ in range(60):
        node.wait(100 * MS).hear(waiting, age_ns=node.now + 100 * MS - node.state.yielded_at + MS)
        assert node.state.role is Role.STANDBY, "every echo so far is of the time when it said YIELDED"
    assert not node.state.yielded
    node.hear(waiting, age_ns=10 * MS)
    assert node.state.role is Role.CLAIMING


def test_a_switchover_is_refused_when_nobody_could_take_the_service() -> None:
    node = active_alpha().wait(2 * SECOND).tell(SwitchoverRequested(7))
    assert only(node, Answer) == Answer(7, ok=False, reason=Reason.PEER_NOT_READY)
    assert node.state.role is Role.ACTIVE


def test_a_failed_start_lets_the_peer_try_and_holds_back_itself() -> None:
    node = Node(ALPHA).wait(100 * MS).hear(STANDBY)
    node.tell(ActivationFailed(only(node, Activate).op_id))
    node.tell(Released(only(node, Release).op_id))
    assert node.state.yielded
    node.wait(10 * SECOND).hear(Advert(Role.STANDBY, 3, yielded=True))  # the peer tried too
    assert node.state.role is Role.STANDBY


def test_a_failed_stop_is_said_and_tried_again() -> None:
    node = active_alpha().wait(100 * MS).hear(STANDBY).tell(SwitchoverRequested(7))
    node.tell(ReleaseFailed(only(node, Release).op_id))
    said = advertise(node.state, node.now)
    assert said is not None
    assert (said.role, said.stop_failed, said.yielded) == (Role.HALTED, True, False)
    node.wait(ALPHA.stop_retry_ns)
    node.tell(Released(only(node, Release).op_id))
    assert (node.state.role, node.state.yielded) == (Role.STANDBY, True)


def test_a_peer_whose_stop_failed_is_fenced_though_it_is_heard() -> None:
    node = standby_beta()
    halted = Advert(Role.HALTED, 2, stop_failed=True)
    while node.state.role is Role.STANDBY:
        node.wait(100 * MS).hear(halted)
    assert (node.state.role, node.state.reason) == (Role.FENCING, Reason.PEER_STOP_FAILED)
    node.wait(100 * MS).hear(halted)
    assert node.state.role is Role.FENCING
    node.hear(Advert(Role.STANDBY, 2))
    assert node.state.role is Role.STANDBY


def test_the_lower_of_two_active_nodes_lets_go_and_the_higher_announces_again() -> None:
    lower = active_alpha().hear(Advert(Role.ACTIVE, 3))
    assert (lower.state.role, lower.state.reason) == (Role.YIELDING, Reason.DUAL_ACTIVE)
    higher = active_alpha().hear(Advert(Role.ACTIVE, 1))
    assert higher.state.role is Role.ACTIVE
    assert only(higher, Reannounce) == Reannounce()


def test_an_active_node_moves_above_an_epoch_that_an_idle_peer_knows() -> None:
    node = active_alpha().hear(Advert(Role.STANDBY, 9))
    assert (node.state.role, node.state.epoch) == (Role.ACTIVE, 10)


# Stalls


def test_a_long_pause_drops_the_service_and_forgets_what_the_peer_said() -> None:
    node = active_alpha().tell(Stalled(ALPHA.deadtime_ns))
    assert (node.state.role, node.state.reason) == (Role.YIELDING, Reason.STALL)
    assert node.state.peer.advert is None


def test_a_short_pause_only_keeps_the_node_from_accusing() -> None:
    active = active_alpha().tell(Stalled(300 * MS))
    assert active.state.role is Role.ACTIVE
    standby = standby_beta()
    standby.now += 990 * MS
    standby.tell(Stalled(300 * MS)).wait(BETA.deadtime_ns - MS)
    assert standby.state.role is Role.STANDBY
    assert standby.wait(MS).state.role is Role.FENCING


def test_an_unbroken_grant_outlives_a_restart_of_the_daemon() -> None:
    memory = Memory(3, ran=True, peer_heard=True, grant=Grant.FENCED, last_authentic_at=50 * SECOND)
    node = Node(BETA, memory).wait(BETA.initdead_ns)
    assert (node.state.role, node.state.claimed_by) == (Role.CLAIMING, Grant.KEPT)


def test_any_authentic_frame_breaks_it() -> None:
    memory = Memory(3, ran=True, peer_heard=True, grant=Grant.FENCED, last_authentic_at=50 * SECOND)
    node = Node(BETA, memory).tell(PeerHalfOpen(1))
    assert only(node, Remember).memory.grant is None
    assert node.wait(BETA.initdead_ns + BETA.half_open_max_ns).state.role is not Role.CLAIMING


# Operators


def blocked_beta(**settings: Any) -> Node:
    node = standby_beta(has_fence=False, **settings).wait(BETA.deadtime_ns)
    assert (node.state.role, node.state.reason) == (Role.BLOCKED, Reason.NO_FENCE_DEVICE)
    return node


def test_without_a_fence_device_only_the_operator_helps() -> None:
    node = blocked_beta().wait(1000 * SECOND)
    assert node.state.role is Role.BLOCKED
    node.tell(ConfirmRequested(5))
    assert node.state.claimed_by is Grant.OPERATOR
    assert node.state.confirmed_until is None, "it is used once"


def test_a_confirmation_is_refused_while_the_bmc_says_on() -> None:
    node = Node(BETA).wait(BETA.initdead_ns)
    node.tell(PowerRead(only(node, ReadPower).op_id, Power.UNKNOWN)).tell(ConfirmRequested(5))
    node.tell(PowerRead(only(node, ReadPower).op_id, Power.ON))
    assert only(node, Answer) == Answer(5, ok=False, reason=Reason.PEER_POWERED_ON)
    assert node.state.role is Role.BLOCKED


def test_a_confirmation_is_refused_while_the_peer_was_heard_lately() -> None:
    node = standby_beta().wait(500 * MS).tell(ConfirmRequested(5))
    assert only(node, Answer) == Answer(5, ok=False, reason=Reason.PEER_HEARD)


def test_a_confirmation_that_cannot_be_used_ends_with_the_next_frame() -> None:
    node = blocked_beta().tell(ServiceCarrierChanged(False)).tell(ConfirmRequested(5))
    assert node.state.confirmed_until is not None
    node.tell(PeerHalfOpen(0))
    assert node.state.confirmed_until is None


def test_at_least_one_takes_over_after_the_peers_lease_and_never_when_inert() -> None:
    node = blocked_beta(guarantee=Guarantee.AT_LEAST_ONE)
    heard_at = node.state.peer.authentic_at
    assert heard_at is not None
    while node.state.role is Role.BLOCKED:
        node.wait(100 * MS)
    assert node.state.claimed_by is Grant.WRITTEN_WISH
    assert node.now - heard_at >= BETA.lease_ns + BETA.lease_margin_ns
    inert = Node(replace(BETA, has_fence=False, guarantee=Guarantee.AT_LEAST_ONE)).wait(1000 * SECOND)
    assert (inert.state.role, inert.state.reason) == (Role.BLOCKED, Reason.INERT)


# Ending


def test_sigterm_hands_over_and_then_ends() -> None:
    node = active_alpha().wait(100 * MS).hear(STANDBY).tell(ShutdownRequested())
    node.tell(Released(only(node, Release).op_id))
    assert count(node, Exit) == 0
    node.wait(50 * MS).hear(Advert(Role.CLAIMING, 3))
    assert count(node, Exit) == 1


def test_sigterm_of_a_lone_node_ends_at_once() -> None:
    node = active_alpha().wait(2 * SECOND).tell(ShutdownRequested())
    node.tell(Released(only(node, Release).op_id))
    assert count(node, Exit) == 1


# Alarms


def test_a_lost_link_is_named_within_deadtime_and_is_no_reason_to_act() -> None:
    node = Node(BETA)
    for _ in range(30):
        node.wait(100 * MS).hear(Advert(Role.ACTIVE, 2), link=0).hear(None, link=1, newest=False)
    node.all.clear()
    lost_at = node.now
    while not any(isinstance(effect, RaiseAlarm) for effect in node.all):
        node.wait(100 * MS).hear(Advert(Role.ACTIVE, 2), link=0)
        assert node.now <= lost_at + BETA.deadtime_ns
    raised = {(effect.alarm.code, effect.alarm.link) for effect in node.all if isinstance(effect, RaiseAlarm)}
    assert raised == {("link_in_down", 1), ("degraded", -1), ("jeopardy", -1)}
    for _ in range(300):
        node.wait(100 * MS).hear(Advert(Role.ACTIVE, 2), link=0)
    assert node.state.role is Role.STANDBY
    assert count(node, PowerOff) == 0


def test_a_port_that_is_missing_is_named() -> None:
    node = Node(ALPHA).tell(LinkClosed(1))
    assert only(node, RaiseAlarm).alarm.code == "link_missing"


# What is felt of the far end of a link


def test_a_signal_that_goes_is_dated_once_and_one_that_was_never_there_is_not_lost() -> None:
    node = Node(ALPHA).tell(LinkSignalChanged(1, False))
    assert (node.state.links[1].signal, node.state.links[1].signal_lost_at) == (False, None)
    node.tell(LinkSignalChanged(1, True)).wait(SECOND)
    assert (node.state.links[1].signal, node.state.links[1].signal_lost_at) == (True, None)
    node.tell(LinkSignalChanged(1, False))
    lost_at = node.now
    node.wait(SECOND).tell(LinkSignalChanged(1, False))
    assert (node.state.links[1].signal, node.state.links[1].signal_lost_at) == (False, lost_at)
    assert (node.state.links[0].signal, node.state.links[0].signal_lost_at) == (None, None)


@pytest.mark.parametrize("event", [LinkSignalChanged(1, True), LinkSignalChanged(1, None), LinkClosed(1)])
def test_a_loss_is_forgotten_when_the_signal_is_back_or_cannot_be_told(event: Event) -> None:
    node = Node(ALPHA).tell(LinkSignalChanged(1, True)).tell(LinkSignalChanged(1, False)).tell(event)
    assert node.state.links[1].signal is (True if event == LinkSignalChanged(1, True) else None)
    assert node.state.links[1].signal_lost_at is None
    node.tell(LinkOpened(1))
    assert node.state.links[1].signal_lost_at is None


def test_a_signal_moves_nothing() -> None:
    node = standby_beta()
    before = node.state
    node.tell(LinkSignalChanged(0, True)).tell(LinkSignalChanged(0, False))
    assert node.effects == ()
    assert replace(node.state, links=before.links) == before


# What reviews and searches have found; each was a hole once


def test_a_yield_uses_up_the_grant_that_a_stall_had_left() -> None:
    node = active_alpha()
    assert node.state.grant is Grant.NOT_TAKEN
    node.tell(Stalled(700 * MS))
    node.tell(Released(only(node, Release).op_id))
    assert node.state.grant is Grant.NOT_TAKEN, "a stall alone leaves it (S7)"
    node.tell(ServiceCarrierChanged(False))
    assert node.state.yielded
    node.tell(ServiceCarrierChanged(True)).wait(ALPHA.handover_ns + ALPHA.deadtime_ns)
    assert not node.state.yielded
    assert node.state.role is not Role.CLAIMING, "the peer may have used the yield"


def test_nodes_that_disagree_on_the_preferred_one_agree_when_they_have_met() -> None:
    node = Node(ALPHA).wait(100 * MS).hear(Advert(Role.STANDBY, 1))  # beta is configured to prefer beta
    for _ in range(20):
        node.wait(100 * MS).hear(Advert(Role.STANDBY, 1))
    assert node.state.role is Role.STANDBY
    node.hear(Advert(Role.STANDBY, 1, yielded=True))
    assert (node.state.role, node.state.epoch) == (Role.CLAIMING, 2)


def test_a_frame_that_could_not_be_applied_does_not_make_the_peer_heard() -> None:
    node = Node(BETA).wait(100 * MS).hear(None)
    node.wait(BETA.deadtime_ns)
    assert not node.state.heard
    assert count(node, PowerOff) == 0


def test_a_peer_that_cannot_stop_and_cannot_be_fenced_is_a_reason_to_be_blocked() -> None:
    node = standby_beta(has_fence=False)
    for _ in range(200):
        node.wait(100 * MS).hear(Advert(Role.HALTED, 2, stop_failed=True))
    assert (node.state.role, node.state.reason) == (Role.BLOCKED, Reason.NO_FENCE_DEVICE)
    node.hear(Advert(Role.STANDBY, 2))
    assert node.state.role is Role.STANDBY


def test_at_least_one_tries_the_fence_first() -> None:
    node = standby_beta(guarantee=Guarantee.AT_LEAST_ONE).tell(ServiceCarrierChanged(False))
    node.wait(10 * SECOND)
    assert (node.state.role, node.state.reason) == (Role.BLOCKED, Reason.NO_SERVICE_CARRIER)
    node.tell(ServiceCarrierChanged(True)).wait(10 * SECOND)
    assert (node.state.role, node.state.reason) == (Role.BLOCKED, Reason.WAITING_FOR_SLOT)


@pytest.mark.parametrize("accepted", [False, True])
def test_a_start_alone_ends_when_the_peer_turns_out_to_be_on(accepted: bool) -> None:
    node = Node(BETA).wait(BETA.initdead_ns)
    node.tell(PowerRead(only(node, ReadPower).op_id, Power.OFF)).wait(BETA.off_interval_ns)
    node.tell(PowerRead(only(node, ReadPower).op_id, Power.OFF))
    node.tell(PowerCommanded(only(node, PowerOff).op_id, accepted=accepted))
    if accepted:
        node.tell(PowerRead(only(node, ReadPower).op_id, Power.ON))
    assert node.state.role is Role.BLOCKED
    node.wait(BETA.inert_retry_ns)
    assert count(node, PowerOff) == 1, "the next try begins with a reading"
    assert only(node, ReadPower)


def test_a_hiccup_in_the_middle_of_a_fence_delays_it_and_reads_again() -> None:
    node = fencing_beta()
    node.tell(PowerCommanded(only(node, PowerOff).op_id, accepted=True))
    read_off(node).wait(100 * MS).tell(Stalled(300 * MS))
    assert node.state.role is Role.FENCING
    readings = count(node, ReadPower)
    node.wait(BETA.deadtime_ns - MS)
    assert count(node, ReadPower) == readings, "it listens first"
    node.wait(MS)
    read_off(node)
    assert node.state.role is Role.FENCING
    node.wait(BETA.off_interval_ns)
    read_off(node)
    assert node.state.role is Role.CLAIMING


def test_a_node_that_stopped_slowly_does_not_accuse_before_it_has_listened() -> None:
    node = active_alpha().hear(Advert(Role.ACTIVE, 3))
    release = only(node, Release)
    node.now += 1500 * MS
    node.tell(Released(release.op_id))
    assert node.state.role is Role.STANDBY
    assert count(node, PowerOff) == 0


def test_a_service_that_is_lost_goes_to_a_peer_that_can_take_it() -> None:
    node = active_alpha().wait(100 * MS).hear(STANDBY).tell(ServiceLost())
    assert (node.state.role, node.state.reason) == (Role.YIELDING, Reason.START_FAILED)
    assert active_alpha().wait(2 * SECOND).tell(ServiceLost()).state.role is Role.ACTIVE


def test_the_peer_is_switched_on_again_when_a_late_off_may_have_come() -> None:
    node = fencing_beta()
    node.tell(PowerCommanded(only(node, PowerOff).op_id, accepted=False)).wait(BETA.off_retry_ns)
    node.tell(PowerCommanded(only(node, PowerOff).op_id, accepted=True))
    read_off(node).wait(BETA.off_interval_ns)
    read_off(node)
    claim, on = only(node, Activate), only(node, PowerOn)
    node.tell(Activated(claim.op_id)).tell(PowerCommanded(on.op_id, accepted=True))
    node.wait(BETA.fence_latency_ns)
    assert count(node, PowerOn) == 2


def test_a_start_alone_ends_at_any_authentic_frame() -> None:
    node = Node(BETA).wait(BETA.initdead_ns + BETA.half_open_max_ns)
    node.tell(PowerRead(node.state.check.op_id if node.state.check and node.state.check.op_id else 0, Power.OFF))
    node.wait(BETA.off_interval_ns)
    node.tell(PowerRead(only(node, ReadPower).op_id, Power.OFF))
    assert node.state.role is Role.FENCING
    node.wait(10 * MS).tell(PeerHalfOpen(0))
    assert node.state.role is not Role.FENCING


def test_sigterm_ends_a_node_that_is_blocked_by_a_peer_that_cannot_stop() -> None:
    node = standby_beta(has_fence=False)
    for _ in range(200):
        node.wait(100 * MS).hear(Advert(Role.HALTED, 2, stop_failed=True))
    assert node.state.role is Role.BLOCKED
    node.tell(ShutdownRequested())
    assert count(node, Exit) == 1


def test_a_peer_that_a_person_swore_to_be_off_is_never_switched_on() -> None:
    node = fencing_beta()
    while node.state.role is Role.FENCING:
        attempt = node.state.attempt
        if attempt is not None and attempt.op_id is not None:
            node.tell(PowerCommanded(attempt.op_id, accepted=False))
        node.wait(BETA.poll_interval_ns)
    assert node.state.outstanding_until is not None
    node.tell(ConfirmRequested(5))
    node.tell(PowerRead(only(node, ReadPower).op_id, Power.UNKNOWN))
    assert node.state.claimed_by is Grant.OPERATOR
    node.tell(Activated(only(node, Activate).op_id)).wait(2 * BETA.fence_latency_ns)
    assert node.state.role is Role.ACTIVE
    assert count(node, PowerOn) == 0


def test_the_on_is_sent_in_the_step_of_the_claim_however_lately_the_peer_was_heard() -> None:
    """A last frame of a peer that could not stop is on its way on the slower link while the peer is off already."""
    node = standby_beta(deadtime_ns=4 * SECOND, warntime_ns=2 * SECOND)
    while node.state.role is not Role.FENCING:
        node.wait(100 * MS).hear(Advert(Role.HALTED, 2, stop_failed=True))
    assert node.state.attempt is not None
    assert node.state.attempt.op_id is not None
    node.tell(PowerCommanded(node.state.attempt.op_id, accepted=True))
    read_off(node).wait(node.settings.off_interval_ns)
    read_off(node)
    assert (node.state.role, node.state.claimed_by) == (Role.CLAIMING, Grant.FENCED)
    node.tell(PowerCommanded(only(node, PowerOn).op_id, accepted=True))
    node.hear(Advert(Role.HALTED, 2, stop_failed=True), age_ns=2 * SECOND, link=1).wait(600 * SECOND)
    assert count(node, PowerOn) == 1
