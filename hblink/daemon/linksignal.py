"""What is felt of the far end of each link, for the decision and for the log.

It comes with every beat of a link, and when the kernel hints at a change. This module must never judge what a lost
signal means: a cable that was pulled out looks like a node without power.
"""

from __future__ import annotations

from collections.abc import Callable

from hblink.core.event import LinkSignalChanged
from hblink.daemon.context import Context
from hblink.daemon.journal import Kind, Priority


class LinkSignals:
    """Tell the decision what is news to it; `known(index)` is what it has of a link, and forgets when that closes."""

    def __init__(self, context: Context, known: Callable[[int], bool | None]) -> None:
        self._context = context
        self._known = known

    def take(self, index: int, present: bool | None, now: int) -> None:
        """Take what was felt of a link just now."""
        before = self._known(index)
        if present is before:
            return
        name = self._context.config.links[index].name
        priority = Priority.WARNING if present is False else Priority.NOTICE
        text = f"link {name}: signal of the far end {_word(present, before)}"
        self._context.log(priority, text, now, Kind.LINK)
        self._context.feed(LinkSignalChanged(index, present))


def _word(present: bool | None, before: bool | None) -> str:
    if present is None:
        return "unknown"
    if present:
        return "present"
    return "lost" if before else "absent"
