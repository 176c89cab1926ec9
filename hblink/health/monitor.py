"""What this node reaches upstream: asks every target at an interval, and tells the score when it changes.

Told to the peer in every heartbeat, so that both can compare; it only ever prefers (SAFETY S12). This module must never
judge a target by a round in which the loop itself was late.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hblink.health.score import Scorer
from hblink.health.target import Target
from hblink.loop import Loop, Timer


class HealthMonitor:
    """Ask `targets` every `interval_ns`; an answer that takes longer counts as none.

    `on_score(score, now)` is called when the score changes (0 to 100, None: unknown); `on_target(target, answers, now)`
    when what is known of one target does.
    """

    def __init__(
        self,
        loop: Loop,
        targets: Sequence[Target],
        *,
        interval_ns: int,
        samples: int,
        on_score: Callable[[int | None, int], None],
        on_target: Callable[[Target, bool | None, int], None],
    ) -> None:
        self._loop = loop
        self._targets = tuple(targets)
        self._interval_ns = interval_ns
        self._scorer = Scorer(len(targets), samples)
        self._on_score = on_score
        self._on_target = on_target
        self._asked: list[bool | None] | None = None  # how each question of this round went out
        self._due_at = 0
        self._timer: Timer | None = None
        self.score: int | None = None

    def start(self) -> None:
        """Begin to ask, if there is anybody to ask."""
        if self._targets:
            self._ask(self._loop.now())

    def close(self) -> None:
        """Stop asking, close the sockets."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for target in self._targets:
            target.close()

    def answers(self) -> list[tuple[Target, bool | None]]:
        """Return each target with what is known of it, for `status`."""
        return [(target, self._scorer.answers(index)) for index, target in enumerate(self._targets)]

    def _ask(self, now: int) -> None:
        self._asked = [target.ask() for target in self._targets]
        self._due_at = now + self._interval_ns
        self._timer = self._loop.call_at(self._due_at, self._on_due)

    def _on_due(self, now: int) -> None:
        """Take the samples of the round that has ended, and begin another."""
        asked = self._asked
        if asked is not None and now - self._due_at < self._interval_ns // 2:
            for index, target in enumerate(self._targets):
                went_out = asked[index]
                answered = None if went_out is None else went_out and target.answered
                if self._scorer.note(index, answered):
                    self._on_target(target, answered, now)
        self._ask(now)
        if self._scorer.score != self.score:
            self.score = self._scorer.score
            self._on_score(self.score, now)
