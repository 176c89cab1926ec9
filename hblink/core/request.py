"""What a person asks for: each request is taken, or refused with a reason, in the step that brings it.

A request that takes time is answered by `finish_request`, within a bound. Nothing here claims: the grants do.
"""

from __future__ import annotations

from typing import assert_never

from hblink.core.drill import begin_drill
from hblink.core.effect import Answer
from hblink.core.event import (
    ConfirmRequested,
    DrillRequested,
    MaintenanceRequested,
    OnlineRequested,
    StandbyRequested,
    SwitchoverRequested,
)
from hblink.core.fence import begin_check, grant_confirmation
from hblink.core.liveness import is_fresh, peer_is_ready
from hblink.core.state import Check, CheckPurpose, Request, holds_token, in_maintenance, veto
from hblink.core.turn import Turn, become_standby, become_yielding, drop_check
from hblink.core.value import OWNING, Reason, Role

PersonalRequest = (
    SwitchoverRequested | StandbyRequested | OnlineRequested | MaintenanceRequested | DrillRequested | ConfirmRequested
)


def take_request(turn: Turn, event: PersonalRequest) -> None:
    """Take a request of a person to the function that answers it."""
    match event:
        case SwitchoverRequested():
            _switchover(turn, event.request)
        case StandbyRequested():
            _standby(turn, event.request)
        case OnlineRequested():
            _online(turn, event.request)
        case MaintenanceRequested():
            _maintenance(turn, event)
        case DrillRequested():
            begin_drill(turn, event)
        case ConfirmRequested():
            _confirm(turn, event.request)
        case _:
            assert_never(event)


def _switchover(turn: Turn, request: int) -> None:
    """Move the service away from here if this node is active, else ask the active peer for it."""
    settings, state, now = turn.settings, turn.state, turn.now
    advert = state.peer.advert
    refusal = Reason.NOT_ACTIVE
    if state.request is not None:
        refusal = Reason.BUSY
    elif in_maintenance(state):
        refusal = Reason.MAINTENANCE
    elif state.role is Role.ACTIVE:
        _hand_over(turn, request, standby=False)
        return
    elif state.role is Role.STANDBY and advert is not None and advert.role is Role.ACTIVE:
        forbidden = veto(state, now)
        if forbidden is None and is_fresh(settings, state, now):
            until = now + settings.handover_ns
            turn.set(request=Request(request, until, to_me=True), want_until=until)
            return
        refusal = forbidden or Reason.PEER_NOT_READY
    _refuse(turn, request, refusal)


def _hand_over(turn: Turn, request: int, *, standby: bool) -> None:
    """Yield to a peer that is ready; what it does not finish is taken back by (c), and the order is void."""
    settings, state, now = turn.settings, turn.state, turn.now
    if not peer_is_ready(settings, state, now):
        busy = Reason.BUSY if state.drill is not None else Reason.PEER_NOT_READY
        _refuse(turn, request, Reason.FENCE_OUTSTANDING if state.outstanding_until is not None else busy)
        return
    deadline_at = now + 2 * settings.handover_ns
    turn.set(request=Request(request, deadline_at, to_me=False, standby=standby), standby_ordered=standby)
    become_yielding(turn, Reason.SWITCHOVER)


def _standby(turn: Turn, request: int) -> None:
    """Run nothing from now on: an active node hands over first, or refuses."""
    state = turn.state
    if state.request is not None or state.role not in (Role.ACTIVE, Role.STANDBY, Role.BLOCKED):
        _refuse(turn, request, Reason.BUSY)
    elif in_maintenance(state) and state.role is Role.ACTIVE:
        _refuse(turn, request, Reason.MAINTENANCE)
    elif state.role is Role.ACTIVE:
        _hand_over(turn, request, standby=True)
    else:
        drop_check(turn, Reason.STANDBY_ORDERED)
        turn.set(standby_ordered=True)
        turn.emit(Answer(request, ok=True, reason=Reason.NONE))


