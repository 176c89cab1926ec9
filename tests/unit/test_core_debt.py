"""What a node owes that may have switched its peer off: an `on`, until the peer is on (S3), and never to a machine that
a person swore to be off (S16). It begins with a fence, a drill or an attempt that was left, and outlives the daemon.
"""

from __future__ import annotations

import pytest

from hblink.core.effect import Activate, Answer, Exit, PowerOff, PowerOn, ReadPower, Release
from hblink.core.event import (
    Activated,
    ActivationFailed,
    ConfirmRequested,
    DrillRequested,
    FenceReadinessChanged,
    MaintenanceRequested,
    PeerBeat,
    PowerCommanded,
    PowerRead,
    Released,
    ShutdownRequested,
    Stalled,
    StandbyRequested,
)
from hblink.core.state import memory_of
from hblink.core.value import MS, SECOND, Advert, Alarm, Grant, Memory, Power, Reason, Role
from tests.unit.one import (
    ALPHA,
    BETA,
    READY,
    STANDBY,
    Node,
    active_alpha,
    answer,
    confirmed_off,
    count,
    fail_the_fence,
    leased_alpha,
    only,
    read_off,
    serve,
    standby_beta,
)


def test_no_machine_is_switched_on_of_which_a_person_says_that_it_is_off_or_in_work() -> None:
    def left() -> Node:
        """Beta, which gives up an attempt whose `off` was accepted, and whose `on` is not."""
        node = standby_beta().wait(BETA.deadtime_ns)
        node.tell(PowerCommanded(only(node, PowerOff).op_id, accepted=True))
        fail_the_fence(node)
        assert node.state.power_on_op is not None, "it may be dark by this node's hand"
        return node.tell(PowerCommanded(node.state.power_on_op, accepted=False))

    plain = left().wait(BETA.power_on_retry_ns)
    assert count(plain, PowerOn) == 2
    doubtful = standby_beta().wait(BETA.deadtime_ns)  # an `off` that was not accepted, and one that was
    doubtful.tell(PowerCommanded(only(doubtful, PowerOff).op_id, accepted=False)).wait(BETA.off_retry_ns)
    doubtful.tell(PowerCommanded(only(doubtful, PowerOff).op_id, accepted=True)).wait(MS)
    read_off(doubtful).wait(BETA.off_interval_ns)
    read_off(doubtful)
    assert doubtful.state.claimed_by is Grant.FENCED
    assert doubtful.state.power_on_op is not None
    on = doubtful.state.power_on_op
    doubtful.tell(Activated(only(doubtful, Activate).op_id)).tell(PowerCommanded(on, accepted=True))
    doubtful.tell(MaintenanceRequested(1, True))
    assert count(doubtful.wait(2 * BETA.fence_latency_ns), PowerOn) == 1
    maintained = left().tell(MaintenanceRequested(1, True)).wait(BETA.power_on_retry_ns)
    assert count(maintained, PowerOn) == 1
    sworn = left().tell(ConfirmRequested(1))
    answer(sworn, Power.UNKNOWN)
    assert sworn.state.claimed_by is Grant.OPERATOR
    assert count(sworn.wait(BETA.power_on_retry_ns), PowerOn) == 1


def test_an_on_is_sent_once_more_when_a_slow_off_must_have_come() -> None:
    node = standby_beta().wait(BETA.deadtime_ns)
    node.tell(PowerCommanded(only(node, PowerOff).op_id, accepted=True))
    fail_the_fence(node)
    assert node.state.power_on_op is not None
    node.tell(PowerCommanded(node.state.power_on_op, accepted=True)).wait(BETA.fence_latency_ns)
    assert count(node, PowerOn) == 2


def test_a_standby_that_came_back_after_an_oath_is_switched_on_again_when_a_drill_fails() -> None:
    node = standby_beta().wait(BETA.deadtime_ns)
    node = fail_the_fence(node).tell(ConfirmRequested(1))
    answer(node, Power.UNKNOWN)
    assert node.state.claimed_by is Grant.OPERATOR
    node.tell(Activated(only(node, Activate).op_id)).wait(2 * BETA.fence_latency_ns)
    assert count(node, PowerOn) == 0, "not while the word stands"
    serve(node.tell(FenceReadinessChanged(True)), 3 * SECOND, Advert(Role.STANDBY, node.state.epoch))
    node.tell(DrillRequested(2)).tell(PowerCommanded(only(node, PowerOff).op_id, accepted=False))
    assert node.state.power_on_op is not None
    node.tell(PowerCommanded(node.state.power_on_op, accepted=False)).wait(BETA.power_on_retry_ns)
    assert count(node, PowerOn) == 2, "the peer was heard since: the word is over"


