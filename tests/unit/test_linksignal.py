"""The far ends of the links, as the daemon feels them: each change told and logged once, looked at often enough."""

from __future__ import annotations

from pathlib import Path

import pytest

from hblink.config import parse
from hblink.core.event import Event, LinkClosed, LinkOpened, LinkSignalChanged
from hblink.core.value import MS
from hblink.daemon.context import Context
from hblink.daemon.heartbeat import Channel
from hblink.daemon.journal import Kind, Priority
from hblink.daemon.linksignal import LOOK_NS, SignalWatch
from hblink.links.link import LinkCounters
from hblink.loop import Loop
from tests.unit.one import ALPHA, Node
from tests.unit.sample import GOOD


class FakeLink:
    """A link whose signal the test sets; it counts how often it was asked."""

    def __init__(self) -> None:
        self.counters = LinkCounters()
        self.is_open, self.ready_at = True, 0
        self.felt: bool | None = None
        self.asked = 0

    def open(self) -> None: ...

    def close(self) -> None: ...

    def send(self, _data: bytes, _now: int) -> bool:
        raise AssertionError("nothing is sent")

    def carrier(self) -> bool | None:
        raise AssertionError("the signal is what is asked for")

    def signal(self) -> bool | None:
        self.asked += 1
        return self.felt


class Bench:
    """A watch over two fake links, a core that takes what it is told, and a clock that the test moves."""

    def __init__(self) -> None:
        self.at = 0
        self.loop = Loop(clock=lambda: self.at)
        self.core = Node(ALPHA)
        self.events: list[Event] = []
        self.lines: list[tuple[Priority, str]] = []
        config = parse(GOOD, Path("/etc/hblink"))
        self.links = [FakeLink(), FakeLink()]
        channels = [Channel(index, config.links[index], link, None) for index, link in enumerate(self.links)]
        context = Context(self.loop, config, 0, self.feed, self._log)
        self.watch = SignalWatch(context, channels, lambda index: self.core.state.links[index].signal)

    def feed(self, event: Event) -> None:
        self.events.append(event)
        self.core.tell(event)

    def _log(self, priority: Priority, message: str, _now: int, kind: Kind = Kind.DAEMON, **_fields: object) -> None:
        assert kind is Kind.LINK
        self.lines.append((priority, message))

    def wait(self, duration_ns: int) -> None:
        """Let time pass in steps of a millisecond."""
        end = self.at + duration_ns
        while self.at < end:
            self.at += MS
            self.loop.run_once(0)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_every_link_is_looked_at_ten_times_a_second(bench: Bench) -> None:
    bench.watch.start()
    assert [link.asked for link in bench.links] == [1, 1]
    bench.wait(1000 * MS)
    assert [link.asked for link in bench.links] == [11, 11]
    assert LOOK_NS <= 100 * MS
    bench.watch.close()
    bench.wait(1000 * MS)
    assert [link.asked for link in bench.links] == [11, 11]
    assert bench.events == []


def test_each_change_is_told_and_logged_once_by_the_name_of_the_link(bench: Bench) -> None:
    bench.watch.start()
    for felt in (False, True, False, None):
        bench.links[1].felt = felt
        bench.wait(5 * LOOK_NS)
    assert bench.events == [LinkSignalChanged(1, felt) for felt in (False, True, False, None)]
    assert bench.lines == [
        (Priority.WARNING, "link serial: signal of the far end absent"),
        (Priority.NOTICE, "link serial: signal of the far end present"),
        (Priority.WARNING, "link serial: signal of the far end lost"),
        (Priority.NOTICE, "link serial: signal of the far end unknown"),
    ]


def test_a_hint_is_followed_at_once_and_by_that_link_alone(bench: Bench) -> None:
    bench.watch.start()
    bench.links[0].felt = bench.links[1].felt = True
    bench.watch.look(0, bench.at)
    assert bench.events == [LinkSignalChanged(0, True)]
    assert [link.asked for link in bench.links] == [2, 1]


def test_what_a_closed_link_had_is_told_anew_when_it_is_open_again(bench: Bench) -> None:
    """The decision forgets a signal with its link, and nothing else need remember that it did."""
    bench.links[0].felt = True
    bench.watch.start()
    bench.links[0].felt = None
    bench.feed(LinkClosed(0))
    bench.wait(2 * LOOK_NS)
    bench.feed(LinkOpened(0))
    bench.links[0].felt = True
    bench.wait(2 * LOOK_NS)
    assert bench.events == [LinkSignalChanged(0, True), LinkClosed(0), LinkOpened(0), LinkSignalChanged(0, True)]
