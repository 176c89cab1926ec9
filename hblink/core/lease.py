"""The lease mode (SAFETY S2e), opt-in: an active that hears nothing stops by itself, so that its peer may rely on it.

The promise rides in the frames of a node whose hardware watchdog is armed: so long after the last frame that was heard
of it, its service has ended. It is the sum of what may come one after the other: the waiter's last word counted here
for `deadtime` more, the lease, a stop that takes its whole bound, and the watchdog that then is petted no more.

Only the node *without* the token may claim on it. Its holder waits for a grant of S2 like every other node: were both
allowed to, both would. An active whose grant says that the peer is off, or that has read it OFF twice since it was last
heard, is under no lease: a peer that comes back from there has never heard this node, and cannot claim by (e).
Maintenance does not suspend the lease: what one side forgets of it, the other could not know. This module must never
let a node claim on a promise that was not the last word of the peer.
"""

from __future__ import annotations

from hblink.core.fence import begin_check_in_time, pursue_check
from hblink.core.liveness import is_silent
from hblink.core.state import CheckPurpose, State, can_fence, holds_token
from hblink.core.turn import Turn, become_yielding
from hblink.core.value import OWNING, PEER_IS_OFF, Reason, Role, Settings


def promise_of(settings: Settings, watchdog_ns: int) -> int:
    """What a node may promise whose watchdog runs out after `watchdog_ns`; in nanoseconds."""
    return settings.deadtime_ns + settings.lease_ns + settings.stop_bound_ns + watchdog_ns


def lease_end(settings: Settings, state: State) -> int | None:
    """When the service has to stop here if nothing more comes; None while no lease runs."""
    bound = state.promise_ns is not None and state.role in OWNING
    if not bound or state.peer_off or state.grant in PEER_IS_OFF:
        return None
    since = (state.peer.fresh_at, state.leased_at)
    return max((at for at in since if at is not None), default=state.role_at) + settings.lease_ns


def keep_lease(turn: Turn) -> bool:
    """Look for a proof that the peer is off while it is silent, and stop when the lease ends without one."""
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


def lease_claim_at(settings: Settings, state: State) -> int | None:
    """When this node may claim by (e), if nothing more comes; None if it may not."""
    peer = state.peer
    relied_on = settings.lease_mode and state.guard_armed and not holds_token(settings, state.epoch)
    if not relied_on or peer.promise_ns is None:
        return None
    return peer.promised_at + peer.promise_ns + settings.lease_margin_ns
