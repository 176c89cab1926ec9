"""What the configuration may allow beyond the usual grants: the lease mode, a loss of power as evidence, a start by a
fence. Each is off by default, and each is shown with everything that forbids it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hblink.core.effect import Activate, ClearAlarm, PowerOff, PowerOn, RaiseAlarm, ReadPower, Release
from hblink.core.event import (
    Activated,
    DrillRequested,
    FenceReadinessChanged,
    GuardChanged,
    LinkClosed,
    LinkSignalChanged,
    MaintenanceRequested,
    PeerHalfOpen,
    PowerCommanded,
    PowerRead,
    Released,
    ServiceCarrierChanged,
    Stalled,
)
from hblink.core.lease import pet_end
from hblink.core.state import advertise
from hblink.core.value import MS, SECOND, Advert, Alarm, Grant, Memory, Power, Reason, Role, Settings, StartAlone
from tests.unit.one import (
    ALPHA,
    BETA,
    STANDBY,
    WATCHDOG,
    Node,
    answer,
    confirmed_off,
    count,
    fail_the_fence,
    leased_alpha,
    only,
    serve,
    standby_beta,
)

# The peer's: deadtime, lease, stop and twice the watchdog, one after the other.
PROMISE = ALPHA.deadtime_ns + ALPHA.lease_ns + ALPHA.stop_bound_ns + 2 * WATCHDOG
WAIT = PROMISE + BETA.lease_margin_ns
PROMISING = Advert(Role.ACTIVE, 2, watchdog_armed=True, promise_ns=PROMISE)


# Lease mode: the active


def test_a_promise_is_made_with_an_armed_hardware_watchdog_only() -> None:
    def promised(settings: Settings, *events: GuardChanged) -> int | None:
        node = Node(settings)
        for event in events:
            node.tell(event)
        node.wait(settings.initdead_ns)
        advert = advertise(node.state, node.now)
        assert advert is not None
        assert (Alarm("no_promise") in node.state.alarms) is (settings.lease_mode and advert.promise_ns is None)
        return advert.promise_ns

    leased = replace(ALPHA, lease_mode=True)
    armed = GuardChanged(True, WATCHDOG)
    assert promised(leased, armed) == PROMISE
    assert promised(leased) is None
    assert promised(leased, GuardChanged(True)) is None, "softdog"
    assert promised(leased, armed, GuardChanged(False)) is None, "it can be petted no more"
    assert promised(ALPHA, armed) is None, "no lease mode"


def test_an_active_that_hears_nothing_stops_at_the_end_of_its_lease() -> None:
    node = leased_alpha(has_fence=False).wait(ALPHA.lease_ns - 1)
    assert node.state.role is Role.ACTIVE
    node.wait(1)
    assert (node.state.role, node.state.reason) == (Role.YIELDING, Reason.LEASE_ENDED)
    node.tell(Released(only(node, Release).op_id)).wait(60 * SECOND)
    assert node.state.role is Role.BLOCKED, "and takes it back by no timer"
    assert not node.state.yielded, "nobody has been promised that it will not"
    node.hear(Advert(Role.STANDBY, 2), age_ns=MS)
    assert node.state.claimed_by is Grant.NOT_TAKEN, "(c): the peer has not taken it"
    assert node.state.role is Role.CLAIMING


def test_half_open_frames_do_not_prolong_a_lease() -> None:
    node = leased_alpha(has_fence=False)
    for _ in range(8):
        node.wait(ALPHA.lease_ns // 8).tell(PeerHalfOpen(0))
    assert node.state.reason is Reason.LEASE_ENDED


def test_without_a_promise_an_active_serves_on() -> None:
    node = Node(replace(ALPHA, lease_mode=True)).wait(100 * MS).hear(STANDBY)
    node.tell(Activated(only(node, Activate).op_id)).wait(60 * SECOND)
    assert node.state.role is Role.ACTIVE


def test_a_promise_is_kept_though_the_watchdog_is_lost() -> None:
    node = leased_alpha(has_fence=False).tell(GuardChanged(False)).wait(ALPHA.lease_ns)
    assert node.state.reason is Reason.LEASE_ENDED


def test_an_active_serves_on_beside_a_peer_that_it_has_read_off_twice() -> None:
    node = leased_alpha().wait(ALPHA.deadtime_ns)
    answer(node, Power.OFF)
    assert not node.state.peer_spent, "once is not enough"
    node.wait(ALPHA.off_interval_ns)
    answer(node, Power.OFF)
    assert node.state.peer_spent
    node.wait(60 * SECOND)
    assert node.state.role is Role.ACTIVE
    assert count(node, PowerOff) == 0, "an active fences nobody (S4)"
    node.hear(Advert(Role.STANDBY, 2)).wait(ALPHA.lease_ns)
    assert node.state.reason is Reason.LEASE_ENDED, "a frame begins the lease anew"


@pytest.mark.parametrize("power", [Power.ON, Power.UNKNOWN])
def test_any_other_reading_is_no_proof_and_is_asked_again(power: Power) -> None:
    node = leased_alpha().wait(ALPHA.deadtime_ns)
    answer(node, Power.OFF).wait(ALPHA.off_interval_ns)
    answer(node, power)
    assert not node.state.peer_spent
    node.wait(ALPHA.poll_interval_ns)
    answer(node, Power.OFF)
    assert not node.state.peer_spent, "OFF twice in a row"
    node.wait(ALPHA.lease_ns)
    assert node.state.reason is Reason.LEASE_ENDED


def test_a_frame_between_two_readings_voids_the_first() -> None:
    node = leased_alpha().wait(ALPHA.deadtime_ns)
    answer(node, Power.OFF).wait(ALPHA.off_interval_ns - MS)
    node.tell(PeerHalfOpen(0)).wait(MS)
    assert node.state.check is None
    assert not node.state.peer_spent


def test_who_has_fenced_its_peer_is_under_no_lease() -> None:
    node = standby_beta(lease_mode=True).tell(GuardChanged(True, WATCHDOG)).wait(BETA.deadtime_ns)
    node.tell(PowerCommanded(only(node, PowerOff).op_id, accepted=True))
    for _ in range(2):
        node.wait(BETA.off_interval_ns)
        assert node.state.attempt is not None
        assert node.state.attempt.op_id is not None
        node.tell(PowerRead(node.state.attempt.op_id, Power.OFF))
    node.tell(Activated(only(node, Activate).op_id)).wait(300 * SECOND)
    assert node.state.role is Role.ACTIVE


def test_the_first_frame_of_a_peer_that_was_off_begins_a_lease_and_no_further_one_that_proves_nothing() -> None:
    node = leased_alpha().wait(ALPHA.deadtime_ns)
    answer(node, Power.OFF).wait(ALPHA.off_interval_ns)
    answer(node, Power.OFF).wait(60 * SECOND)
    node.tell(PeerHalfOpen(0)).wait(ALPHA.lease_ns // 2)
    assert node.state.role is Role.ACTIVE, "it cannot have been promised anything yet"
    node.tell(PeerHalfOpen(0)).wait(ALPHA.lease_ns // 2)
    assert node.state.reason is Reason.LEASE_ENDED


def test_after_a_long_pause_no_grant_is_kept_but_that_of_a_peer_that_is_off() -> None:
    node = leased_alpha(has_fence=False)
    node.now += 2 * SECOND
    node.tell(Stalled(2 * SECOND))
    node.tell(Released(only(node, Release).op_id)).wait(300 * SECOND)
    assert node.state.role is Role.BLOCKED
    kept = Memory(epoch=2, ran=True, peer_heard=True, grant=Grant.NOT_TAKEN, last_authentic_at=99 * SECOND)
    for grant, role in ((Grant.NOT_TAKEN, Role.BLOCKED), (Grant.FENCED, Role.CLAIMING)):
        settings = replace(ALPHA, lease_mode=True, has_fence=False)
        restarted = Node(settings, replace(kept, grant=grant)).wait(ALPHA.initdead_ns)
        assert restarted.state.role is role, grant


def test_maintenance_does_not_suspend_the_lease() -> None:
    node = leased_alpha(has_fence=False).tell(MaintenanceRequested(1, True))
    node.hear(Advert(Role.STANDBY, 2), age_ns=0).wait(ALPHA.lease_ns)
    assert not node.state.unleased
    assert node.state.reason is Reason.LEASE_ENDED


# Lease mode: the waiter


def waiting_beta(**settings: Any) -> Node:
    """Beta in lease mode without a fence device, which has heard alpha promise until now."""
    beta = replace(BETA, lease_mode=True, has_fence=False, **settings)
    return Node(beta).tell(GuardChanged(True, WATCHDOG)).wait(100 * MS).hear(PROMISING)


def test_the_waiter_claims_when_the_promise_has_surely_been_kept() -> None:
    node = waiting_beta().wait(WAIT - 1)
    assert (node.state.role, node.state.reason) == (Role.BLOCKED, Reason.NO_FENCE_DEVICE)
    node.wait(1)
    assert (node.state.role, node.state.claimed_by) == (Role.CLAIMING, Grant.LEASE)
    node.tell(Activated(only(node, Activate).op_id)).wait(300 * SECOND)
    assert node.state.role is Role.ACTIVE, "and is under no lease itself: the other waits for a grant of S2"


def test_a_fence_is_tried_first() -> None:
    node = standby_beta(lease_mode=True).tell(GuardChanged(True, WATCHDOG)).hear(PROMISING).wait(BETA.deadtime_ns)
    assert node.state.role is Role.FENCING
    node.wait(WAIT)
    assert node.state.role is Role.FENCING
    node.wait(BETA.fence_attempt_ns)
    assert node.state.claimed_by is Grant.LEASE


def test_any_authentic_frame_begins_the_wait_anew() -> None:
    node = waiting_beta().wait(WAIT // 2).hear(PROMISING).wait(WAIT - 1)
    assert node.state.role is Role.BLOCKED
    assert node.wait(1).state.claimed_by is Grant.LEASE


@pytest.mark.parametrize(
    "last_word",
    [
        replace(PROMISING, promise_ns=None),
        replace(PROMISING, epoch=3),  # beta's own: beta is the one that must stop
        None,
    ],
    ids=["no_promise", "the_token_is_mine", "not_applied"],
)
def test_a_promise_must_be_the_last_word_of_the_holder(last_word: Advert | None) -> None:
    node = waiting_beta().hear(last_word).wait(300 * SECOND)
    assert node.state.role is Role.BLOCKED


def test_an_authentic_frame_that_proves_nothing_voids_the_promise() -> None:
    node = waiting_beta().tell(PeerHalfOpen(0)).wait(300 * SECOND)
    assert node.state.role is Role.BLOCKED


def test_a_node_whose_own_watchdog_is_not_armed_does_not_rely_on_a_promise() -> None:
    assert waiting_beta().tell(GuardChanged(False)).wait(300 * SECOND).state.role is Role.BLOCKED
    plain = standby_beta(has_fence=False).tell(GuardChanged(True, WATCHDOG)).hear(PROMISING).wait(300 * SECOND)
    assert plain.state.role is Role.BLOCKED, "no lease mode here"


def test_a_restarted_daemon_does_not_know_of_a_promise() -> None:
    memory = Memory(epoch=2, ran=False, peer_heard=True, last_authentic_at=99 * SECOND)
    node = Node(replace(BETA, lease_mode=True, has_fence=False), memory).tell(GuardChanged(True, WATCHDOG))
    assert node.wait(300 * SECOND).state.role is Role.BLOCKED


# Loss of power as evidence


def evident(**settings: Any) -> Settings:
    return replace(BETA, power_loss_evidence=True, **settings)


def bereft_beta(settings: Settings | None = None, *, lose: tuple[int, ...] = (0, 1), ready: bool = True) -> Node:
    """Beta, which felt alpha on both links and then, at the last frame, on those that are not in `lose` only."""
    node = Node(settings or evident()).tell(FenceReadinessChanged(ready)).wait(100 * MS)
    for link in (0, 1):
        node.tell(LinkSignalChanged(link, True))
    node.hear(Advert(Role.ACTIVE, 2))
    for link in lose:
        node.tell(LinkSignalChanged(link, False))
    return node


def until_asked(node: Node) -> Node:
    """Wait until the devices are asked for the last time."""
    end = node.now + 60 * SECOND
    while node.now < end and node.state.check is None:
        node.wait(100 * MS)
    return node


def test_all_that_power_feeds_gone_at_once_is_evidence_after_a_wait_and_a_last_question() -> None:
    node = bereft_beta()
    lost_at = node.now
    fail_the_fence(node)
    assert (node.state.role, node.state.reason) == (Role.BLOCKED, Reason.FENCE_FAILED)
    until_asked(node)
    assert node.now >= lost_at + BETA.power_loss_wait_ns
    answer(node, Power.UNKNOWN, gone=True)
    assert (node.state.role, node.state.claimed_by) == (Role.CLAIMING, Grant.POWER_LOSS)


def test_it_is_off_by_default() -> None:
    node = fail_the_fence(bereft_beta(BETA)).wait(60 * SECOND)
    assert node.state.claimed_by is None


@pytest.mark.parametrize("lose", [(), (0,), (1,)])
def test_a_signal_that_stays_is_no_loss_of_power(lose: tuple[int, ...]) -> None:
    node = until_asked(fail_the_fence(bereft_beta(lose=lose)))
    assert node.state.check is None
    assert node.state.claimed_by is None


def test_a_signal_that_was_never_felt_is_no_evidence() -> None:
    node = Node(evident()).tell(FenceReadinessChanged(True)).wait(100 * MS).tell(LinkSignalChanged(0, True))
    node.hear(Advert(Role.ACTIVE, 2))
    for link in (0, 1):
        node.tell(LinkSignalChanged(link, False))
    assert until_asked(fail_the_fence(node)).state.check is None


def test_losses_that_lie_apart_are_no_evidence() -> None:
    node = bereft_beta(lose=(0,))
    for _ in range(30):  # the other link goes on for a while
        node.wait(100 * MS).hear(Advert(Role.ACTIVE, 2), link=1)
    node.tell(LinkSignalChanged(1, False))
    assert until_asked(fail_the_fence(node)).state.check is None


def test_devices_that_did_not_work_before_prove_nothing_by_their_silence() -> None:
    assert until_asked(fail_the_fence(bereft_beta(ready=False))).state.check is None


def test_whatever_answers_refutes_it() -> None:
    assert until_asked(fail_the_fence(bereft_beta(), refuted=True)).state.check is None, "a device that said yes"
    spoke = until_asked(fail_the_fence(bereft_beta()))
    answer(spoke, Power.ON)
    assert until_asked(spoke).state.check is None, "ON: the BMC has power"
    returned = fail_the_fence(bereft_beta()).tell(LinkSignalChanged(1, True)).tell(LinkSignalChanged(1, False))
    assert answer(returned, Power.UNKNOWN, gone=True).state.claimed_by is None, "a signal came back, and went again"
    closed = fail_the_fence(bereft_beta()).tell(LinkClosed(0))
    assert answer(closed, Power.UNKNOWN, gone=True).state.claimed_by is None, "the port here is gone"
    heard = fail_the_fence(bereft_beta()).tell(PeerHalfOpen(0))
    assert until_asked(heard).state.claimed_by is None, "a frame"


def test_an_answer_that_is_none_is_not_the_silence_of_all_devices() -> None:
    node = until_asked(fail_the_fence(bereft_beta()))
    answer(node, Power.UNKNOWN, gone=False)
    assert node.state.role is Role.BLOCKED


def test_it_is_no_grant_for_a_node_without_service_carrier() -> None:
    node = until_asked(fail_the_fence(bereft_beta()))
    node.tell(ServiceCarrierChanged(False))
    answer(node, Power.UNKNOWN, gone=True)
    assert node.state.role is Role.BLOCKED


# Start alone


def booted(policy: StartAlone, *, orderly: bool, **settings: Any) -> Node:
    """Alpha, booted without hearing beta, at its first reading of beta's power."""
    node = Node(replace(ALPHA, start_alone=policy, **settings), Memory(orderly=orderly))
    return node.wait(ALPHA.initdead_ns)


