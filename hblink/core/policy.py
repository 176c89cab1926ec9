"""What a node does about what it knows: level-triggered, asked again after every event until nothing changes.

Each role has one function, which looks at the state and the instant and either changes the role, or says by its reason
why not. It claims only on a grant of SAFETY S2; health, wishes and preference only decide whether to yield.
"""

from __future__ import annotations

from hblink.core.effect import Answer, Exit, Release
from hblink.core.fence import begin_check, pursue_attempt, pursue_check
from hblink.core.liveness import is_fresh, is_silent, slot_start, stop_failed_stands
from hblink.core.state import CheckPurpose, holds_token, veto
from hblink.core.turn import (
    Turn,
    become_active,
    become_blocked,
    become_claiming,
    become_fencing,
    become_halted,
    become_standby,
    become_yielding,
    say_yielded,
)
from hblink.core.value import OWNING, Grant, Guarantee, Reason, Role

# Reasons for giving the service up after which the peer is told that it may have it (S8).
_YIELD_REASONS = frozenset(
    {Reason.SWITCHOVER, Reason.NO_SERVICE_CARRIER, Reason.START_FAILED, Reason.SHUTTING_DOWN, Reason.STOP_FAILED}
)


def act(turn: Turn) -> bool:
    """Do what the present role demands now; returns whether the role changed, so that the new one is asked too."""
    match turn.state.role:
        case Role.STARTING | Role.YIELDING:
            return _bound_stop(turn)
        case Role.CLAIMING:
            return _bound_start(turn)
        case Role.ACTIVE:
            return _act_active(turn)
        case Role.FENCING:
            return pursue_attempt(turn)
        case Role.HALTED:
            return _act_halted(turn)
        case Role.STANDBY | Role.BLOCKED:
            return _act_idle(turn)


def finish_release(turn: Turn) -> None:
    """Every stop succeeded, read back: the service is nowhere on this node."""
    became = turn.state.reason
    yields = turn.state.role is not Role.STARTING and became in _YIELD_REASONS
    # Stopping may have kept this node from listening. And one that said STOP_FAILED may be under fence already: it
    # accuses nobody until that would be over.
    halted = turn.state.role is Role.HALTED
    listen_ns = turn.settings.slot_ns if halted else turn.settings.deadtime_ns
    turn.set(listen_until=max(turn.state.listen_until, turn.now + listen_ns))
    become_standby(turn, became, yielded=yields)


def finish_start(turn: Turn, *, ok: bool) -> None:
    """The service runs; or it does not, and the peer may try once."""
    if ok:
        become_active(turn)
    else:
        turn.set(start_hold_until=turn.now + turn.settings.start_hold_ns)
        become_yielding(turn, Reason.START_FAILED)


def peer_is_ready(turn: Turn) -> bool:
    """Whether the peer could take the service in a planned move right now."""
    state = turn.state
    advert = state.peer.advert
    return (
        is_fresh(turn.settings, state, turn.now)
        and advert is not None
        and advert.role is Role.STANDBY
        and advert.able
        and state.outstanding_until is None
    )


def _bound_stop(turn: Turn) -> bool:
    if turn.now < turn.state.role_at + turn.settings.stop_bound_ns:
        return False
    become_halted(turn)
    return True


def _bound_start(turn: Turn) -> bool:
    if turn.state.stop_by is not None:
        become_yielding(turn, Reason.SHUTTING_DOWN)
        return True
    if turn.now < turn.state.role_at + turn.settings.start_bound_ns:
        return False
    finish_start(turn, ok=False)
    return True


def _act_halted(turn: Turn) -> bool:
    """Go on trying to stop: the node stays dangerous until that works, or until it is fenced."""
    state = turn.state
    if state.stop_by is not None and turn.now >= state.stop_by:
        _exit(turn)
    if state.stop_retry_at is not None and turn.now >= state.stop_retry_at:
        op_id = turn.op()
        turn.set(service_op=op_id, stop_retry_at=None)
        turn.emit(Release(op_id))
    return False


