"""How faults pick their victims and how long they last. This module must never do anything to a pair."""

from __future__ import annotations

from collections.abc import Callable

from hblink.core.value import MS, SECOND
from hblink.sim.host import Host
from hblink.sim.world import World


def some_host(world: World) -> Host:
    """One of the two machines."""
    return world.random.choice(world.hosts)


def pause_ns(world: World) -> int:
    """From nothing to a minute; most often about the deadtime, where the rules have their edges."""
    edge = world.random.randrange(world.plan.deadtime_ns * 3 // 2)
    return world.random.choice((10 * MS, edge, edge, edge, 3 * SECOND, 10 * SECOND, 60 * SECOND))


def then(world: World, delay_ns: int, act: Callable[[], object]) -> None:
    """Go on with a fault in `delay_ns`, unless all faults have been ended by then."""

    def run() -> None:
        if not world.at_peace:
            act()

    world.timeline.call_after(delay_ns, run)


def later(world: World, end: Callable[[], object]) -> None:
    """End a fault after a while: often about as long as one of the pair's own timers."""
    plan = world.plan
    lasts_ns = world.random.choice(
        (world.random.randrange(2 * plan.deadtime_ns), 3 * SECOND, 8 * SECOND, 25 * SECOND, 70 * SECOND)
    )

    def run() -> None:
        end()

    world.timeline.call_after(lasts_ns, run)
