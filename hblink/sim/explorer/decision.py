"""The states of the two real cores, each kept once, and the passing of events to the shipped `step`.

Steps are remembered by (node, state, event), which is sound because `step` is a pure function. This module must never
decide anything for a core.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from hblink.core.effect import Effect, Remember
from hblink.core.event import Event, Started
from hblink.core.invariant import InvariantViolated
from hblink.core.state import State, advertise, initial, memory_of
from hblink.core.step import next_wakeup, step
from hblink.core.value import Advert, Alarm, Memory, Settings
from hblink.sim.explorer.form import moved, normal_of, plain, require_known
from hblink.sim.explorer.joint import TICK, Violation


class Outcome(NamedTuple):
    """What one step made of a core's state."""

    core: int
    effects: tuple[Effect, ...]
    cleared: bool
    ordered: bool  # maintenance began
    changed: bool  # what it says of itself
    alarms: frozenset[Alarm]


class Cores:
    """The states of the real cores in their normal form; `links`: single links are told apart in it."""

    def __init__(self, settings: tuple[Settings, Settings], *, links: bool = False) -> None:
        require_known()
        self.settings = settings
        self.states: list[State] = []
        self.calls = 0
        self._index: dict[State, int] = {}
        self._steps: dict[tuple[int, int, Event], Outcome] = {}
        self._later: dict[tuple[int, int], tuple[int, bool]] = {}
        self._adverts: dict[tuple[int, int], Advert | None] = {}
        self._links = links

    def fresh(self, node: int) -> int:
        """The state before Started."""
        return self._intern(initial(self.settings[node]))

    def step(self, node: int, core: int, event: Event) -> Outcome:
        """Pass `event` to the core; raises Violation if the core finds an invariant broken."""
        key = (node, core, event)
        outcome = self._steps.get(key)
        if outcome is None:
            outcome = self._steps[key] = self._step(node, core, event)
        return outcome

    def _step(self, node: int, core: int, event: Event) -> Outcome:
        self.calls += 1
        before = self.states[core]
        try:
            after, effects = step(self.settings[node], before, event, 0)
        except InvariantViolated as error:
            name, _, text = str(error).partition(": ")
            raise Violation(name, text) from error
        if after.epoch < before.epoch:
            raise Violation("I3", f"epoch fell from {before.epoch} to {after.epoch}")
        known = _lasting(event.memory if isinstance(event, Started) else before.remembered)
        if _lasting(memory_of(after)) != known and not (effects and isinstance(effects[0], Remember)):
            raise Violation("S17", "what must survive was not written down first")
        changed = _advert_of(before) != _advert_of(after)
        ordered = after.maintenance and after.maintenance_at == 0
        return Outcome(self._intern(after), effects, after.cleared_at == 0, ordered, changed, after.alarms)

    def later(self, node: int, core: int) -> tuple[int, bool]:
        """The state a tick later, and whether the core asked to be woken by then."""
        key = (node, core)
        found = self._later.get(key)
        if found is None:
            state = self.states[core]
            wake_at = next_wakeup(self.settings[node], state, 0)
            found = (self._intern(moved(state, TICK)), wake_at is not None and wake_at <= TICK)
            self._later[key] = found
        return found

    def advert(self, node: int, core: int) -> Advert | None:
        """What the node says of itself."""
        key = (node, core)
        if key not in self._adverts:
            self._adverts[key] = _advert_of(self.states[core])
        return self._adverts[key]

    def relabelled(self, core: int, epochs: dict[int, int]) -> int:
        """The same state with other numbers for its epochs."""
        if core < 0:
            return core
        state = self.states[core]
        peer = state.peer
        if peer.advert is not None:
            peer = replace(peer, advert=replace(peer.advert, epoch=epochs[peer.advert.epoch]))
        return self._intern(replace(state, epoch=epochs[state.epoch], peer=peer))

    def epochs(self, core: int) -> tuple[int, ...]:
        """Every epoch that the state knows."""
        if core < 0:
            return ()
        state = self.states[core]
        advert = state.peer.advert
        return (state.epoch,) if advert is None else (state.epoch, advert.epoch)

    def _intern(self, state: State) -> int:
        normal = normal_of(state, self.settings[0], self._links)
        index = self._index.get(normal)
        if index is None:
            index = self._index[normal] = len(self.states)
            self.states.append(normal)
        return index


def _advert_of(state: State) -> Advert | None:
    advert = advertise(state, 0)
    return None if advert is None else plain(advert)


def _lasting(memory: Memory) -> Memory:
    return replace(memory, last_authentic_at=None, ran=True)
