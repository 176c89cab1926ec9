"""What is felt of the far end of each link: looked at ten times a second, and when the kernel hints at a change.

A fact for the decision, told when it differs from what the decision has, and logged then. This module must never judge
what a lost signal means: a cable that was pulled out looks like a node without power.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hblink.core.event import LinkSignalChanged
from hblink.core.value import MS
from hblink.daemon.context import Context
from hblink.daemon.heartbeat import Channel
from hblink.daemon.journal import Kind, Priority
from hblink.loop import Timer

LOOK_NS = 100 * MS


class SignalWatch:
    """Look at the signals of `channels`; `known(index)` is what the decision has of a link's signal."""

    def __init__(self, context: Context, channels: Sequence[Channel], known: Callable[[int], bool | None]) -> None:
        self._context = context
        self._channels = channels
        self._known = known
        self._timer: Timer | None = None

    def start(self) -> None:
        """Look now, and from now on."""
        self._on_due(self._context.loop.now())

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def look(self, index: int, now: int) -> None:
        """Look at one link."""
        channel = self._channels[index]
        present, before = channel.link.signal(), self._known(index)
        if present is before:
            return
        priority = Priority.WARNING if present is False else Priority.NOTICE
        text = f"link {channel.config.name}: signal of the far end {_word(present, before)}"
        self._context.log(priority, text, now, Kind.LINK)
        self._context.feed(LinkSignalChanged(index, present))

    def _on_due(self, now: int) -> None:
        self._timer = self._context.loop.call_at(now + LOOK_NS, self._on_due)
        for channel in self._channels:
            self.look(channel.index, now)


def _word(present: bool | None, before: bool | None) -> str:
    if present is None:
        return "unknown"
    if present:
        return "present"
    return "lost" if before else "absent"
