"""What befalls BMCs: they are gone, slow, too polite, or do not tell the truth."""

from __future__ import annotations

from hblink.core.value import MS, SECOND
from hblink.sim.bmc import Truth
from hblink.sim.fault.chance import later, some_host
from hblink.sim.host import Host
from hblink.sim.world import World


def bmc_gone(world: World) -> None:
    """A BMC cannot be reached for a while."""
    host = some_host(world)
    host.bmc.health.reachable = False
    later(world, lambda: restore(host, world))


def bmc_slow(world: World) -> None:
    """A BMC answers late, or powers off late, perhaps after everybody has given up."""
    host = some_host(world)
    host.bmc.health.latency_ns = world.random.choice((100 * MS, 500 * MS, 4 * SECOND, 8 * SECOND, 30 * SECOND))
    host.bmc.health.off_takes_ns = world.random.choice((0, 4 * SECOND, 15 * SECOND))
    later(world, lambda: restore(host, world))


def bmc_polite(world: World) -> None:
    """A BMC asks the system to end instead of cutting its power."""
    host = some_host(world)
    host.bmc.health.graceful = True
    later(world, lambda: restore(host, world))


def bmc_says_on(world: World) -> None:
    """A BMC says ON, whatever is true."""
    host = some_host(world)
    world.lie(host, Truth.SAYS_ON)
    later(world, lambda: restore(host, world))


def bmc_deceives(world: World) -> None:
    """A BMC says OFF of a machine that is on, or is that of a third machine: I1 is not claimed any more."""
    host = some_host(world)
    world.lie(host, world.random.choice((Truth.SAYS_OFF, Truth.ELSEWHERE)))
    later(world, lambda: restore(host, world))


def restore(host: Host, world: World) -> None:
    """Let the BMC of `host` work as it did in the beginning."""
    health = host.bmc.health
    health.reachable, health.graceful, health.truth = True, False, Truth.TRUTHFUL
    health.latency_ns, health.off_takes_ns = world.plan.bmc_latency_ns, world.plan.off_takes_ns
