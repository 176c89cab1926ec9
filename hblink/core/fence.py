"""The order of the steps of a fencing attempt and of a reading without command (SAFETY S3, S5, S16).

`off`, then OFF read twice, an interval apart; everything else is not OFF. An authentic frame of the peer in between
voids the readings. What a confirmed OFF entitles to is decided here too, because the last OFF must be read in the same
step as the claim.
"""

from __future__ import annotations

from dataclasses import replace

from hblink.core.drill import drill_commanded, drill_read
from hblink.core.effect import Answer, PowerOff, PowerOn, ReadPower
from hblink.core.evidence import power_loss_at, refute_power_loss
from hblink.core.lease import lease_end
from hblink.core.liveness import is_fresh, is_silent
from hblink.core.state import Check, CheckPurpose, claim_veto, in_maintenance, is_waiting, veto
from hblink.core.turn import Turn, become_blocked, become_claiming, become_fencing, become_standby, drop_check
from hblink.core.value import OWNING, Grant, Power, Reason, StartAlone

OFFS_NEEDED = 2


def on_power_read(turn: Turn, op_id: int, power: Power, gone: bool) -> None:
    """Take a reading of the peer's power state to the attempt or the check that asked for it."""
    state = turn.state
    if power is not Power.UNKNOWN:
        refute_power_loss(turn)
    if state.attempt is not None and state.attempt.op_id == op_id:
        _attempt_read(turn, power)
    elif state.check is not None and state.check.op_id == op_id:
        _check_read(turn, state.check, power, gone)
    else:
        drill_read(turn, op_id, power)


def _check_read(turn: Turn, check: Check, power: Power, gone: bool) -> None:
    match check.purpose:
        case CheckPurpose.CONFIRM:
            _confirm_read(turn, check, power)
        case CheckPurpose.LEASE:
            _lease_read(turn, check, power)
        case CheckPurpose.POWER_LOSS:
            _power_loss_read(turn, gone)
        case CheckPurpose.START_ALONE | CheckPurpose.CAPPED:
            _off_read(turn, check, power)


def on_power_commanded(turn: Turn, op_id: int, accepted: bool) -> None:
    """Take the answer to `off` (of an attempt) or `on` (after a claim)."""
    state = turn.state
    attempt = state.attempt
    if accepted:
        refute_power_loss(turn)
    if attempt is not None and attempt.op_id == op_id:
        if attempt.cause is Reason.START_ALONE and not accepted:
            _end_start_alone(turn, Reason.INERT_PEER_UNKNOWN)
            return
        if accepted and attempt.cause is not Reason.START_ALONE and not attempt.was_off:
            _count_fence(turn)
        wait = 0 if accepted else turn.settings.off_retry_ns
        doubtful = attempt.doubtful or not accepted
        turn.set(
            attempt=replace(
                attempt,
                op_id=None,
                accepted=accepted,
                doubtful=doubtful,
                offs=0,
                act_at=max(turn.now + wait, state.listen_until),
            )
        )
    elif state.power_on_op == op_id:
        _switched_on(turn, accepted)
    else:
        drill_commanded(turn, op_id, accepted)


def _switched_on(turn: Turn, accepted: bool) -> None:
    """Send `on` once more: soon if it was not accepted; after what may still switch the peer off if it was."""
    state = turn.state
    again_at = state.outstanding_until if accepted else turn.now + turn.settings.power_on_retry_ns
    if state.attempt is not None or in_maintenance(state) or not state.owes_on:
        again_at = None
    elif accepted and again_at is None:
        turn.set(owes_on=False)
    turn.set(power_on_op=None, power_on_at=again_at)
    check = state.check
    if check is not None and is_waiting(check):
        if accepted:
            drop_check(turn, Reason.PEER_POWERED_ON)
        else:
            begin_check(turn, check.purpose, check.request)


def fence_is_capped(turn: Turn) -> bool:
    """Whether the peer has been fenced, powered on, as often as one hour allows (S15).

    Each node counts what it has done in this kernel boot: two nodes that fail in turn begin anew at each boot.
    """
    return 0 < turn.settings.fence_cap <= len(turn.state.fences)


def _count_fence(turn: Turn) -> None:
    if turn.settings.fence_cap:
        turn.set(fences=(*turn.state.fences, turn.now)[-turn.settings.fence_cap :])


def void_readings(turn: Turn) -> None:
    """An authentic frame came: what was read of the peer's power before it counts for nothing (S2b)."""
    state = turn.state
    if state.attempt is not None:
        turn.set(attempt=replace(state.attempt, offs=0))
    if state.drill is not None and state.drill.offs:
        turn.set(drill=replace(state.drill, spoken=True))
    turn.set(confirmed_until=None)