def _act_active(turn: Turn) -> bool:
    """Yield when that is wanted and leaves the service on somebody; never for silence (S4)."""
    state = turn.state
    advert = state.peer.advert
    ready = peer_is_ready(turn)
    if state.stop_by is not None:
        become_yielding(turn, Reason.SHUTTING_DOWN)
    elif not state.carrier and ready:
        become_yielding(turn, Reason.NO_SERVICE_CARRIER)
    elif advert is not None and advert.want and ready:
        become_yielding(turn, Reason.SWITCHOVER)
    else:
        return False
    return True


def _act_idle(turn: Turn) -> bool:
    """STANDBY or BLOCKED: take back a yield, claim on a grant, or see what the silence of the peer allows."""
    settings, now = turn.settings, turn.now
    if turn.state.stop_by is not None:
        _leave(turn)
        return False
    if turn.state.role is Role.BLOCKED and not is_silent(settings, turn.state, now):
        if stop_failed_stands(settings, turn.state, now):
            return _act_on_stop_failed(turn)
        heard_at = turn.state.peer.authentic_at
        if heard_at is None or heard_at < turn.state.role_at:
            return False  # it is this node that listens anew, after a hiccup
        become_standby(turn, Reason.WAITING_FOR_PEER)
        return True
    _keep_yield(turn)
    grant = _grant(turn)
    forbidden = veto(turn.state, now)
    if grant is not None and forbidden is None:
        become_claiming(turn, grant)
        return True
    pursue_check(turn)
    if is_silent(settings, turn.state, now):
        return _act_alone(turn, forbidden)
    if stop_failed_stands(settings, turn.state, now):
        return _act_on_stop_failed(turn)
    _explain(turn, forbidden)
    return False


def _act_on_stop_failed(turn: Turn) -> bool:
    """The peer is heard and cannot stop what it runs: fence it, else say that nobody serves (S8)."""
    state, now = turn.state, turn.now
    forbidden = veto(state, now)
    if forbidden is not None:
        return _block(turn, forbidden)
    if not turn.settings.has_fence:
        return _block(turn, Reason.NO_FENCE_DEVICE)
    if state.check_retry_at is not None and now < state.check_retry_at:
        return _block(turn, Reason.FENCE_FAILED)
    turn.set(check_retry_at=None)
    become_fencing(turn, Reason.PEER_STOP_FAILED)
    return True


def _grant(turn: Turn) -> Grant | None:
    """The grant of S2 that this node has now; (b) is found where the OFF is read, in core.fence."""
    settings, state, now = turn.settings, turn.state, turn.now
    advert = state.peer.advert
    token = holds_token(settings, state.epoch)
    if state.confirmed_until is not None and now < state.confirmed_until:
        return Grant.OPERATOR
    if advert is not None and advert.role is Role.STANDBY and advert.epoch == state.epoch:
        if advert.yielded and not token:
            return Grant.YIELDED
        if token and not state.yielded and not advert.yielded and state.peer.echo_sent_at > state.cleared_at:
            return Grant.NOT_TAKEN
    if state.grant is not None and token and not state.yielded and advert is None and is_silent(settings, state, now):
        return Grant.KEPT
    return None


def _keep_yield(turn: Turn) -> None:
    """Say YIELDED while this node holds the token and is unable; begin to take it back when nobody took it.

    Clearing the flag grants nothing: the claim that may follow needs (c), an echo of a frame sent after this instant.
    """
    settings, state, now = turn.settings, turn.state, turn.now
    token = holds_token(settings, state.epoch)
    forbidden = veto(state, now) is not None
    if state.yielded and not forbidden and now >= state.yielded_at + settings.handover_ns:
        turn.set(yielded=False, cleared_at=now)
    elif token and not state.yielded and forbidden:
        say_yielded(turn)


