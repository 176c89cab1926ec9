"""What must hold of two nodes together, judged by what the checker saw itself.

A `Witness` follows each node beside its core: which frames reached it, which readings, whose word. From that, and not
from the core's own `claimed_by`, every claim and every command is judged. This module must never change a node.
"""

from __future__ import annotations

from hblink.core.effect import Activate, Answer, Effect, PowerOff, Release
from hblink.core.event import Event, PeerBeat, PeerHalfOpen, PowerRead, Stalled, Started
from hblink.core.state import State
from hblink.core.value import OWNING, Advert, Power, Reason, Role, Settings, owner
from hblink.sim.joint import NEVER, Node, Violation, Witness, World

IDLE = frozenset({Role.STANDBY, Role.BLOCKED, Role.FENCING})
CONFIRM, SWITCHOVER = 2, 1  # request numbers


def observe(settings: Settings, witness: Witness, event: Event, after: bool) -> Witness:
    """What the witness knows once `event` has reached its node; `after`: the frame echoes a sequence after a clear."""
    match event:
        case PeerBeat():
            seen = witness._replace(
                fresh=0, heard=True, spoken=witness.commanded, resumed=NEVER, unbroken=False, offs=0, confirmed=False
            )
            if event.adopted:
                seen = seen._replace(advert=None, after=False)
            return seen._replace(advert=event.advert, after=after) if event.newest else seen
        case PeerHalfOpen():
            return witness._replace(
                advert=None, after=False, spoken=witness.commanded, unbroken=False, offs=0, confirmed=False
            )
        case PowerRead():
            return witness._replace(offs=min(2, witness.offs + 1) if event.power is Power.OFF else 0)
        case Stalled():
            seen = witness._replace(resumed=0, confirmed=False)
            return (
                seen._replace(advert=None, after=False, offs=0) if event.late_ns >= settings.release_late_ns else seen
            )
        case Started():
            kept = witness.unbroken and event.memory.grant is not None
            return Witness(heard=event.memory.peer_heard, unbroken=kept)
        case _:
            return witness


def aged(witness: Witness, deadtime: int) -> Witness:
    """The witness a tick later."""
    fresh = witness.fresh + 1 if witness.fresh + 1 < deadtime else NEVER
    resumed = witness.resumed + 1 if witness.resumed + 1 < deadtime else NEVER
    if fresh == NEVER:
        return witness._replace(fresh=fresh, resumed=resumed, advert=None, after=False)
    return witness._replace(fresh=fresh, resumed=resumed)


def judge(
    settings: Settings, node: Node, before: State, state: State, event: Event, effects: tuple[Effect, ...]
) -> Witness:
    """Judge what a step wants, `node` being as it was before the effects; returns the witness after them."""
    witness = node.witness
    late = isinstance(event, Stalled) and event.late_ns >= settings.release_late_ns
    if late and before.role in OWNING and state.role in OWNING:
        raise Violation("S7", "keeps the service after a long pause")
    for effect in effects:
        match effect:
            case Activate():
                _judge_claim(settings, node, witness, before, state, event)
                witness = witness._replace(unbroken=True, confirmed=False, offs=0)
            case PowerOff():
                _judge_off(witness)
                witness = witness._replace(commanded=True, spoken=False, offs=0)
            case Release():
                if not isinstance(event, Stalled | Started):
                    witness = witness._replace(unbroken=False)
            case Answer():
                if effect.request == CONFIRM and effect.ok:
                    witness = witness._replace(confirmed=True)
            case _:
                pass
    if state.attempt is None and witness.commanded:
        witness = witness._replace(commanded=False, spoken=False)
    return witness


def _judge_claim(settings: Settings, node: Node, witness: Witness, before: State, state: State, event: Event) -> None:
    advert = witness.advert
    known = max(before.epoch, advert.epoch if advert is not None else 0)
    holder = owner(known)
    token = (settings.preferred if holder is None else holder) == settings.me
    if node.running:
        raise Violation("I2", "claims while something may still run here")
    if not node.carrier:
        raise Violation("I15", "claims without service carrier")
    if state.epoch <= known or owner(state.epoch) != settings.me:
        raise Violation("I3", f"claims epoch {state.epoch}, knowing {known}")
    standby = advert is not None and advert.role is Role.STANDBY and advert.epoch >= known
    fenced = isinstance(event, PowerRead) and witness.offs >= 2 and witness.commanded
    yielded = standby and advert is not None and advert.yielded and not token
    not_taken = (
        standby and advert is not None and token and not advert.yielded and witness.after and not before_yielded(before)
    )
    kept = witness.unbroken and token and witness.fresh == NEVER and not before_yielded(before)
    if not (fenced or yielded or not_taken or kept or witness.confirmed):
        raise Violation("I2", f"claims without a grant, saying {state.claimed_by and state.claimed_by.value}")


def before_yielded(before: State) -> bool:
    """Whether the node said YIELDED in its last frame: what it cleared in this step no echo can follow."""
    return before.yielded


def _judge_off(witness: Witness) -> None:
    if witness.resumed != NEVER:
        raise Violation("I6", "a node that stalled sends an off")
    stop_failed = witness.advert is not None and witness.advert.stop_failed
    if witness.fresh != NEVER and not stop_failed:
        raise Violation("I8", "sends an off to a peer heard within deadtime")
    if not witness.heard and witness.spoken:
        raise Violation("I11", "an inert node repeats its off to a peer that spoke")
    if not witness.heard and not witness.commanded and witness.offs < 2:
        raise Violation("I11", f"an inert node sends an off after {witness.offs} OFF readings")


def judge_frame(node: Node, advert: Advert) -> None:
    """What a frame says must be true when it is sent."""
    if advert.yielded and node.running:
        raise Violation("I7", "says YIELDED while the service may run")
    if advert.role in IDLE and node.running:
        raise Violation("I7", f"says {advert.role.value} while the service may run")


def judge_conflict(before: State, after: State, advert: Advert | None) -> None:
    """I10, S9: of two owners that see each other the lower epoch releases in the same step; to others nobody yields."""
    if advert is None or before.role not in OWNING or advert.epoch <= before.epoch:
        return
    if advert.role not in OWNING:
        if after.reason is Reason.DUAL_ACTIVE:
            raise Violation("S9", "releases to a node that owns nothing")
    elif after.role in OWNING:
        raise Violation("I10", "keeps the service against a higher epoch")


def judge_world(world: World, states: tuple[State | None, State | None], *, slots: bool, one_link: bool) -> None:
    """I1, and what else a joint state can show."""
    if world.nodes[0].running and world.nodes[1].running:
        raise Violation("I1", "both nodes may run the service")
    first, second = states
    if slots and first is not None and second is not None and first.role is second.role is Role.FENCING:
        raise Violation("S4", "both nodes fence at the same time")
    for node, state in zip(world.nodes, states, strict=True):
        if state is None:
            continue
        if state.role in IDLE and node.running:
            raise Violation("I7", f"in role {state.role.value} while the service may run")
        if one_link and state.role in (Role.FENCING, Role.BLOCKED):
            raise Violation("I12", f"role {state.role.value} with a link alive")
