"""What befalls the service: starts, stops, its address, its check, and the port that it is reached by."""

from __future__ import annotations

from functools import partial

from hblink.core.value import MS, SECOND, Holder
from hblink.sim.fault.chance import later, some_host, then
from hblink.sim.service import Monitor, Outcome
from hblink.sim.world import World


def lose_carrier(world: World) -> None:
    """A service interface loses carrier for a while."""
    host = some_host(world)
    host.set_carrier(False)
    later(world, lambda: host.set_carrier(True))


def lose_upstream(world: World) -> None:
    """The upstream targets answer badly or not at all on one side, or on both, for a while."""
    for host in world.random.choice(((some_host(world),), world.hosts)):
        host.measure_health(world.random.choice((0, 0, 50, 99)))
        later(world, partial(host.measure_health, 100))


def intrude(world: World) -> None:
    """Somebody answers for the address too: a stranger, or what looks like the peer."""
    host = some_host(world)
    host.sight(world.random.choice((Holder.OTHER, Holder.PEER)))
    later(world, lambda: host.sight(Holder.NONE))


def fail_start(world: World) -> None:
    """Starts of the service fail or hang for a while."""
    kernel = some_host(world).kernel
    kernel.start_outcome = world.random.choice((Outcome.FAILS, Outcome.HANGS))
    later(world, lambda: setattr(kernel, "start_outcome", Outcome.GOOD))


def fail_stop(world: World) -> None:
    """Stops of the service fail or hang for a while."""
    kernel = some_host(world).kernel
    kernel.stop_outcome = world.random.choice((Outcome.FAILS, Outcome.HANGS))
    later(world, lambda: setattr(kernel, "stop_outcome", Outcome.GOOD))


def fail_address(world: World) -> None:
    """The address can be neither added nor renewed for a while."""
    kernel = some_host(world).kernel
    kernel.address_works = False
    later(world, lambda: setattr(kernel, "address_works", True))


def take_address(world: World) -> None:
    """Another program removes the address, once or again and again."""
    host = some_host(world)
    for index in range(world.random.choice((1, 1, 3, 20))):
        then(world, index * world.random.choice((5 * MS, 300 * MS, SECOND)), host.lose_address)


def die(world: World) -> None:
    """The service ends by itself."""
    some_host(world).kernel.die()


def mislead_monitor(world: World) -> None:
    """The service's own check says that it is dead, or that it is well, whatever is true."""
    kernel = some_host(world).kernel
    kernel.monitor = world.random.choice((Monitor.SAYS_DEAD, Monitor.SAYS_WELL))
    later(world, lambda: setattr(kernel, "monitor", Monitor.TRUTHFUL))
