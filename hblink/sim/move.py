"""The moves of the joint world: what may happen next, within a family and what is left of its bounds.

This module must never decide what a move does to a core: that is in hblink.sim.machine and hblink.sim.exchange.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from hblink.core.event import (
    ConfirmRequested,
    PowerCommanded,
    ServiceCarrierChanged,
    ShutdownRequested,
    Stalled,
    SwitchoverRequested,
)
from hblink.sim.exchange import Exchange
from hblink.sim.joint import MARGIN, POWER_ON_OP, TICK, World
from hblink.sim.normal import pair, put, renumbered
from hblink.sim.rule import CONFIRM, SWITCHOVER, judge_world


class Move(NamedTuple):
    """A move and the node that makes it; -1 where it is nobody's."""

    name: str
    node: int


class Budget(NamedTuple):
    """How many faults, orders of the operator and late frames are still to come."""

    faults: int
    orders: int
    late: int

    def covers(self, other: Budget) -> bool:
        """Whether everything that `other` allows is allowed by this too."""
        return self.faults >= other.faults and self.orders >= other.orders and self.late >= other.late


TICK_MOVE = Move("tick", -1)


class Moves(Exchange):
    """The moves of one family over one set of cores."""

    # --- what may happen

    def moves(self, world: World, budget: Budget) -> Iterator[tuple[Move, Budget]]:
        """Every move from `world` that the family allows, with what is left of the budget."""
        for i in (0, 1):
            yield from ((Move(name, i), budget) for name in self._free(world, i))
            if budget.faults:
                left = budget._replace(faults=budget.faults - 1)
                yield from ((Move(name, i), left) for name in self._faults(world, i) if name in self.family.moves)
            if budget.orders:
                left = budget._replace(orders=budget.orders - 1)
                yield from ((Move(name, i), left) for name in self._orders(world, i) if name in self.family.moves)
            if budget.late and self.speaks(world, i):
                held = world.held[i]
                if held is None or held._replace(newest=True) != self.frame(world, i):
                    yield Move("hold", i), budget._replace(late=budget.late - 1)
        if "heal" in self.family.moves and world.cut != (False, False):
            yield Move("heal", -1), budget
        if budget.faults and world.cut == (False, False) and "cut" in self.family.moves:
            yield Move("cut", -1), budget._replace(faults=budget.faults - 1)
        if self.may_tick(world):
            yield TICK_MOVE, budget

    def may_tick(self, world: World) -> bool:
        """Whether all that happens within a tick has happened."""
        for i, node in enumerate(world.nodes):
            if node.core >= 0 and node.frozen < 0:
                if node.service and "slow" not in self.family.moves:
                    return False
                if (node.power_op or node.power_on) and "slow_power" not in self.family.moves:
                    return False
            if not self.family.lossy and node.unsent and self.reaches(world, i):
                return False
        return True

    def _free(self, world: World, i: int) -> Iterator[str]:  # noqa: C901 - one line for each move
        node = world.nodes[i]
        if self.reaches(world, i) and (node.unsent or self.family.lossy):
            yield "beat"
        if world.held[i] is not None and world.nodes[1 - i].core >= 0 and world.nodes[1 - i].frozen < 0:
            yield "late"
        if node.late_off:
            yield "execute"
        if not node.power and "press" in self.family.moves:
            yield "press"
        if node.power and not node.up and "boot" in self.family.moves:
            yield "boot"
        if node.up and node.core < 0:
            yield "start"
        if node.core < 0:
            return
        if node.frozen >= 0:
            yield "thaw"
            return
        if node.service:
            yield "done"
        if node.power_op == "read":
            yield "read"
            if node.sampled_off is world.nodes[1 - i].power:
                yield "read_early"
        if node.power_op == "off":
            yield "off"
        if node.power_on:
            yield "on"
        if not node.carrier:
            yield "carrier_back"

    def _faults(self, world: World, i: int) -> Iterator[str]:
        node = world.nodes[i]
        if node.up:
            yield from ("panic", "unplug")
        if not world.cut[i]:
            yield "cut_one"
        if node.up and node.core < 0:
            yield "forget"
        if node.core < 0:
            return
        yield "die"
        if node.frozen >= 0:
            return
        yield from ("freeze", "hiccup")
        if node.service == "activate":
            yield "fail_start"
        if node.service == "release":
            yield "fail_stop"
        if node.power_op == "off":
            yield from ("fail_off", "late_off", "slow_off")
        if node.power_op == "read":
            yield "read_unknown"
        if node.power_on:
            yield "fail_on"

    def _orders(self, world: World, i: int) -> Iterator[str]:
        node = world.nodes[i]
        if node.core < 0 or node.frozen >= 0:
            return
        yield "switchover"
        yield "shutdown"
        if node.carrier:
            yield "carrier"
        if not world.nodes[1 - i].up and not node.witness.confirmed:
            yield "confirm"  # the operator looked: nothing runs there

    # --- what it makes of the world

    def apply(self, world: World, move: Move) -> World:
        """The world after `move`; raises Violation."""
        name, i = move
        if name == "tick":
            return self._tidy(self.tick(world))
        if name in _HOST_MOVES:
            after = _HOST_MOVES[name](self, world, i)
        elif name in ("heal", "cut"):
            after = world._replace(cut=(False, False) if name == "heal" else (True, True))
        else:
            after = self._daemon_move(world, name, i)
        return self._tidy(after)

    def _daemon_move(self, world: World, name: str, i: int) -> World:  # noqa: C901 - one line for each move
        node = world.nodes[i]
        match name:
            case "beat":
                return self.beat(world, i)
            case "hold":
                frame = self.frame(world, i)
                return world._replace(held=pair(world.held, i, frame))
            case "late":
                held = world.held[i]
                assert held is not None
                return self.deliver(world._replace(held=pair(world.held, i, None)), i, held)
            case "cut_one":
                return world._replace(cut=pair(world.cut, i, True))
            case "done" | "fail_start" | "fail_stop":
                return self.answer_service(world, i, name)
            case "read" | "read_early" | "read_unknown":
                return self.answer_read(world, i, name)
            case "off" | "fail_off" | "late_off" | "slow_off":
                return self.answer_off(world, i, name)
            case "on" | "fail_on":
                world = put(world, i, node._replace(power_on=False))
                if name == "on":
                    world = put(world, 1 - i, world.nodes[1 - i]._replace(power=True))
                return self.feed(world, i, PowerCommanded(POWER_ON_OP, name == "on"))
            case "freeze":
                return put(world, i, node._replace(frozen=0))
            case "thaw":
                late_ns = node.frozen * TICK
                world = put(world, i, node._replace(frozen=-1))
                return self.feed(world, i, Stalled(late_ns)) if late_ns else world
            case "hiccup":
                return self.feed(world, i, Stalled(MARGIN))
            case "carrier" | "carrier_back":
                up = name == "carrier_back"
                world = put(world, i, node._replace(carrier=up))
                return self.feed(world, i, ServiceCarrierChanged(up))
            case "switchover":
                return self.feed(world, i, SwitchoverRequested(SWITCHOVER))
            case "confirm":
                return self.feed(world, i, ConfirmRequested(CONFIRM))
            case "shutdown":
                return self.feed(world, i, ShutdownRequested())
        raise ValueError(name)

    def _tidy(self, world: World) -> World:
        """Judge the joint state, and renumber epochs that have grown."""
        states = self.cores.states
        first, second = world.nodes
        judge_world(
            world,
            (states[first.core] if first.core >= 0 else None, states[second.core] if second.core >= 0 else None),
            slots=self.family.slots_hold,
            one_link=self.family.one_link_alive,
        )
        return renumbered(self.cores, world)


_HOST_MOVES: dict[str, Callable[[Moves, World, int], World]] = {
    "panic": Moves.crash,
    "unplug": Moves.power_off,
    "execute": Moves.execute,
    "press": Moves.press,
    "boot": Moves.boot,
    "start": Moves.start,
    "forget": Moves.forget,
    "die": Moves.die,
}
