"""Whether the peer is there, on which links, and whose turn it is to fence.

Pure questions about a state and an instant. Silence is never proof of death (S1): nothing here grants anything.
A condition holds from the instant at which its deadline is reached.
"""

from __future__ import annotations

from hblink.core.state import LinkView, State, holds_token, in_maintenance
from hblink.core.value import OWNING, Alarm, AlarmCode, Holder, Role, Settings

SLOTS = 3  # first the node without the token, then the holder if preferred, then the other holder (S4)


def silent_at(settings: Settings, state: State) -> int:
    """When the peer counts as silent, if nothing more comes.

    Fresh frames defer it by deadtime; authentic frames that are not fresh do so too, but only until half_open_max
    after the last fresh one; and never before the node has listened long enough itself (I6).
    """
    peer = state.peer
    at = state.listen_until
    if peer.fresh_at is not None:
        at = max(at, peer.fresh_at + settings.deadtime_ns)
    if peer.authentic_at is not None:
        at = max(at, min(peer.authentic_at + settings.deadtime_ns, peer.fresh_floor_at + settings.half_open_max_ns))
    return at


def is_silent(settings: Settings, state: State, now: int) -> bool:
    """Whether the peer has been silent long enough to be suspected."""
    return now >= silent_at(settings, state)


def is_fresh(settings: Settings, state: State, now: int) -> bool:
    """Whether a fresh frame came within deadtime."""
    fresh_at = state.peer.fresh_at
    return fresh_at is not None and now < fresh_at + settings.deadtime_ns


def peer_is_ready(settings: Settings, state: State, now: int) -> bool:
    """Whether the peer could take the service in a planned move right now.

    It must have been heard lately: what is given to a peer that has just gone is on nobody, and its fence may fail.
    """
    advert = state.peer.advert
    fresh_at = state.peer.fresh_at
    return (
        is_fresh(settings, state, now)
        and fresh_at is not None
        and now < fresh_at + settings.warntime_ns
        and advert is not None
        and advert.role is Role.STANDBY
        and advert.able
        and state.outstanding_until is None
        and state.drill is None
    )


def stop_failed_stands(settings: Settings, state: State, now: int) -> bool:
    """Whether the peer has been saying STOP_FAILED past its bound, and still does, knowing what this node is (S8).

    Its newest frame must echo one that this node sent after it last released: of two nodes that could not stop, only
    one can have that of the other. A hiccup of one's own does not put it off: the peer, which is heard, accuses itself.
    """
    peer = state.peer
    return (
        peer.advert is not None
        and peer.advert.stop_failed
        and peer.echo_sent_at > state.cleared_at
        and peer.stop_failed_at is not None
        and now >= peer.stop_failed_at + settings.stop_failed_fence_ns
    )


def slot_index(settings: Settings, state: State) -> int:
    """This node's place in the order of fencing (S4)."""
    if not holds_token(settings, state.epoch):
        return 0
    return 1 if settings.me == settings.preferred else 2


def slot_start(settings: Settings, state: State, now: int) -> int:
    """The start of the slot of this node that `now` lies in the window of, else of its next one.

    Counted from the last authentic frame, as far as it may defer suspicion, not from the end of a stall; so both nodes
    count from about the same instant. A missed window is waited out.
    """
    peer = state.peer
    fresh_at = peer.fresh_floor_at if peer.fresh_at is None else peer.fresh_at
    reference = fresh_at
    if peer.authentic_at is not None:
        reference = min(peer.authentic_at, fresh_at + settings.half_open_max_ns)
    first = reference + settings.deadtime_ns + slot_index(settings, state) * settings.slot_ns
    cycle = SLOTS * settings.slot_ns
    if now < first:
        return first
    start = first + (now - first) // cycle * cycle
    return start if now < start + settings.slot_window_ns else start + cycle


def hears_on(settings: Settings, link: LinkView, now: int) -> bool:
    """Whether a fresh frame came in on this link within deadtime."""
    return link.heard_at is not None and now < link.heard_at + settings.deadtime_ns


def heard_on(state: State, index: int) -> bool:
    """Whether the peer says that it accepts this node on link `index`."""
    return bool(state.peer.hears >> index & 1)


def alarms_of(settings: Settings, state: State, now: int) -> frozenset[Alarm]:
    """Every alarm that stands now."""
    peer = state.peer
    fresh = is_fresh(settings, state, now)
    late = peer.half_open_at is None and peer.fresh_at is not None and now >= peer.fresh_at + settings.warntime_ns
    missing = (index for index, link in enumerate(state.links) if link.open is False)
    found: set[Alarm] = {Alarm(AlarmCode.LINK_MISSING.value, index) for index in missing}
    settled_at = None if peer.fresh_since is None else peer.fresh_since + settings.deadtime_ns
    if fresh and not late and settled_at is not None and now >= settled_at:  # else it is not a link that is lost
        for index, link in enumerate(state.links):
            if not hears_on(settings, link, now):
                found.add(Alarm(AlarmCode.LINK_IN_DOWN.value, index))
            if peer.advert is not None and not heard_on(state, index):
                found.add(Alarm(AlarmCode.LINK_OUT_DOWN.value, index))
        broken = {alarm.link for alarm in found}
        if broken:
            found.add(Alarm(AlarmCode.DEGRADED.value))
        if broken and len(broken) >= settings.links - 1:
            found.add(Alarm(AlarmCode.JEOPARDY.value))
    lost = is_silent(settings, state, now) and not fresh
    half_open = peer.half_open_at is not None and now >= peer.half_open_at + settings.warntime_ns
    outstanding = state.outstanding_until is not None
    held = state.start_hold_until is not None and now < state.start_hold_until
    unpromised = settings.lease_mode and (state.promise_ns is None or not state.guard_armed)
    stood = Alarm(AlarmCode.NO_PROMISE.value) in state.alarms
    levels = (
        (AlarmCode.PEER_LOST, lost),
        (AlarmCode.PEER_LATE, late and not lost),
        (AlarmCode.HALF_OPEN, half_open and not fresh),
        (AlarmCode.BLOCKED, state.role is Role.BLOCKED),
        (AlarmCode.INERT, lost and not state.heard),
        (AlarmCode.DUAL_ACTIVE, state.dual_seen),
        (AlarmCode.STOP_FAILED, state.role is Role.HALTED),
        (AlarmCode.PEER_STOP_FAILED, peer.stop_failed_at is not None),
        (AlarmCode.FENCE_OUTSTANDING, outstanding),
        (AlarmCode.FENCE_LIED, state.fence_lied),
        (AlarmCode.MAINTENANCE, in_maintenance(state)),
        (AlarmCode.STANDBY_ORDERED, state.standby_ordered),
        (AlarmCode.ADDRESS_CONFLICT, _has_address_conflict(state)),
        (AlarmCode.NO_SERVICE_CARRIER, not state.carrier),
        (AlarmCode.START_FAILED, held),
        (AlarmCode.NO_PROMISE, unpromised and (stood or now >= state.cleared_at + settings.deadtime_ns)),
    )
    found.update(Alarm(code.value) for code, holds in levels if holds)
    return frozenset(found)


def _has_address_conflict(state: State) -> bool:
    """Whether somebody answers for the service who should not: while the peer serves, it should."""
    off_accepted = state.attempt is not None and state.attempt.accepted
    mine = state.role in OWNING or off_accepted
    return state.holder is Holder.OTHER or (state.holder is Holder.PEER and mine)