def late_frame(node: Node, off_at: int, sent_after: int) -> None:
    """A frame comes that the peer sent before this node knew it to be off, or so long after that."""
    node.wait(10 * MS).tell(PeerBeat(1, STANDBY, off_at + sent_after, newest=True, hears=3))


@pytest.mark.parametrize(("sent_after", "sent_in_all"), [(0, 2), (MS, 1)])
def test_a_frame_of_before_the_off_does_not_end_what_is_owed(sent_after: int, sent_in_all: int) -> None:
    node = confirmed_off(deadtime_ns=4 * SECOND, warntime_ns=2 * SECOND)
    off_at, on = node.now, only(node, PowerOn).op_id
    late_frame(node.tell(Activated(only(node, Activate).op_id)), off_at, sent_after)
    node.tell(PowerCommanded(on, accepted=False)).wait(BETA.power_on_retry_ns)
    assert count(node, PowerOn) == sent_in_all


@pytest.mark.parametrize(("sent_after", "sent_in_all"), [(0, 2), (MS, 1)])
def test_a_frame_of_before_the_off_of_a_drill_does_not_end_what_is_owed(sent_after: int, sent_in_all: int) -> None:
    node = serve(active_alpha().tell(FenceReadinessChanged(True)), 3 * SECOND).tell(DrillRequested(4))
    node.tell(PowerCommanded(only(node, PowerOff).op_id, accepted=True))
    node.tell(PowerRead(only(node, ReadPower).op_id, Power.OFF)).wait(ALPHA.off_interval_ns)
    node.tell(PowerRead(only(node, ReadPower).op_id, Power.OFF))
    off_at = node.now
    node.tell(PowerCommanded(only(node, PowerOn).op_id, accepted=False))
    late_frame(node, off_at, sent_after)
    assert count(node.wait(BETA.power_on_retry_ns), PowerOn) == sent_in_all


@pytest.mark.parametrize(("sent_after", "sent_in_all"), [(0, 0), (MS, 1)])
def test_a_frame_of_before_an_oath_is_no_sign_that_the_peer_is_on(sent_after: int, sent_in_all: int) -> None:
    node = fail_the_fence(standby_beta().wait(BETA.deadtime_ns)).tell(ConfirmRequested(1))
    answer(node, Power.UNKNOWN)
    assert node.state.claimed_by is Grant.OPERATOR
    assert node.state.outstanding_until is not None
    late_frame(node.tell(Activated(only(node, Activate).op_id)), node.now, sent_after)
    assert count(node.wait(2 * BETA.fence_latency_ns), PowerOn) == sent_in_all


@pytest.mark.parametrize("accepted", [False, True])
def test_an_oath_waits_for_the_answer_to_an_on_and_is_not_taken_if_that_is_accepted(accepted: bool) -> None:
    node = standby_beta().wait(BETA.deadtime_ns)
    node.tell(PowerCommanded(only(node, PowerOff).op_id, accepted=True))
    fail_the_fence(node)
    on = node.state.power_on_op
    assert on is not None
    readings = count(node, ReadPower)
    node.tell(ConfirmRequested(1)).wait(5 * SECOND)
    assert (count(node, Answer), count(node, ReadPower)) == (0, readings), "the `on` is answered first"
    node.tell(PowerCommanded(on, accepted=accepted))
    if accepted:
        assert node.effects[-1] == Answer(1, ok=False, reason=Reason.PEER_POWERED_ON)
        return
    node.wait(SECOND)
    answer(node, Power.UNKNOWN)
    assert node.state.claimed_by is Grant.OPERATOR
    node.tell(Activated(only(node, Activate).op_id)).wait(2 * BETA.power_on_retry_ns)
    assert count(node, PowerOn) == 1


