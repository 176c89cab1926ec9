"""What every link is to the daemon: something that carries bytes to the peer, and may be away for a while.

Links know bytes only: no frame format, no meaning. They must never block, retry in a loop or log.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

OnBytes = Callable[[bytes, int], None]  # called with what came in, and now
OnClosed = Callable[[str, int], None]  # called with the reason, and now; not called for `close`
OnSignal = Callable[[int], None]  # called with now, when `signal` may have another answer


class LinkError(Exception):
    """A link cannot be opened; the message names the device or address, the reason and the way out."""


@dataclass(slots=True)
class LinkCounters:
    """What a link has carried since it was made; `unsent` and `dropped` count by reason."""

    sent: int = 0
    sent_bytes: int = 0
    received: int = 0  # datagrams, or reads of a serial port
    received_bytes: int = 0
    unsent: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)  # came in and was not passed on
    closed: Counter[str] = field(default_factory=Counter)  # by itself, not by `close`


class Link(Protocol):
    """The shape that UDP and serial links share."""

    counters: LinkCounters

    @property
    def is_open(self) -> bool:
        """Whether `open` succeeded and nothing closed the link since."""

    @property
    def ready_at(self) -> int:
        """The earliest instant at which `send` need not refuse for pacing; 0 if there is no pacing."""

    def open(self) -> None:
        """Open the link; raise LinkError. May be tried again at any time, also after it closed by itself."""

    def close(self) -> None:
        """Close the link; may be repeated."""

    def send(self, data: bytes, now: int) -> bool:
        """Send `data` now or not at all: False if it was not sent, with the reason counted in `unsent`."""

    def carrier(self) -> bool | None:
        """Say whether the far end seems to be connected and powered; None if this link cannot tell."""

    def signal(self) -> bool | None:
        """Say whether the hardware at the far end is felt, a glitch aside; None if it cannot be told, or is closed.

        To be asked at a steady pace, such as with each beat: what is true of two looks in a row is no glitch.
        """
