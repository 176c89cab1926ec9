"""What the checker sees of one node, beside its core: which frames reached it, which readings, whose word.

This module must never ask the core what it thinks.
"""

from __future__ import annotations

from hblink.core.event import (
    AddressHolderChanged,
    Event,
    PeerBeat,
    PeerHalfOpen,
    PowerCommanded,
    PowerRead,
    Released,
    Stalled,
    Started,
)
from hblink.core.state import State
from hblink.core.value import Power, Role, Settings
from hblink.sim.explorer.joint import NEVER, POWER_OP, TICK, Witness

_STOPPING = frozenset({Role.STARTING, Role.YIELDING, Role.HALTED})


def observe(settings: Settings, witness: Witness, event: Event, after: bool) -> Witness:
    """What the witness knows once `event` has reached its node; `after`: the frame echoes a sequence after a clear."""
    match event:
        case PeerBeat():
            return _beaten(witness, event, after)
        case PeerHalfOpen():
            return witness._replace(
                advert=None, after=False, spoken=witness.commanded, unbroken=False, offs=0, confirmed=False,
                promised=False, silence=0,
            )  # fmt: skip
        case PowerRead():
            off = event.power is Power.OFF
            refuted = witness.refuted or (witness.commanded and not off)
            return witness._replace(offs=min(2, witness.offs + 1) if off else 0, refuted=refuted)
        case PowerCommanded():
            counts = event.accepted and event.op_id == POWER_OP and witness.commanded and not witness.was_off
            return witness._replace(fences=min(witness.fences + counts, settings.fence_cap))
        case AddressHolderChanged():
            return witness._replace(sighted=0)
        case Stalled():
            seen = witness._replace(resumed=0, confirmed=False)
            long = event.late_ns >= settings.release_late_ns
            return seen._replace(advert=None, after=False, offs=0) if long else seen
        case Released():
            return witness._replace(resumed=0)
        case Started():
            memory = event.memory
            maintained = memory.unleased and (memory.maintenance or memory.peer_maintenance)
            kept = maintained or (witness.unbroken and memory.grant is not None)
            return Witness(
                heard=memory.peer_heard,
                unbroken=kept,
                latched=memory.peer_maintenance,
                fences=len(memory.fences),
                benched=memory.standby,
                sworn=witness.sworn,
                orderly=memory.orderly,
            )
        case _:
            return witness


def _beaten(witness: Witness, beat: PeerBeat, after: bool) -> Witness:
    seen = witness._replace(
        fresh=0, heard=True, spoken=witness.commanded, resumed=NEVER, unbroken=False, offs=0, confirmed=False, silence=0
    )
    if after:
        seen = seen._replace(sworn=False)
    if beat.adopted or witness.fresh == NEVER:
        seen = seen._replace(advert=None, after=False, stuck=-1, promised=False)
    if not beat.newest:
        return seen
    promised = beat.advert is not None and beat.advert.promise_ns is not None
    seen = seen._replace(advert=beat.advert, after=after, promised=promised)
    if beat.advert is None:
        return seen
    stuck = max(seen.stuck, 0) if beat.advert.stop_failed else -1
    return seen._replace(stuck=stuck, latched=beat.advert.maintenance)


def must_clear(settings: Settings, before: State, state: State, event: Event) -> bool:
    """Whether grant (c) needs an echo of what is sent from here on: S2 names the occasions."""
    match event:
        case Started():
            return True
        case Stalled():
            return event.late_ns >= settings.release_late_ns
        case Released():
            return before.role in _STOPPING and state.role not in _STOPPING
        case _:
            return before.yielded and not state.yielded


def aged(witness: Witness, settings: Settings) -> Witness:
    """The witness a tick later."""
    deadtime = whole(settings.deadtime_ns)
    witness = witness._replace(resumed=witness.resumed + 1 if witness.resumed + 1 < deadtime else NEVER)
    if witness.sighted + 1 < whole(settings.holder_ttl_ns):
        witness = witness._replace(sighted=witness.sighted + 1)
    elif witness.sighted != NEVER:
        witness = witness._replace(sighted=NEVER)
    if settings.lease_mode:
        witness = witness._replace(silence=min(witness.silence + 1, lease_ticks(settings)))
    if witness.fresh + 1 >= deadtime:
        return witness._replace(fresh=NEVER, advert=None, after=False, stuck=-1)
    stuck = min(witness.stuck + 1, whole(settings.stop_failed_fence_ns)) if witness.stuck >= 0 else -1
    return witness._replace(fresh=witness.fresh + 1, stuck=stuck)


def whole(duration_ns: int) -> int:
    """A duration in ticks."""
    return -(-duration_ns // TICK)


def lease_ticks(settings: Settings) -> int:
    """How long after the last authentic frame of it a promise of the peer has surely been kept; in ticks (S2e).

    But for its watchdog, of which only the promise tells; that two owners never meet says the rest.
    """
    parts = (settings.deadtime_ns, settings.lease_ns, settings.stop_bound_ns, settings.lease_margin_ns)
    return sum(map(whole, parts))
