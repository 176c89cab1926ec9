"""A simulated BMC: it reads and switches the power of one machine, as soon and as truthfully as it is told to.

A command that came in is carried out, late or not, whatever becomes of the one who sent it. This module must never know
why a command was sent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, unique

from hblink.core.value import Power
from hblink.sim.timeline import Timeline


@unique
class Truth(Enum):
    """What a BMC says of the power that it switches."""

    TRUTHFUL = "truthful"
    SAYS_OFF = "says_off"
    SAYS_ON = "says_on"


@dataclass(slots=True)
class Health:
    """How a BMC works; `off_takes_ns` is between an accepted `off` and darkness."""

    latency_ns: int
    off_takes_ns: int
    reachable: bool = True
    truth: Truth = Truth.TRUTHFUL


class Bmc:
    """The BMC of one machine: `powered` reads its power, `switch(on)` changes it."""

    def __init__(
        self, timeline: Timeline, health: Health, powered: Callable[[], bool], switch: Callable[[bool], None]
    ) -> None:
        self._timeline = timeline
        self._powered = powered
        self._switch = switch
        self.health = health

    def read(self, answer: Callable[[Power], None]) -> None:
        """Read the power; no answer ever comes while the BMC cannot be reached."""
        if self.health.reachable:
            self._timeline.call_after(self.health.latency_ns, lambda: answer(self._reading()))

    def command(self, on: bool, answer: Callable[[], None]) -> None:
        """Switch the power; the answer says that the command was accepted."""
        if self.health.reachable:
            self._timeline.call_after(self.health.latency_ns, lambda: self._obey(on, answer))

    def _obey(self, on: bool, answer: Callable[[], None]) -> None:
        if on or self.health.off_takes_ns == 0:
            self._switch(on)
        else:
            self._timeline.call_after(self.health.off_takes_ns, lambda: self._switch(False))
        answer()

    def _reading(self) -> Power:
        match self.health.truth:
            case Truth.SAYS_OFF:
                return Power.OFF
            case Truth.SAYS_ON:
                return Power.ON
            case Truth.TRUTHFUL:
                return Power.ON if self._powered() else Power.OFF
