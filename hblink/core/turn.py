"""One turn of the decision: the state being changed, the effects being collected, and the only ways to change role.

Roles change through the `become_*` functions here and nowhere else; each ends in `check_invariants`. A Turn lives for
one call of `step` and must never leave it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hblink.core.effect import Activate, Answer, Effect, LeaseService, PowerOff, Release
from hblink.core.invariant import check_invariants
from hblink.core.lease import lease_end
from hblink.core.state import Attempt, PeerView, State, holds_token, in_maintenance, is_on_again
from hblink.core.value import PEER_IS_OFF, Grant, Reason, Role, Settings, next_epoch


class Turn:
    """The state, the settings, the instant and the effects of one call of `step`."""

    __slots__ = ("effects", "now", "settings", "state")

    def __init__(self, settings: Settings, state: State, now: int) -> None:
        self.settings = settings
        self.state = state
        self.now = now
        self.effects: list[Effect] = []

    def set(self, **changes: Any) -> None:
        """Replace fields of the state; `role` only through `become_*`."""
        if _differs(self.state, changes):
            self.state = replace(self.state, **changes)

    def set_peer(self, **changes: Any) -> None:
        """Replace fields of the view of the peer."""
        if _differs(self.state.peer, changes):
            self.state = replace(self.state, peer=replace(self.state.peer, **changes))

    def emit(self, effect: Effect) -> None:
        """Want `effect`, after all that was wanted before it."""
        self.effects.append(effect)

    def op(self) -> int:
        """A new op_id."""
        op_id = self.state.next_op
        self.set(next_op=op_id + 1)
        return op_id

    def _enter(self, role: Role, reason: Reason, **changes: Any) -> None:
        role_at = self.state.role_at if role is self.state.role else self.now
        self.set(role=role, reason=reason, role_at=role_at, **changes)
        check_invariants(self.settings, self.state)


def _differs(value: State | PeerView, changes: dict[str, Any]) -> bool:
    """Whether any field would change: most frames change few, and copying a state is most of a step's cost."""
    return any(getattr(value, name) != new for name, new in changes.items())


def leave_attempt(turn: Turn) -> None:
    """Give up a fencing attempt: an `off` that was sent and not seen to work is outstanding from now on (S3).

    One that was accepted may have left a peer without power whose place nobody takes: it is to be on again.
    """
    attempt = turn.state.attempt
    if attempt is not None and attempt.commanded:
        turn.set(outstanding_until=turn.now + turn.settings.fence_latency_ns, owes_on=True)
        if attempt.accepted and not attempt.was_off and not in_maintenance(turn.state):
            turn.set(power_on_at=turn.now)
    turn.set(attempt=None)


def drop_check(turn: Turn, refusal: Reason) -> None:
    """Give up a reading; an operator who waits for it is told why."""
    check = turn.state.check
    if check is None:
        return
    if check.request is not None:
        turn.emit(Answer(check.request, ok=False, reason=refusal))
    turn.set(check=None)


def leave_drill(turn: Turn, refusal: Reason) -> None:
    """Give up a drill: its `off` may still come, unless OFF has been seen; the peer is to be on again."""
    drill = turn.state.drill
    if drill is None:
        return
    if not drill.is_off:
        turn.set(outstanding_until=turn.now + turn.settings.fence_latency_ns)
    if not is_on_again(drill):
        turn.set(owes_on=True, power_on_at=turn.now)
        if drill.is_off and turn.state.power_on_op is None:
            turn.set(power_on_op=drill.op_id, power_on_at=None)  # its `on` is under way: that is the one
    turn.set(drill=None)
    turn.emit(Answer(drill.request, ok=False, reason=refusal))


def say_yielded(turn: Turn) -> None:
    """Promise not to claim what this node holds (S8). The promise uses up the last grant: only S2 leads back."""
    turn.set(yielded=True, yielded_at=turn.now, grant=None)


def become_standby(turn: Turn, reason: Reason, *, yielded: bool | None = None) -> None:
    """Run nothing and listen. `yielded` is given when a stop has just been confirmed: whether to say YIELDED (S8).

    The promise can be made only for an epoch of one's own; a node that does not hold the token has nothing to yield.
    """
    leave_attempt(turn)
    if yielded is not None:
        turn.set(cleared_at=turn.now)
    turn._enter(Role.STANDBY, reason, service_op=None, stop_retry_at=None, lease_ended_at=None)
    if yielded and holds_token(turn.settings, turn.state.epoch):
        say_yielded(turn)


