"""The lease mode (SAFETY S2e), opt-in: an active that hears nothing stops by itself, so that its peer may rely on it.

The promise rides in the frames of a node whose hardware watchdog is armed: so long after the last frame that was heard
of it, its service has ended. It is the sum of what may come one after the other: the waiter's last word counted here
for `deadtime` more, the lease, a stop that takes its whole bound, and twice the watchdog, petted no more from then
on: not in a stop that has outlived the lease (`pet_end`), and by no new daemon before its clean start.

Only the node *without* the token may claim on it. Its holder waits for a grant of S2 like every other node: were both
allowed to, both would. No lease runs while the peer is `spent`, unable to claim by (e) until it has been heard again:
it was read OFF twice, or its last word was that it ends; so too under a grant that says that it is off. What comes back
from there has never heard this node, and knows no promise. Maintenance does not suspend the lease: what one side
forgets of it, the other could not know.

Pure questions about a state. This module must never let a node claim on a promise that was not the peer's last word.
"""

from __future__ import annotations

from hblink.core.state import State, holds_token
from hblink.core.value import OWNING, PEER_IS_OFF, Role, Settings


def promise_of(settings: Settings, watchdog_ns: int) -> int:
    """What a node may promise whose watchdog runs out after `watchdog_ns`; in nanoseconds.

    The watchdog counts twice: a pet may be decided on before a pause and given after it, if the pause was survived.
    """
    return settings.deadtime_ns + settings.lease_ns + settings.stop_bound_ns + 2 * watchdog_ns


def is_exempt(state: State) -> bool:
    """Whether the peer cannot claim by (e), so that no lease runs."""
    return state.peer_spent or state.grant in PEER_IS_OFF


def lease_end(settings: Settings, state: State) -> int | None:
    """When the service has to stop here if nothing more comes; None while no lease runs."""
    if state.promise_ns is None or state.role not in OWNING or is_exempt(state):
        return None
    since = (state.peer.fresh_at, state.leased_at)
    return max((at for at in since if at is not None), default=state.role_at) + settings.lease_ns


def pet_end(settings: Settings, state: State) -> int | None:
    """From when on the watchdog is not to be petted any more (S11); None while there is no such instant.

    A pause may have used up the lease before a stop begins, so a stop under a lease has no time of its own beyond it.
    """
    if state.role is Role.YIELDING and state.lease_ended_at is not None:
        return state.lease_ended_at + settings.stop_bound_ns
    return lease_end(settings, state)


def lease_claim_at(settings: Settings, state: State) -> int | None:
    """When this node may claim by (e), if nothing more comes; None if it may not."""
    peer = state.peer
    relied_on = settings.lease_mode and state.guard_armed and not holds_token(settings, state.epoch)
    if not relied_on or peer.promise_ns is None:
        return None
    return peer.promised_at + peer.promise_ns + settings.lease_margin_ns