def test_a_drill_that_is_left_under_a_lease_waits_with_its_on_for_the_proof() -> None:
    node = serve(leased_alpha().tell(FenceReadinessChanged(True)), 3 * SECOND).tell(DrillRequested(4))
    node.tell(PowerCommanded(only(node, PowerOff).op_id, accepted=False))
    assert node.state.drill is None
    assert count(node, PowerOn) == 0
    node.wait(ALPHA.deadtime_ns)
    for _ in range(2):
        assert count(node, PowerOn) == 0, "the peer is not yet known to be off"
        while node.state.check is None or node.state.check.op_id is None:
            node.wait(10 * MS)
        answer(node, Power.OFF)
    assert node.state.peer_spent
    assert count(node, PowerOn) == 1


def test_an_oath_outlasts_its_grant_and_the_daemon() -> None:
    """The start that the oath allowed fails: whatever fences later finds the peer off, and leaves it so."""
    node = fail_the_fence(standby_beta().wait(BETA.deadtime_ns)).tell(ConfirmRequested(1))
    answer(node, Power.UNKNOWN)
    node.tell(ActivationFailed(only(node, Activate).op_id))
    node.tell(Released(only(node, Release).op_id))
    again = Node(BETA, memory_of(node.state)).wait(BETA.initdead_ns)
    while again.state.role is not Role.FENCING:
        again.wait(SECOND)
    again.tell(PowerCommanded(only(again, PowerOff).op_id, accepted=True))
    read_off(again).wait(BETA.off_interval_ns)
    read_off(again)
    again.tell(Activated(only(again, Activate).op_id)).wait(2 * BETA.fence_latency_ns)
    assert (again.state.claimed_by, count(again, PowerOn)) == (Grant.FENCED, 0)
    late_frame(again, again.now - SECOND, 0)
    assert not again.state.sworn_off


@pytest.mark.parametrize("heard", [False, True])
def test_the_on_after_a_drill_that_was_left_under_a_lease_comes_with_the_stop_at_the_latest(heard: bool) -> None:
    """The `off` was carried out, though the device did not say so; a last frame of the peer may still be on its way."""
    node = serve(leased_alpha().tell(FenceReadinessChanged(True)), 3 * SECOND).tell(DrillRequested(4))
    node.tell(PowerCommanded(only(node, PowerOff).op_id, accepted=False))
    if heard:
        node.wait(20 * MS).tell(PeerBeat(1, Advert(Role.STANDBY, 2), node.now - 90 * MS, newest=True, hears=3))
    assert count(node, PowerOn) == 0
    while node.state.role is Role.ACTIVE:
        node.wait(10 * MS)
        if node.state.check is not None and node.state.check.op_id is not None:
            answer(node, Power.UNKNOWN)
    assert (node.state.reason, count(node, PowerOn)) == (Reason.LEASE_ENDED, 1)


def test_a_daemon_does_not_end_before_the_on_that_it_owes_after_a_drill() -> None:
    node = serve(leased_alpha().tell(FenceReadinessChanged(True)), 3 * SECOND).tell(DrillRequested(4))
    node.tell(PowerCommanded(only(node, PowerOff).op_id, accepted=False))
    node.wait(20 * MS).tell(PeerBeat(1, Advert(Role.STANDBY, 2), node.now - 90 * MS, newest=True, hears=3))
    node.wait(600 * MS).tell(ShutdownRequested())
    on = only(node, PowerOn).op_id
    node.tell(Released(only(node, Release).op_id))
    assert count(node, Exit) == 0
    node.tell(PowerCommanded(on, accepted=False)).wait(BETA.power_on_retry_ns)
    assert count(node, Exit) == 1


def test_a_drill_that_is_left_while_its_on_is_under_way_sends_no_other() -> None:
    node = serve(active_alpha().tell(FenceReadinessChanged(True)), 3 * SECOND).tell(DrillRequested(4))
    node.tell(PowerCommanded(only(node, PowerOff).op_id, accepted=True))
    node.tell(PowerRead(only(node, ReadPower).op_id, Power.OFF)).wait(ALPHA.off_interval_ns)
    node.tell(PowerRead(only(node, ReadPower).op_id, Power.OFF))
    on = only(node, PowerOn).op_id
    node.tell(Stalled(SECOND)).tell(Released(only(node, Release).op_id))
    assert node.state.power_on_op == on
    node.tell(PowerCommanded(on, accepted=False))
    assert (count(node, PowerOn), node.state.power_on_at) == (1, node.now + ALPHA.power_on_retry_ns)


