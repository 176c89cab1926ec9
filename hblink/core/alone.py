"""What a node does that runs nothing, hears nothing, and has no grant at hand (SAFETY S4, S5, S15, S16, S2e).

It fences in its slot; where that is forbidden or has failed it is blocked, and goes on only by what the configuration
has allowed in writing. This module must never take silence for more than silence.
"""

from __future__ import annotations

from hblink.core.evidence import power_loss_claim_at
from hblink.core.fence import begin_check_in_time, fence_is_capped
from hblink.core.lease import lease_claim_at
from hblink.core.liveness import slot_start
from hblink.core.state import CheckPurpose, State, can_fence, claim_veto, in_maintenance
from hblink.core.turn import Turn, become_claiming, become_fencing, become_standby, block, say
from hblink.core.value import Grant, Guarantee, Reason, Role, StartAlone

# What the grants of last resort may come after: a fence that was tried, or that cannot be.
_BLOCKED_FOR_WANT_OF_A_FENCE = frozenset({Reason.FENCE_FAILED, Reason.NO_FENCE_DEVICE, Reason.FENCE_LIED})


def act_alone(turn: Turn, forbidden: Reason | None) -> bool:
    """The peer is silent, and no grant is at hand."""
    settings, state, now = turn.settings, turn.state, turn.now
    if in_maintenance(state):
        return _wait_in_maintenance(turn)
    if state.check is not None:
        return False
    if not state.heard:
        return _act_inert(turn, forbidden)
    blocked = state.role is Role.BLOCKED
    tried = blocked and state.reason in _BLOCKED_FOR_WANT_OF_A_FENCE
    if (tried or (blocked and state.reason is Reason.FENCE_CAP)) and claim_veto(state, now) is None:
        grant = _last_resort(turn, tried=tried)
        if grant is not None:
            become_claiming(turn, grant)
            return True
        if _is_due(power_loss_claim_at(settings, state), now):
            begin_check_in_time(turn, CheckPurpose.POWER_LOSS)
            if turn.state.check is not None:
                return False
    if forbidden is not None:
        return block(turn, forbidden)
    if not can_fence(settings, state):
        return block(turn, no_device(state))
    if fence_is_capped(turn):
        return _act_capped(turn)
    slot_at = slot_start(settings, state, now)
    if now >= slot_at and state.health == 0 and now < slot_at + settings.deadtime_ns:
        say(turn, Reason.UPSTREAM_LOST)  # S6: failing probes delay, within the window of the slot
        return False
    if now >= slot_at:
        become_fencing(turn, Reason.PEER_SILENT)
        return True
    if state.reason not in (Reason.FENCE_FAILED, Reason.ADDRESS_HELD):  # which say more, until the next attempt
        say(turn, Reason.WAITING_FOR_SLOT)
    return False


def _last_resort(turn: Turn, *, tried: bool) -> Grant | None:
    """What the configuration allows a node to claim on that cannot fence: (e), or the wish of at-least-one (S16).

    The cap on fences (S15) holds the wish, which wants to have fenced first, and not (e), which is as good as a fence.
    """
    settings, state, now = turn.settings, turn.state, turn.now
    if _is_due(lease_claim_at(settings, state), now):
        return Grant.LEASE
    authentic_at = state.peer.authentic_at
    wait_ns = settings.lease_ns + settings.lease_margin_ns
    wished = tried and settings.guarantee is Guarantee.AT_LEAST_ONE
    if wished and authentic_at is not None and now >= authentic_at + wait_ns:
        return Grant.WRITTEN_WISH
    return None


def _is_due(at: int | None, now: int) -> bool:
    return at is not None and now >= at


def _act_inert(turn: Turn, forbidden: Reason | None) -> bool:
    """Booted and never heard the peer since: send no command unless its BMC was read OFF twice before (S5)."""
    state = turn.state
    if forbidden is not None:
        return block(turn, forbidden)
    if not can_fence(turn.settings, state) or turn.settings.start_alone is StartAlone.WAIT:
        return block(turn, Reason.INERT)
    begin_check_in_time(turn, CheckPurpose.START_ALONE)
    if state.role is Role.STANDBY:
        say(turn, Reason.INERT)
    return False


def _act_capped(turn: Turn) -> bool:
    """S15: the peer was fenced too often. Only one that reads OFF already may be fenced again; else this is blocked."""
    blocked = block(turn, Reason.FENCE_CAP)
    begin_check_in_time(turn, CheckPurpose.CAPPED)
    return blocked


def _wait_in_maintenance(turn: Turn) -> bool:
    """S18: the peer may be silent for as long as it likes."""
    if turn.state.role is Role.BLOCKED:
        become_standby(turn, Reason.MAINTENANCE)
        return True
    say(turn, Reason.MAINTENANCE)
    return False


def no_device(state: State) -> Reason:
    """Why there is no fence device to rely on."""
    return Reason.FENCE_LIED if state.fence_lied else Reason.NO_FENCE_DEVICE