def suspend_attempt(turn: Turn) -> None:
    """The node has hiccuped after the decision: nothing is read or sent before it has listened again (I6)."""
    state = turn.state
    attempt = state.attempt
    if attempt is None:
        return
    waits_for_off = attempt.op_id is not None and not attempt.accepted
    turn.set(
        attempt=replace(
            attempt,
            op_id=attempt.op_id if waits_for_off else None,
            offs=0,
            act_at=None if waits_for_off else max(attempt.act_at or 0, state.listen_until),
        )
    )


def pursue_attempt(turn: Turn) -> bool:
    """Do what is due in the attempt; returns whether the role changed."""
    state, now = turn.state, turn.now
    attempt = state.attempt
    if attempt is None:
        return False
    if _cause_is_gone(turn):
        become_standby(turn, Reason.MAINTENANCE if in_maintenance(state) else Reason.PEER_HEARD)
        return True
    if now >= attempt.deadline_at:
        if attempt.cause in (Reason.PEER_STOP_FAILED, Reason.START_BY_FENCE):
            turn.set(check_retry_at=now + turn.settings.inert_retry_ns)  # no slot times these attempts
        held = claim_veto(state, now) if attempt.offs else veto(state, now)  # what was never OFF was not held
        become_blocked(turn, held or Reason.FENCE_FAILED)
        return True
    if attempt.act_at is not None and now >= attempt.act_at:
        forbidden = veto(state, now)
        if forbidden is not None and not attempt.accepted:
            become_blocked(turn, forbidden)  # S6: every `off` is decided anew
            return True
        op_id = turn.op()
        turn.set(attempt=replace(attempt, op_id=op_id, act_at=None))
        turn.emit(ReadPower(op_id) if attempt.accepted else PowerOff(op_id))
    return False


def pursue_power_on(turn: Turn) -> None:
    """Send the `on` that follows every claim by a fence, until the device has taken it or the peer is heard.

    Whoever serves and owes one sends it, however it came to serve and whatever has held it up: never in maintenance,
    and not before a reading has been answered, which it would displace: what it would have said is not unknown. One
    under a lease looks for the proof that the peer is off, and switches it on after that or at its stop (S2e). What a
    person swore to be off is switched on by no one but that person (S16).
    """
    if turn.state.sworn_off:
        turn.set(owes_on=False, power_on_at=None)
    if _owes_now(turn):
        turn.set(power_on_at=turn.now)
    if in_maintenance(turn.state):
        turn.set(power_on_at=None)
    state = turn.state
    reading = state.check is not None and (state.check.op_id is not None or is_waiting(state.check))
    leased = lease_end(turn.settings, state) is not None
    held = reading or leased or state.power_on_op is not None or state.drill is not None
    if state.power_on_at is not None and turn.now >= state.power_on_at and not held:
        op_id = turn.op()
        turn.set(power_on_op=op_id, power_on_at=None)
        turn.emit(PowerOn(op_id))


def _owes_now(turn: Turn) -> bool:
    state = turn.state
    serves = state.owes_on and state.role in OWNING and not in_maintenance(state)
    idle = state.power_on_at is None and state.power_on_op is None and state.drill is None
    return serves and idle and not is_fresh(turn.settings, state, turn.now)


def begin_check(turn: Turn, purpose: CheckPurpose, request: int | None = None) -> None:
    """Start to read the peer's power state, sending no command."""
    op_id = turn.op()
    turn.set(check=Check(purpose, op_id, request=request))
    turn.emit(ReadPower(op_id))


def begin_check_in_time(turn: Turn, purpose: CheckPurpose) -> None:
    """Start to read, unless a reading that led to nothing is too short a while ago."""
    retry_at = turn.state.check_retry_at
    if retry_at is None or turn.now >= retry_at:
        turn.set(check_retry_at=None)
        begin_check(turn, purpose)


def pursue_check(turn: Turn) -> None:
    """Send the second reading of a check when its time has come."""
    check = turn.state.check
    if check is not None and check.act_at is not None and turn.now >= check.act_at:
        op_id = turn.op()
        turn.set(check=replace(check, op_id=op_id, act_at=None))
        turn.emit(ReadPower(op_id))


def _cause_is_gone(turn: Turn) -> bool:
    """Whether the reason for the attempt no longer stands: the peer is heard, or can be stopped after all."""
    attempt, advert = turn.state.attempt, turn.state.peer.advert
    assert attempt is not None
    if in_maintenance(turn.state) or turn.state.fence_lied:
        return True
    if attempt.cause is Reason.PEER_STOP_FAILED and advert is not None and advert.stop_failed:
        return False
    heard_at = turn.state.peer.authentic_at
    heard = heard_at is not None and heard_at >= attempt.began_at
    if attempt.cause in (Reason.START_ALONE, Reason.START_BY_FENCE):
        return heard  # the one rests on a peer that is off, the other on one that was never heard
    return heard and not is_silent(turn.settings, turn.state, turn.now)


