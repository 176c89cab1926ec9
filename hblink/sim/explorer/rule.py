"""What must hold of two nodes together, judged by what the checker saw itself.

A `Witness` follows each node beside its core (hblink.sim.explorer.watch). From that, and not from the core's own
`claimed_by`, every claim and every command is judged. This module must never change a node.
"""

from __future__ import annotations

from typing import Any

from hblink.core.effect import Activate, Answer, Effect, PowerOff, PowerOn, Release
from hblink.core.event import Event, PowerRead, Stalled, Started
from hblink.core.state import State
from hblink.core.value import (
    EPOCH_CLAIMED_MIN,
    OWNING,
    Advert,
    Alarm,
    AlarmCode,
    Reason,
    Role,
    Settings,
    StartAlone,
    owner,
)
from hblink.sim.explorer.joint import NEVER, Node, Violation, Witness, World
from hblink.sim.explorer.watch import lease_ticks, whole

OFFS_NEEDED = 2
IDLE = frozenset({Role.STANDBY, Role.BLOCKED, Role.FENCING})
SWITCHOVER, CONFIRM, STANDBY, ONLINE, MAINTENANCE_ON, MAINTENANCE_OFF, DRILL = range(1, 8)  # request numbers
_LINK_ALARMS = frozenset(
    code.value for code in (AlarmCode.LINK_IN_DOWN, AlarmCode.LINK_OUT_DOWN, AlarmCode.DEGRADED, AlarmCode.JEOPARDY)
)


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
            case PowerOff() if state.drill is not None:
                _judge_drill(node, witness)
            case PowerOff():
                _judge_off(settings, witness, state)
                was_off = witness.was_off if witness.commanded else witness.offs >= OFFS_NEEDED
                spent = witness.offs < OFFS_NEEDED and not witness.heard and not witness.commanded
                witness = witness._replace(
                    commanded=True,
                    was_off=was_off,
                    spoken=False,
                    offs=0,
                    by_fence=witness.by_fence or spent,
                    orderly=witness.orderly and not spent,
                )
            case PowerOn() if witness.sworn:
                raise Violation("S16", "switches on what a person swore to be off")
            case Release():
                if not isinstance(event, Stalled | Started):
                    witness = witness._replace(unbroken=False)
                elif before.unleased and (witness.latched or before.maintenance):
                    witness = witness._replace(unbroken=True)  # S18: the peer knew of it, and takes nothing
            case Answer():
                witness = _answered(witness, effect)
            case _:
                pass
    if state.attempt is None and witness.commanded:
        witness = witness._replace(commanded=False, spoken=False, refuted=False, was_off=False, by_fence=False)
    if witness.latched and not state.peer.maintenance:
        raise Violation("S18", "forgets the maintenance that its peer has said")
    if settings.fence_cap:
        _judge_capped(settings, node, witness, before, state)
    return witness


def _answered(witness: Witness, answer: Answer) -> Witness:
    if not answer.ok:
        return witness
    changes: dict[int, dict[str, Any]] = {
        CONFIRM: {"confirmed": True, "sworn": True},
        STANDBY: {"benched": True},
        ONLINE: {"benched": False, "fences": 0},
        MAINTENANCE_OFF: {"latched": False},
    }
    return witness._replace(**changes.get(answer.request, {}))


def _judge_capped(settings: Settings, node: Node, witness: Witness, before: State, state: State) -> None:
    """S15: the cap never holds a claim by (a) or (c)."""
    held = state.stop_by is not None or state.start_hold_until is not None or witness.benched
    held = held or not node.carrier or witness.latched or state.maintenance or witness.sighted != NEVER
    idle = state.role in (Role.STANDBY, Role.BLOCKED)
    if not idle or held or witness.fences < settings.fence_cap:
        return
    if any(_by_word(settings, witness, before, state.epoch)) and not state.yielded:
        raise Violation("S15", "does not take what the peer has left, and has fenced as often as it may")


def _by_word(settings: Settings, witness: Witness, before: State, known: int) -> tuple[bool, bool]:
    """Whether the peer's word entitles to a claim: (a) yielded, (c) not taken."""
    advert = witness.advert
    if advert is None or advert.role is not Role.STANDBY or advert.epoch < known:
        return False, False
    token = owner(known) == settings.me
    return (
        advert.yielded and not token,
        token and not advert.yielded and witness.after and not before_yielded(before),
    )


