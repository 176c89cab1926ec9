"""What a person, a probe or a device can ask of the decision: acts, maintenance, failback, health, cap, drill, S14."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hblink.core.effect import (
    Activate,
    Answer,
    Exit,
    LeaseService,
    PowerOff,
    PowerOn,
    ReadPower,
    Release,
    ResetSelf,
)
from hblink.core.event import (
    Activated,
    AddressHolderChanged,
    ConfirmRequested,
    DrillRequested,
    Event,
    FenceReadinessChanged,
    GuardChanged,
    HealthMeasured,
    LinkClosed,
    LinkOpened,
    MaintenanceRequested,
    OnlineRequested,
    PeerBeat,
    PeerHalfOpen,
    PowerCommanded,
    PowerRead,
    Released,
    ReleaseFailed,
    ServiceCarrierChanged,
    ServiceLost,
    ShutdownRequested,
    Stalled,
    StandbyRequested,
    SwitchoverRequested,
)
from hblink.core.state import advertise, in_maintenance
from hblink.core.value import MS, SECOND, Advert, Grant, Guarantee, Holder, Memory, Power, Reason, Role
from tests.unit.one import (
    ALPHA,
    BETA,
    READY,
    STANDBY,
    Node,
    active_alpha,
    count,
    fencing_beta,
    only,
    read_off,
    serve,
    standby_beta,
)

ACTIVE = Advert(Role.ACTIVE, 2)


def answer(node: Node, event: Event) -> tuple[bool, Reason]:
    node.tell(event)
    found = only(node, Answer)
    return found.ok, found.reason


def accept_off(node: Node) -> Node:
    assert node.state.attempt is not None
    assert node.state.attempt.op_id is not None
    return node.tell(PowerCommanded(node.state.attempt.op_id, accepted=True)).wait(0).tell(FenceReadinessChanged(True))


def take_over(node: Node) -> Node:
    """Bring a fencing node to CLAIMING: the off is accepted, OFF read twice."""
    accept_off(node)
    while node.state.role is Role.FENCING:
        node.wait(node.settings.off_interval_ns)
        if node.state.attempt is not None and node.state.attempt.op_id is not None:
            read_off(node)
    assert node.state.role is Role.CLAIMING
    return node


# standby and online


def test_standby_on_the_active_node_hands_over_and_keeps_it_from_claiming_again() -> None:
    node = serve(active_alpha(), SECOND)
    node.tell(StandbyRequested(7))
    node.tell(Released(only(node, Release).op_id))
    assert (node.state.role, node.state.yielded) == (Role.STANDBY, True)
    node.wait(100 * MS).hear(Advert(Role.ACTIVE, 3))
    assert only(node, Answer) == Answer(7, ok=True, reason=Reason.NONE)
    said = advertise(node.state, node.now)
    assert said is not None
    assert not said.able
    node.wait(5 * SECOND)
    assert (node.state.role, node.state.reason) == (Role.BLOCKED, Reason.STANDBY_ORDERED)
    assert count(node, PowerOff) == 0


def test_standby_is_refused_where_nobody_could_take_the_service() -> None:
    node = active_alpha().wait(5 * SECOND)
    assert answer(node, StandbyRequested(1)) == (False, Reason.PEER_NOT_READY)
    assert node.state.role is Role.ACTIVE
    assert not node.state.standby_ordered


def test_a_standby_that_the_peer_does_not_finish_is_void_and_the_service_comes_back() -> None:
    node = serve(active_alpha(), SECOND)
    node.tell(StandbyRequested(7))
    node.tell(Released(only(node, Release).op_id))
    serve(node, 2 * ALPHA.handover_ns + SECOND)
    assert Answer(7, ok=False, reason=Reason.TIMED_OUT) in node.all
    assert not node.state.standby_ordered
    serve(node, ALPHA.handover_ns + SECOND)
    assert (node.state.role, node.state.claimed_by) == (Role.CLAIMING, Grant.NOT_TAKEN)


def test_online_lifts_the_order_and_what_failed_before() -> None:
    node = standby_beta()
    assert answer(node, StandbyRequested(1)) == (True, Reason.NONE)
    assert node.state.remembered.standby
    assert answer(node, OnlineRequested(2)) == (True, Reason.NONE)
    assert not node.state.remembered.standby
    node.wait(5 * SECOND)
    assert node.state.role is Role.FENCING


def test_standby_is_remembered_over_a_restart_of_the_daemon() -> None:
    node = Node(BETA, Memory(3, ran=True, peer_heard=True, standby=True, last_authentic_at=99 * SECOND))
    node.wait(60 * SECOND)
    assert (node.state.role, node.state.reason) == (Role.BLOCKED, Reason.STANDBY_ORDERED)


# Maintenance (S18)


def test_maintenance_said_by_the_peer_forbids_fence_and_takeover_for_as_long_as_it_is_silent() -> None:
    node = standby_beta().hear(replace(ACTIVE, maintenance=True))
    node.wait(24 * 3600 * SECOND)
    assert (node.state.role, node.state.reason) == (Role.STANDBY, Reason.MAINTENANCE)
    assert count(node, PowerOff) + count(node, ReadPower) == 0
    assert answer(node, ConfirmRequested(1)) == (False, Reason.MAINTENANCE)


def test_a_frame_without_it_ends_it() -> None:
    node = standby_beta().hear(replace(ACTIVE, maintenance=True)).wait(60 * SECOND).hear(ACTIVE)
    node.wait(BETA.deadtime_ns)
    assert node.state.role is Role.FENCING


def test_a_frame_that_may_not_be_applied_does_not_end_it() -> None:
    node = standby_beta().hear(replace(ACTIVE, maintenance=True)).hear(None).tell(PeerHalfOpen(0))
    node.wait(60 * SECOND)
    assert node.state.reason is Reason.MAINTENANCE


def test_the_operator_ends_it_on_the_side_that_is_left_and_the_node_listens_first() -> None:
    node = standby_beta().hear(replace(ACTIVE, maintenance=True)).wait(60 * SECOND)
    assert answer(node, MaintenanceRequested(1, on=False)) == (True, Reason.NONE)
    assert node.state.role is Role.STANDBY
    node.wait(200 * SECOND)
    assert count(node, PowerOff) >= 1


def test_what_the_peer_still_says_cannot_be_ended_here_and_a_refusal_changes_nothing() -> None:
    node = standby_beta().hear(replace(ACTIVE, maintenance=True))
    before = node.state
    assert answer(node, MaintenanceRequested(1, on=False)) == (False, Reason.PEER_MAINTENANCE)
    assert node.state == before


def test_where_both_have_ordered_it_one_s_own_order_ends_and_the_peer_s_stands() -> None:
    node = standby_beta().hear(replace(ACTIVE, maintenance=True))
    node.tell(MaintenanceRequested(1, on=True, until_at=node.now + 3600 * SECOND))
    assert answer(node, MaintenanceRequested(2, on=False)) == (True, Reason.PEER_MAINTENANCE)
    assert (node.state.maintenance, node.state.maintenance_until) == (False, None)
    assert node.state.peer.maintenance
    assert answer(node, MaintenanceRequested(3, on=False)) == (False, Reason.PEER_MAINTENANCE), "nothing more to end"
    node.wait(3600 * SECOND)
    assert (node.state.role, node.state.reason) == (Role.STANDBY, Reason.MAINTENANCE)
    assert count(node, PowerOff) + count(node, ReadPower) == 0


def test_where_both_have_ordered_it_and_the_peer_is_silent_both_orders_end() -> None:
    node = standby_beta().hear(replace(ACTIVE, maintenance=True)).tell(MaintenanceRequested(1, on=True))
    node.wait(60 * SECOND)
    assert answer(node, MaintenanceRequested(2, on=False)) == (True, Reason.NONE)
    assert not in_maintenance(node.state)


def test_maintenance_ends_by_itself() -> None:
    node = standby_beta()
    node.tell(MaintenanceRequested(1, on=True, until_at=node.now + 3600 * SECOND))
    node.wait(3599 * SECOND)
    assert count(node, PowerOff) == 0
    node.wait(600 * SECOND)
    assert count(node, PowerOff) >= 1


def test_maintenance_is_remembered_over_a_restart_of_the_daemon() -> None:
    memory = Memory(3, ran=True, peer_heard=True, peer_maintenance=True, last_authentic_at=99 * SECOND)
    node = Node(BETA, memory).wait(3600 * SECOND)
    assert (node.state.role, node.state.reason) == (Role.STANDBY, Reason.MAINTENANCE)


def test_a_yield_is_not_taken_in_maintenance() -> None:
    node = standby_beta()
    node.tell(MaintenanceRequested(1, on=True))
    serve(node, 3 * SECOND, Advert(Role.STANDBY, 2, yielded=True))
    assert node.state.role is Role.STANDBY


def test_the_active_drops_the_lease_only_when_the_peer_knows() -> None:
    node = active_alpha().wait(5 * SECOND)
    node.tell(MaintenanceRequested(1, on=True)).wait(5 * SECOND)
    assert count(node, LeaseService) == 0
    node.hear(READY)
    assert only(node, LeaseService) == LeaseService(leased=False)
    node.wait(60 * SECOND)
    assert node.state.unleased
    node.tell(MaintenanceRequested(2, on=False))
    assert only(node, LeaseService) == LeaseService(leased=True)


def test_where_a_lapsed_lease_is_what_the_peer_waits_for_it_stays() -> None:
    node = active_alpha().wait(SECOND)
    node.settings = replace(ALPHA, guarantee=Guarantee.AT_LEAST_ONE)
    node.tell(MaintenanceRequested(1, on=True)).wait(SECOND).hear(READY)
    assert not node.state.unleased


def test_an_echo_of_what_was_sent_before_the_maintenance_is_no_knowledge() -> None:
    node = active_alpha().hear(READY)
    node.tell(MaintenanceRequested(1, on=True)).hear(READY, age_ns=10 * MS)
    assert not node.state.unleased


def test_a_daemon_that_ends_in_maintenance_leaves_the_service_as_it_is() -> None:
    node = serve(active_alpha(), SECOND)
    node.tell(MaintenanceRequested(1, on=True))
    serve(node, SECOND)
    releases = count(node, Release)
    node.tell(ShutdownRequested())
    assert only(node, Exit) == Exit()
    assert count(node, Release) == releases


@pytest.mark.parametrize("event", [SwitchoverRequested(5), StandbyRequested(5), DrillRequested(5)])
def test_nothing_is_moved_in_maintenance(event: Event) -> None:
    node = serve(active_alpha(), SECOND)
    node.tell(FenceReadinessChanged(True)).tell(MaintenanceRequested(1, on=True))
    assert answer(node, event) == (False, Reason.MAINTENANCE)
    node.tell(ServiceCarrierChanged(False))
    serve(node, 3 * SECOND)
    assert node.state.role is Role.ACTIVE


# Failback and health


def failback_beta(**settings: Any) -> Node:
    """Beta, active under epoch 3; alpha is preferred."""
    node = take_over(fencing_beta(auto_failback=True, **settings))
    return node.tell(Activated(only(node, Activate).op_id))


def test_failback_waits_until_the_preferred_node_has_been_ready_for_the_hold_down() -> None:
    ready = Advert(Role.STANDBY, 3)
    node = serve(failback_beta(), BETA.failback_hold_ns - SECOND, ready)
    assert node.state.role is Role.ACTIVE
    serve(node, SECOND, replace(ready, able=False))
    serve(node, BETA.failback_hold_ns - SECOND, ready)
    assert node.state.role is Role.ACTIVE, "the hold-down begins anew"
    serve(node, 2 * SECOND, ready)
    assert (node.state.role, node.state.reason) == (Role.YIELDING, Reason.FAILBACK)


def test_a_preferred_node_that_cannot_serve_is_not_tried_again_for_an_hour() -> None:
    ready = Advert(Role.STANDBY, 3)
    node = serve(failback_beta(), BETA.failback_hold_ns + SECOND, ready)
    assert node.state.reason is Reason.FAILBACK
    node.tell(Released(next(effect for effect in reversed(node.all) if isinstance(effect, Release)).op_id))
    serve(node, SECOND, Advert(Role.CLAIMING, 4))
    serve(node, 200 * MS, Advert(Role.STANDBY, 4, yielded=True, able=False))
    node.tell(Activated(next(effect for effect in reversed(node.all) if isinstance(effect, Activate)).op_id))
    assert node.state.claimed_by is Grant.YIELDED
    began_at = node.now
    while node.state.role is Role.ACTIVE and node.now < began_at + 7200 * SECOND:
        serve(node, SECOND, Advert(Role.STANDBY, 5))
    assert 3590 * SECOND < node.now - began_at < 3610 * SECOND
    assert (node.state.role, node.state.reason) == (Role.YIELDING, Reason.FAILBACK)


def test_a_preferred_node_that_served_may_have_it_again() -> None:
    node = serve(failback_beta(), BETA.failback_hold_ns + SECOND, Advert(Role.STANDBY, 3))
    node.tell(Released(next(effect for effect in reversed(node.all) if isinstance(effect, Release)).op_id))
    serve(node, SECOND, Advert(Role.ACTIVE, 4))
    serve(node, 200 * MS, Advert(Role.STANDBY, 4, yielded=True))
    assert node.state.claimed_by is Grant.YIELDED
    assert node.state.move_held_until is None


def test_no_failback_to_a_node_that_is_less_healthy() -> None:
    node = failback_beta().tell(HealthMeasured(100))
    serve(node, 3 * BETA.failback_hold_ns, Advert(Role.STANDBY, 3, health=50))
    assert node.state.role is Role.ACTIVE


def test_without_the_wish_there_is_no_failback() -> None:
    node = take_over(fencing_beta())
    node.tell(Activated(only(node, Activate).op_id))
    serve(node, 3 * BETA.failback_hold_ns, Advert(Role.STANDBY, 3))
    assert node.state.role is Role.ACTIVE


def test_the_service_moves_to_a_strictly_healthier_peer_after_a_while() -> None:
    node = serve(active_alpha(), SECOND).tell(HealthMeasured(0))
    serve(node, ALPHA.health_hold_ns - 200 * MS, replace(READY, health=100))
    assert node.state.role is Role.ACTIVE
    serve(node, 400 * MS, replace(READY, health=100))
    assert (node.state.role, node.state.reason) == (Role.YIELDING, Reason.PEER_HEALTHIER)


@pytest.mark.parametrize("theirs", [1, 255])
def test_nobody_moves_when_the_peer_is_no_better(theirs: int) -> None:
    node = serve(active_alpha(), SECOND).tell(HealthMeasured(0))
    serve(node, 10 * SECOND, replace(READY, health=theirs))
    assert node.state.role is Role.ACTIVE


def test_health_grants_nothing() -> None:
    node = standby_beta().tell(HealthMeasured(100))
    serve(node, 10 * SECOND, replace(ACTIVE, health=1))
    assert node.state.role is Role.STANDBY


def test_failing_probes_delay_the_fence_by_a_deadtime_and_no_more() -> None:
    node = standby_beta().tell(HealthMeasured(0)).wait(2 * BETA.deadtime_ns - MS)
    assert (node.state.role, node.state.reason) == (Role.STANDBY, Reason.UPSTREAM_LOST)
    node.wait(MS)
    assert node.state.role is Role.FENCING


# A foreign holder of the address (S12)


def test_the_peers_hardware_that_still_answers_holds_a_claim_by_fence() -> None:
    node = accept_off(fencing_beta())
    for _ in range(3):
        node.tell(AddressHolderChanged(Holder.PEER)).wait(BETA.off_interval_ns)
        if node.state.attempt is not None and node.state.attempt.op_id is not None:
            read_off(node)
    assert node.state.role is Role.FENCING
    assert "address_conflict" in {alarm.code for alarm in node.state.alarms}
    node.wait(BETA.holder_ttl_ns)
    read_off(node) if node.state.attempt and node.state.attempt.op_id else None
    while node.state.role is Role.FENCING:
        node.wait(BETA.off_interval_ns)
        read_off(node)
    assert node.state.claimed_by is Grant.FENCED


def test_another_machine_that_answers_is_an_alarm_and_no_veto() -> None:
    node = take_over(fencing_beta().tell(AddressHolderChanged(Holder.OTHER)))
    assert node.state.role is Role.CLAIMING
    node.tell(AddressHolderChanged(Holder.OTHER))
    assert "address_conflict" in {alarm.code for alarm in node.state.alarms}


def test_the_peer_that_serves_is_no_conflict() -> None:
    node = standby_beta().tell(AddressHolderChanged(Holder.PEER))
    assert "address_conflict" not in {alarm.code for alarm in node.state.alarms}


# The cap (S15)


def capped_beta() -> Node:
    """Beta with a cap of one, which has fenced alpha once and sees it die again within the hour."""
    node = take_over(fencing_beta(fence_cap=1))
    node.tell(Activated(only(node, Activate).op_id))
    serve(node, 5 * SECOND, Advert(Role.STANDBY, 3))
    node.tell(SwitchoverRequested(1))
    node.tell(Released(only(node, Release).op_id))
    serve(node, 2 * SECOND, Advert(Role.ACTIVE, 4))
    return node.wait(2 * BETA.deadtime_ns)


def test_a_capped_node_reads_and_sends_no_command() -> None:
    node = capped_beta()
    assert (node.state.role, node.state.reason) == (Role.BLOCKED, Reason.FENCE_CAP)
    offs = count(node, PowerOff)
    assert node.state.check is not None
    assert node.state.check.op_id is not None
    node.tell(PowerRead(node.state.check.op_id, Power.ON)).wait(20 * SECOND)
    assert (node.state.role, node.state.reason) == (Role.BLOCKED, Reason.FENCE_CAP)
    assert count(node, PowerOff) == offs


def test_a_peer_that_reads_off_is_not_held_by_the_cap() -> None:
    node = capped_beta()
    for _ in range(2):
        assert node.state.check is not None
        assert node.state.check.op_id is not None
        node.tell(PowerRead(node.state.check.op_id, Power.OFF)).wait(BETA.off_interval_ns)
    take_over(node)
    assert node.state.claimed_by is Grant.FENCED
    assert len(node.state.fences) == 1, "and it is no fence of a powered-on peer"


def test_the_cap_is_lifted_by_online_and_by_the_hour() -> None:
    lifted = capped_beta()
    assert lifted.state.check is not None
    assert lifted.state.check.op_id is not None
    lifted.tell(PowerRead(lifted.state.check.op_id, Power.ON))
    assert answer(lifted, OnlineRequested(9)) == (True, Reason.NONE)
    lifted.wait(200 * SECOND)
    assert count(lifted, PowerOff) > 1, "and now it fences again"
    waited = capped_beta()
    waited.wait(3600 * SECOND)
    assert waited.state.fences == ()


def test_the_cap_never_holds_what_the_peer_yields() -> None:
    node = capped_beta()
    serve(node, SECOND, Advert(Role.STANDBY, 4, yielded=True))
    assert node.state.claimed_by is Grant.YIELDED


# The kernel boot id after a fence (S14)


def fenced_alpha(boot: int | None) -> Node:
    """Beta, active, after fencing alpha whose kernel boot id was `boot`."""
    node = standby_beta()
    node.tell(PeerBeat(0, ACTIVE, node.now - 10 * MS, hears=3, boot=boot)).wait(BETA.deadtime_ns)
    take_over(node)
    return node.tell(Activated(only(node, Activate).op_id))


def test_the_same_boot_after_a_fence_means_that_the_device_lied() -> None:
    node = fenced_alpha(11).wait(SECOND)
    node.tell(PeerBeat(0, ACTIVE, node.now - 5 * MS, hears=3, boot=11))
    assert node.state.fence_lied
    assert "fence_lied" in {alarm.code for alarm in node.state.alarms}
    said = advertise(node.state, node.now)
    assert said is not None
    assert not said.fence_ready
    node.tell(OnlineRequested(1))
    assert not node.state.fence_lied


def test_a_frame_that_echoes_what_was_sent_before_the_off_proves_nothing() -> None:
    node = fenced_alpha(11).wait(SECOND)
    node.tell(PeerBeat(0, None, node.now - 10 * SECOND, hears=3, boot=11))
    assert not node.state.fence_lied
    node.tell(PeerBeat(0, None, node.now - 5 * MS, hears=3, boot=12))
    node.wait(SECOND).tell(PeerBeat(0, None, node.now - 5 * MS, hears=3, boot=12))
    assert not node.state.fence_lied


def test_an_unknown_boot_is_not_judged() -> None:
    node = fenced_alpha(None).wait(SECOND)
    node.tell(PeerBeat(0, Advert(Role.STANDBY, 3), node.now - 5 * MS, hears=3, boot=11))
    assert not node.state.fence_lied


def test_a_device_that_lied_is_not_relied_on_again() -> None:
    node = Node(BETA, Memory(3, ran=True, peer_heard=True, fence_lied=True, last_authentic_at=99 * SECOND))
    node.wait(300 * SECOND)
    assert (node.state.role, node.state.reason) == (Role.BLOCKED, Reason.FENCE_LIED)
    assert count(node, PowerOff) == 0


# The drill


def drilling_alpha() -> Node:
    node = serve(active_alpha(), 3 * SECOND)
    node.tell(FenceReadinessChanged(True)).tell(DrillRequested(4))
    return node


def drill_op(node: Node) -> int:
    assert node.state.drill is not None
    assert node.state.drill.op_id is not None
    return node.state.drill.op_id


def test_a_drill_switches_the_standby_off_and_on_while_the_service_goes_on() -> None:
    node = drilling_alpha()
    node.tell(PowerCommanded(only(node, PowerOff).op_id, accepted=True))
    for _ in range(2):
        node.tell(PowerRead(drill_op(node), Power.OFF))
        if count(node, PowerOn):
            break
        node.wait(ALPHA.off_interval_ns)
    off_at = node.now
    node.wait(300 * MS).tell(PowerCommanded(only(node, PowerOn).op_id, accepted=True))
    node.wait(off_at + ALPHA.deadtime_ns - MS - node.now)
    assert count(node, Answer) == 0, "a peer that was never off may still be heard"
    node.wait(MS)
    assert node.effects[-1] == Answer(4, ok=True, reason=Reason.NONE)
    assert node.state.role is Role.ACTIVE
    assert node.state.drill is None
    node.wait(2 * BETA.fence_latency_ns)
    assert count(node, PowerOn) == 1


def test_a_drill_on_a_device_that_lies_and_is_quick_is_not_done() -> None:
    """`on` is accepted before the next frame of the peer, which was never off, has come."""
    node = serve(active_alpha(), 3 * SECOND, boot=11)
    node.tell(FenceReadinessChanged(True)).tell(DrillRequested(4))
    node.tell(PowerCommanded(only(node, PowerOff).op_id, accepted=True))
    node.tell(PowerRead(drill_op(node), Power.OFF)).wait(ALPHA.off_interval_ns)
    node.tell(PowerRead(drill_op(node), Power.OFF))
    node.tell(PowerCommanded(only(node, PowerOn).op_id, accepted=True)).wait(200 * MS)
    beat = PeerBeat(0, READY, node.now - 10 * MS, hears=3, boot=11)
    assert answer(node, beat) == (False, Reason.FENCE_LIED)
    assert node.state.drill is None
    assert not node.state.owes_on


def test_a_drill_that_is_left_while_it_listens_sends_no_second_on() -> None:
    node = drilling_alpha()
    node.tell(PowerCommanded(only(node, PowerOff).op_id, accepted=True))
    node.tell(PowerRead(drill_op(node), Power.OFF)).wait(ALPHA.off_interval_ns)
    node.tell(PowerRead(drill_op(node), Power.OFF))
    node.tell(PowerCommanded(only(node, PowerOn).op_id, accepted=True))
    assert answer(node, Stalled(SECOND)) == (False, Reason.STALL)
    node.tell(Released(only(node, Release).op_id)).wait(2 * BETA.fence_latency_ns)
    assert count(node, PowerOn) == 1


def test_a_drill_that_sees_no_off_ends_and_the_peer_is_switched_on() -> None:
    node = drilling_alpha()
    node.tell(PowerCommanded(only(node, PowerOff).op_id, accepted=True))
    for _ in range(100):
        if node.state.drill is None:
            break
        if node.state.drill.op_id is not None:
            node.tell(PowerRead(node.state.drill.op_id, Power.ON))
        node.wait(ALPHA.poll_interval_ns)
    assert Answer(4, ok=False, reason=Reason.TIMED_OUT) in node.all
    assert count(node, PowerOn) == 1
    assert node.state.outstanding_until is not None


@pytest.mark.parametrize(
    ("before", "reason"),
    [
        (LinkClosed(0), Reason.REDUNDANCY_REDUCED),
        (FenceReadinessChanged(False), Reason.REDUNDANCY_REDUCED),
        (SwitchoverRequested(3), Reason.NOT_ACTIVE),
    ],
)
def test_a_drill_is_refused_where_something_is_missing(before: Event, reason: Reason) -> None:
    node = serve(active_alpha(), 3 * SECOND).tell(FenceReadinessChanged(True)).tell(before)
    assert answer(node, DrillRequested(4)) == (False, reason)
    assert count(node, PowerOff) == 0


def test_a_drill_of_one_level_asks_that_one_for_all_of_it() -> None:
    node = serve(active_alpha(), 3 * SECOND).tell(FenceReadinessChanged(True))
    node.tell(DrillRequested(4, level=1, level_ready=True))
    node.tell(PowerCommanded(only(node, PowerOff).op_id, accepted=True))
    while not count(node, PowerOn):
        node.tell(PowerRead(drill_op(node), Power.OFF)).wait(ALPHA.off_interval_ns)
    asked = [each for each in node.all if isinstance(each, (PowerOff, ReadPower, PowerOn))]
    assert {each.level for each in asked} == {1}
    assert len(asked) == 4
    on = next(each for each in asked if isinstance(each, PowerOn))
    node.tell(PowerCommanded(on.op_id, accepted=True)).wait(ALPHA.deadtime_ns)
    assert Answer(4, ok=True, reason=Reason.NONE) in node.all


@pytest.mark.parametrize("said", ["not accepted", "no off", "no on"])
def test_a_drill_of_one_level_that_fails_leaves_the_on_to_whichever_level_can(said: str) -> None:
    node = serve(active_alpha(), 3 * SECOND).tell(FenceReadinessChanged(True))
    node.tell(DrillRequested(4, level=1, level_ready=True))
    node.tell(PowerCommanded(only(node, PowerOff).op_id, accepted=said != "not accepted"))
    power = Power.OFF if said == "no on" else Power.UNKNOWN
    for _ in range(200):
        if node.state.drill is None:
            break
        on = [each for each in node.all if isinstance(each, PowerOn)]
        if on:
            node.tell(PowerCommanded(on[0].op_id, accepted=False))
        elif node.state.drill.op_id is not None:
            node.tell(PowerRead(node.state.drill.op_id, power))
        node.wait(ALPHA.poll_interval_ns)
    reason = Reason.TIMED_OUT if said == "no off" else Reason.FENCE_FAILED
    assert Answer(4, ok=False, reason=reason) in node.all
    node.wait(ALPHA.power_on_retry_ns)
    assert [each.level for each in node.all if isinstance(each, PowerOn)][-1] is None
    assert count(node, PowerOff) == 1
    assert node.state.role is Role.ACTIVE


def test_a_drill_of_a_level_that_does_not_work_is_refused() -> None:
    node = serve(active_alpha(), 3 * SECOND).tell(FenceReadinessChanged(True))
    assert answer(node, DrillRequested(4, level=1)) == (False, Reason.LEVEL_NOT_READY)
    assert count(node, PowerOff) == 0
    node.tell(DrillRequested(5, level=0, level_ready=True))
    assert count(node, PowerOff) == 1


def test_nothing_is_moved_to_a_peer_under_drill() -> None:
    node = drilling_alpha()
    assert answer(node, SwitchoverRequested(5)) == (False, Reason.BUSY)
    node.tell(ServiceCarrierChanged(False)).hear(READY)
    assert node.state.role is Role.ACTIVE


# The guard


def test_an_armed_watchdog_is_told_to_the_peer() -> None:
    node = active_alpha().tell(GuardChanged(True))
    said = advertise(node.state, node.now)
    assert said is not None
    assert said.watchdog_armed


def test_a_node_that_cannot_stop_resets_itself_once() -> None:
    node = active_alpha()
    node.settings = replace(ALPHA, self_reset_ns=5 * SECOND)
    serve(node, SECOND)
    node.tell(SwitchoverRequested(1))
    node.tell(ReleaseFailed(only(node, Release).op_id))
    assert node.state.role is Role.HALTED
    node.wait(5 * SECOND - MS)
    assert count(node, ResetSelf) == 0
    for _ in range(5):
        node.wait(SECOND)
        if node.state.service_op is not None:
            node.tell(ReleaseFailed(node.state.service_op))
    assert count(node, ResetSelf) == 1


def test_links_that_open_again_end_the_refusal() -> None:
    node = serve(active_alpha(), 3 * SECOND).tell(FenceReadinessChanged(True)).tell(LinkClosed(0)).tell(LinkOpened(0))
    node.tell(DrillRequested(4))
    assert count(node, PowerOff) == 1


# What a person does in the middle of something


def test_an_off_of_unknown_outcome_is_remembered_over_a_restart_of_the_daemon() -> None:
    node = drilling_alpha()
    node.tell(PowerCommanded(only(node, PowerOff).op_id, accepted=False))
    assert node.state.remembered.outstanding_until is not None
    again = Node(ALPHA, replace(node.state.remembered, outstanding_until=150 * SECOND)).wait(100 * MS)
    again.hear(Advert(Role.STANDBY, again.state.epoch))
    again.tell(Activated(only(again, Activate).op_id)).hear(Advert(Role.STANDBY, again.state.epoch))
    assert answer(again, SwitchoverRequested(5)) == (False, Reason.FENCE_OUTSTANDING)


def test_an_off_that_was_not_accepted_is_not_sent_again_without_service_carrier() -> None:
    node = fencing_beta()
    assert node.state.attempt is not None
    assert node.state.attempt.op_id is not None
    node.tell(PowerCommanded(node.state.attempt.op_id, accepted=False)).tell(ServiceCarrierChanged(False))
    node.wait(60 * SECOND)
    assert (node.state.role, node.state.reason) == (Role.BLOCKED, Reason.NO_SERVICE_CARRIER)
    assert count(node, PowerOff) == 1


def test_an_order_that_lapses_is_acted_on_in_the_same_step() -> None:
    settings = replace(ALPHA, handover_ns=16 * SECOND, links=1)
    node = Node(settings).wait(100 * MS).hear(STANDBY)
    node.tell(Activated(only(node, Activate).op_id)).hear(READY)
    node.tell(StandbyRequested(1))
    node.tell(Released(only(node, Release).op_id))
    node.hear(Advert(Role.STANDBY, node.state.epoch)).wait(600 * SECOND)
    assert count(node, PowerOff) >= 1, "the peer died in the middle, and the order is void"


def test_a_daemon_that_is_asked_to_end_finishes_its_drill_first() -> None:
    node = drilling_alpha()
    node.tell(PowerCommanded(only(node, PowerOff).op_id, accepted=True)).tell(ShutdownRequested())
    assert node.state.role is Role.ACTIVE
    for _ in range(2):
        node.tell(PowerRead(drill_op(node), Power.OFF))
        if count(node, PowerOn):
            break
        node.wait(ALPHA.off_interval_ns)
    node.tell(PowerCommanded(only(node, PowerOn).op_id, accepted=True))
    assert count(node, Exit) == 0
    while not count(node, Answer):
        node.wait(100 * MS)
    assert [each for each in node.all if isinstance(each, Answer)] == [Answer(4, ok=True, reason=Reason.NONE)]
    node.tell(Released(next(each for each in reversed(node.all) if isinstance(each, Release)).op_id))
    assert count(node, Exit) == 1


def test_a_daemon_does_not_end_while_it_switches_its_peer_on() -> None:
    node = take_over(fencing_beta())
    node.tell(Activated(only(node, Activate).op_id))
    assert node.state.power_on_op is not None
    node.tell(ShutdownRequested())
    node.tell(Released(only(node, Release).op_id)).wait(3 * SECOND)
    assert count(node, Exit) == 0
    assert node.state.power_on_op is not None
    node.tell(PowerCommanded(node.state.power_on_op, accepted=True))
    assert count(node, Exit) == 1


def test_a_drill_on_a_device_that_says_off_of_a_peer_that_is_heard_is_not_done() -> None:
    node = serve(active_alpha(), 3 * SECOND, boot=11)
    node.tell(FenceReadinessChanged(True)).tell(DrillRequested(4))
    node.tell(PowerCommanded(only(node, PowerOff).op_id, accepted=True))
    while not count(node, PowerOn):
        node.tell(PowerRead(drill_op(node), Power.OFF))
        if not count(node, PowerOn):
            serve(node, ALPHA.off_interval_ns, boot=11)
    on = only(node, PowerOn).op_id
    serve(node, SECOND, boot=11)
    assert answer(node, PowerCommanded(on, accepted=True)) == (False, Reason.FENCE_LIED)
    assert node.state.fence_lied


def test_a_service_that_is_lost_in_maintenance_stays_where_it_is() -> None:
    node = serve(active_alpha(), SECOND)
    node.tell(MaintenanceRequested(1, on=True)).hear(READY).tell(ServiceLost())
    assert node.state.role is Role.ACTIVE


def test_a_standby_that_is_not_done_yet_is_not_remembered() -> None:
    node = serve(active_alpha(), SECOND)
    node.tell(StandbyRequested(7))
    assert not node.state.remembered.standby
    node.tell(Released(only(node, Release).op_id)).wait(100 * MS).hear(Advert(Role.ACTIVE, 3))
    assert node.state.remembered.standby


def test_a_node_that_cannot_stop_does_not_escape_its_reset_by_ending() -> None:
    node = active_alpha()
    node.settings = replace(ALPHA, self_reset_ns=20 * SECOND)
    serve(node, SECOND)
    node.tell(SwitchoverRequested(1))
    node.tell(ReleaseFailed(only(node, Release).op_id)).tell(ShutdownRequested())
    for _ in range(25):
        node.wait(SECOND)
        if node.state.service_op is not None:
            node.tell(ReleaseFailed(node.state.service_op))
        assert count(node, Exit) <= count(node, ResetSelf)
    assert (count(node, ResetSelf), count(node, Exit)) == (1, 1)
