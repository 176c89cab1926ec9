"""The decision: `step(settings, state, event, now) -> (state, effects)`, and when to ask it again.

Total and pure: an event that does not fit changes nothing. First the facts of the event are taken into the state, then
the policy of the role is asked until nothing changes, then alarms and memory are compared with what was said before.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import assert_never

from hblink.core.effect import Answer, ClearAlarm, Effect, RaiseAlarm, Reannounce, Release, Remember
from hblink.core.event import (
    Activated,
    ActivationFailed,
    ConfirmRequested,
    Event,
    FenceReadinessChanged,
    LinkClosed,
    LinkOpened,
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
    Started,
    SwitchoverRequested,
    Woke,
)
from hblink.core.fence import (
    begin_check,
    grant_confirmation,
    on_power_commanded,
    on_power_read,
    pursue_power_on,
    suspend_attempt,
    void_readings,
)
from hblink.core.invariant import InvariantViolated, check_invariants
from hblink.core.liveness import alarms_of, is_fresh, is_silent, silent_at, slot_start
from hblink.core.policy import act, finish_release, finish_request, finish_start, peer_is_ready
from hblink.core.state import CheckPurpose, Request, State, holds_token, memory_of, veto
from hblink.core.turn import (
    Turn,
    become_halted,
    become_standby,
    become_yielding,
    drop_check,
)
from hblink.core.value import (
    EPOCH_MAX,
    MEMORY_GRAIN_NS,
    OWNING,
    Advert,
    Grant,
    Memory,
    Reason,
    Role,
    Settings,
    next_epoch,
)

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


def next_wakeup(settings: Settings, state: State, now: int) -> int | None:
    """The earliest instant after `now` at which `step` could do something by itself; None if never."""
    return min((at for at in _deadlines(settings, state, now) if at > now), default=None)


def _take(turn: Turn, event: Event) -> None:  # noqa: C901 - one arm for each kind of event
    match event:
        case Started():
            _start(turn, event.memory)
        case Woke():
            pass
        case Stalled():
            _stall(turn, event.late_ns)
        case PeerBeat():
            _beat(turn, event)
        case PeerHalfOpen():
            _half_open(turn)
        case LinkOpened() | LinkClosed():
            links = list(turn.state.links)
            links[event.link] = replace(links[event.link], open=isinstance(event, LinkOpened))
            turn.set(links=tuple(links))
        case ServiceCarrierChanged():
            turn.set(carrier=event.up)
        case FenceReadinessChanged():
            turn.set(fence_ready=event.ready)
        case Activated() | ActivationFailed():
            if turn.state.role is Role.CLAIMING and event.op_id == turn.state.service_op:
                finish_start(turn, ok=isinstance(event, Activated))
        case ServiceLost():
            if turn.state.role is Role.ACTIVE and peer_is_ready(turn):
                finish_start(turn, ok=False)  # the peer may try; with nobody to try, this node goes on trying
        case Released() | ReleaseFailed():
            _released(turn, event)
        case PowerRead():
            on_power_read(turn, event.op_id, event.power)
        case PowerCommanded():
            on_power_commanded(turn, event.op_id, event.accepted)
        case SwitchoverRequested():
            _switchover(turn, event.request)
        case ConfirmRequested():
            _confirm(turn, event.request)
        case ShutdownRequested():
            _shut_down(turn)
        case _:
            assert_never(event)


def _start(turn: Turn, memory: Memory) -> None:
    """The first act is to stop and read back whatever runs, before the first frame (S8)."""
    now = turn.now
    authentic_at = memory.last_authentic_at
    if authentic_at is not None and authentic_at > now:
        authentic_at = None  # of another kernel boot
    op_id = turn.op()
    turn.set(
        role_at=now,
        epoch=max(memory.epoch, turn.settings.preferred),
        ran=memory.ran,
        heard=memory.peer_heard,
        grant=memory.grant,
        listen_until=now + turn.settings.initdead_ns,
        cleared_at=now,
        service_op=op_id,
        remembered=memory,
        peer=replace(turn.state.peer, fresh_floor_at=now, authentic_at=authentic_at),
    )
    turn.emit(Release(op_id))


def _stall(turn: Turn, late_ns: int) -> None:
    """Accuse nobody for a while (I6); after a long pause drop the service before anything is read (S7).

    However short the pause was, what came in meanwhile may be lost: the silence before it proves nothing any more.
    """
    settings, now = turn.settings, turn.now
    turn.set(listen_until=max(turn.state.listen_until, now + settings.deadtime_ns), confirmed_until=None)
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


def _authentic(turn: Turn) -> None:
    """Any authentic frame: the peer lives, so nothing that rests on its silence stands any more."""
    turn.set(grant=None)
    void_readings(turn)
    drop_check(turn, Reason.PEER_HEARD)


def _half_open(turn: Turn) -> None:
    _authentic(turn)
    half_open_at = turn.state.peer.half_open_at
    turn.set_peer(
        advert=None,
        authentic_at=turn.now,
        half_open_at=turn.now if half_open_at is None else half_open_at,
    )


def _beat(turn: Turn, beat: PeerBeat) -> None:
    now = turn.now
    _authentic(turn)
    anew = beat.adopted or not is_fresh(turn.settings, turn.state, now)
    links = list(turn.state.links)
    links[beat.link] = replace(links[beat.link], heard_at=now)
    listen_until = min(turn.state.listen_until, now)  # listening is over as soon as there is something to hear
    turn.set(links=tuple(links), power_on_at=None, listen_until=listen_until)
    turn.set_peer(fresh_at=now, fresh_floor_at=now, authentic_at=now, half_open_at=None)
    if anew:
        turn.set_peer(advert=None, fresh_since=now, hears=0, stop_failed_at=None)
    if not beat.newest:
        return
    turn.set_peer(advert=beat.advert, echo_sent_at=beat.echo_sent_at)
    if beat.hears is not None:
        turn.set_peer(hears=beat.hears)
    if beat.advert is not None:
        _apply(turn, beat.advert)


def _apply(turn: Turn, advert: Advert) -> None:
    """Take in what the peer says of itself: its epoch, a conflict, a failed stop."""
    settings, state, now = turn.settings, turn.state, turn.now
    since = state.peer.stop_failed_at
    turn.set(heard=True)  # its epoch is known from here on: a frame that could not be applied would not do
    turn.set_peer(stop_failed_at=(now if since is None else since) if advert.stop_failed else None)
    conflict = advert.role in OWNING and state.role in OWNING
    if state.role in OWNING:
        if conflict and advert.epoch > state.epoch:
            turn.set(epoch=advert.epoch, dual_seen=True)
            become_yielding(turn, Reason.DUAL_ACTIVE)
        elif conflict:
            if not state.dual_seen:
                turn.emit(Reannounce())
            turn.set(dual_seen=True)
        elif advert.epoch > state.epoch and advert.epoch < EPOCH_MAX - 1:
            turn.set(epoch=next_epoch(advert.epoch, settings.me))  # S9: from a node that owns nothing
    elif advert.epoch > state.epoch:
        turn.set(epoch=advert.epoch)
        if state.yielded and not holds_token(settings, advert.epoch):
            turn.set(yielded=False, cleared_at=now)  # the yield was used: there is nothing left to promise
    if turn.state.dual_seen and not conflict:
        turn.set(dual_seen=False)
        if turn.state.role in OWNING:
            turn.emit(Reannounce())  # the loser has let go: the neighbours must hear the winner last


def _released(turn: Turn, event: Released | ReleaseFailed) -> None:
    state = turn.state
    if event.op_id != state.service_op or state.role not in (Role.STARTING, Role.YIELDING, Role.HALTED):
        return
    if isinstance(event, Released):
        finish_release(turn)
    else:
        become_halted(turn)


def _switchover(turn: Turn, request: int) -> None:
    """Move the service away from here if this node is active, else ask the active peer for it."""
    settings, state, now = turn.settings, turn.state, turn.now
    advert = state.peer.advert
    refusal = Reason.NOT_ACTIVE
    if state.request is not None:
        refusal = Reason.BUSY
    elif state.role is Role.ACTIVE:
        if peer_is_ready(turn):
            turn.set(request=Request(request, now + 2 * settings.handover_ns, to_me=False))
            become_yielding(turn, Reason.SWITCHOVER)
            return
        outstanding = state.outstanding_until is not None
        refusal = Reason.FENCE_OUTSTANDING if outstanding else Reason.PEER_NOT_READY
    elif state.role is Role.STANDBY and advert is not None and advert.role is Role.ACTIVE:
        forbidden = veto(state, now)
        if forbidden is None and is_fresh(settings, state, now):
            until = now + settings.handover_ns
            turn.set(request=Request(request, until, to_me=True), want_until=until)
            return
        refusal = forbidden or Reason.PEER_NOT_READY
    turn.emit(Answer(request, ok=False, reason=refusal))


def _confirm(turn: Turn, request: int) -> None:
    """S16: refused while the peer was heard lately, and while its BMC says ON."""
    settings, state, now = turn.settings, turn.state, turn.now
    authentic_at = state.peer.authentic_at
    lately = authentic_at is not None and now < authentic_at + settings.deadtime_ns
    waited = now >= state.peer.fresh_floor_at + settings.deadtime_ns
    refusal = None
    if state.role not in (Role.STANDBY, Role.BLOCKED):
        refusal = Reason.BUSY if state.role is Role.FENCING else Reason.NOT_BLOCKED
    elif lately or not waited:
        refusal = Reason.PEER_HEARD
    elif state.check is not None and state.check.purpose is CheckPurpose.CONFIRM:
        refusal = Reason.BUSY
    if refusal is not None:
        turn.emit(Answer(request, ok=False, reason=refusal))
        return
    drop_check(turn, Reason.BUSY)
    if settings.has_fence:
        begin_check(turn, CheckPurpose.CONFIRM, request)
    else:
        grant_confirmation(turn, request)


def _shut_down(turn: Turn) -> None:
    if turn.state.stop_by is None:
        turn.set(stop_by=turn.now + turn.settings.handover_ns)
    drop_check(turn, Reason.SHUTTING_DOWN)
    if turn.state.role is Role.FENCING:
        become_standby(turn, Reason.SHUTTING_DOWN)


def _expire(turn: Turn) -> None:
    """Let go of what has lasted its time; the newest frame of the peer is worth deadtime and no more."""
    state, now = turn.state, turn.now
    if state.confirmed_until is not None and now >= state.confirmed_until:
        turn.set(confirmed_until=None)
    if state.outstanding_until is not None and now >= state.outstanding_until:
        turn.set(outstanding_until=None)
        serving = state.role in OWNING and state.claimed_by is not Grant.OPERATOR
        if serving and not is_fresh(turn.settings, state, now):
            turn.set(power_on_at=now)  # an `off` may have come after the `on`; never where a person swore it is off
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


def _deadlines(settings: Settings, state: State, now: int) -> Iterator[int]:
    """Every instant at which something may come due; those that have passed have been acted on."""
    yield silent_at(settings, state)
    yield state.listen_until
    peer = state.peer
    for since, wait in (
        (peer.fresh_at, settings.deadtime_ns),
        (peer.fresh_at, settings.warntime_ns),
        (peer.fresh_since, settings.deadtime_ns),
        (peer.half_open_at, settings.warntime_ns),
        (peer.stop_failed_at, settings.stop_failed_fence_ns),
        (peer.authentic_at, settings.lease_ns + settings.lease_margin_ns),
    ):
        if since is not None:
            yield since + wait
    for link in state.links:
        if link.heard_at is not None:
            yield link.heard_at + settings.deadtime_ns
    yield from _optional(
        state.confirmed_until,
        state.outstanding_until,
        state.start_hold_until,
        state.stop_retry_at,
        state.power_on_at,
        state.check_retry_at,
        state.want_until,
        state.stop_by,
        None if state.request is None else state.request.deadline_at,
        None if state.check is None else state.check.act_at,
    )
    if state.attempt is not None:
        yield from _optional(state.attempt.act_at, state.attempt.deadline_at)
    if state.yielded:
        yield state.yielded_at + settings.handover_ns
    if state.role in (Role.STARTING, Role.YIELDING):
        yield state.role_at + settings.stop_bound_ns
    if state.role is Role.CLAIMING:
        yield state.role_at + settings.start_bound_ns
    if state.role in (Role.STANDBY, Role.BLOCKED) and is_silent(settings, state, now):
        yield slot_start(settings, state, now)


def _optional(*instants: int | None) -> Iterator[int]:
    return (at for at in instants if at is not None)


__all__ = ["next_wakeup", "step"]