def test_the_policy_fence_fences_a_peer_that_is_on_once_after_an_orderly_end() -> None:
    node = booted(StartAlone.FENCE, orderly=True)
    answer(node, Power.ON)
    assert (node.state.role, node.state.reason) == (Role.FENCING, Reason.START_BY_FENCE)
    assert not node.state.orderly
    node.wait(ALPHA.fence_attempt_ns)
    assert node.state.role is Role.BLOCKED
    node.wait(ALPHA.inert_retry_ns)
    answer(node, Power.ON)
    assert (node.state.role, node.state.reason) == (Role.BLOCKED, Reason.INERT_PEER_ON), "once"
    assert count(node, PowerOff) >= 1


@pytest.mark.parametrize(
    ("policy", "orderly"), [(StartAlone.FENCE, False), (StartAlone.BMC_OFF, True), (StartAlone.BMC_OFF, False)]
)
def test_nobody_else_sends_a_command_to_a_peer_that_is_on(policy: StartAlone, orderly: bool) -> None:
    node = booted(policy, orderly=orderly)
    answer(node, Power.ON)
    node.wait(ALPHA.inert_retry_ns - 1)
    assert (node.state.role, node.state.reason) == (Role.BLOCKED, Reason.INERT_PEER_ON)
    assert count(node, PowerOff) == 0


