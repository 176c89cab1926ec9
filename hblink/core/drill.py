"""The drill: the standby peer is switched off and on for real, so that the fence device is known to work.

The only `off` that is decided for a peer that is heard (SAFETY I8), on the word of a person, by a node that serves and
goes on serving. It proves the device and grants nothing; where that person names a level of the ladder, no other stands
in for it. Whatever ends it early leaves the peer to be switched on, by whichever level can, and an `off` that was not
seen to work outstanding (S3).
"""

from __future__ import annotations

from dataclasses import replace

from hblink.core.effect import Answer, PowerOff, PowerOn, ReadPower
from hblink.core.event import DrillRequested
from hblink.core.liveness import alarms_of, peer_is_ready
from hblink.core.state import Drill, can_fence, in_maintenance, is_on_again
from hblink.core.turn import Turn, leave_drill
from hblink.core.value import AlarmCode, Power, Reason, Role

OFFS_NEEDED = 2


def begin_drill(turn: Turn, event: DrillRequested) -> None:
    """Send the `off` of a drill, or refuse it: nothing may be broken already, and nothing else be under way."""
    refusal = _refusal(turn, event)
    if refusal is not None:
        turn.emit(Answer(event.request, ok=False, reason=refusal))
        return
    op_id = turn.op()
    drill = Drill(event.request, turn.now + turn.settings.fence_attempt_ns, op_id, level=event.level)
    turn.set(drill=drill, owes_on=True)
    turn.emit(PowerOff(op_id, event.level))


def _refusal(turn: Turn, event: DrillRequested) -> Reason | None:
    settings, state = turn.settings, turn.state
    degraded = any(alarm.code == AlarmCode.DEGRADED.value for alarm in alarms_of(settings, state, turn.now))
    busy = state.drill is not None or state.request is not None or state.power_on_op is not None
    if state.role is not Role.ACTIVE or state.stop_by is not None:
        return Reason.NOT_ACTIVE
    if in_maintenance(state):
        return Reason.MAINTENANCE
    if not can_fence(settings, state):
        return Reason.FENCE_LIED if state.fence_lied else Reason.NO_FENCE_DEVICE
    if busy:
        return Reason.BUSY
    if state.outstanding_until is not None:
        return Reason.FENCE_OUTSTANDING
    if event.level is not None and not event.level_ready:
        return Reason.LEVEL_NOT_READY
    if degraded or not peer_is_ready(settings, state, turn.now) or not state.fence_ready or state.sworn_off:
        return Reason.REDUNDANCY_REDUCED  # what was sworn off may seem well by an older frame
    return None


def drill_commanded(turn: Turn, op_id: int, accepted: bool) -> None:
    """Take the answer to the drill's `off` or `on`."""
    drill = turn.state.drill
    if drill is None or drill.op_id != op_id:
        return
    if drill.is_off and accepted:
        turn.set(drill=replace(drill, op_id=None), owes_on=False)
    elif drill.is_off:
        turn.set(owes_on=True, power_on_at=turn.now + turn.settings.power_on_retry_ns)
        _finish(turn, drill, Reason.FENCE_FAILED)
    elif accepted:
        turn.set(drill=replace(drill, op_id=None, act_at=turn.now))
    else:
        leave_drill(turn, Reason.FENCE_FAILED)


def _finish(turn: Turn, drill: Drill, reason: Reason) -> None:
    if turn.state.fence_lied:
        reason = Reason.FENCE_LIED
    turn.set(drill=None)
    turn.emit(Answer(drill.request, ok=reason is Reason.NONE, reason=reason))


def drill_read(turn: Turn, op_id: int, power: Power) -> None:
    """Take a reading of the drill; OFF twice is followed by `on` in the same step."""
    drill = turn.state.drill
    if drill is None or drill.op_id != op_id:
        return
    offs = drill.offs + 1 if power is Power.OFF else 0
    if offs < OFFS_NEEDED:
        wait = turn.settings.off_interval_ns if offs else turn.settings.poll_interval_ns
        turn.set(drill=replace(drill, op_id=None, offs=offs, spoken=False, act_at=turn.now + wait))
        return
    on = turn.op()
    turn.set(peer_spent=turn.settings.lease_mode and not drill.spoken, cleared_at=turn.now)
    boot = turn.state.peer.boot
    if boot is not None:
        turn.set(proof_at=turn.now, proof_boot=boot)
    deadline_at, heard_out_at = turn.now + turn.settings.fence_attempt_ns, turn.now + turn.settings.deadtime_ns
    turn.set(drill=replace(drill, op_id=on, offs=offs, act_at=heard_out_at, is_off=True, deadline_at=deadline_at))
    turn.emit(PowerOn(on, drill.level))


def pursue_drill(turn: Turn) -> None:
    """Send the next reading when its time has come; end a drill that has lasted its time.

    Once `on` has been accepted, what is left is to listen: a peer that was never off is heard within deadtime (S14).
    """
    drill, now = turn.state.drill, turn.now
    if drill is None:
        return
    if is_on_again(drill):
        if turn.state.fence_lied or (drill.act_at is not None and now >= drill.act_at):
            _finish(turn, drill, Reason.NONE)
    elif now >= drill.deadline_at:
        leave_drill(turn, Reason.TIMED_OUT)
    elif not drill.is_off and drill.act_at is not None and now >= drill.act_at:
        op_id = turn.op()
        turn.set(drill=replace(drill, op_id=op_id, act_at=None))
        turn.emit(ReadPower(op_id, drill.level))
