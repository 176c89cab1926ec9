"""The map of the decision: every change of role that a long seeded walk of one core finds, as STATES.md.

The walk tells one core whatever events it likes, in any order, with answers that fit and answers that do not, and lets
time pass; so it also shows that `step` is total. What it has not come across is not on the map: it is a walk, not a
proof (that is the explorer's). Some changes need an adapter that answers absurdly late, and would hardly be seen in an
appliance. This module must never be imported by the daemon.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from hblink.core.effect import Activate, Effect, PowerOff, PowerOn, ReadPower, Release
from hblink.core.event import (
    Activated,
    ActivationFailed,
    AddressHolderChanged,
    ConfirmRequested,
    DrillRequested,
    Event,
    FenceReadinessChanged,
    GuardChanged,
    HealthMeasured,
    LinkClosed,
    LinkOpened,
    LinkSignalChanged,
    MaintenanceRequested,
    OnlineRequested,
    PeerBeat,
    PeerHalfOpen,
    PowerCommanded,
    PowerRead,
    Released,
    ReleaseFailed,
    ServiceCarrierChanged,
    ServiceLost,
    ShutdownRequested,
    Stalled,
    StandbyRequested,
    Started,
    SwitchoverRequested,
    Woke,
)
from hblink.core.state import State, initial
from hblink.core.step import next_wakeup, step
from hblink.core.value import (
    EPOCH_MAX,
    HEALTH_UNKNOWN,
    MS,
    SECOND,
    Advert,
    Grant,
    Guarantee,
    Holder,
    Memory,
    Power,
    Role,
    Settings,
    StartAlone,
)

_CALM_FRAMES = 80

MEANING = {
    Role.STARTING: "stops and reads back whatever an earlier daemon left; sends no frame",
    Role.STANDBY: "runs nothing, listens; may say YIELDED",
    Role.FENCING: "has decided to power the peer off: `off`, then OFF read twice",
    Role.CLAIMING: "used a grant, announced a new epoch, starts the service",
    Role.ACTIVE: "owns the service; never fences for it",
    Role.YIELDING: "stops the service and reads back that it is gone",
    Role.BLOCKED: "would have to take over and may not; tells the operator the next command",
    Role.HALTED: "a stop failed: says STOP_FAILED, goes on trying, may be fenced for it",
}


@dataclass(frozen=True, slots=True, order=True)
class Change:
    """A change of role in one step: from, to, the event's name, the reason or grant given."""

    before: str
    after: str
    event: str
    why: str