def test_the_policy_fence_sends_nothing_to_a_bmc_that_does_not_answer() -> None:
    node = booted(StartAlone.FENCE, orderly=True)
    answer(node, Power.UNKNOWN)
    assert node.state.reason is Reason.INERT_PEER_UNKNOWN
    assert count(node, PowerOff) == 0


def test_a_peer_of_which_any_frame_came_is_not_fenced_by_a_booted_node() -> None:
    node = Node(replace(ALPHA, start_alone=StartAlone.FENCE), Memory(orderly=True)).tell(PeerHalfOpen(0))
    node.wait(ALPHA.initdead_ns)
    answer(node, Power.ON)
    assert count(node, PowerOff) == 0


def test_the_policy_wait_reads_nothing() -> None:
    node = booted(StartAlone.WAIT, orderly=True)
    assert (node.state.role, node.state.reason) == (Role.BLOCKED, Reason.INERT)
    assert count(node.wait(60 * SECOND), ReadPower) == 0


# What a hostile reader found


def test_a_planned_end_of_the_standby_does_not_end_the_lease() -> None:
    node = leased_alpha(has_fence=False).hear(Advert(Role.STANDBY, 2, ending=True)).wait(300 * SECOND)
    assert node.state.role is Role.ACTIVE, "it claims nothing any more, and its next life has to hear this node first"
    node.hear(Advert(Role.STANDBY, 2)).wait(ALPHA.lease_ns)
    assert node.state.reason is Reason.LEASE_ENDED


