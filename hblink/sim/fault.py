"""What can befall a simulated pair: each kind of fault once, as a function that picks its details by chance.

A fault begins at once and ends by itself, or at the latest when everything is made good. Operators tell the truth here.
"""

from __future__ import annotations

from collections.abc import Callable

from hblink.core.value import MS, SECOND
from hblink.sim.host import Host, Outcome
from hblink.sim.network import Path, Weather
from hblink.sim.world import World

Fault = Callable[[World], None]


def cut(world: World) -> None:
    """Some directions of some links carry nothing for a while."""
    paths = [path for path in _paths(world) if world.random.random() < 0.6]
    _weather(world, paths, lambda: Weather(cut=True))


def disturb(world: World) -> None:
    """Some directions of some links lose, double, damage, delay or reorder."""
    random = world.random
    paths = [path for path in _paths(world) if random.random() < 0.5]

    def make() -> Weather:
        return Weather(
            loss=random.choice((0, 100, 500, 900)),
            duplication=random.choice((0, 300)),
            damage=random.choice((0, 300)),
            delay_ns=random.choice((0, 0, 100 * MS, 900 * MS, 3 * SECOND, 30 * SECOND)),
            jitter_ns=random.choice((0, 50 * MS, 2 * SECOND)),
        )

    _weather(world, paths, make)


def crash(world: World) -> None:
    """A kernel stops."""
    _host(world).crash()


def lose_power(world: World) -> None:
    """A machine is switched off by hand, or on."""
    host = _host(world)
    host.switch(not host.powered)


def black_out(world: World) -> None:
    """A machine and its BMC lose power together for a while."""
    host = _host(world)
    host.switch(False)
    host.bmc.health.reachable = False
    _later(world, lambda: _restore_bmc(host, world))


def reboot(world: World) -> None:
    """A machine starts again."""
    _host(world).reboot()


def freeze(world: World) -> None:
    """A daemon stands still."""
    host = _host(world)
    host.freeze_daemon()
    world.timeline.call_after(_pause_ns(world), host.thaw_daemon)


def pause(world: World) -> None:
    """A machine stands still."""
    host = _host(world)
    host.pause()
    world.timeline.call_after(_pause_ns(world), host.resume)


def jump(world: World) -> None:
    """Boot time jumps forward."""
    _host(world).jump(_pause_ns(world))


def kill(world: World) -> None:
    """A daemon dies, and is started again soon or late."""
    host = _host(world)
    host.kill_daemon()
    world.timeline.call_after(world.random.choice((0, 100 * MS, 900 * MS, 8 * SECOND)), host.start_daemon)


def stop(world: World) -> None:
    """A daemon is told to end, and is started again."""
    host = _host(world)
    world.stop_daemon(host)
    world.timeline.call_after(world.random.choice((2, 6, 30)) * SECOND, host.start_daemon)


def bmc_gone(world: World) -> None:
    """A BMC cannot be reached for a while."""
    host = _host(world)
    host.bmc.health.reachable = False
    _later(world, lambda: _restore_bmc(host, world))


def bmc_slow(world: World) -> None:
    """A BMC answers late, or powers off late, perhaps after everybody has given up."""
    host = _host(world)
    host.bmc.health.latency_ns = world.random.choice((500 * MS, 4 * SECOND, 8 * SECOND, 30 * SECOND))
    host.bmc.health.off_takes_ns = world.random.choice((0, 4 * SECOND, 15 * SECOND))
    _later(world, lambda: _restore_bmc(host, world))


def lose_carrier(world: World) -> None:
    """A service interface loses carrier for a while."""
    host = _host(world)
    host.set_carrier(False)
    _later(world, lambda: host.set_carrier(True))


def fail_start(world: World) -> None:
    """Starts of the service fail or hang for a while."""
    host = _host(world)
    host.start_outcome = world.random.choice((Outcome.FAILS, Outcome.HANGS))
    _later(world, lambda: setattr(host, "start_outcome", Outcome.GOOD))


