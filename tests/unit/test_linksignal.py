"""The far ends of the links, as the daemon feels them: looked at with each beat, each change told and logged once."""

from __future__ import annotations

from pathlib import Path

import pytest
from hblink_wire.key import SECRET_LENGTH, Keyring, new_key

from hblink.config import parse
from hblink.core.event import Event, LinkClosed, LinkOpened, LinkSignalChanged
from hblink.core.state import advertise
from hblink.core.value import MS, SECOND
from hblink.daemon.context import Context
from hblink.daemon.heartbeat import Heartbeat
from hblink.daemon.journal import Kind, Priority
from hblink.daemon.linksignal import LinkSignals
from hblink.links.link import LinkCounters
from hblink.loop import Loop
from hblink.session import Identity, LinkTiming, Session
from tests.unit.one import ALPHA, Node
from tests.unit.sample import GOOD

DIRECT, SERIAL = 0, 1
KEEPALIVE_NS = (100 * MS, 200 * MS)  # the defaults


class FakeLink:
    """A link whose signal the test sets; it remembers when it was asked, and what it was to send."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.counters = LinkCounters()
        self.is_open, self.ready_at = True, 0
        self.present: bool | None = None
        self.asked_at: list[int] = []
        self.sent_at: list[int] = []

    def open(self) -> None:
        self.is_open = True

    def close(self) -> None:
        self.is_open = False

    def send(self, data: bytes, now: int) -> bool:
        assert data
        self.sent_at.append(now)
        return True

    def carrier(self) -> bool | None:
        return self.present

    def signal(self) -> bool | None:
        self.asked_at.append(self.bench.core.now)
        return self.present if self.is_open else None


class Bench:
    """The frames of a node over two fake links, its core, and a clock that the test moves."""

    def __init__(self) -> None:
        self.core = Node(ALPHA)
        self.loop = Loop(clock=lambda: self.core.now)
        self.events: list[Event] = []
        self.lines: list[tuple[Priority, str]] = []
        config = parse(GOOD, Path("/etc/hblink"))
        session = Session(
            Identity(config.cluster_id, 0, 1),
            [LinkTiming(link.keepalive_ns, config.timing.deadtime_ns) for link in config.links],
            Keyring((new_key(1, bytes(range(SECRET_LENGTH))),), 1),
            session_id=1,
            started_at=self.core.now,
            echo_age_max_ns=config.timing.deadtime_ns,
            boot_id=bytes(16),
            config_digest=config.digest,
            software_version="1",
        )
        context = Context(self.loop, config, 0, self.feed, self._log)
        self.heartbeat = Heartbeat(
            self.loop,
            config.links,
            0,
            session,
            say=lambda now: advertise(self.core.state, now),
            on_event=lambda event, _now: self.feed(event),
            on_rejected=lambda _link, _rejected, _now: None,
            on_complaint=lambda _link, _reason, _now: None,
            on_signal=LinkSignals(context, lambda index: self.core.state.links[index].signal).take,
        )
        self.links = [FakeLink(self), FakeLink(self)]
        for channel, link in zip(self.heartbeat.channels, self.links, strict=True):
            channel.link = link
        self.heartbeat.start()
        self.events.clear()

    def feed(self, event: Event) -> None:
        self.events.append(event)
        self.core.tell(event)

    def _log(self, priority: Priority, message: str, now: int, kind: Kind = Kind.DAEMON, **fields: object) -> None:
        assert (now, kind, fields) == (self.core.now, Kind.LINK, {})
        self.lines.append((priority, message))

    def wait(self, duration_ns: int) -> None:
        """Let time pass in steps of a millisecond."""
        end = self.core.now + duration_ns
        while self.core.now < end:
            self.core.now += MS
            self.loop.run_once(0)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_every_link_is_looked_at_with_each_of_its_beats(bench: Bench) -> None:
    bench.wait(10 * SECOND)
    for link, keepalive_ns in zip(bench.links, KEEPALIVE_NS, strict=True):
        assert link.asked_at == link.sent_at
        assert len(link.asked_at) == pytest.approx(10 * SECOND / keepalive_ns, rel=0.02)
    assert bench.events == []


def test_two_looks_in_a_row_fit_into_deadtime(bench: Bench) -> None:
    bench.wait(10 * SECOND)
    for link in bench.links:
        gaps = [later - earlier for earlier, later in zip(link.asked_at, link.asked_at[2:], strict=False)]
        assert max(gaps) < ALPHA.deadtime_ns


def test_each_change_is_told_and_logged_once_by_the_name_of_the_link(bench: Bench) -> None:
    said = (False, True, False, None)
    for present in said:
        bench.links[SERIAL].present = present
        bench.wait(SECOND)
    assert bench.events == [LinkSignalChanged(SERIAL, present) for present in said]
    assert bench.lines == [
        (Priority.WARNING, "link serial: signal of the far end absent"),
        (Priority.NOTICE, "link serial: signal of the far end present"),
        (Priority.WARNING, "link serial: signal of the far end lost"),
        (Priority.NOTICE, "link serial: signal of the far end unknown"),
    ]


def test_what_a_closed_link_had_is_told_anew_when_it_is_open_again(bench: Bench) -> None:
    """The decision forgets a signal with its link, and nothing else need remember that it did."""
    link = bench.links[DIRECT]
    link.present = True
    bench.wait(SECOND)
    link.close()
    bench.feed(LinkClosed(DIRECT))
    bench.wait(SECOND)
    link.open()
    bench.feed(LinkOpened(DIRECT))
    bench.wait(SECOND)
    there = LinkSignalChanged(DIRECT, True)
    assert bench.events == [there, LinkClosed(DIRECT), LinkOpened(DIRECT), there]