def test_the_last_word_of_a_peer_that_ends_comes_on_two_links() -> None:
    node = leased_alpha(has_fence=False).hear(Advert(Role.STANDBY, 2, ending=True), link=0)
    node.wait(MS).hear(None, link=1, newest=False).wait(300 * SECOND)
    assert node.state.role is Role.ACTIVE, "what was overtaken says nothing newer"
    node.tell(PeerHalfOpen(0)).wait(ALPHA.lease_ns)
    assert node.state.reason is Reason.LEASE_ENDED, "another session may have spoken"


def test_a_watchdog_that_is_armed_late_promises_nothing_to_a_peer_that_hears_nothing() -> None:
    node = Node(replace(ALPHA, lease_mode=True, has_fence=False)).wait(100 * MS).hear(STANDBY)
    node.tell(Activated(only(node, Activate).op_id)).wait(60 * SECOND)
    node.tell(GuardChanged(True, WATCHDOG))
    for _ in range(5):
        node.tell(PeerHalfOpen(0)).wait(100 * MS)  # what this node echoes may be fresh to the peer all the same
        said = advertise(node.state, node.now)
        assert said is not None
        assert said.promise_ns is None
    node.wait(300 * SECOND)
    assert node.state.role is Role.ACTIVE
    node.hear(Advert(Role.STANDBY, 2)).wait(ALPHA.lease_ns)
    assert node.state.reason is Reason.LEASE_ENDED


