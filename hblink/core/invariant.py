"""What must hold of one node's state at every instant; asserted in every step, in production too.

The invariants that need two nodes (I1 above all) are checked by the explorer and the simulator. Nothing here may depend
on what the peer sent (S19): one bad frame must not be able to end both daemons.
"""

from __future__ import annotations

from hblink.core.state import CheckPurpose, State, holds_token, in_maintenance
from hblink.core.value import EPOCH_MAX, OWNING, Grant, Reason, Role, Settings, StartAlone, owner


class InvariantViolated(AssertionError):  # noqa: N818 - it says what happened
    """The decision has come into a state that it must never be in: the daemon exits without clean-up."""


# The grants on which a node that has never heard its peer in this boot may run the service (S5, I11).
_INERT_GRANTS = frozenset({Grant.FENCED, Grant.OPERATOR, Grant.KEPT})


_IDLE = frozenset({Role.STANDBY, Role.BLOCKED})
_CHECKING = {CheckPurpose.LEASE: frozenset({Role.ACTIVE})}


def _may_fence_inert(settings: Settings, cause: Reason) -> bool:
    by_fence = cause is Reason.START_BY_FENCE and settings.start_alone is StartAlone.FENCE
    return by_fence or cause is Reason.START_ALONE


def violation(settings: Settings, state: State) -> str | None:
    """Name the first invariant that `state` breaks, or None."""
    running = state.role in OWNING
    rules = (
        (running and owner(state.epoch) != settings.me, "I3: runs the service under an epoch of the other node"),
        (running and state.epoch > EPOCH_MAX, "I3: the epoch does not fit its field"),
        (running and state.claimed_by is None, "I2: runs the service without a grant"),
        (running and state.yielded, "I7: says YIELDED and runs the service"),
        (
            state.yielded and state.role not in (Role.STANDBY, Role.BLOCKED, Role.FENCING),
            f"I7: says YIELDED in role {state.role.value}",
        ),
        (state.yielded and state.grant is not None, "S8: has promised not to claim, and keeps a grant"),
        (state.yielded and not holds_token(settings, state.epoch), "S2: yields what it does not hold"),
        ((state.attempt is not None) != (state.role is Role.FENCING), "an attempt exists exactly in role FENCING"),
        (
            state.attempt is not None and not state.heard and not _may_fence_inert(settings, state.attempt.cause),
            "I11: an inert node fences",
        ),
        (
            running and not state.heard and state.claimed_by not in _INERT_GRANTS,
            "I11: an inert node runs the service",
        ),
        (state.role is Role.FENCING and in_maintenance(state), "S18: fences in maintenance"),
        (state.unleased and state.role is not Role.ACTIVE, "S18: addresses without a lease that are not served"),
        (state.drill is not None and state.role is not Role.ACTIVE, "I8: a drill by a node that does not serve"),
        (
            state.check is not None and state.role not in _CHECKING.get(state.check.purpose, _IDLE),
            f"a reading without command in role {state.role.value}",
        ),
        (
            state.role in (Role.STARTING, Role.YIELDING, Role.CLAIMING) and state.service_op is None,
            f"role {state.role.value} waits for nothing",
        ),
        (
            state.role in (Role.STANDBY, Role.BLOCKED, Role.FENCING, Role.ACTIVE) and state.service_op is not None,
            f"role {state.role.value} waits for a start or stop",
        ),
        (state.role is Role.BLOCKED and state.reason is Reason.NONE, "blocked without a reason"),
    )
    for broken, message in rules:
        if broken:
            return message
    return None


def check_invariants(settings: Settings, state: State) -> None:
    """Raise InvariantViolated if `state` breaks an invariant. A plain `raise`, so that `-O` cannot remove it."""
    message = violation(settings, state)
    if message is not None:
        raise InvariantViolated(message)