def become_blocked(turn: Turn, reason: Reason) -> None:
    """Would have to take over, and may not; `reason` is what the operator is told."""
    leave_attempt(turn)
    turn._enter(Role.BLOCKED, reason)


def become_fencing(turn: Turn, cause: Reason, *, was_off: bool = False) -> None:
    """Decide to power the peer off, and send the command in the same step (S4: nothing can come between).

    `was_off`: OFF was read twice before, so it is no fence of a powered-on peer (S15).
    """
    drop_check(turn, Reason.BUSY)
    op_id = turn.op()
    deadline_at = turn.now + turn.settings.fence_attempt_ns
    attempt = Attempt(cause, turn.now, deadline_at, op_id=op_id, commanded=True, was_off=was_off)
    turn._enter(Role.FENCING, cause, attempt=attempt, owes_on=True, power_on_at=None)
    turn.emit(PowerOff(op_id))


def become_claiming(turn: Turn, grant: Grant) -> None:
    """Use `grant`: a new epoch and role CLAIMING in the step that found it, before any effect (S2)."""
    drop_check(turn, Reason.NOT_BLOCKED)
    if turn.state.attempt is not None and turn.state.attempt.doubtful:
        turn.set(outstanding_until=turn.now + turn.settings.fence_latency_ns)
    if turn.state.offered and grant in (Grant.YIELDED, Grant.NOT_TAKEN):
        turn.set(move_held_until=turn.now + turn.settings.move_hold_ns)  # else it would go to and fro
    op_id = turn.op()
    kept = turn.state.grant if grant is Grant.KEPT else grant
    if turn.settings.lease_mode and kept not in PEER_IS_OFF:
        kept = None  # S2e: it would outlive the promise that was made under it, and a restart without the mode
    turn._enter(
        Role.CLAIMING,
        Reason.NONE,
        epoch=next_epoch(turn.state.epoch, turn.settings.me),
        yielded=False,
        claimed_by=grant,
        grant=kept,
        ran=True,
        attempt=None,
        confirmed_until=None,
        check_retry_at=None,
        offered=False,
        service_op=op_id,
    )
    turn.emit(Activate(op_id))
    if grant is Grant.FENCED:
        turn.set(power_on_at=turn.now, cleared_at=turn.now)  # at once; a frame of before is no sign of life (S3)
        if turn.state.peer.boot is not None:
            turn.set(proof_at=turn.now, proof_boot=turn.state.peer.boot)


def become_active(turn: Turn) -> None:
    """The service runs, read back."""
    turn._enter(Role.ACTIVE, Reason.NONE, service_op=None)


def become_yielding(turn: Turn, reason: Reason) -> None:
    """Stop the service. Only a stall leaves the last grant standing (S7)."""
    leave_drill(turn, reason)
    drop_check(turn, reason)
    state = turn.state
    if state.owes_on and state.power_on_at is None and state.power_on_op is None and not in_maintenance(state):
        turn.set(power_on_at=turn.now)  # S3: who does not serve any more, or ends, owes it no less
    if turn.state.unleased:
        turn.emit(LeaseService(leased=True))
    op_id = turn.op()
    lease_ended_at = lease_end(turn.settings, turn.state)
    grant = turn.state.grant
    if turn.state.unleased and in_maintenance(turn.state):
        grant = Grant.MAINTAINED  # S18: the peer takes nothing, however long this was
    turn._enter(
        Role.YIELDING,
        reason,
        service_op=op_id,
        grant=grant if reason is Reason.STALL else None,
        lease_ended_at=lease_ended_at,
        unleased=False,
        offered=reason in (Reason.FAILBACK, Reason.PEER_HEALTHIER),
        healthier_since=None,
        ready_since=None,
    )
    turn.emit(Release(op_id))


def become_halted(turn: Turn) -> None:
    """A stop failed: something may still run here, so this node says STOP_FAILED and can be fenced for it (S8)."""
    retry_at = turn.now + turn.settings.stop_retry_ns
    turn._enter(
        Role.HALTED,
        Reason.STOP_FAILED,
        service_op=None,
        stop_retry_at=retry_at,
        grant=None,
        reset_asked=turn.state.role is Role.HALTED and turn.state.reset_asked,
    )


def block(turn: Turn, reason: Reason) -> bool:
    """Become BLOCKED, or stay so for another reason; returns whether anything changed."""
    state = turn.state
    if state.role is Role.BLOCKED and state.reason is reason:
        return False
    become_blocked(turn, reason)
    return True


def say(turn: Turn, reason: Reason) -> None:
    """Keep the reason true without a change of role."""
    if turn.state.reason is not reason:
        turn.set(reason=reason)