def test_a_stop_after_a_pause_has_no_time_beyond_the_lease() -> None:
    node = leased_alpha(has_fence=False)
    heard_at = node.now
    node.now += 15 * SECOND
    node.tell(Stalled(15 * SECOND))
    assert node.state.role is Role.YIELDING
    assert pet_end(node.settings, node.state) == heard_at + ALPHA.lease_ns + ALPHA.stop_bound_ns
    node.tell(Released(only(node, Release).op_id))
    assert pet_end(node.settings, node.state) is None


def test_no_grant_outlives_a_promise_that_is_taken_back_by_a_restart() -> None:
    node = leased_alpha()
    assert node.state.remembered.grant is None
    promised = Node(replace(ALPHA, lease_mode=True)).tell(GuardChanged(True, WATCHDOG)).wait(100 * MS).hear(STANDBY)
    assert promised.state.role is Role.CLAIMING
    assert promised.state.remembered.grant is None, "not even before the first frame after the claim"


def test_the_cap_on_fences_does_not_hold_a_claim_on_a_promise() -> None:
    node = standby_beta(lease_mode=True, fence_cap=1).tell(GuardChanged(True, WATCHDOG))
    node.state = replace(node.state, fences=(node.now,))
    node.hear(PROMISING).wait(BETA.deadtime_ns)
    assert node.state.reason is Reason.FENCE_CAP
    answer(node, Power.UNKNOWN).wait(WAIT)
    assert node.state.claimed_by is Grant.LEASE


