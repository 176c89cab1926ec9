"""From single answers to one number: how much of the upstream a node reaches, 0 to 100, steady against single losses.

No IO and no clock. It must never guess: what cannot be measured makes the whole score unknown, and an unknown score
neither prefers nor disparages a node.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class _Record:
    """One target: what counts as true of it, and the run of equal samples that would change that."""

    answers: bool | None = None
    latest: bool | None = None
    run: int = 0


class Scorer:
    """Judge `targets` targets; a target changes its state after `samples` equal samples in a row, both ways.

    So a path that loses one packet in ten, or one that answers once in a while, moves nothing.
    """

    def __init__(self, targets: int, samples: int) -> None:
        self._records = [_Record() for _ in range(targets)]
        self._samples = samples

    def note(self, target: int, answered: bool | None) -> bool:
        """Take one sample of `target` (None: it could not be asked); tell whether its state has changed."""
        record = self._records[target]
        record.run = record.run + 1 if answered is record.latest else 1
        record.latest = answered
        if record.run < self._samples or record.answers is answered:
            return False
        record.answers = answered
        return True

    def answers(self, target: int) -> bool | None:
        """Whether `target` answers; None while nothing is known of it."""
        return self._records[target].answers

    @property
    def score(self) -> int | None:
        """The share of the targets that answer, in per cent; None without targets, or if one is not known."""
        states = [record.answers for record in self._records]
        if not states or None in states:
            return None
        return 100 * states.count(True) // len(states)
