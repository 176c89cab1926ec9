"""The loss of power as evidence (SAFETY S16), opt-in for stateless services: all that the peer's power feeds is gone.

Every link has a signal of the far end's hardware, and has lost it; the last frame and these losses lie within one short
window; the fence devices worked when the peer was last heard, and none of them answers now. After a wait the devices
are asked once more, and their silence is seen in the step that claims.

It is evidence and no proof: whoever pulls every cable of a living node at once, the one of its BMC too, makes the same
picture, and two owners. So it is refused where the service has a disk to lose, and whatever answers meanwhile refutes
it: a frame, a signal that returns, a device. This module must never count a signal that was not felt before.
"""

from __future__ import annotations

from dataclasses import replace

from hblink.core.state import State
from hblink.core.turn import Turn
from hblink.core.value import Settings


def power_loss_at(settings: Settings, state: State) -> int | None:
    """When the last of it went away, where all of it did within the window; None if this is no loss of power."""
    peer = state.peer
    lost = [link.signal_lost_at for link in state.links if link.signal is False and link.signal_lost_at is not None]
    if not settings.power_loss_evidence or len(lost) < settings.links or not peer.fence_ready:
        return None
    if peer.authentic_at is None or peer.fresh_at is None:
        return None
    instants = (*lost, peer.authentic_at)
    return max(instants) if max(instants) - min(instants) <= settings.power_loss_window_ns else None


def power_loss_claim_at(settings: Settings, state: State) -> int | None:
    """When the devices are to be asked for the last time; None if this is no loss of power."""
    lost_at = power_loss_at(settings, state)
    return None if lost_at is None else lost_at + settings.power_loss_wait_ns


def forget_signals(turn: Turn) -> None:
    """A pause: what was lost in it, and when, is not known; what is felt after it counts as felt for the first time."""
    links = turn.state.links
    if any(link.signal is not None for link in links):
        turn.set(links=tuple(replace(link, signal=None, signal_lost_at=None) for link in links))


def refute_power_loss(turn: Turn) -> None:
    """A fence device answers: what feeds it has power, and so may the peer."""
    links = turn.state.links
    if any(link.signal_lost_at is not None for link in links):
        turn.set(links=tuple(replace(link, signal_lost_at=None) for link in links))
