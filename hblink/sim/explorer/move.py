"""The moves of the joint world: what may happen next, within a family and what is left of its bounds.

This module must never decide what a move does to a core: that is in the modules machine and exchange.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from hblink.core.event import (
    AddressHolderChanged,
    ConfirmRequested,
    DrillRequested,
    Event,
    HealthMeasured,
    MaintenanceRequested,
    OnlineRequested,
    PowerCommanded,
    ServiceCarrierChanged,
    ServiceLost,
    ShutdownRequested,
    Stalled,
    StandbyRequested,
    SwitchoverRequested,
)
from hblink.core.value import Holder
from hblink.sim.explorer.exchange import Exchange
from hblink.sim.explorer.joint import MARGIN, POWER_ON_OP, TICK, World, path
from hblink.sim.explorer.machine import ILL, WELL
from hblink.sim.explorer.normal import placed, put, renumbered
from hblink.sim.explorer.rule import (
    CONFIRM,
    DRILL,
    MAINTENANCE_OFF,
    MAINTENANCE_ON,
    ONLINE,
    STANDBY,
    SWITCHOVER,
    judge_world,
)


class Move(NamedTuple):
    """A move, the node that makes it and the link it is made on; -1 where it is nobody's, and on all links."""

    name: str
    node: int
    link: int = -1


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
            yield from self._link_moves(world, i, budget)
            if budget.faults:
                left = budget._replace(faults=budget.faults - 1)
                yield from ((Move(name, i), left) for name in self._faults(world, i) if name in self.family.moves)
            if budget.orders:
                left = budget._replace(orders=budget.orders - 1)
                yield from ((Move(name, i), left) for name in self._orders(world, i) if name in self.family.moves)
        if "heal" in self.family.moves and any(world.cut):
            yield Move("heal", -1), budget
        if budget.faults and not any(world.cut) and "cut" in self.family.moves:
            yield Move("cut", -1), budget._replace(faults=budget.faults - 1)
        if self.may_tick(world):
            yield TICK_MOVE, budget

    def _link_moves(self, world: World, i: int, budget: Budget) -> Iterator[tuple[Move, Budget]]:
        """What may happen to what node i sends, on each link."""
        family = self.family
        carries = self.carries(world, i)
        if self.reaches(world, i) and (world.nodes[i].unsent or family.lossy):
            yield Move("beat", i), budget
            if len(carries) > 1 and family.drops:
                yield from ((Move("beat", i, link), budget) for link in carries)
        peer = world.nodes[1 - i]
        for link in range(family.links):
            held, cut = world.held[path(i, link)], world.cut[path(i, link)]
            if held is not None and peer.core >= 0 and peer.frozen < 0:
                yield Move("late", i, link), budget
            may_hold = budget.late and self.speaks(world, i)
            if may_hold and (held is None or held._replace(newest=True) != self.frame(world, i)):
                yield Move("hold", i, link), budget._replace(late=budget.late - 1)
            if cut:
                if "mend" in family.moves:
                    yield Move("mend", i, link), budget
            elif budget.faults and "cut_one" in family.moves and (len(carries) > 1 or not family.one_link_alive):
                yield Move("cut_one", i, link), budget._replace(faults=budget.faults - 1)

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

    def _free(self, world: World, i: int) -> Iterator[str]:
        node = world.nodes[i]
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
        if "sicken" in self.family.moves and self.cores.states[node.core].health != WELL:
            yield "recover"

    def _faults(self, world: World, i: int) -> Iterator[str]:
        node = world.nodes[i]
        if node.up:
            yield from ("panic", "unplug")
        if node.up and node.core < 0:
            yield "forget"
        if node.core < 0:
            return
        yield "die"
        if node.frozen >= 0:
            return
        yield from ("freeze", "hiccup", "sicken", "sight")
        if node.running and not node.service:
            yield "lose_service"
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
        yield from ("switchover", "shutdown", "standby", "online", "maintenance", "maintenance_off", "drill")
        if node.carrier:
            yield "carrier"
        if not world.nodes[1 - i].up and not node.witness.confirmed:
            yield "confirm"  # the operator looked: nothing runs there

    # --- what it makes of the world

    def apply(self, world: World, move: Move) -> World:
        """The world after `move`; raises Violation."""
        name, i, link = move
        if name == "tick":
            return self._tidy(self.tick(world))
        if name in _HOST_MOVES:
            after = _HOST_MOVES[name](self, world, i)
        elif name in ("heal", "cut"):
            after = world._replace(cut=(name == "cut",) * len(world.cut))
        elif name in _LINK_MOVES:
            after = self._link_move(world, name, i, link)
        else:
            after = self._daemon_move(world, name, i)
        return self._tidy(after)

    def _link_move(self, world: World, name: str, i: int, link: int) -> World:
        place = path(i, link)
        match name:
            case "beat":
                return self.beat(world, i, self.carries(world, i) if link < 0 else (link,))
            case "hold":
                return world._replace(held=placed(world.held, place, self.frame(world, i)))
            case "late":
                held = world.held[place]
                assert held is not None
                return self.deliver(world._replace(held=placed(world.held, place, None)), i, link, held)
            case _:
                return world._replace(cut=placed(world.cut, place, name == "cut_one"))

    def _daemon_move(self, world: World, name: str, i: int) -> World:
        node = world.nodes[i]
        match name:
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
            case "sicken" | "recover":
                return self.feed(world, i, HealthMeasured(WELL if name == "recover" else ILL))
            case "sight":
                return self.feed(world, i, AddressHolderChanged(Holder.PEER))
            case "lose_service":
                return self.feed(world, i, ServiceLost())
            case "carrier" | "carrier_back":
                up = name == "carrier_back"
                world = put(world, i, node._replace(carrier=up))
                return self.feed(world, i, ServiceCarrierChanged(up))
            case _ if name in _ORDERS:
                return self.feed(world, i, _ORDERS[name])
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


EVERY_MOVE = frozenset(
    {
        "beat", "hold", "late", "cut", "heal", "cut_one", "mend", "execute", "press", "boot", "start", "panic",
        "unplug", "forget", "die", "thaw", "freeze", "hiccup", "done", "fail_start", "fail_stop", "lose_service",
        "read", "read_early", "read_unknown", "off", "fail_off", "late_off", "slow_off", "on", "fail_on", "carrier",
        "carrier_back", "sicken", "recover", "sight", "switchover", "confirm", "shutdown", "standby", "online",
        "maintenance", "maintenance_off", "drill", "slow", "slow_power", "tick",
    }
)  # fmt: skip
_ORDERS: dict[str, Event] = {
    "switchover": SwitchoverRequested(SWITCHOVER),
    "confirm": ConfirmRequested(CONFIRM),
    "shutdown": ShutdownRequested(),
    "standby": StandbyRequested(STANDBY),
    "online": OnlineRequested(ONLINE),
    "maintenance": MaintenanceRequested(MAINTENANCE_ON, True),
    "maintenance_off": MaintenanceRequested(MAINTENANCE_OFF, False),
    "drill": DrillRequested(DRILL),
}
_LINK_MOVES = frozenset({"beat", "hold", "late", "cut_one", "mend"})
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
