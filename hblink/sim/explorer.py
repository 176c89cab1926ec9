"""Search every joint state of two real cores within the bounds of a family of faults, and print the way to a bad one.

The states are those of hblink.sim.joint; every decision in them is made by the shipped `step`. A search is complete
within its family's ticks, faults, orders and late frames; only the demand that the service find an owner again is made
of a sample of the states.

What the bounds leave out: timers of a few ticks of which deadtime is two, both clocks in step, and every event on a
tick, so orders finer than a tick are seen only as orders within it; more faults than a family allows, and mixes of
families; two separate links (one path stands for all of them: `one-link` is that it never falls silent); a session
given by its receive rules and not by its code, so nothing about bytes, keys or replay; one frame held back in each
direction, the others arrive at once or never; a disk that keeps the epoch; BMCs that lie; at-least-one; maintenance and
the lease, which grant nothing. I4, I5 and I13 cannot be seen here, and I1 is claimed of truthful BMCs only. This module
must never change what it searches.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

from hblink.core.value import Memory, Role
from hblink.sim.family import Family
from hblink.sim.joint import Cores, Node, Violation, World
from hblink.sim.move import TICK_MOVE, Budget, Move, Moves


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
        self.cores = Cores((family.settings(0), family.settings(1)))
        self.moves = Moves(family, self.cores)
        self._nodes: dict[Node, int] = {}
        self._seen: dict[tuple[object, ...], list[Budget]] = {}
        self._parents: list[tuple[int, Move]] = []
        self.transitions = 0
        self.settled = 0

    def _nothing(self) -> World:
        """Two machines without daemons, the second one perhaps without power."""
        first, second = (Memory(epoch=epoch) for epoch in self.family.disks)
        there = not self.family.absent
        return World((Node(memory=first), Node(memory=second, power=there, up=there)))

    def begin(self) -> tuple[World, tuple[Move, ...]]:
        """The first world, and the moves that led to it."""
        world = self._nothing()
        if not self.family.formed:
            return world, ()
        moves = []
        for move in (Move("start", 0), Move("start", 1)):
            world = self.moves.apply(world, move)
            moves.append(move)
        for _ in range(4):
            world, more = self._quiet(world)
            moves += [*more, TICK_MOVE]
            world = self.moves.apply(world, TICK_MOVE)
        assert self._owner(world) == 0
        return world, tuple(moves)

    def run(self, limit: int = 10_000_000, settle_every: int = 0) -> Report:
        """Search; stop at the first violation, or after `limit` states."""
        try:
            world, prefix = self.begin()
        except Violation as violation:
            return self._report(Found(violation.rule, str(violation), ()))
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
                        return self._report(Found(violation.rule, str(violation), (*self._way(index, prefix), move)))
                    self._visit(after, left, index, move, layer if move == TICK_MOVE else queue)
                if len(self._parents) > limit:
                    return replace(self._report(None), complete=False)
                if settle_every and index % settle_every == 0:
                    wrong = self.settle(world)
                    self.settled += 1
                    if wrong is not None:
                        text, more = wrong
                        return self._report(Found("liveness", text, self._way(index, prefix) + more))
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

    def _way(self, index: int, prefix: tuple[Move, ...]) -> tuple[Move, ...]:
        way: list[Move] = []
        while index > 0:
            index, move = self._parents[index]
            way.append(move)
        return prefix + tuple(reversed(way))

    # --- liveness: the faults switched off

    def _quiet(self, world: World) -> tuple[World, list[Move]]:
        """Everything that goes well within a tick, in a fixed order, until nothing is left to do."""
        done: list[Move] = []
        for _ in range(60):
            move = next(iter(self._good(world)), None)
            if move is None:
                return world, done
            world = self.moves.apply(world, move)
            done.append(move)
        raise Violation("liveness", "a tick does not end")

    def _good(self, world: World) -> list[Move]:
        if world.cut != (False, False):
            return [Move("heal", -1)]
        for i, node in enumerate(world.nodes):
            for name, holds in (
                ("boot", node.power and not node.up),
                ("start", node.up and node.core < 0),
                ("thaw", node.frozen >= 0),
                ("carrier_back", node.core >= 0 and not node.carrier),
                ("done", node.service != ""),
                ("read", node.power_op == "read"),
                ("off", node.power_op == "off"),
                ("on", node.power_on),
                ("beat", node.unsent and self.moves.reaches(world, i)),
            ):
                if holds:
                    return [Move(name, i)]
        return []

    def _owner(self, world: World) -> int | None:
        owners = [
            i
            for i, node in enumerate(world.nodes)
            if node.core >= 0 and self.cores.states[node.core].role is Role.ACTIVE and node.running
        ]
        return owners[0] if len(owners) == 1 else None

    def settle(self, world: World, bound: int = 60) -> tuple[str, tuple[Move, ...]] | None:
        """Switch the faults off; None if exactly one node owns the service within `bound` ticks, else what is wrong."""
        moves: list[Move] = []
        try:
            for _ in range(bound):
                world, more = self._quiet(world)
                moves += [*more, TICK_MOVE]
                world = self.moves.apply(world, TICK_MOVE)
                if self._owner(world) is not None:
                    return None
                if not world.nodes[0].power and not world.nodes[1].power:
                    return None if self.family.dark else ("both hosts are powered off", tuple(moves))
        except Violation as violation:
            return str(violation), tuple(moves)
        return "nobody owns the service", tuple(moves)

    # --- printing

    def story(self, moves: tuple[Move, ...]) -> str:
        """The moves with what each made of the two nodes, one line a move."""
        world = self._nothing()
        lines = [f"{'':24}{self._line(world)}"]
        for move in moves:
            name = move.name if move.node < 0 else f"{move.name} {'ab'[move.node]}"
            try:
                world = self.moves.apply(world, move)
            except Violation as violation:
                lines.append(f"{name:24}{violation}")
                break
            lines.append(f"{name:24}{self._line(world)}")
        return "\n".join(lines)

    def _line(self, world: World) -> str:
        parts = []
        for i, node in enumerate(world.nodes):
            if node.core < 0:
                text = "off" if not node.power else "down" if not node.up else "no daemon"
            else:
                state = self.cores.states[node.core]
                text = f"{state.role.value}({state.reason.value}) e{state.epoch}"
                text += " yielded" if state.yielded else ""
                text += f" grant={state.grant.value}" if state.grant else ""
                text += "" if state.heard else " inert"
                text += f" frozen={node.frozen}" if node.frozen >= 0 else ""
                if state.attempt is not None:
                    text += f" offs={state.attempt.offs}"
            text += " RUNS" if node.running else ""
            pending = [op for op in (node.service, node.power_op, "on" if node.power_on else "") if op]
            text += f" [{','.join(pending)}]" if pending else ""
            text += " late_off" if node.late_off else ""
            parts.append(f"{'ab'[i]}: {text:60}")
        held = "".join(f" held {'ab'[i]}" for i in (0, 1) if world.held[i] is not None)
        cut = "".join(f" cut {'ab'[i]}" for i in (0, 1) if world.cut[i])
        return ("  ".join(parts) + held + cut).rstrip()
