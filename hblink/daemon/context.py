"""What every wiring of the daemon is given: the loop, the configuration, the way into the decision, the log.

A wiring joins one room of adapters to the decision: it is built from a Context, turns what its adapters tell into
events (`context.feed`), and carries out the effects that `dispatch` hands it. It must never call another wiring, and
never decide anything.

To add an effect: a method on its wiring, and an arm in `dispatch`. To add an event: `context.feed(...)` where the fact
is learnt. To add a wiring: a module beside this one, a line in `Daemon.__init__` and its place in `Daemon.wirings`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from hblink.config import Config
from hblink.core.event import Event
from hblink.daemon.journal import Kind, Priority
from hblink.loop import Loop


class Log(Protocol):
    """Write one line to the log and the history: what happened, when, what it is about, and fields by name."""

    def __call__(
        self, priority: Priority, message: str, now: int, kind: Kind = Kind.DAEMON, **fields: object
    ) -> None: ...


@dataclass(slots=True)
class Context:
    """Shared by the wirings; `config` is the configuration in force, replaced when a reload is accepted."""

    loop: Loop
    config: Config
    me: int
    feed: Callable[[Event], None]
    log: Log

    @property
    def node(self) -> str:
        """This node's name."""
        return self.config.nodes[self.me]

    @property
    def peer(self) -> str:
        """The other node's name."""
        return self.config.nodes[1 - self.me]


class Wiring(Protocol):
    """The life of a wiring: started in order once `Started` has passed through the decision, closed in reverse."""

    def start(self) -> None:
        """Begin to watch and to report; events may be fed from here on."""

    def close(self) -> None:
        """Let go of sockets, timers and children; nothing is fed after this."""
