"""The decision: `step(settings, state, event, now) -> (state, effects)`, and when to ask it again.

Total and pure: an event that does not fit changes nothing. First the facts of the event are taken into the state, then
the policy of the role is asked until nothing changes, then alarms and memory are compared with what was said before.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, assert_never

from hblink.core.effect import ClearAlarm, Effect, RaiseAlarm, Release, Remember
from hblink.core.event import (
    Activated,
    ActivationFailed,
    AddressHolderChanged,
    ConfirmRequested,
    DrillRequested,
    Event,
    FenceReadinessChanged,
    GuardChanged,
    HealthMeasured,
    LinkClosed,
    LinkOpened,
    LinkSignalChanged,
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
    Started,
    SwitchoverRequested,
    Woke,
)
from hblink.core.evidence import forget_signals, refute_power_loss
from hblink.core.fence import on_power_commanded, on_power_read, pursue_power_on, suspend_attempt
from hblink.core.invariant import InvariantViolated, check_invariants
from hblink.core.lease import promise_of
from hblink.core.liveness import alarms_of, is_fresh, peer_is_ready
from hblink.core.peer import take_beat, take_half_open
from hblink.core.policy import act, finish_release, finish_start
from hblink.core.request import end_maintenance, finish_request, shut_down, take_request
from hblink.core.state import LinkView, State, in_maintenance, memory_of
from hblink.core.turn import Turn, become_halted, become_standby, become_yielding, drop_check
from hblink.core.value import (
    FENCE_CAP_PERIOD_NS,
    MEMORY_GRAIN_NS,
    OWNING,
    Grant,
    Holder,
    Memory,
    Reason,
    Role,
    Settings,
)
from hblink.core.wakeup import next_wakeup

# More changes of role in one step than any chain of rules can make.
_SETTLE_LIMIT = 8


def step(settings: Settings, state: State, event: Event, now: int) -> tuple[State, tuple[Effect, ...]]:
    """Take one event into `state` at instant `now`; return the new state and what is wanted, in order.

    Deterministic and without side effects. Raises InvariantViolated if the result would break an invariant of
    core.invariant; the caller must then end without clean-up. Frames are to be sent at once, before anything but
    Remember is carried out, if `advertise` of the new state differs from that of the old one.
    """
    turn = Turn(settings, state, now)
    _take(turn, event)
    _expire(turn)
    _make_promise(turn)
    finish_request(turn)  # what it lifts is acted on in this step
    for _ in range(_SETTLE_LIMIT):
        if not act(turn):
            break
    else:
        raise InvariantViolated("the policy does not settle")
    pursue_power_on(turn)
    finish_request(turn)
    _compare_alarms(turn)
    memory = memory_of(turn.state)
    if _must_remember(turn.state.remembered, memory):
        turn.set(remembered=memory)
        turn.effects.insert(0, Remember(memory))
    check_invariants(settings, turn.state)
    return turn.state, tuple(turn.effects)


def _take(turn: Turn, event: Event) -> None:  # noqa: C901 - one arm for each kind of event
    match event:
        case Started():
            _start(turn, event.memory)
        case Woke():
            pass
        case Stalled():
            _stall(turn, event.late_ns)
        case PeerBeat():
            take_beat(turn, event)
        case PeerHalfOpen():
            take_half_open(turn)
        case LinkOpened():
            _change_link(turn, event.link, open=True)
        case LinkClosed():
            _change_link(turn, event.link, open=False, signal=None, signal_lost_at=None)
        case LinkSignalChanged():
            lost_at = _signal_lost_at(turn.state.links[event.link], event.present, turn.now)
            _change_link(turn, event.link, signal=event.present, signal_lost_at=lost_at)
        case ServiceCarrierChanged():
            turn.set(carrier=event.up)
        case HealthMeasured():
            turn.set(health=event.score)
        case AddressHolderChanged():
            seen = event.holder is not Holder.NONE
            turn.set(holder=event.holder, holder_until=turn.now + turn.settings.holder_ttl_ns if seen else None)
        case GuardChanged():
            turn.set(guard_armed=event.armed, guard_ns=event.timeout_ns if event.armed else None)
        case FenceReadinessChanged():
            turn.set(fence_ready=event.ready)
            if event.ready:
                refute_power_loss(turn)
        case Activated() | ActivationFailed():
            if turn.state.role is Role.CLAIMING and event.op_id == turn.state.service_op:
                finish_start(turn, ok=isinstance(event, Activated))
        case ServiceLost():
            movable = peer_is_ready(turn.settings, turn.state, turn.now) and not in_maintenance(turn.state)
            if turn.state.role is Role.ACTIVE and movable:
                finish_start(turn, ok=False)  # the peer may try; with nobody to try, this node goes on trying
        case Released() | ReleaseFailed():
            _released(turn, event)
        case PowerRead():
            on_power_read(turn, event.op_id, event.power, event.gone)
        case PowerCommanded():
            on_power_commanded(turn, event.op_id, event.accepted)
        case ShutdownRequested():
            shut_down(turn)
        case (
            SwitchoverRequested()
            | StandbyRequested()
            | OnlineRequested()
            | MaintenanceRequested()
            | DrillRequested()
            | ConfirmRequested()
        ):
            take_request(turn, event)
        case _:
            assert_never(event)


def _make_promise(turn: Turn) -> None:
    """An armed watchdog lets a node in lease mode promise (S2e); what it has promised once it keeps.

    One that serves already and does not hear its peer promises nothing to it: that would only end the service.
    """
    settings, state = turn.settings, turn.state
    if not settings.lease_mode or state.promise_ns is not None or state.guard_ns is None:
        return
    if state.role not in OWNING or is_fresh(settings, state, turn.now):
        turn.set(promise_ns=promise_of(settings, state.guard_ns))


def _start(turn: Turn, memory: Memory) -> None:
    """The first act is to stop and read back whatever runs, before the first frame (S8)."""
    now = turn.now
    authentic_at = memory.last_authentic_at
    if authentic_at is not None and authentic_at > now:
        authentic_at = None  # of another kernel boot
    # S18: a peer that knows of the maintenance takes nothing, however long this daemon was away.
    maintained = memory.unleased and (memory.maintenance or memory.peer_maintenance)
    op_id = turn.op()
    turn.set(
        role_at=now,
        epoch=max(memory.epoch, turn.settings.preferred),
        ran=memory.ran,
        heard=memory.peer_heard,
        grant=Grant.MAINTAINED if maintained else memory.grant,
        listen_until=now + turn.settings.initdead_ns,
        cleared_at=now,
        service_op=op_id,
        standby_ordered=memory.standby,
        maintenance=memory.maintenance,
        maintenance_at=now,
        maintenance_until=memory.maintenance_until,
        outstanding_until=_outstanding_until(turn, memory),
        fences=memory.fences,
        fence_lied=memory.fence_lied,
        orderly=memory.orderly,
        owes_on=memory.owes_on,
        sworn_off=memory.sworn_off,
        remembered=memory,
        peer=replace(
            turn.state.peer,
            fresh_floor_at=now,
            authentic_at=authentic_at,
            maintenance=memory.peer_maintenance,
        ),
    )
    turn.emit(Release(op_id))


def _outstanding_until(turn: Turn, memory: Memory) -> int | None:
    """S3: the daemon before may have died while an `off` was under way, and never called it outstanding."""
    if not memory.off_under_way:
        return memory.outstanding_until
    return max(memory.outstanding_until or 0, turn.now + turn.settings.fence_latency_ns)


def _stall(turn: Turn, late_ns: int) -> None:
    """Accuse nobody for a while (I6); after a long pause drop the service before anything is read (S7).

    However short the pause was, what came in meanwhile may be lost: the silence before it proves nothing any more.
    """
    settings, now = turn.settings, turn.now
    turn.set(listen_until=max(turn.state.listen_until, now + settings.deadtime_ns), confirmed_until=None)
    if settings.lease_mode:
        turn.set_peer(promised_at=now)  # the clock may have jumped, and the peer's with it or not
    if settings.power_loss_evidence:
        forget_signals(turn)
    if late_ns < settings.release_late_ns:
        suspend_attempt(turn)
        return
    if turn.state.role is Role.FENCING:
        become_standby(turn, Reason.STALL)
    turn.set(cleared_at=now)
    turn.set_peer(advert=None, fresh_floor_at=now)
    drop_check(turn, Reason.STALL)
    if turn.state.role in OWNING:
        become_yielding(turn, Reason.STALL)


def _change_link(turn: Turn, index: int, **changes: Any) -> None:
    links = list(turn.state.links)
    links[index] = replace(links[index], **changes)
    turn.set(links=tuple(links))


def _signal_lost_at(link: LinkView, present: bool | None, now: int) -> int | None:
    """Since when a signal that was there has been away: one that was never felt is none that was lost."""
    if present is not False:
        return None
    return now if link.signal else link.signal_lost_at


def _released(turn: Turn, event: Released | ReleaseFailed) -> None:
    state = turn.state
    if event.op_id != state.service_op or state.role not in (Role.STARTING, Role.YIELDING, Role.HALTED):
        return
    if isinstance(event, Released):
        finish_release(turn)
    else:
        become_halted(turn)


def _expire(turn: Turn) -> None:
    """Let go of what has lasted its time; the newest frame of the peer is worth deadtime and no more."""
    state, now = turn.state, turn.now
    if state.confirmed_until is not None and now >= state.confirmed_until:
        turn.set(confirmed_until=None)
    if state.holder_until is not None and now >= state.holder_until:
        turn.set(holder=Holder.NONE, holder_until=None)
    if state.move_held_until is not None and now >= state.move_held_until:
        turn.set(move_held_until=None)
    if state.maintenance_until is not None and now >= state.maintenance_until:
        end_maintenance(turn)
    if state.fences and now >= state.fences[0] + FENCE_CAP_PERIOD_NS:
        turn.set(fences=tuple(at for at in state.fences if now < at + FENCE_CAP_PERIOD_NS))
    if state.outstanding_until is not None and now >= state.outstanding_until:
        turn.set(outstanding_until=None)
    if state.start_hold_until is not None and now >= state.start_hold_until:
        turn.set(start_hold_until=None)
    if not is_fresh(turn.settings, state, now) and (state.peer.advert is not None or state.dual_seen):
        turn.set_peer(advert=None)
        turn.set(dual_seen=False)


def _compare_alarms(turn: Turn) -> None:
    alarms = alarms_of(turn.settings, turn.state, turn.now)
    before = turn.state.alarms
    if alarms == before:
        return
    for alarm in sorted(before - alarms):
        turn.emit(ClearAlarm(alarm))
    for alarm in sorted(alarms - before):
        turn.emit(RaiseAlarm(alarm))
    turn.set(alarms=alarms)


def _must_remember(old: Memory, new: Memory) -> bool:
    if replace(old, last_authentic_at=None) != replace(new, last_authentic_at=None):
        return True
    if new.last_authentic_at is None:
        return False
    return old.last_authentic_at is None or new.last_authentic_at >= old.last_authentic_at + MEMORY_GRAIN_NS


__all__ = ["next_wakeup", "step"]
