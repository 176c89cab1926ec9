"""The history behind the control socket: bounded, page by page, followed without a wait in the loop."""

from __future__ import annotations

from typing import Any

import pytest

from hblink.control.server import Credentials, Request
from hblink.core.event import Started, Woke
from hblink.core.state import initial
from hblink.core.step import step
from hblink.core.value import Memory, Settings
from hblink.daemon.flightlog import RING_STEPS, FlightLog
from hblink.daemon.history import FOLLOWERS_MAX, PAGE_ENTRIES, RING_ENTRIES, WAIT_NS, History
from hblink.daemon.journal import Kind, Priority
from hblink.daemon.writer import Writer
from hblink.flight import read, replay
from hblink.loop import Loop

SETTINGS = Settings(me=0, preferred=0)


class Bench:
    """A history on a loop whose clock the test moves."""

    def __init__(self) -> None:
        self.at = 1_000_000_000_000
        self.loop = Loop(lambda: self.at)
        self.flight = FlightLog(SETTINGS, "alpha", "1", Writer(), None)
        self.history = History(self.loop, self.flight, "1")
        self.answers: list[dict[str, Any]] = []

    def note(self, text: str) -> None:
        self.history.note(Priority.NOTICE, text, self.at, Kind.ROLE, {"reason": "none"})

    def ask(self, **argument: object) -> None:
        request = Request("events", argument, Credentials(1, 0, frozenset()), self.answers.append)
        self.history.handle_events(request, self.at)

    def texts(self) -> list[str]:
        return [event["text"] for event in self.answers.pop()["events"]]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_the_last_ones_in_their_order(bench: Bench) -> None:
    for number in range(5):
        bench.note(f"event {number}")
    bench.ask(limit=2)
    assert bench.texts() == ["event 3", "event 4"]
    bench.ask()
    assert len(bench.texts()) == 5


def test_pages_join_without_a_gap_and_what_was_lost_is_counted(bench: Bench) -> None:
    for number in range(RING_ENTRIES + 7):
        bench.note(f"event {number}")
    seen: list[str] = []
    after = 0
    lost = []
    while True:
        bench.ask(after=after)
        answer = bench.answers.pop()
        lost.append(answer["lost"])
        if not answer["events"]:
            break
        assert len(answer["events"]) <= PAGE_ENTRIES
        seen += [event["text"] for event in answer["events"]]
        after = answer["next"]
    assert seen == [f"event {number}" for number in range(7, RING_ENTRIES + 7)]
    assert lost == [7] + [0] * (len(lost) - 1)


def test_a_follower_hears_of_the_next_one_later_in_the_loop(bench: Bench) -> None:
    bench.note("old")
    bench.ask(after=1, wait=True)
    assert bench.answers == []
    bench.note("new")
    assert bench.answers == [], "not in the middle of a turn"
    bench.loop.run_once(0)
    assert bench.texts() == ["new"]


def test_a_follower_is_answered_with_nothing_after_a_while(bench: Bench) -> None:
    bench.ask(after=0, wait=True)
    bench.at += WAIT_NS - 1
    bench.loop.run_once(0)
    assert bench.answers == []
    bench.at += 1
    bench.loop.run_once(0)
    assert bench.texts() == []


def test_followers_are_bounded(bench: Bench) -> None:
    for _ in range(FOLLOWERS_MAX + 1):
        bench.ask(after=0, wait=True)
    assert [answer["ok"] for answer in bench.answers] == [False]


@pytest.mark.parametrize("argument", [{"after": -1}, {"after": "1"}, {"limit": True}, {"limit": 1.5}])
def test_nonsense_is_refused(bench: Bench, argument: dict[str, object]) -> None:
    bench.ask(**argument)
    assert bench.answers.pop()["ok"] is False


def test_a_flight_ring_that_has_lost_its_beginning_still_replays(bench: Bench) -> None:
    state = initial(SETTINGS)
    for number in range(RING_STEPS + 100):
        event = Started(Memory()) if number == 0 else Woke()
        after, effects = step(SETTINGS, state, event, bench.at + number)
        bench.flight.note(bench.at + number, event, state, after, effects)
        state = after
    lines: list[str] = []
    number = 0
    while True:
        page, number = bench.flight.page(number, 500)
        if not page:
            break
        lines += page
    assert len(lines) == RING_STEPS + 1
    replayed = list(replay(read(lines)))
    assert len(replayed) == RING_STEPS
    assert replayed[-1][1] == state, "the whole state, not only the role"
    assert all(recorded.effects == effects for recorded, _, effects in replayed)