class Walk:
    """One core and a seeded imagination. `run(steps)` adds to `changes` and to `seen`, the pairs of role and event."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.changes: set[Change] = set()
        self.seen: set[tuple[str, str]] = set()
        self._settings = Settings(me=0, preferred=0)
        self._state = initial(self._settings)
        self._wanted: list[Effect] = []
        self._now = SECOND
        self._calm = 0  # how many frames of a ready peer come next
        self._begin(self._now)

    def run(self, steps: int) -> None:
        """Take `steps` steps; an exception of `step` comes out."""
        for _ in range(steps):
            if self._state.exiting or self._random.random() < 0.001:
                self._begin(self._now)
            event = self._event()
            before = self._state
            self._state, effects = step(self._settings, before, event, self._now)
            self._note(before, event)
            self._wanted.extend(effect for effect in effects if hasattr(effect, "op_id"))
            del self._wanted[:-4]

    def _begin(self, now: int) -> None:
        """A daemon starts, on one of the two nodes, with some configuration and some memory."""
        pick = self._random.choice
        self._now = now
        guarantee = pick((Guarantee.AT_MOST_ONE, Guarantee.AT_LEAST_ONE))
        self._settings = Settings(
            me=pick((0, 1)),
            preferred=0,
            has_fence=self._random.random() < 0.8,
            guarantee=guarantee,
            start_alone=pick((*StartAlone, StartAlone.BMC_OFF)),
            auto_failback=self._random.random() < 0.3,
            failback_hold_ns=5 * SECOND,
            fence_cap=pick((0, 0, 2)),
            self_reset_ns=pick((None, 3 * SECOND)),
            # What `check` accepts together.
            lease_mode=guarantee is Guarantee.AT_MOST_ONE and self._random.random() < 0.3,
        )
        heard = self._random.random() < 0.5
        memory = Memory(
            epoch=pick((0, 2, 3)),
            ran=pick((False, True)),
            peer_heard=heard,
            grant=pick((None, Grant.FENCED)),
            last_authentic_at=now - SECOND if heard else None,
            standby=self._random.random() < 0.1,
            maintenance=self._random.random() < 0.1,
            peer_maintenance=heard and self._random.random() < 0.1,
            fences=(now - 2 * SECOND, now - SECOND) if self._settings.fence_cap and heard else (),
            fence_lied=self._random.random() < 0.05,
            orderly=not heard and pick((False, True)),
        )
        self._wanted = []
        start = Started(memory)
        before = initial(self._settings)
        self._state, effects = step(self._settings, before, start, now)
        self._note(before, start)
        self._wanted.extend(effect for effect in effects if hasattr(effect, "op_id"))

    def _note(self, before: State, event: Event) -> None:
        after = self._state
        name = type(event).__name__
        self.seen.add((before.role.value, name))
        if before.role is not after.role:
            grant = after.claimed_by
            claims = after.role is Role.CLAIMING and grant is not None
            why = f"grant {grant.value}" if claims and grant is not None else after.reason.value
            self.changes.add(Change(before.role.value, after.role.value, name, why))

    def _event(self) -> Event:
        """Answer what is wanted, let time pass, or imagine something."""
        roll = self._random.random()
        if self._calm or roll < 0.0005:
            self._calm = self._calm - 1 if self._calm else _CALM_FRAMES
            return self._calm_frame()
        if self._wanted and roll < 0.3:
            return self._answer(self._wanted.pop(self._random.randrange(len(self._wanted))))
        if roll < 0.55:
            return self._pass_time()
        if roll < 0.85:
            return self._frame()
        return self._random.choice(self._rarities())

    def _pass_time(self) -> Event:
        at = next_wakeup(self._settings, self._state, self._now)
        wait = self._random.choice((MS, 100 * MS, SECOND, 5 * SECOND))
        self._now = at if at is not None and self._random.random() < 0.7 else self._now + wait
        return Woke()

    def _answer(self, effect: Effect) -> Event:
        well = self._random.random() < 0.7
        self._now += MS
        match effect:
            case Activate():
                return Activated(effect.op_id) if well else ActivationFailed(effect.op_id)
            case Release():
                return Released(effect.op_id) if well else ReleaseFailed(effect.op_id)
            case ReadPower():
                power = Power.OFF if well else self._random.choice((Power.ON, Power.UNKNOWN))
                return PowerRead(effect.op_id, power, gone=power is Power.UNKNOWN)
            case PowerOff() | PowerOn():
                return PowerCommanded(effect.op_id, accepted=well)
            case _:
                return Woke()

    def _calm_frame(self) -> Event:
        """One more frame of a peer that stands by and could serve: what takes a while needs calm to come about."""
        self._now += 100 * MS
        advert = Advert(Role.STANDBY, self._state.epoch, health=100, promise_ns=6 * SECOND)
        return PeerBeat(0, advert, echo_sent_at=self._now - 50 * MS, hears=3)

    def _frame(self) -> Event:
        """A fresh frame of a peer in any state, by any epoch around one's own."""
        pick = self._random.choice
        self._now += MS
        near = (self._state.epoch, self._state.epoch, self._state.epoch + 1, 0, 5)
        role = pick((Role.STANDBY, Role.STANDBY, *Role))
        stop_failed = role is Role.HALTED
        epoch = EPOCH_MAX if self._random.random() < 0.001 else pick(near)
        advert = Advert(
            role,
            min(epoch, EPOCH_MAX),
            yielded=role is Role.STANDBY and pick((False, False, True)),
            stop_failed=stop_failed,
            want=pick((False, False, True)),
            able=pick((True, True, False)),
            health=pick((HEALTH_UNKNOWN, 100, 1)),
            maintenance=self._random.random() < 0.05,
            promise_ns=pick((None, 6 * SECOND)),
        )
        return PeerBeat(
            link=pick((0, 1)),
            advert=pick((advert, advert, None)),
            echo_sent_at=self._now - pick((MS, 50 * MS, 900 * MS)),
            newest=pick((True, True, True, False)),
            adopted=self._random.random() < 0.05,
            hears=pick((0, 1, 3)),
            boot=pick((None, 1, 1, 2)),
        )

    def _rarities(self) -> tuple[Event, ...]:
        link = self._random.choice((0, 1))
        return (
            PeerHalfOpen(link),
            LinkOpened(link),
            LinkClosed(link),
            LinkSignalChanged(link, self._random.choice((True, False, None))),
            ServiceCarrierChanged(True),
            ServiceCarrierChanged(self._random.random() < 0.5),
            FenceReadinessChanged(True),
            ServiceLost(),
            Stalled(self._random.choice((300 * MS, 2 * SECOND))),
            HealthMeasured(self._random.choice((None, 0, 100))),
            AddressHolderChanged(self._random.choice(tuple(Holder))),
            GuardChanged(self._random.random() < 0.5),
            GuardChanged(True, 2 * SECOND),
            SwitchoverRequested(1),
            ConfirmRequested(2),
            StandbyRequested(3) if self._random.random() < 0.3 else OnlineRequested(4),
            OnlineRequested(4),
            MaintenanceRequested(5, self._random.random() < 0.3, self._random.choice((None, self._now + SECOND))),
            DrillRequested(6),
            ShutdownRequested() if self._random.random() < 0.3 else Woke(),
            # Answers to nothing that was asked.
            PowerRead(999, Power.OFF),
            PowerCommanded(999, accepted=True),
            self._random.choice((Activated(999), ActivationFailed(999), Released(999), ReleaseFailed(999))),
        )


