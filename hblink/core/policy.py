"""What a node does about what it knows: level-triggered, asked again after every event until nothing changes.

Each role has one function, which looks at the state and the instant and either changes the role, or says by its reason
why not. It claims only on a grant of SAFETY S2; health, wishes and preference only decide whether to yield.
"""

from __future__ import annotations

from hblink.core.alone import act_alone, no_device
from hblink.core.drill import pursue_drill
from hblink.core.effect import Exit, LeaseService, Release, ResetSelf
from hblink.core.fence import begin_check_in_time, fence_is_capped, pursue_attempt, pursue_check
from hblink.core.lease import lease_end
from hblink.core.liveness import is_silent, peer_is_ready, stop_failed_stands
from hblink.core.state import CheckPurpose, can_fence, claim_veto, holds_token, in_maintenance, veto
from hblink.core.turn import (
    Turn,
    become_active,
    become_claiming,
    become_fencing,
    become_halted,
    become_standby,
    become_yielding,
    block,
    say,
    say_yielded,
)
from hblink.core.value import HEALTH_UNKNOWN, OWNING, PEER_IS_OFF, Grant, Guarantee, Reason, Role

# Reasons for giving the service up after which the peer is told that it may have it (S8).
_YIELD_REASONS = frozenset(
    {
        Reason.SWITCHOVER,
        Reason.FAILBACK,
        Reason.PEER_HEALTHIER,
        Reason.NO_SERVICE_CARRIER,
        Reason.START_FAILED,
        Reason.SHUTTING_DOWN,
        Reason.STOP_FAILED,
    }
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


def _bound_stop(turn: Turn) -> bool:
    if turn.now < turn.state.role_at + turn.settings.stop_bound_ns:
        return False
    become_halted(turn)
    return True


def _bound_start(turn: Turn) -> bool:
    if turn.state.stop_by is not None:
        become_yielding(turn, Reason.SHUTTING_DOWN)
        return True
    if _keep_lease(turn):
        return True
    if turn.now < turn.state.role_at + turn.settings.start_bound_ns:
        return False
    finish_start(turn, ok=False)
    return True


def _act_halted(turn: Turn) -> bool:
    """Go on trying to stop: the node stays dangerous until that works, or until it is fenced."""
    state = turn.state
    reset_ns = turn.settings.self_reset_ns
    if reset_ns is not None and not state.reset_asked and turn.now >= state.role_at + reset_ns:
        turn.set(reset_asked=True)
        turn.emit(ResetSelf())
    if state.stop_by is not None and turn.now >= state.stop_by and (reset_ns is None or turn.state.reset_asked):
        _exit(turn)
    if state.stop_retry_at is not None and turn.now >= state.stop_retry_at:
        op_id = turn.op()
        turn.set(service_op=op_id, stop_retry_at=None)
        turn.emit(Release(op_id))
    return False


def _act_active(turn: Turn) -> bool:
    """Yield when that is wanted and leaves the service on somebody; never for silence (S4)."""
    pursue_drill(turn)
    if _keep_lease(turn):
        return True
    ready = peer_is_ready(turn.settings, turn.state, turn.now)
    _compare_with_peer(turn, ready)
    _keep_lifetime(turn)
    if turn.state.stop_by is not None:
        if turn.state.drill is not None:
            return False  # bounded; a peer that is being switched off is given nothing, and is switched on again
        if turn.state.unleased:
            _exit(turn)  # S18: what runs stays as it is while the daemon is away
            return False
        become_yielding(turn, Reason.SHUTTING_DOWN)
        return True
    wish = _wish_to_yield(turn) if ready and not in_maintenance(turn.state) else None
    if wish is None:
        return False
    become_yielding(turn, wish)
    return True


def _wish_to_yield(turn: Turn) -> Reason | None:
    """Why the service would be better off on the peer, which is ready for it; None if it would not."""
    settings, state, now = turn.settings, turn.state, turn.now
    advert = state.peer.advert
    if not state.carrier:
        return Reason.NO_SERVICE_CARRIER
    if advert is not None and advert.want:
        return Reason.SWITCHOVER
    if state.move_held_until is not None and now < state.move_held_until:
        return None
    if state.healthier_since is not None and now >= state.healthier_since + settings.health_hold_ns:
        return Reason.PEER_HEALTHIER
    if state.ready_since is not None and now >= state.ready_since + settings.failback_hold_ns:
        return Reason.FAILBACK
    return None


def _compare_with_peer(turn: Turn, ready: bool) -> None:
    """Date the conditions that must have held for a while: the peer is strictly healthier, or preferred and as healthy.

    A node without a score of its own, or whose peer has none, compares as equal.
    """
    settings, state, now = turn.settings, turn.state, turn.now
    advert = state.peer.advert
    mine = theirs = 0
    if advert is not None and advert.health != HEALTH_UNKNOWN and state.health is not None:
        mine, theirs = max(1, state.health), advert.health
    healthier = ready and theirs > mine
    returns = ready and settings.auto_failback and settings.preferred != settings.me and theirs >= mine
    healthier_since = (now if state.healthier_since is None else state.healthier_since) if healthier else None
    ready_since = (now if state.ready_since is None else state.ready_since) if returns else None
    if (healthier_since, ready_since) != (state.healthier_since, state.ready_since):
        turn.set(healthier_since=healthier_since, ready_since=ready_since)


def _keep_lease(turn: Turn) -> bool:
    """S2e: look for a proof that the peer is off while it is silent, and stop when the lease ends without one."""
    end_at = lease_end(turn.settings, turn.state)
    if end_at is None:
        return False
    if turn.now >= end_at:
        become_yielding(turn, Reason.LEASE_ENDED)
        return True
    state = turn.state
    idle = state.check is None and state.drill is None and state.power_on_op is None
    if state.role is Role.ACTIVE and is_silent(turn.settings, state, turn.now):
        if idle and can_fence(turn.settings, state):
            begin_check_in_time(turn, CheckPurpose.LEASE)
        pursue_check(turn)
    return False


def _keep_lifetime(turn: Turn) -> None:
    """S18: addresses have no lifetime while the pair is in maintenance and the peer is known to know it, else one."""
    state = turn.state
    peer = state.peer
    known = peer.maintenance or (peer.advert is not None and peer.echo_sent_at > state.maintenance_at)
    # Then a lapsed lease is what the peer waits for, or that nothing outlives the daemon.
    relies_on_lease = turn.settings.guarantee is Guarantee.AT_LEAST_ONE or turn.settings.lease_mode
    unleased = in_maintenance(state) and (known or state.unleased) and not relies_on_lease
    if unleased != state.unleased:
        turn.set(unleased=unleased)
        turn.emit(LeaseService(not unleased))


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
    held = claim_veto(turn.state, now)
    if grant is not None and held is None:
        become_claiming(turn, grant)
        return True
    pursue_check(turn)
    if is_silent(settings, turn.state, now):
        return act_alone(turn, forbidden)
    if stop_failed_stands(settings, turn.state, now):
        return _act_on_stop_failed(turn)
    _explain(turn, forbidden if grant is None else held)
    return False


def _act_on_stop_failed(turn: Turn) -> bool:
    """The peer is heard and cannot stop what it runs: fence it, else say that nobody serves (S8)."""
    state, now = turn.state, turn.now
    forbidden = veto(state, now)
    if forbidden is not None:
        return block(turn, forbidden)
    if in_maintenance(state):
        return block(turn, Reason.MAINTENANCE)
    if not can_fence(turn.settings, state):
        return block(turn, no_device(state))
    if fence_is_capped(turn):
        return block(turn, Reason.FENCE_CAP)
    if state.check_retry_at is not None and now < state.check_retry_at:
        return block(turn, Reason.FENCE_FAILED)
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
        if advert.yielded and not token and not in_maintenance(state):
            return Grant.YIELDED
        if token and not state.yielded and not advert.yielded and state.peer.echo_sent_at > state.cleared_at:
            return Grant.NOT_TAKEN
    kept = state.grant is not None and (not settings.lease_mode or state.grant in PEER_IS_OFF)
    if kept and token and not state.yielded and advert is None and is_silent(settings, state, now):
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


def _explain(turn: Turn, forbidden: Reason | None) -> None:
    """Keep the reason true of why this node runs nothing."""
    state = turn.state
    advert = state.peer.advert
    if forbidden is not None:
        say(turn, forbidden)
    elif advert is not None and advert.role in OWNING:
        say(turn, Reason.PEER_ACTIVE)
    elif state.yielded:
        say(turn, Reason.YIELDED)
    elif turn.now < state.listen_until and advert is None:
        say(turn, Reason.LISTENING)
    else:
        say(turn, Reason.WAITING_FOR_PEER)


def _leave(turn: Turn) -> None:
    """The daemon is to end and nothing runs here: let the peer take what this node holds, then exit."""
    settings, state, now = turn.settings, turn.state, turn.now
    assert state.stop_by is not None
    token = holds_token(settings, state.epoch)
    if token and not state.yielded and peer_is_ready(settings, state, now):
        say_yielded(turn)
    due = state.power_on_at is not None and now >= state.power_on_at and not state.sworn_off
    switching_on = state.power_on_op is not None or due
    if switching_on:
        return  # the answer comes in any case; until then the peer may be off by this node's hand
    if not token or not peer_is_ready(settings, state, now) or now >= state.stop_by:
        _exit(turn)


def _exit(turn: Turn) -> None:
    if not turn.state.exiting:
        turn.set(exiting=True)
        turn.emit(Exit())
