"""Somebody who sits on every link: drops, delays, doubles, reorders and damages what passes, and lets come in again,
anywhere, whatever was ever sent, also by daemons and kernels that are long gone.

He has all that was on the lines and no key. This module must never know what a frame means.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from hblink.core.value import MS, SECOND
from hblink.sim.network import Path, Sent, Weather
from hblink.sim.world import World

_SAMPLES = (1, 10, 100)
_STRIKE_NS = (5 * MS, 50 * MS, 200 * MS)  # between two acts


class Attacker:
    """Act on a pair by chance: once with `strike`, or on and on between `begin` and `end`.

    `abilities` are names of ABILITIES, `links` the links that he can reach, all if None. `uses` counts the acts.
    """

    def __init__(
        self, world: World, abilities: Sequence[str] | None = None, links: Sequence[int] | None = None
    ) -> None:
        self._world = world
        self._abilities = tuple(ABILITIES) if abilities is None else tuple(abilities)
        self._links = tuple(range(len(world.plan.links))) if links is None else tuple(links)
        self._active = False
        self.uses: Counter[str] = Counter()

    def begin(self) -> None:
        """Strike again and again from now on."""
        self._active = True
        self._again()

    def end(self) -> None:
        """Let the pair alone."""
        self._active = False
        self._world.network.heal()

    def strike(self) -> None:
        """Do one thing."""
        name = self._world.random.choice(self._abilities)
        self.uses[name] += 1
        ABILITIES[name](self)

    def _again(self) -> None:
        if self._active:
            self.strike()
            self._world.timeline.call_after(self._world.random.choice(_STRIKE_NS), self._again)

    def _drop(self) -> None:
        self._tamper(Weather(loss=self._world.random.choice((500, 1000))))

    def _delay(self) -> None:
        self._tamper(Weather(delay_ns=self._world.random.choice((100 * MS, 950 * MS, 3 * SECOND, 30 * SECOND))))

    def _duplicate(self) -> None:
        self._tamper(Weather(duplication=1000))

    def _reorder(self) -> None:
        self._tamper(Weather(jitter_ns=self._world.random.choice((200 * MS, 2 * SECOND))))

    def _corrupt(self) -> None:
        self._tamper(Weather(damage=1000))

    def _replay(self) -> None:
        for sent in self._recorded():
            self._inject(sent, 1 - sent.sender, sent.link)

    def _reflect(self) -> None:
        for sent in self._recorded():
            self._inject(sent, sent.sender, sent.link)

    def _move(self) -> None:
        for sent in self._recorded():
            self._inject(sent, 1 - sent.sender, self._world.random.choice(self._links))

    def _tamper(self, weather: Weather) -> None:
        """Let one direction of one link suffer for a while."""
        random = self._world.random
        path = self._world.network.path(random.randrange(2), random.choice(self._links))
        self._set(path, weather)
        lasts_ns = random.choice((50 * MS, 900 * MS, 1100 * MS, 4 * SECOND))
        self._world.timeline.call_after(lasts_ns, lambda: self._set(path, Weather()))

    def _set(self, path: Path, weather: Weather) -> None:
        path.weather = weather
        path.disturb()

    def _recorded(self) -> list[Sent]:
        """Some of what was ever sent, half of it of late."""
        archive, random = self._world.network.archive, self._world.random
        if not archive:
            return []
        recent = archive[-200:]
        return [random.choice(random.choice((archive, recent))) for _ in range(random.choice(_SAMPLES))]

    def _inject(self, sent: Sent, receiver: int, link: int) -> None:
        if link in self._links:
            self._world.replay([sent], self._world.hosts[receiver], link=link)


ABILITIES: dict[str, Callable[[Attacker], None]] = {
    "drop": Attacker._drop,
    "delay": Attacker._delay,
    "duplicate": Attacker._duplicate,
    "reorder": Attacker._reorder,
    "corrupt": Attacker._corrupt,
    "replay": Attacker._replay,
    "reflect": Attacker._reflect,
    "move": Attacker._move,
}
INJECTIONS = ("replay", "reflect", "move")  # these keep nothing of what the peer sends from arriving