def _attempt_read(turn: Turn, power: Power) -> None:
    attempt = turn.state.attempt
    assert attempt is not None
    settings, now = turn.settings, turn.now
    if attempt.cause is Reason.START_ALONE and power is not Power.OFF:
        _end_start_alone(turn, _inert_reason(power))
        return
    offs = attempt.offs + 1 if power is Power.OFF else 0
    if offs >= OFFS_NEEDED:
        if claim_veto(turn.state, now) is None and not _cause_is_gone(turn):
            become_claiming(turn, Grant.FENCED)
            return
        offs = OFFS_NEEDED - 1  # held: the last OFF is read again when nothing holds it any more
    wait = settings.off_interval_ns if offs else settings.poll_interval_ns
    turn.set(attempt=replace(attempt, op_id=None, offs=offs, act_at=now + wait))


def _inert_reason(power: Power) -> Reason:
    return Reason.INERT_PEER_ON if power is Power.ON else Reason.INERT_PEER_UNKNOWN


def _end_start_alone(turn: Turn, reason: Reason) -> None:
    """Whatever is not OFF ends it, also in the middle: the next try begins with readings again (S5)."""
    turn.set(check_retry_at=turn.now + turn.settings.inert_retry_ns)
    become_blocked(turn, reason)


def _off_read(turn: Turn, check: Check, power: Power) -> None:
    """S5, S15: ON or unknown ends it before any command was sent; OFF twice is followed by a whole attempt."""
    alone = check.purpose is CheckPurpose.START_ALONE
    if alone and power is Power.ON and _may_start_by_fence(turn):
        turn.set(orderly=False)  # once
        become_fencing(turn, Reason.START_BY_FENCE)
    elif power is not Power.OFF:
        turn.set(check=None)
        _end_start_alone(turn, _inert_reason(power) if alone else Reason.FENCE_CAP)
    elif check.offs + 1 < OFFS_NEEDED:
        turn.set(check=replace(check, op_id=None, offs=check.offs + 1, act_at=turn.now + turn.settings.off_interval_ns))
    elif veto(turn.state, turn.now) is None and is_silent(turn.settings, turn.state, turn.now):
        become_fencing(turn, Reason.START_ALONE if alone else Reason.PEER_SILENT, was_off=True)
    else:
        turn.set(check=None, check_retry_at=turn.now + turn.settings.poll_interval_ns)


def _may_start_by_fence(turn: Turn) -> bool:
    """S5: a configuration may allow it to one named node, and never after that node was itself fenced.

    Only an orderly end of the kernel boot before this one shows that it was not; and a peer of which any frame came in
    this one is alive. What a person swore to be off and reads ON is in that person's hands (S16).
    """
    settings, state = turn.settings, turn.state
    unheard = not state.heard and state.peer.authentic_at is None
    allowed = settings.start_alone is StartAlone.FENCE and state.orderly and not fence_is_capped(turn)
    well = veto(state, turn.now) is None and is_silent(settings, state, turn.now)
    return allowed and unheard and well and not state.sworn_off


def _lease_read(turn: Turn, check: Check, power: Power) -> None:
    """S2e: OFF twice, and this active may go on serving; whatever else it says, it is asked again."""
    if power is Power.OFF and check.offs + 1 < OFFS_NEEDED:
        turn.set(check=replace(check, op_id=None, offs=check.offs + 1, act_at=turn.now + turn.settings.off_interval_ns))
        return
    off = power is Power.OFF and turn.state.role in OWNING
    turn.set(check=None, peer_spent=off, check_retry_at=None if off else turn.now + turn.settings.poll_interval_ns)


def _power_loss_read(turn: Turn, gone: bool) -> None:
    """S16: what was evidence before the wait is evidence still, and no device answers at this very moment."""
    turn.set(check=None, check_retry_at=turn.now + turn.settings.inert_retry_ns)
    evident = gone and power_loss_at(turn.settings, turn.state) is not None
    if evident and claim_veto(turn.state, turn.now) is None and not in_maintenance(turn.state):
        become_claiming(turn, Grant.POWER_LOSS)


def _confirm_read(turn: Turn, check: Check, power: Power) -> None:
    """S16: refused while the BMC says ON; unknown is why the operator is asked at all."""
    assert check.request is not None
    turn.set(check=None)
    if power is Power.ON:
        turn.emit(Answer(check.request, ok=False, reason=Reason.PEER_POWERED_ON))
    else:
        grant_confirmation(turn, check.request)


def grant_confirmation(turn: Turn, request: int) -> None:
    """Take the operator's word: a single-use grant that ends at any authentic frame, or after a while.

    A person swears that the peer is off, and may be working on it: from here on it is switched on by hand alone, until
    it is heard, by a frame that was not on its way before. That outlasts the grant, which may come to nothing.
    """
    turn.set(confirmed_until=turn.now + turn.settings.confirm_ttl_ns, sworn_off=True, cleared_at=turn.now)
    turn.emit(Answer(request, ok=True, reason=Reason.NONE))