def fail_stop(world: World) -> None:
    """Stops of the service fail or hang for a while."""
    host = _host(world)
    host.stop_outcome = world.random.choice((Outcome.FAILS, Outcome.HANGS))
    _later(world, lambda: setattr(host, "stop_outcome", Outcome.GOOD))


def spoil_memory(world: World) -> None:
    """The runtime directory cannot be written for a while."""
    host = _host(world)
    host.runtime_works = False
    _later(world, lambda: setattr(host, "runtime_works", True))


def switchover(world: World) -> None:
    """An operator asks for a planned move."""
    world.switchover(_host(world))


def confirm(world: World) -> None:
    """An operator swears that a machine is off, which is true."""
    host = _host(world)
    if not host.peer.powered:
        world.confirm(host)


def attack(world: World) -> None:
    """Somebody replays what was recorded, where it came from, to its sender, or on another link."""
    archive = world.network.archive
    if archive:
        sample = [world.random.choice(archive) for _ in range(world.random.choice((1, 10, 100)))]
        links = (None, *range(len(world.plan.links)))
        world.replay(sample, _host(world), link=world.random.choice(links))


def make_noise(world: World) -> None:
    """A line brings noise or a console's text."""
    link = world.random.randrange(len(world.plan.links))
    noise = world.random.choice((b"\r\nlogin: ", world.random.randbytes(40), bytes(80), b"\xff" * 300))
    world.noise(_host(world), link, noise)


KINDS: dict[str, Fault] = {
    each.__name__: each
    for each in (
        cut,
        disturb,
        crash,
        lose_power,
        black_out,
        reboot,
        freeze,
        pause,
        jump,
        kill,
        stop,
        bmc_gone,
        bmc_slow,
        lose_carrier,
        fail_start,
        fail_stop,
        spoil_memory,
        switchover,
        confirm,
        attack,
        make_noise,
    )
}


def make_good(world: World) -> None:
    """End every fault: links, BMCs, clocks, services; machines that are down come back."""
    world.network.heal()
    for host in world.hosts:
        _restore_bmc(host, world)
        host.start_outcome = host.stop_outcome = Outcome.GOOD
        host.runtime_works = True
        host.set_carrier(True)
        host.resume()
        host.thaw_daemon()
        if host.crashed:
            host.reboot()
        host.switch(True)
        host.start_daemon()


def _host(world: World) -> Host:
    return world.random.choice(world.hosts)


def _paths(world: World) -> list[Path]:
    return [world.network.path(sender, link) for sender in range(2) for link in range(len(world.plan.links))]


def _pause_ns(world: World) -> int:
    """From nothing to a minute; most often about the deadtime, where the rules have their edges."""
    edge = world.random.randrange(world.plan.deadtime_ns * 3 // 2)
    return world.random.choice((10 * MS, edge, edge, edge, 3 * SECOND, 10 * SECOND, 60 * SECOND))


def _weather(world: World, paths: list[Path], make: Callable[[], Weather]) -> None:
    for path in paths:
        path.weather = make()
        path.disturb()

    def end() -> None:
        for path in paths:
            path.weather = Weather()
            path.disturb()

    _later(world, end)


def _restore_bmc(host: Host, world: World) -> None:
    health = host.bmc.health
    health.reachable = True
    health.latency_ns, health.off_takes_ns = world.plan.bmc_latency_ns, world.plan.off_takes_ns


def _later(world: World, end: Callable[[], object]) -> None:
    """End a fault after a while: often about as long as one of the pair's own timers."""
    plan = world.plan
    lasts_ns = world.random.choice(
        (world.random.randrange(2 * plan.deadtime_ns), 3 * SECOND, 8 * SECOND, 25 * SECOND, 70 * SECOND)
    )

    def run() -> None:
        end()

    world.timeline.call_after(lasts_ns, run)