def changes_of(seeds: range, steps: int) -> tuple[set[Change], set[tuple[str, str]]]:
    """Walk once for each seed; return the changes of role and the pairs of role and event that came up."""
    changes: set[Change] = set()
    seen: set[tuple[str, str]] = set()
    for seed in seeds:
        walk = Walk(seed)
        walk.run(steps)
        changes |= walk.changes
        seen |= walk.seen
    return changes, seen


def document(changes: set[Change]) -> str:
    """STATES.md: the roles, the diagram, and every change with its causes."""
    return "\n".join(_lines(changes)) + "\n"


def _lines(changes: set[Change]) -> Iterator[str]:
    def key(change: Change) -> tuple[str, str]:
        return change.before, change.after

    order = [role.value for role in Role]
    arrows = sorted({key(change) for change in changes}, key=lambda pair: (order.index(pair[0]), order.index(pair[1])))
    yield "# Roles and how they change"
    yield ""
    yield "Generated from the code by a walk of the shipped core (`hblink/sim/atlas.py`); do not edit."
    yield "To write it again: `python -m hblink.sim.atlas > hblink/core/STATES.md`."
    yield ""
    yield "| role | meaning |"
    yield "|---|---|"
    for role in Role:
        yield f"| {role.name} | {MEANING[role]} |"
    yield ""
    yield "```mermaid"
    yield "stateDiagram-v2"
    yield "    [*] --> STARTING"
    for before, after in arrows:
        yield f"    {before.upper()} --> {after.upper()}"
    yield "```"
    yield ""
    yield "Several changes can follow each other in one step; the table shows where a step began and where it ended."
    yield "`Woke` stands for time: a deadline came."
    yield ""
    yield "| from | to | event: reason or grant |"
    yield "|---|---|---|"
    for pair in arrows:
        causes: dict[str, set[str]] = {}
        for change in changes:
            if key(change) == pair:
                causes.setdefault(change.event, set()).add(change.why)
        text = "; ".join(f"{event}: {', '.join(sorted(whys))}" for event, whys in sorted(causes.items()))
        yield f"| {pair[0].upper()} | {pair[1].upper()} | {text} |"


SEEDS, STEPS = range(6), 30_000


def main() -> None:
    """Print STATES.md."""
    import sys

    sys.stdout.write(document(changes_of(SEEDS, STEPS)[0]))


if __name__ == "__main__":
    main()
