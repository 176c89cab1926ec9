"""The explorer's world with the faults switched off: everything that can go well does, in a fixed order.

From every state, exactly one node must own the service within a bound. This module must never make a move that is a
fault.
"""

from __future__ import annotations

from hblink.core.state import State
from hblink.core.value import Role
from hblink.sim.explorer.joint import NEVER, Violation, World
from hblink.sim.explorer.machine import WELL
from hblink.sim.explorer.move import TICK_MOVE, Move, Moves

LIVENESS = "liveness"
NOBODY, DARK = "nobody owns the service", "both hosts are powered off"
BOUND = 60  # ticks


def owner_of(moves: Moves, world: World) -> int | None:
    """The one node that is ACTIVE and runs the service; None if there is none, or more than one."""
    states = moves.cores.states
    owners = [
        i
        for i, node in enumerate(world.nodes)
        if node.core >= 0 and states[node.core].role is Role.ACTIVE and node.running
    ]
    return owners[0] if len(owners) == 1 else None


def settle(moves: Moves, world: World, made: list[Move]) -> World:
    """Let the world be fair until exactly one node owns the service; raises Violation if that takes more than BOUND.

    The moves are appended to `made` as they are made.
    """
    for _ in range(BOUND):
        world = make(moves, quiet(moves, world, made), TICK_MOVE, made)
        if owner_of(moves, world) is not None:
            return world
        if not any(node.power for node in world.nodes):
            if moves.family.dark:
                return world
            raise Violation(LIVENESS, DARK)
    raise Violation(LIVENESS, NOBODY)


def quiet(moves: Moves, world: World, made: list[Move]) -> World:
    """Everything that goes well within a tick, until nothing is left to do."""
    for _ in range(BOUND):
        move = _good(moves, world)
        if move is None:
            return world
        world = make(moves, world, move, made)
    raise Violation(LIVENESS, "a tick does not end")


def make(moves: Moves, world: World, move: Move, made: list[Move]) -> World:
    """Make one move and note it, also if it breaks a rule."""
    made.append(move)
    return moves.apply(world, move)


def _good(moves: Moves, world: World) -> Move | None:
    if any(world.cut):
        return Move("heal", -1)
    for i, node in enumerate(world.nodes):
        state = moves.cores.states[node.core] if node.core >= 0 and node.frozen < 0 else None
        for name, holds in (
            ("boot", node.power and not node.up),
            ("start", node.up and node.core < 0),
            ("thaw", node.frozen >= 0),
            ("carrier_back", node.core >= 0 and not node.carrier),
            ("done", node.service != ""),
            ("read", node.power_op == "read"),
            ("off", node.power_op == "off"),
            ("on", node.power_on),
            ("recover", state is not None and state.health not in (None, WELL)),
            ("online", state is not None and state.standby_ordered and state.request is None),
            ("maintenance_off", state is not None and _can_end_maintenance(state, node.witness.fresh == NEVER)),
            ("beat", node.unsent and moves.reaches(world, i)),
        ):
            if holds:
                return Move(name, i)
    return None


def _can_end_maintenance(state: State, silent: bool) -> bool:
    """Whether a person could end maintenance at this node now, and would change something by it."""
    if state.role is Role.FENCING or state.request is not None or state.drill is not None:
        return False
    return state.maintenance or (state.peer.maintenance and silent)
