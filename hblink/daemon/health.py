"""The wiring of upstream health: what this node reaches beyond its service ports, into the decision and into `status`.

It must never probe from an address that moves.
"""

from __future__ import annotations

from hblink.core.event import HealthMeasured
from hblink.daemon.context import Context
from hblink.daemon.journal import Kind, Priority
from hblink.health.monitor import HealthMonitor
from hblink.health.target import TARGETS, Place, Target

STATES = {True: "answers", False: "does not answer", None: "cannot be asked: this node has no address of its own there"}


class Health:
    """Ask the configured targets; the decision hears of each change of the score."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._monitor = self._make()

    def start(self) -> None:
        """Begin to ask."""
        self._monitor.start()

    def reload(self) -> None:
        """Ask whom the configuration names now; until that has been answered, nothing is known."""
        self._monitor.close()
        if self._monitor.score is not None:
            self._context.feed(HealthMeasured(None))
        self._monitor = self._make()
        self._monitor.start()

    def close(self) -> None:
        """Stop asking."""
        self._monitor.close()

    def document(self) -> dict[str, object]:
        """Describe what is reached, for `status`: `score` 0 to 100 or null, each target with `answers` or null."""
        return {
            "score": self._monitor.score,
            "targets": [
                {"address": str(target.place.address), "interface": target.place.interface, "answers": answers}
                for target, answers in self._monitor.answers()
            ],
        }

    def silent(self) -> list[str]:
        """The targets of which no answer is known."""
        answers = self._monitor.answers()
        return [f"{target.place.address} on {target.place.interface}" for target, answer in answers if not answer]

    def _make(self) -> HealthMonitor:
        context = self._context
        config = context.config.health
        vips = frozenset(vip.address.ip for vip in context.config.vips)
        return HealthMonitor(
            context.loop,
            [
                TARGETS[target.method](context.loop, Place(target.address, target.interface, vips))
                for target in config.targets
            ],
            interval_ns=config.interval_ns,
            samples=config.samples,
            on_score=self._on_score,
            on_target=self._on_target,
        )

    def _on_score(self, score: int | None, _now: int) -> None:
        self._context.feed(HealthMeasured(score))

    def _on_target(self, target: Target, answers: bool | None, now: int) -> None:
        priority = Priority.NOTICE if answers else Priority.WARNING
        self._context.log(priority, f"target {target.place}: {STATES[answers]}", now, Kind.SERVICE)