def _online(turn: Turn, request: int) -> None:
    """Lift what a person or an earlier failure holds this node back with; no grant, and nothing is claimed by it."""
    if turn.state.request is not None:
        _refuse(turn, request, Reason.BUSY)
        return
    turn.set(standby_ordered=False, start_hold_until=None, fences=(), fence_lied=False, check_retry_at=None)
    turn.set(move_held_until=None)
    turn.emit(Answer(request, ok=True, reason=Reason.NONE))


def _maintenance(turn: Turn, event: MaintenanceRequested) -> None:
    """Begin or end maintenance (S18). What the peer says can be ended here only when the peer says nothing.

    Where both have ordered it, this node's own order ends, and the answer says that the peer's stands.
    """
    state, now = turn.state, turn.now
    if state.role is Role.FENCING or state.request is not None or state.drill is not None:
        _refuse(turn, event.request, Reason.BUSY)
        return
    if event.on:
        drop_check(turn, Reason.MAINTENANCE)
        turn.set(confirmed_until=None, maintenance_until=event.until_at)
        if not state.maintenance:
            turn.set(maintenance=True, maintenance_at=now)
    else:
        stands = state.peer.maintenance and is_fresh(turn.settings, state, now)
        if stands and not state.maintenance:
            _refuse(turn, event.request, Reason.PEER_MAINTENANCE)
            return
        end_maintenance(turn)
        if stands:
            turn.emit(Answer(event.request, ok=True, reason=Reason.PEER_MAINTENANCE))
            return
        turn.set_peer(maintenance=False)
    turn.emit(Answer(event.request, ok=True, reason=Reason.NONE))


def end_maintenance(turn: Turn) -> None:
    """Take back what was ordered here; the silence before it proves nothing, so the node listens again first."""
    listen_until = max(turn.state.listen_until, turn.now + turn.settings.deadtime_ns)
    turn.set(maintenance=False, maintenance_until=None, listen_until=listen_until)


def _refuse(turn: Turn, request: int, reason: Reason) -> None:
    turn.emit(Answer(request, ok=False, reason=reason))


def _confirm(turn: Turn, request: int) -> None:
    """S16: refused while the peer was heard lately, and while its BMC says ON."""
    settings, state, now = turn.settings, turn.state, turn.now
    authentic_at = state.peer.authentic_at
    lately = authentic_at is not None and now < authentic_at + settings.deadtime_ns
    waited = now >= state.peer.fresh_floor_at + settings.deadtime_ns
    refusal = None
    if in_maintenance(state):
        refusal = Reason.MAINTENANCE
    elif state.role not in (Role.STANDBY, Role.BLOCKED):
        refusal = Reason.BUSY if state.role is Role.FENCING else Reason.NOT_BLOCKED
    elif lately or not waited:
        refusal = Reason.PEER_HEARD
    elif state.check is not None and state.check.purpose is CheckPurpose.CONFIRM:
        refusal = Reason.BUSY
    if refusal is not None:
        _refuse(turn, request, refusal)
        return
    drop_check(turn, Reason.BUSY)
    if state.power_on_op is not None:  # it would switch on what is sworn to be off: its answer comes first
        turn.set(check=Check(CheckPurpose.CONFIRM, op_id=None, request=request))
    elif settings.has_fence:
        begin_check(turn, CheckPurpose.CONFIRM, request)
    else:
        grant_confirmation(turn, request)


def shut_down(turn: Turn) -> None:
    """The daemon is asked to end: no new claim and no fence from here on."""
    if turn.state.stop_by is None:
        turn.set(stop_by=turn.now + turn.settings.handover_ns)
    drop_check(turn, Reason.SHUTTING_DOWN)
    if turn.state.role is Role.FENCING:
        become_standby(turn, Reason.SHUTTING_DOWN)


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
        if pending.standby:
            turn.set(standby_ordered=False)  # else nobody would serve: the service comes back by (c)
        turn.emit(Answer(pending.request, ok=False, reason=Reason.TIMED_OUT))
    else:
        return
    turn.set(request=None)
