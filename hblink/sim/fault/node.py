"""What befalls machines: power, kernels, clocks, disks, and the daemon's life on them."""

from __future__ import annotations

from hblink.core.value import MS, SECOND
from hblink.sim.disk import Disk
from hblink.sim.fault.bmc import restore
from hblink.sim.fault.chance import later, pause_ns, some_host
from hblink.sim.process import Spot
from hblink.sim.world import World


def crash(world: World) -> None:
    """A kernel stops."""
    some_host(world).crash()


def lose_power(world: World) -> None:
    """A machine is switched off by hand, or on."""
    host = some_host(world)
    host.switch(not host.powered)


def black_out(world: World) -> None:
    """A machine and its BMC lose power together for a while."""
    host = some_host(world)
    host.switch(False)
    host.bmc.health.reachable = False
    later(world, lambda: restore(host, world))


def reboot(world: World) -> None:
    """A machine starts again, faster or slower than the last time."""
    host = some_host(world)
    host.boot_ns = world.random.choice((1, 5, 15, 40)) * SECOND
    host.reboot()


def freeze(world: World) -> None:
    """A daemon stands still: while it waits, while it reads, or between a decision and its consequence."""
    host = some_host(world)
    host.freeze_daemon(world.random.choice(tuple(Spot)))
    world.timeline.call_after(pause_ns(world), host.thaw_daemon)


def pause(world: World) -> None:
    """A machine stands still: suspended, or a paused guest."""
    host = some_host(world)
    host.pause()
    world.timeline.call_after(pause_ns(world), host.resume)


def jump(world: World) -> None:
    """Boot time jumps forward."""
    some_host(world).jump(pause_ns(world))


def step_wall_clock(world: World) -> None:
    """The time of day jumps, either way."""
    some_host(world).step_wall_clock(world.random.choice((-1, 1)) * world.random.choice((1, 60, 3600, 10**9)) * SECOND)


def guard(world: World) -> None:
    """A hardware watchdog is armed or disarmed."""
    host = some_host(world)
    host.guard(not host.guarded)


def kill(world: World) -> None:
    """A daemon dies, and is started again soon or late."""
    host = some_host(world)
    host.kill_daemon()
    world.timeline.call_after(world.random.choice((0, 100 * MS, 900 * MS, 8 * SECOND)), host.start_daemon)


def stop(world: World) -> None:
    """A daemon is told to end, and is started again."""
    host = some_host(world)
    world.stop_daemon(host)
    world.timeline.call_after(world.random.choice((2, 6, 30)) * SECOND, host.start_daemon)


def spoil_memory(world: World) -> None:
    """The runtime directory cannot be written for a while."""
    host = some_host(world)
    host.store.runtime_works = False
    later(world, lambda: setattr(host.store, "runtime_works", True))


def spoil_disk(world: World) -> None:
    """The disk is full, read-only or gone for a while, or comes back with an old copy at the next boot."""
    store = some_host(world).store
    before = store.disk
    store.disk = world.random.choice((Disk.LOST, Disk.READ_ONLY, Disk.FULL, Disk.ROLLED_BACK))
    later(world, lambda: setattr(store, "disk", before))


def mistake(world: World) -> None:
    """A daemon is started under the name of the other node: two nodes with the same id."""
    host = some_host(world)
    host.mistake(host.peer.index)
    later(world, lambda: host.mistake(host.index))
