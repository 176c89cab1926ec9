"""What the client's answers mean: how long it was without service, and how long two nodes answered for one address.

Pure: answers in, durations out. Instants are nanoseconds of CLOCK_BOOTTIME.

A starved observer asks late and would see gaps that are its own. Hence silence counts only where at least
UNANSWERED questions in a row had no answer, and a node's ownership ends only after as many.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from tests.rig.observer import Answer

UNANSWERED = 3  # the resolution, in questions
RECENT_NS = 150_000_000  # what was seen so shortly before the end of a reading still goes on


@dataclass(frozen=True, slots=True)
class Stretch:
    """A time in which one node answered, from the first to the last answer."""

    node: str
    since: int
    until: int

    @property
    def length(self) -> int:
        return self.until - self.since


@dataclass(frozen=True, slots=True)
class Reading:
    """What was seen from `since` to `until`, in nanoseconds.

    `outage` is all time without an answer; `is_served` says whether the service was there at the end. `dual` is all
    time in which both nodes answered; `is_dual` says whether they still did at the end.
    """

    since: int
    until: int
    outage: int
    is_served: bool
    dual: int
    is_dual: bool


def read(echoes: Sequence[Answer], claims: Sequence[Answer], since: int, until: int) -> Reading:
    """Judge the answers for one address: `echoes` to the client's traffic, `claims` to who has the address.

    Both may begin before `since`: the last answer before it is where an outage begins.
    """
    outage, is_served = silence(echoes, since, until)
    dual, is_dual = overlap(stretches(claims), since, until)
    return Reading(since, until, outage, is_served, dual, is_dual)


def silence(echoes: Sequence[Answer], since: int, until: int) -> tuple[int, bool]:
    """Return the time without an answer, and whether answers were coming at `until`.

    A silence is counted from the last answer, even where that is a little older than `since`.
    """
    known = [*[one for one in echoes if one.at < since][-1:], *(one for one in echoes if since <= one.at <= until)]
    if not known:
        return until - since, False
    total = sum(later.at - earlier.at for earlier, later in pairwise(known) if later.round - earlier.round > UNANSWERED)
    if known[0].at > since:  # there was none before
        total += known[0].at - since
    tail = until - known[-1].at
    return (total, True) if tail <= RECENT_NS else (total + tail, False)


def stretches(answers: Iterable[Answer]) -> list[Stretch]:
    """Return when each node answered, in the order of their beginnings."""
    open_since: dict[str, int] = {}
    latest: dict[str, Answer] = {}
    found: list[Stretch] = []
    for one in answers:
        last = latest.get(one.node)
        if last is None:
            open_since[one.node] = one.at
        elif one.round - last.round > UNANSWERED:
            found.append(Stretch(one.node, open_since[one.node], last.at))
            open_since[one.node] = one.at
        latest[one.node] = one
    found += [Stretch(node, open_since[node], one.at) for node, one in latest.items()]
    return sorted(found, key=lambda stretch: (stretch.since, stretch.node))


def overlap(found: Sequence[Stretch], since: int, until: int) -> tuple[int, bool]:
    """Return how long within [since, until] more than one node answered, and whether they did at its end."""
    edges: list[tuple[int, int]] = []
    for stretch in found:
        first, last = max(stretch.since, since), min(stretch.until, until)
        if first < last:
            edges += [(first, 1), (last, -1)]
    total, owners, began = 0, 0, 0
    latest = 0
    for at, step in sorted(edges):
        if owners == 1 and step == 1:
            began = at
        if owners == 2 and step == -1:
            total += at - began
            latest = at
        owners += step
    return total, total > 0 and until - latest <= RECENT_NS
