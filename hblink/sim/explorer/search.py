"""Search every joint state of two real cores within the bounds of a family of faults, and print the way to a bad one.

The states are those of the module joint; every decision in them is made by the shipped `step`. A search is complete
within its family's ticks, faults, orders and late frames; only the demand that the service find an owner again is made
of a sample of the states.

What the bounds leave out: timers of a few ticks of which deadtime is two (three in `pause`), both clocks in step, and
every event on a tick, so orders finer than a tick are seen only as orders within it; more faults than a family allows,
and mixes of families, which are kept so small that all of them run in `make test`; two links (where they are told
apart) only with few other faults, else one path stands for both; a session given by its receive rules and not by its
code, so nothing about bytes, keys, replay or rates of replies; one frame held back for each direction of a link, the
others arrive at once or never; a disk that keeps the epoch or loses it, and not one that comes back with an old one but
at the beginning; BMCs that lie, and kernel boot ids (S14); the end of the hour of the cap; at-least-one, the lease
mode, and the lifetime of the addresses. I4, I5, I9 and I13 cannot be seen here, and I1 is claimed of truthful BMCs
only; PROOF.md says who holds each rule. This module must never change what it searches.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

from hblink.sim.explorer.decision import Cores
from hblink.sim.explorer.fair import LIVENESS, make, owner_of, quiet, settle
from hblink.sim.explorer.family import Family
from hblink.sim.explorer.joint import Node, Violation, World
from hblink.sim.explorer.machine import nothing
from hblink.sim.explorer.move import TICK_MOVE, Budget, Move, Moves
from hblink.sim.explorer.script import written


@dataclass(frozen=True, slots=True)
class Found:
    """A violation, and the shortest way to it: the rule's name, what is wrong, the moves."""

    rule: str
    text: str
    moves: tuple[Move, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """What a search saw; `found` is None if nothing is wrong."""

    family: str
    states: int
    transitions: int
    steps: int
    settled: int
    found: Found | None
    complete: bool = True


class Explorer:
    """One search of one family, breadth first within each tick, earlier ticks first."""

    def __init__(self, family: Family) -> None:
        self.family = family
        self.cores = Cores((family.settings(0), family.settings(1)), links=family.links > 1)
        self.moves = Moves(family, self.cores)
        self._nodes: dict[Node, int] = {}
        self._seen: dict[tuple[object, ...], list[Budget]] = {}
        self._parents: list[tuple[int, Move]] = []
        self.transitions = 0
        self.settled = 0

    def begin(self, moves: list[Move]) -> World:
        """The first world; the moves that lead to it are appended to `moves`."""
        world = nothing(self.family)
        if not self.family.formed:
            return world
        for move in (Move("start", 0), Move("start", 1)):
            world = make(self.moves, world, move, moves)
        for _ in range(4):
            world = make(self.moves, quiet(self.moves, world, moves), TICK_MOVE, moves)
        assert owner_of(self.moves, world) == 0
        return world

    def run(self, limit: int = 10_000_000, settle_every: int = 0) -> Report:
        """Search; stop at the first violation, or after `limit` states."""
        prefix: list[Move] = []
        try:
            world = self.begin(prefix)
        except Violation as violation:
            return self._report(Found(violation.rule, str(violation), tuple(prefix)))
        budget = Budget(self.family.faults, self.family.orders, self.family.late)
        layer: list[tuple[int, World, Budget]] = []
        self._visit(world, budget, -1, TICK_MOVE, layer)
        for _ in range(self.family.ticks + 1):
            queue, layer = deque(layer), []
            while queue:
                index, world, budget = queue.popleft()
                for move, left in self.moves.moves(world, budget):
                    self.transitions += 1
                    try:
                        after = self.moves.apply(world, move)
                    except Violation as violation:
                        return self._report(Found(violation.rule, str(violation), (*prefix, *self._way(index), move)))
                    self._visit(after, left, index, move, layer if move == TICK_MOVE else queue)
                if len(self._parents) > limit:
                    return replace(self._report(None), complete=False)
                if settle_every and index % settle_every == 0:
                    wrong = self.settle(world)
                    self.settled += 1
                    if wrong is not None:
                        return self._report(replace(wrong, moves=(*prefix, *self._way(index), *wrong.moves)))
        return self._report(None)

    def _report(self, found: Found | None) -> Report:
        return Report(self.family.name, len(self._parents), self.transitions, self.cores.calls, self.settled, found)

    def _visit(
        self,
        world: World,
        budget: Budget,
        parent: int,
        move: Move,
        queue: list[tuple[int, World, Budget]] | deque[tuple[int, World, Budget]],
    ) -> None:
        nodes = self._nodes
        first, second = world.nodes
        key = (nodes.setdefault(first, len(nodes)), nodes.setdefault(second, len(nodes)), world.held, world.cut)
        budgets = self._seen.get(key)
        if budgets is None:
            self._seen[key] = [budget]
        elif any(known.covers(budget) for known in budgets):
            return
        else:
            budgets.append(budget)
        self._parents.append((parent, move))
        queue.append((len(self._parents) - 1, world, budget))

    def _way(self, index: int) -> tuple[Move, ...]:
        way: list[Move] = []
        while index > 0:
            index, move = self._parents[index]
            way.append(move)
        return tuple(reversed(way))

    def scenario(self, found: Found) -> str:
        """What was found as the commands of a scenario file, for tests/scenario/ (see hblink.sim.explorer.script)."""
        return written(self.family, found.text, found.moves)

    def settle(self, world: World) -> Found | None:
        """Switch the faults off; None if exactly one node comes to own the service, else what is wrong.

        A rule that is broken on that way is given with the moves; the want of an owner is not, as a scenario lets the
        world be fair by itself.
        """
        made: list[Move] = []
        try:
            settle(self.moves, world, made)
        except Violation as violation:
            return Found(violation.rule, str(violation), () if violation.rule == LIVENESS else tuple(made))
        return None