def _judge_claim(settings: Settings, node: Node, witness: Witness, before: State, state: State, event: Event) -> None:
    advert = witness.advert
    known = max(before.epoch, advert.epoch if advert is not None else 0)
    if node.running:
        raise Violation("I2", "claims while something may still run here")
    if not node.carrier:
        raise Violation("I15", "claims without service carrier")
    if witness.sighted != NEVER:
        raise Violation("I15", "claims while the hardware of the peer answers for the service")
    if witness.benched:
        raise Violation("I15", "claims against an operator's standby")
    if state.epoch <= known or owner(state.epoch) != settings.me:
        raise Violation("I3", f"claims epoch {state.epoch}, knowing {known}")
    if not witness.heard and witness.refuted and not witness.by_fence:
        raise Violation("I11", "an inert node goes on after a reading that was not OFF")
    fenced = isinstance(event, PowerRead) and witness.offs >= OFFS_NEEDED and witness.commanded
    yielded, not_taken = _by_word(settings, witness, before, known)
    token = owner(known) == settings.me
    kept = witness.unbroken and token and witness.fresh == NEVER and not before_yielded(before)
    leased = settings.lease_mode and witness.promised and not token and witness.silence >= lease_ticks(settings)
    if not (fenced or yielded or not_taken or kept or leased or witness.confirmed):
        raise Violation("I2", f"claims without a grant, saying {state.claimed_by and state.claimed_by.value}")
    if (witness.latched or state.maintenance) and not (not_taken or kept):
        raise Violation("S18", "takes over in maintenance")


def before_yielded(before: State) -> bool:
    """Whether the node said YIELDED in its last frame: what it cleared in this step no echo can follow."""
    return before.yielded


def _judge_drill(node: Node, witness: Witness) -> None:
    """I8: the one `off` for a peer that is heard: a person asked for it, the peer is a standby, this node serves."""
    if not node.running or witness.latched:
        raise Violation("I8", "drills without serving, or in maintenance")
    if witness.advert is None or witness.advert.role is not Role.STANDBY:
        raise Violation("I8", "drills a peer that is not known to be a standby")


def _judge_off(settings: Settings, witness: Witness, state: State) -> None:
    if witness.latched or state.maintenance:
        raise Violation("S18", "fences in maintenance")
    capped = settings.fence_cap and witness.fences >= settings.fence_cap
    if capped and not witness.commanded and witness.offs < OFFS_NEEDED:
        raise Violation("S15", "fences a peer that is on more often than the cap allows")
    # What the peer says itself is no accusation by silence, which is all that a stall can bring forth.
    stop_failed = witness.advert is not None and witness.advert.stop_failed
    if witness.resumed != NEVER and not stop_failed:
        raise Violation("I6", "sends an off after a stall or a stop, not having listened since")
    if witness.fresh != NEVER and not stop_failed:
        raise Violation("I8", "sends an off to a peer heard within deadtime")
    if stop_failed and not witness.commanded:
        if witness.stuck < whole(settings.stop_failed_fence_ns):
            raise Violation("I8", "sends an off to a peer that may yet stop what it runs")
        if not witness.after:
            raise Violation("S4", "sends an off for a STOP_FAILED said in ignorance of its own stop")
    if not witness.heard and witness.spoken:
        raise Violation("I11", "an inert node repeats its off to a peer that spoke")
    by_fence = settings.start_alone is StartAlone.FENCE and witness.orderly
    if not witness.heard and not witness.commanded and witness.offs < OFFS_NEEDED and not by_fence:
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


def judge_links(node: Node, hears: int | None, alarms: frozenset[Alarm], deadtime: int) -> None:
    """S13: a link that is lost in either direction is an alarm and a state of its own, and one that is not is none.

    Asked at a fresh frame, the run of which has lasted deadtime; `hears` is None where nothing of it was applied.
    """
    if not node.links or node.settled < deadtime or hears is None:
        return
    lost = {Alarm(AlarmCode.LINK_IN_DOWN.value, link) for link, age in enumerate(node.links) if age >= deadtime}
    lost |= {Alarm(AlarmCode.LINK_OUT_DOWN.value, link) for link in range(len(node.links)) if not hears >> link & 1}
    if lost:  # of two links, the one that is left is the last
        lost |= {Alarm(AlarmCode.DEGRADED.value), Alarm(AlarmCode.JEOPARDY.value)}
    told = {alarm for alarm in alarms if alarm.code in _LINK_ALARMS}
    if told != lost:
        raise Violation("S13", f"says {_words(told)} of its links, and it is {_words(lost)}")


def _words(alarms: set[Alarm]) -> str:
    words = (alarm.code if alarm.link < 0 else f"{alarm.code}({alarm.link})" for alarm in sorted(alarms))
    return " ".join(words) or "well"


def judge_steady(before: State, state: State) -> None:
    """I12: with a link alive and nothing asked for, the service stays where it was claimed first."""
    if state.role is Role.YIELDING and before.role in OWNING:
        raise Violation("I12", f"gives the service up for {state.reason.value} with a link alive")
    if state.role is Role.CLAIMING and before.role is not Role.CLAIMING and before.epoch >= EPOCH_CLAIMED_MIN:
        raise Violation("I12", "takes the service with a link alive")


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