def test_a_pause_makes_no_evidence() -> None:
    node = bereft_beta(lose=())
    node.now += 60 * SECOND
    node.tell(Stalled(60 * SECOND)).tell(PeerHalfOpen(0))
    for link in (0, 1):
        node.tell(LinkSignalChanged(link, False))
    assert until_asked(fail_the_fence(node)).state.check is None


def test_a_device_that_is_found_fit_refutes_a_loss_of_power() -> None:
    node = bereft_beta().tell(FenceReadinessChanged(False)).tell(FenceReadinessChanged(True))
    assert until_asked(fail_the_fence(node)).state.check is None


@pytest.mark.parametrize("spoken", [False, True])
def test_a_drill_does_not_end_the_lease_if_the_peer_was_silent_between_its_readings(spoken: bool) -> None:
    node = serve(leased_alpha().tell(FenceReadinessChanged(True)), 3 * SECOND).tell(DrillRequested(4))
    node.tell(PowerCommanded(only(node, PowerOff).op_id, accepted=True))
    node.tell(PowerRead(only(node, ReadPower).op_id, Power.OFF)).wait(ALPHA.off_interval_ns // 2)
    if spoken:
        node.tell(PeerHalfOpen(0))
    node.wait(ALPHA.off_interval_ns // 2)
    node.tell(PowerRead(only(node, ReadPower).op_id, Power.OFF))
    node.tell(PowerCommanded(only(node, PowerOn).op_id, accepted=True))
    assert node.state.peer_spent is not spoken
    node.wait(ALPHA.deadtime_ns)
    assert node.state.drill is None
    if node.state.check is not None:
        answer(node, Power.ON)  # the standby boots, and has heard nobody
    node.wait(ALPHA.lease_ns)
    assert (node.state.reason is Reason.LEASE_ENDED) is spoken


def test_a_missing_promise_stays_an_alarm_through_a_takeover() -> None:
    node = confirmed_off(lease_mode=True)
    told = [each for each in node.all if isinstance(each, ClearAlarm | RaiseAlarm) and each.alarm.code == "no_promise"]
    assert told == [RaiseAlarm(Alarm("no_promise"))]


def test_a_start_alone_listens_again_after_a_pause_between_its_readings() -> None:
    node = Node(BETA).wait(BETA.initdead_ns + BETA.half_open_max_ns)
    answer(node, Power.OFF).wait(BETA.off_interval_ns - 100 * MS).tell(Stalled(300 * MS))
    heard_out_at = node.now + BETA.deadtime_ns
    while not count(node, PowerOff):
        if node.state.check is not None and node.state.check.op_id is not None:
            answer(node, Power.OFF)
        if not count(node, PowerOff):
            node.wait(100 * MS)
    assert node.now >= heard_out_at


@pytest.mark.parametrize("held", ["paused", "sworn"])
def test_no_start_by_a_fence_after_a_pause_or_beside_an_oath(held: str) -> None:
    memory = Memory(epoch=2, orderly=True, sworn_off=held == "sworn")
    node = Node(replace(BETA, start_alone=StartAlone.FENCE), memory).wait(BETA.initdead_ns + BETA.half_open_max_ns)
    if held == "paused":
        node.tell(Stalled(300 * MS))
    answer(node, Power.ON)
    assert (node.state.role, node.state.reason) == (Role.BLOCKED, Reason.INERT_PEER_ON)
    assert count(node, PowerOff) == 0
    assert node.state.orderly, "the next reading may"
