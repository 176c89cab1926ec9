"""What befalls links: what is on them is lost, doubled, damaged, late; or is not from the peer at all."""

from __future__ import annotations

from collections.abc import Callable

from hblink.core.value import MS, SECOND
from hblink.sim.attacker import INJECTIONS, Attacker
from hblink.sim.fault.chance import later, some_host, then
from hblink.sim.network import Path, Weather
from hblink.sim.world import World


def cut(world: World) -> None:
    """Some directions of some links carry nothing for a while."""
    paths = [path for path in _paths(world) if world.random.random() < 0.6]
    _weather(world, paths, lambda: Weather(cut=True))


def burst(world: World) -> None:
    """Some directions of some links carry nothing for a moment, again and again."""
    random = world.random
    paths = [path for path in _paths(world) if random.random() < 0.6]
    at = 0
    for _ in range(random.choice((3, 10, 30))):
        at += random.choice((50, 200, 900, 1500)) * MS
        lasts_ns = random.choice((50, 300, 900, 1100)) * MS
        then(world, at, lambda: _set(paths, Weather(cut=True)))
        then(world, at + lasts_ns, lambda: _set(paths, Weather()))
        at += lasts_ns


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


def attack(world: World) -> None:
    """Somebody replays what was recorded, where it came from, to its sender, or on another link."""
    attacker = Attacker(world, INJECTIONS)
    for _ in range(world.random.choice((1, 5))):
        attacker.strike()


def make_noise(world: World) -> None:
    """A line brings noise or a console's text."""
    link = world.random.randrange(len(world.plan.links))
    noise = world.random.choice((b"\r\nlogin: ", world.random.randbytes(40), bytes(80), b"\xff" * 300))
    world.noise(some_host(world), link, noise)


def _paths(world: World) -> list[Path]:
    return [world.network.path(sender, link) for sender in range(2) for link in range(len(world.plan.links))]


def _weather(world: World, paths: list[Path], make: Callable[[], Weather]) -> None:
    for path in paths:
        path.weather = make()
        path.disturb()
    later(world, lambda: _set(paths, Weather()))


def _set(paths: list[Path], weather: Weather) -> None:
    for path in paths:
        path.weather = weather
        path.disturb()