def _act_alone(turn: Turn, forbidden: Reason | None) -> bool:
    """The peer is silent, and no grant is at hand."""
    settings, state, now = turn.settings, turn.state, turn.now
    if state.check is not None:
        return False
    if not state.heard:
        return _act_inert(turn, forbidden)
    tried = state.role is Role.BLOCKED and state.reason in (Reason.FENCE_FAILED, Reason.NO_FENCE_DEVICE)
    if settings.guarantee is Guarantee.AT_LEAST_ONE and tried and forbidden is None:
        authentic_at = state.peer.authentic_at
        wait = settings.lease_ns + settings.lease_margin_ns
        if authentic_at is not None and now >= authentic_at + wait:
            become_claiming(turn, Grant.WRITTEN_WISH)
            return True
    if forbidden is not None:
        return _block(turn, forbidden)
    if not settings.has_fence:
        return _block(turn, Reason.NO_FENCE_DEVICE)
    if now >= slot_start(settings, state, now):
        become_fencing(turn, Reason.PEER_SILENT)
        return True
    if state.reason is not Reason.FENCE_FAILED:  # which says more, until the next attempt
        _say(turn, Reason.WAITING_FOR_SLOT)
    return False


def _act_inert(turn: Turn, forbidden: Reason | None) -> bool:
    """Booted and never heard the peer since: send no command unless its BMC was read OFF twice before (S5)."""
    state, now = turn.state, turn.now
    if forbidden is not None:
        return _block(turn, forbidden)
    if not turn.settings.has_fence or not turn.settings.start_alone:
        return _block(turn, Reason.INERT)
    if state.check_retry_at is None or now >= state.check_retry_at:
        turn.set(check_retry_at=None)
        begin_check(turn, CheckPurpose.START_ALONE)
    if state.role is Role.STANDBY:
        _say(turn, Reason.INERT)
    return False


def _block(turn: Turn, reason: Reason) -> bool:
    """Become BLOCKED, or stay so for another reason; a failed fence stays the reason until the next attempt."""
    state = turn.state
    if state.role is Role.BLOCKED and state.reason is reason:
        return False
    become_blocked(turn, reason)
    return True


def _explain(turn: Turn, forbidden: Reason | None) -> None:
    """Keep the reason true of why this node runs nothing."""
    state = turn.state
    advert = state.peer.advert
    if forbidden is not None:
        _say(turn, forbidden)
    elif advert is not None and advert.role in OWNING:
        _say(turn, Reason.PEER_ACTIVE)
    elif state.yielded:
        _say(turn, Reason.YIELDED)
    elif turn.now < state.listen_until and advert is None:
        _say(turn, Reason.LISTENING)
    else:
        _say(turn, Reason.WAITING_FOR_PEER)


def _say(turn: Turn, reason: Reason) -> None:
    if turn.state.reason is not reason:
        turn.set(reason=reason)


def _leave(turn: Turn) -> None:
    """The daemon is to end and nothing runs here: let the peer take what this node holds, then exit."""
    settings, state, now = turn.settings, turn.state, turn.now
    assert state.stop_by is not None
    token = holds_token(settings, state.epoch)
    if token and not state.yielded and peer_is_ready(turn):
        say_yielded(turn)
    if not token or not peer_is_ready(turn) or now >= state.stop_by:
        _exit(turn)


def _exit(turn: Turn) -> None:
    if not turn.state.exiting:
        turn.set(exiting=True)
        turn.emit(Exit())


def finish_request(turn: Turn) -> None:
    """Answer a switchover that has succeeded, failed or run out of time."""
    state, now = turn.state, turn.now
    if state.want_until is not None and (now >= state.want_until or state.role in OWNING):
        turn.set(want_until=None)
    pending = state.request
    if pending is None:
        return
    advert = state.peer.advert
    peer_active = advert is not None and advert.role is Role.ACTIVE and not holds_token(turn.settings, state.epoch)
    mine = state.role is Role.ACTIVE
    if mine if pending.to_me else peer_active:
        turn.emit(Answer(pending.request, ok=True, reason=Reason.NONE))
    elif now >= pending.deadline_at or (mine and not pending.to_me):
        turn.emit(Answer(pending.request, ok=False, reason=Reason.TIMED_OUT))
    else:
        return
    turn.set(request=None)
