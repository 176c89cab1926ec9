"""The history: the last things that happened, as the log had them, for `hblink events` and for whoever follows.

A bounded ring in memory, fed with every line of the log; it ends with the daemon, the log does not. This module must
never hold more than its bound for anybody, and never keep the loop longer than one page takes.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from itertools import islice

from hblink.control.server import Request
from hblink.daemon.flightlog import FlightLog
from hblink.daemon.journal import Kind, Priority
from hblink.loop import Loop

RING_ENTRIES = 2000
PAGE_ENTRIES = 100
FLIGHT_PAGE_STEPS = 50  # each is formatted when it is asked for, in the loop
WAIT_NS = 5_000_000_000  # how long a follower's question may stay open before it is answered with nothing new
FOLLOWERS_MAX = 16


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened: at `at` of the loop's clock, and `time_ms` of the wall clock for display only."""

    seq: int
    at: int
    time_ms: int
    priority: Priority
    kind: Kind
    text: str
    fields: dict[str, object]

    def document(self) -> dict[str, object]:
        """The entry as JSON: `level` is the syslog(3) priority's name in lower case."""
        return {
            "seq": self.seq,
            "at_ms": self.at // 1_000_000,
            "time_ms": self.time_ms,
            "level": self.priority.name.lower(),
            "kind": self.kind.value,
            "text": self.text,
            "fields": self.fields,
        }


@dataclass(frozen=True, slots=True)
class _Follower:
    request: Request
    after: int
    until_at: int


class History:
    """Keep what happened, and answer `events` and `flight` requests page by page.

    `life` tells this daemon from the one before it, whose sequence numbers mean something else.
    """

    def __init__(self, loop: Loop, flight: FlightLog, life: str) -> None:
        self._loop = loop
        self._life = life
        self._flight = flight
        self._ring: deque[Entry] = deque(maxlen=RING_ENTRIES)
        self._next = 1
        self._followers: list[_Follower] = []
        self._serving = False

    @property
    def followers(self) -> int:
        """How many wait for what happens next; one that is just asking is not among them."""
        return len(self._followers)

    def note(self, priority: Priority, text: str, now: int, kind: Kind, fields: dict[str, object]) -> None:
        """Take one line of the log; values of `fields` that JSON has no word for are kept as text."""
        plain: dict[str, object] = {
            name: value if value is None or isinstance(value, (str, int, float)) else str(value)
            for name, value in fields.items()
        }
        self._ring.append(Entry(self._next, now, time.time_ns() // 1_000_000, priority, kind, text, plain))
        self._next += 1
        if self._followers and not self._serving:
            self._serving = True
            self._loop.call_at(now, self._serve)  # later: this may be in the middle of a turn

    def handle_events(self, request: Request, now: int) -> None:
        """Answer `{"after": seq, "limit": n, "wait": bool}`: the entries after `seq`, or the last `n` if it is absent.

        The answer has "events", "next" (what to ask after next time), "lost" (how many had left the ring already) and
        "life" (the daemon's; with another one `after` begins at 0 again).
        With "wait" and nothing new, it comes with the next entry, or after a few seconds without one.
        """
        after, limit = request.argument.get("after"), request.argument.get("limit")
        if not (after is None or _is_count(after)) or not (limit is None or _is_count(limit)):
            request.answer({"ok": False, "error": "after and limit are whole numbers, 0 or more"})
            return
        if after is None:
            count = min(limit if isinstance(limit, int) else RING_ENTRIES, len(self._ring))
            after = self._next - 1 - count
        assert isinstance(after, int)
        if after < self._next - 1 or request.argument.get("wait") is not True:
            request.answer(self._page(after))
        elif len(self._followers) >= FOLLOWERS_MAX:
            request.answer({"ok": False, "error": "too many followers"})
        else:
            self._followers.append(_Follower(request, after, now + WAIT_NS))
            self._loop.call_at(now + WAIT_NS, self._serve)

    def handle_flight(self, request: Request, now: int) -> None:  # noqa: ARG002 - the desk's signature
        """Answer `{"from": number}` with the lines of the flight ring from that step on; 0 begins at the oldest."""
        start = request.argument.get("from", 0)
        if not _is_count(start):
            request.answer({"ok": False, "error": "from is a whole number, 0 or more"})
            return
        assert isinstance(start, int)
        lines, following = self._flight.page(start, FLIGHT_PAGE_STEPS)
        request.answer({"ok": True, "lines": lines, "next": following})

    def _page(self, after: int) -> dict[str, object]:
        oldest = self._ring[0].seq if self._ring else self._next
        skipped = max(0, after + 1 - oldest)
        entries = list(islice(self._ring, skipped, skipped + PAGE_ENTRIES))
        return {
            "ok": True,
            "events": [entry.document() for entry in entries],
            "next": entries[-1].seq if entries else max(after, oldest - 1),
            "lost": max(0, oldest - 1 - after),
            "life": self._life,
        }

    def _serve(self, now: int) -> None:
        """Answer the followers for whom there is news, and those who have waited long enough."""
        self._serving = False
        waiting = self._followers
        self._followers = []
        for follower in waiting:
            if follower.after < self._next - 1 or now >= follower.until_at:
                follower.request.answer(self._page(follower.after))
            else:
                self._followers.append(follower)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
