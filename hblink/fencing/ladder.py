"""Which level of the ladder is asked next, and whose OFF counts: the choices behind `fence`, without any asking.

The rules are in the head of `hblink.fencing.fence`. This module must never take one device's word for another's.
"""

from __future__ import annotations

from collections.abc import Sequence

from hblink.core.value import SECOND, Power
from hblink.fencing.level import Level

# Between the end of one round of the ladder and the next, and between two `off` to one level: beside the core's own
# pause, so that a wrong password does not lock an account.
ROUND_PAUSE_NS = 2 * SECOND


class Ladder:
    """The place on the ladder of the present attempt. `proof` is the level that was read OFF last, in any attempt."""

    def __init__(self, levels: Sequence[Level]) -> None:
        self._levels = levels
        self._next = 0  # the level that the next `off` goes to
        self._tries = 0  # `off` that this level has not accepted in this attempt
        self._since: int | None = None  # when this level was first sent `off` in this attempt
        self._accepted: int | None = None  # the level that has accepted `off` in this attempt
        self._basis: int | None = None  # the level whose OFF was read last, with nothing else since
        self._off_at = 0  # ... and when
        self._commanded: set[int] = set()  # levels that were sent `off` in this life of the daemon
        self.proof: int | None = None

    def reset(self) -> None:
        """The attempt is over: the next one begins with the first level."""
        self._next, self._tries, self._since = 0, 0, None
        self._accepted = self._basis = None

    # Off

    def choose(self, now: int, *, alone: bool, only: int | None = None) -> tuple[int, int]:
        """The level for an `off`, and when it was first commanded in this attempt.

        `only`: that one, whatever it is fit for. `alone`: the one whose OFF was read without a command. Otherwise the
        next that is not refused; if all are, the next one, which will say so.
        """
        if alone and self._basis is not None:
            self._next = self._basis
        self._basis = self._accepted = None
        if only is not None:
            return only, now
        for _ in self._levels:
            if not self._levels[self._next].refused:
                break
            self._move_on()
        if self._since is None:
            self._since = now
        return self._next, self._since

    def is_last(self, level: int) -> bool:
        """Whether no other level could be tried after this one in this round."""
        return all(later.refused for later in self._levels[level + 1 :])

    def note_sent(self, level: int) -> None:
        """An `off` was sent there."""
        self._commanded.add(level)

    def accept(self, level: int) -> None:
        """It has accepted: it alone is read from now on."""
        self._accepted = level

    def refuse(self, level: int, now: int, *, stays_on: bool) -> bool:
        """It has not accepted, or `stays_on`: go on to the next unless it may be tried again; True if to pause first.

        A level is tried again only if all of that fits into its own bound.
        """
        settings = self._levels[level].settings
        self._tries += 1
        since = now if self._since is None else self._since
        latest_at = since + settings.attempt_ns - 2 * settings.command_timeout_ns - ROUND_PAUSE_NS
        again = not stays_on and self._tries <= settings.retries and now <= latest_at
        if not again:
            self._move_on()
        return len(self._levels) > 1 and (again or self._next == 0)

    def _move_on(self) -> None:
        self._next = (self._next + 1) % len(self._levels)
        self._tries, self._since = 0, None

    # Readings

    def readers(self, only: int | None = None) -> list[int]:
        """The levels to be read, in order: `only` that one, or the one that has accepted, else all; none refused."""
        one = self._accepted if only is None else only
        order = range(len(self._levels)) if one is None else (one,)
        return [level for level in order if not self._levels[level].refused]

    def earliest_at(self) -> int:
        """When the next reading may begin: a second OFF is read the device's own interval after the first."""
        return 0 if self._basis is None else self._off_at + self._levels[self._basis].settings.off_interval_ns

    def take(self, level: int, power: Power, now: int) -> Power:
        """What a reading of `level` is worth: an OFF after that of another level is UNKNOWN."""
        mixed = power is Power.OFF and self._basis not in (None, level)
        self._basis = level if power is Power.OFF else None
        if power is Power.OFF:
            self._off_at, self.proof = now, level
        return Power.UNKNOWN if mixed else power

    # On

    def switches(self, only: int | None = None) -> list[int]:
        """The levels that `on` goes to: `only` that one, or those that were sent `off`, the last one first.

        All, if none was: then an earlier life of the daemon has sent it, and which one it took is not known.
        """
        self._basis = None
        wanted = (self._commanded or set(range(len(self._levels)))) if only is None else {only}
        return [level for level in sorted(wanted, reverse=True) if not self._levels[level].refused]

    def spares(self) -> list[int]:
        """The levels that were sent no `off`: they may switch on what one that was does not switch on again."""
        others = set(range(len(self._levels))) - self._commanded if self._commanded else set()
        return [level for level in sorted(others, reverse=True) if not self._levels[level].refused]