def sworn_beta() -> Node:
    """Beta, active by the word of a person that alpha is off; its fence device works again."""
    node = fail_the_fence(standby_beta().wait(BETA.deadtime_ns)).tell(ConfirmRequested(1))
    answer(node, Power.UNKNOWN)
    node.tell(Activated(only(node, Activate).op_id))
    assert node.state.sworn_off
    return node


def test_no_drill_is_begun_on_what_was_sworn_to_be_off() -> None:
    """A frame that was on its way when the oath was taken makes the peer look well."""
    node = sworn_beta().tell(FenceReadinessChanged(True)).wait(2 * BETA.fence_latency_ns)
    sworn_at = node.state.cleared_at
    for link in (0, 1):
        node.tell(PeerBeat(link, Advert(Role.STANDBY, node.state.epoch), sworn_at, newest=True, hears=3))
    offs = count(node, PowerOff)
    node.tell(DrillRequested(4))
    assert node.effects[-1] == Answer(4, ok=False, reason=Reason.REDUNDANCY_REDUCED)
    assert (count(node, PowerOff), count(node, PowerOn)) == (offs, 0)


def test_a_node_that_reboots_leaves_off_what_was_sworn_to_be_off() -> None:
    """It starts alone, fences what it has read OFF, and serves (S5)."""
    node = Node(BETA, Memory(epoch=3, sworn_off=True)).wait(BETA.initdead_ns + BETA.half_open_max_ns)
    answer(node, Power.OFF).wait(BETA.off_interval_ns)
    answer(node, Power.OFF)
    node.tell(PowerCommanded(only(node, PowerOff).op_id, accepted=True))
    read_off(node).wait(BETA.off_interval_ns)
    read_off(node)
    node.tell(Activated(only(node, Activate).op_id)).wait(2 * BETA.fence_latency_ns)
    assert (node.state.role, node.state.claimed_by, count(node, PowerOn)) == (Role.ACTIVE, Grant.FENCED, 0)


def test_an_off_that_was_under_way_when_the_daemon_died_is_outstanding() -> None:
    """The peer is heard again before it comes: it is switched on again then, and given nothing meanwhile (S3)."""
    died = serve(active_alpha().tell(FenceReadinessChanged(True)), 3 * SECOND).tell(DrillRequested(4))
    assert (died.state.outstanding_until, count(died, PowerOff)) == (None, 1)
    node = Node(ALPHA, memory_of(died.state)).wait(100 * MS).hear(READY)
    node.tell(Activated(only(node, Activate).op_id))
    serve(node, 2 * SECOND)
    assert Alarm("fence_outstanding") in node.state.alarms
    node.tell(StandbyRequested(5))
    assert node.effects[-1] == Answer(5, ok=False, reason=Reason.FENCE_OUTSTANDING)
    node.wait(ALPHA.deadtime_ns)  # it has come
    assert count(node, PowerOn) == 1
    assert Alarm("fence_outstanding") not in serve(node, ALPHA.fence_latency_ns).state.alarms


def test_an_oath_does_not_hold_up_the_end_of_the_daemon() -> None:
    node = fail_the_fence(standby_beta().wait(BETA.deadtime_ns)).tell(ConfirmRequested(1))
    answer(node, Power.UNKNOWN)
    node.tell(ActivationFailed(only(node, Activate).op_id))
    node.tell(Released(only(node, Release).op_id))
    while node.state.role is not Role.FENCING:
        node.wait(SECOND)
    node.tell(PowerCommanded(only(node, PowerOff).op_id, accepted=True)).tell(ShutdownRequested())
    assert (count(node, Exit), count(node, PowerOn)) == (1, 0)


def test_what_is_outstanding_does_not_begin_anew_with_each_daemon() -> None:
    """A daemon that crashes again and again beside a peer that is well must be able to give the service up (S3)."""
    died = serve(active_alpha().tell(FenceReadinessChanged(True)), 3 * SECOND).tell(DrillRequested(4))
    node = Node(ALPHA, memory_of(died.state), died.now)
    ends_at = died.now + ALPHA.fence_latency_ns
    assert node.state.outstanding_until == ends_at
    for _ in range(4):
        serve(node.wait(100 * MS).hear(READY), ALPHA.fence_latency_ns // 3)
        node = Node(ALPHA, memory_of(node.state), node.now)
    assert node.now > ends_at
    assert node.state.outstanding_until is None
