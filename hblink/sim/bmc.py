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
    SAYS_OFF = "says_off"  # and obeys no `off`
    SAYS_ON = "says_on"
    ELSEWHERE = "elsewhere"  # it is the BMC of a third machine


@dataclass(slots=True)
class Health:
    """How a BMC works; `off_takes_ns` is between an accepted `off` and darkness."""

    latency_ns: int
    off_takes_ns: int
    reachable: bool = True
    truth: Truth = Truth.TRUTHFUL
    graceful: bool = False  # `off` presses the power button: the system is asked, and may not listen


class Bmc:
    """The BMC of one machine: `powered` reads its power, `switch(on)` changes it, `ask` presses the button."""

    def __init__(
        self,
        timeline: Timeline,
        health: Health,
        powered: Callable[[], bool],
        switch: Callable[[bool], None],
        ask: Callable[[], None],
    ) -> None:
        self._timeline = timeline
        self._powered = powered
        self._switch = switch
        self._ask = ask
        self._elsewhere = True  # whether the third machine is on
        self.health = health
        self.fed = True  # whether it has power itself
        self.pending = 0  # commands that have come in and are not carried out yet

    def read(self, answer: Callable[[Power], None]) -> None:
        """Read the power; no answer ever comes while the BMC cannot be reached."""
        if self.health.reachable and self.fed:
            self._timeline.call_after(self.health.latency_ns, lambda: answer(self._reading()))

    def command(self, on: bool, answer: Callable[[], None]) -> None:
        """Switch the power; the answer says that the command was accepted."""
        if self.health.reachable and self.fed:
            self.pending += 1
            self._timeline.call_after(self.health.latency_ns, lambda: self._obey(on, answer))

    def _obey(self, on: bool, answer: Callable[[], None]) -> None:
        self.pending -= 1
        match self.health.truth:
            case Truth.ELSEWHERE:
                self._elsewhere = on
            case Truth.SAYS_OFF if not on:
                pass
            case _ if on:
                self._switch(True)
            case _ if self.health.graceful:
                self._ask()
            case _ if self.health.off_takes_ns == 0:
                self._switch(False)
            case _:
                self.pending += 1
                self._timeline.call_after(self.health.off_takes_ns, self._go_dark)
        answer()

    def _go_dark(self) -> None:
        self.pending -= 1
        self._switch(False)

    def _reading(self) -> Power:
        on = self._powered()
        match self.health.truth:
            case Truth.SAYS_OFF:
                on = False
            case Truth.SAYS_ON:
                on = True
            case Truth.ELSEWHERE:
                on = self._elsewhere
            case Truth.TRUTHFUL:
                pass
        return Power.ON if on else Power.OFF
