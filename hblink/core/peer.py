"""What a frame of the peer changes: its life, its word, its epoch, a conflict, the proof that it was down.

The session has judged the frame (WIRE R0 to R7); here it is taken into the state. Nothing here grants anything.
"""

from __future__ import annotations

from dataclasses import replace

from hblink.core.effect import Reannounce
from hblink.core.event import PeerBeat
from hblink.core.fence import void_readings
from hblink.core.lease import is_exempt
from hblink.core.liveness import is_fresh
from hblink.core.state import holds_token
from hblink.core.turn import Turn, become_yielding, drop_check
from hblink.core.value import EPOCH_MAX, OWNING, Advert, Reason, Role, next_epoch


def _authentic(turn: Turn) -> None:
    """Any authentic frame: the peer lives, so nothing that rests on its silence stands any more."""
    if turn.settings.lease_mode and is_exempt(turn.state):
        turn.set(leased_at=turn.now)  # once: until the peer has an answer it cannot have been promised anything
    turn.set(grant=None, peer_spent=False)
    void_readings(turn)
    drop_check(turn, Reason.PEER_HEARD)


def take_half_open(turn: Turn) -> None:
    """Take an authentic frame that proves no freshness: the peer may live, and what it says is not known."""
    _authentic(turn)
    half_open_at = turn.state.peer.half_open_at
    turn.set_peer(
        advert=None,
        promise_ns=None,
        authentic_at=turn.now,
        half_open_at=turn.now if half_open_at is None else half_open_at,
    )


def take_beat(turn: Turn, beat: PeerBeat) -> None:
    """Take a fresh frame: the peer lives; if it is the newest, what it says is applied."""
    now = turn.now
    overtaken = not beat.newest and not beat.adopted and is_fresh(turn.settings, turn.state, now)
    spent = turn.state.peer_spent and overtaken  # by the word that said so, of the same session
    _authentic(turn)
    if spent:
        turn.set(peer_spent=True)
    anew = beat.adopted or not is_fresh(turn.settings, turn.state, now)
    links = list(turn.state.links)
    links[beat.link] = replace(links[beat.link], heard_at=now)
    listen_until = min(turn.state.listen_until, now)  # listening is over as soon as there is something to hear
    turn.set(links=tuple(links), listen_until=listen_until)
    if beat.echo_sent_at > turn.state.cleared_at:
        _is_on(turn)
    turn.set_peer(
        fresh_at=now, fresh_floor_at=now, authentic_at=now, half_open_at=None, fence_ready=turn.state.fence_ready
    )
    if turn.settings.lease_mode:
        turn.set_peer(promised_at=now)
    if anew:
        turn.set_peer(advert=None, promise_ns=None, fresh_since=now, hears=0, stop_failed_at=None)
    _judge_boot(turn, beat)
    if not beat.newest:
        return
    promise_ns = None if beat.advert is None else beat.advert.promise_ns
    turn.set_peer(advert=beat.advert, promise_ns=promise_ns, echo_sent_at=beat.echo_sent_at)
    if beat.hears is not None:
        turn.set_peer(hears=beat.hears)
    if beat.advert is not None:
        _apply(turn, beat.advert)


def _is_on(turn: Turn) -> None:
    """S3: the peer sent this after the last OFF or oath, so it is on, whatever was sworn; an `off` may still come.

    An older frame that was on its way all that time says nothing of the peer's power: no debt begins or ends by it.
    """
    state = turn.state
    turn.set(power_on_at=None, sworn_off=False)
    if state.attempt is None and state.drill is None:
        turn.set(owes_on=state.outstanding_until is not None)


def _apply(turn: Turn, advert: Advert) -> None:
    """Take in what the peer says of itself: its epoch, a conflict, a failed stop."""
    settings, state, now = turn.settings, turn.state, turn.now
    since = state.peer.stop_failed_at
    if advert.ending and settings.lease_mode:
        turn.set(peer_spent=True)  # it claims nothing any more in this life, and its next one has to hear this node
    turn.set(heard=True)  # its epoch is known from here on: a frame that could not be applied would not do
    turn.set_peer(
        stop_failed_at=(now if since is None else since) if advert.stop_failed else None,
        maintenance=advert.maintenance,
    )
    conflict = advert.role in OWNING and state.role in OWNING
    if state.role in OWNING:
        if conflict and advert.epoch > state.epoch:
            turn.set(epoch=advert.epoch, dual_seen=True)
            become_yielding(turn, Reason.DUAL_ACTIVE)
        elif conflict:
            if not state.dual_seen:
                turn.emit(Reannounce())
            turn.set(dual_seen=True)
        elif advert.epoch > state.epoch and advert.epoch < EPOCH_MAX - 1:
            turn.set(epoch=next_epoch(advert.epoch, settings.me))  # S9: from a node that owns nothing
    else:
        _learn(turn, advert)
    if turn.state.dual_seen and not conflict:
        turn.set(dual_seen=False)
        if turn.state.role in OWNING:
            turn.emit(Reannounce())  # the loser has let go: the neighbours must hear the winner last


def _learn(turn: Turn, advert: Advert) -> None:
    """Take in the epoch of a peer beside which this node owns nothing, and that it serves."""
    settings, state, now = turn.settings, turn.state, turn.now
    if advert.role is Role.ACTIVE:
        turn.set(offered=False)
    if advert.epoch > state.epoch:
        turn.set(epoch=advert.epoch)
        if state.yielded and not holds_token(settings, advert.epoch):
            turn.set(yielded=False, cleared_at=now)  # the yield was used: there is nothing left to promise


def _judge_boot(turn: Turn, beat: PeerBeat) -> None:
    """S14: a peer that was read OFF must come back with another kernel boot id; the same one means that it never went.

    Only a frame that echoes what was sent after the confirmation can tell: it was surely sent later, too.
    """
    state = turn.state
    if beat.boot is None:
        if beat.adopted:
            turn.set_peer(boot=None)
        return
    if state.proof_at is not None:
        if beat.echo_sent_at <= state.proof_at:
            return
        turn.set(proof_at=None, fence_lied=state.fence_lied or beat.boot == state.proof_boot)
    turn.set_peer(boot=beat.boot)
