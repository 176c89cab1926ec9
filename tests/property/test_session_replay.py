"""Two sessions and somebody on every link who drops, repeats, delays, reorders, moves and reflects any frame ever sent.

Nodes also restart at any time. Checked after every delivery: no credit later than echo_age_max after the frame was
sent, none for a frame that is not the peer's or is on the wrong link, none twice, no going back to an earlier daemon,
and nothing echoed of which the core was not told. In the end the attacker tires, and both sides must be fresh again.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from hblink_wire import Expected, Frame, Keyring, SessionState, decode, new_key
from hypothesis import given, settings
from hypothesis import strategies as st

from hblink.core.event import PeerBeat
from hblink.core.value import MS, SECOND, Advert, Role
from hblink.session import Identity, LinkTiming, Session

CLUSTER = 4711
RING = Keyring((new_key(1, hashlib.sha256(b"one").digest()),), 1)
AGE = 1000 * MS
TIMINGS = (LinkTiming(100 * MS, 1000 * MS), LinkTiming(200 * MS, 1000 * MS))


@dataclass(frozen=True)
class Recorded:
    """A frame that was on a line once."""

    data: bytes
    sender: int
    generation: int
    link: int
    sent_at: int
    seq: int


class World:
    """Two nodes, the record of all frames, and what must never be seen."""

    def __init__(self) -> None:
        self.now = 100 * SECOND
        self.generation = [0, 0]
        self.sessions = [self._session(0), self._session(1)]
        self.record: list[Recorded] = []
        self.adopted = [0, 0]  # the generation of the peer that each has adopted
        self.applied = [(0, 0), (0, 0)]  # generation and sequence of the last advert applied
        self.credited: list[set[Recorded]] = [set(), set()]
        self.last_beat: list[PeerBeat | None] = [None, None]

    def _session(self, node: int) -> Session:
        self.generation[node] += 1
        return Session(
            Identity(CLUSTER, node, 1 - node),
            TIMINGS,
            RING,
            session_id=1000 * (node + 1) + self.generation[node],
            started_at=self.now,
            echo_age_max_ns=AGE,
            boot_id=bytes(16),
            config_digest=bytes(8),
            software_version="0.1.0",
        )

    def restart(self, node: int) -> None:
        self.sessions[node] = self._session(node)
        self.adopted[node] = 0
        self.applied[node] = (0, 0)
        self.credited[node] = set()

    def send(self, node: int) -> list[Recorded]:
        """Let a node tick, and record what it sends."""
        advert = Advert(Role.STANDBY, 2 * self.generation[node] + node)
        frames = self.sessions[node].compose(advert, (0, 1), self.now, 3)
        return [self._recorded(node, link, data) for link, data in frames.items()]

    def deliver(self, recorded: Recorded, node: int, link: int) -> None:
        """Bring a recorded frame to `node` on `link`, and check what comes of it."""
        session = self.sessions[node]
        told_before = _echoes(session)
        received = session.receive(link, recorded.data, self.now)
        if received.reply is not None:
            reply = self._recorded(node, link, received.reply)
            frame = decode(reply.data, RING, Expected(CLUSTER, 1 - node, link))
            assert isinstance(frame, Frame)
            assert frame.session_state is SessionState.INIT
        assert received.events or _echoes(session) == told_before
        for event in received.events:
            assert recorded.sender == 1 - node
            assert recorded.link == link == event.link
            if isinstance(event, PeerBeat):
                self._check_beat(recorded, node, event)

    def _check_beat(self, recorded: Recorded, node: int, beat: PeerBeat) -> None:
        assert self.now - recorded.sent_at < AGE
        assert self.now - beat.echo_sent_at < AGE
        assert beat.echo_sent_at <= recorded.sent_at
        assert recorded not in self.credited[node]
        self.credited[node].add(recorded)
        assert beat.adopted is (recorded.generation != self.adopted[node])
        assert recorded.generation >= self.adopted[node]
        self.adopted[node] = recorded.generation
        if beat.advert is not None:
            assert beat.newest
            assert beat.advert.epoch == 2 * recorded.generation + recorded.sender
            assert (recorded.generation, recorded.seq) > self.applied[node]
            self.applied[node] = (recorded.generation, recorded.seq)
        self.last_beat[node] = beat

    def _recorded(self, node: int, link: int, data: bytes) -> Recorded:
        frame = decode(data, RING, Expected(CLUSTER, 1 - node, link))
        assert isinstance(frame, Frame)
        recorded = Recorded(data, node, self.generation[node], link, self.now, frame.seq)
        self.record.append(recorded)
        return recorded


def _echoes(session: Session) -> dict[int, int]:
    """The sequence that a frame to each session of the peer would echo."""
    speakers = [*session._candidates.values(), *([session._peer] if session._peer else [])]
    return {speaker.session: speaker.highest for speaker in speakers}


nodes = st.integers(0, 1)
links = st.integers(0, 1)
actions = st.one_of(
    st.tuples(st.just("tick"), nodes, st.sets(links)),  # sent, and delivered at once on these links
    st.tuples(st.just("tick"), nodes, st.sets(links)),
    st.tuples(st.just("tick"), nodes, st.sets(links)),
    st.tuples(st.just("replay"), st.integers(0, 30), nodes, links),  # the n-th last frame, to anyone, on any link
    st.tuples(st.just("repeat"), st.integers(0, 30)),  # the n-th last frame once more where it belongs
    st.tuples(st.just("repeat"), st.integers(0, 300)),
    st.tuples(st.just("wait"), st.sampled_from([1, 30, 100, 300, 300, 999, 40_000])),
    st.tuples(st.just("restart"), nodes),
)


def act(world: World, action: tuple[object, ...]) -> None:
    match action:
        case ("tick", int(node), set(reached)):
            for recorded in world.send(node):
                if recorded.link in reached:
                    world.deliver(recorded, 1 - node, recorded.link)
        case ("replay", int(back), int(node), int(link)) if back < len(world.record):
            world.deliver(world.record[-1 - back], node, link)
        case ("repeat", int(back)) if back < len(world.record):
            recorded = world.record[-1 - back]
            world.deliver(recorded, 1 - recorded.sender, recorded.link)
        case ("wait", int(ms)):
            world.now += ms * MS
        case ("restart", int(node)):
            world.restart(node)


@settings(derandomize=True, max_examples=150, deadline=None)
@given(st.lists(actions, min_size=10, max_size=60))
def test_no_attacker_makes_a_dead_frame_count_and_peace_brings_both_back(script: list[tuple[object, ...]]) -> None:
    world = World()
    for action in script:
        act(world, action)
        world.now += MS
    for _ in range(12):
        for node in (0, 1):
            for recorded in world.send(node):
                world.deliver(recorded, 1 - node, recorded.link)
            world.now += 50 * MS
    assert world.adopted == [world.generation[1], world.generation[0]]
    for node in (0, 1):
        assert world.applied[node][1] == world.sessions[1 - node]._emissions.next_seq - 1


@settings(derandomize=True, max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1000), links, st.integers(0, 5000)), max_size=60))
def test_a_dead_peer_is_not_kept_alive_by_its_record(replays: list[tuple[int, int, int]]) -> None:
    """After the peer's death anything it ever said may come again, on any link, as often as one likes."""
    world = World()
    for _ in range(8):
        for node in (0, 1):
            for recorded in world.send(node):
                if recorded.seq % 3:  # some are held back, to be new when they come
                    world.deliver(recorded, 1 - node, recorded.link)
        world.now += 100 * MS
    died_at = max(recorded.sent_at for recorded in world.record if recorded.sender == 1)
    of_the_dead = [recorded for recorded in world.record if recorded.sender == 1]
    for which, link, wait_ms in replays:
        world.now += wait_ms * MS
        world.send(0)
        world.last_beat[0] = None
        world.deliver(of_the_dead[which % len(of_the_dead)], 0, link)
        assert world.last_beat[0] is None or world.now - died_at < AGE
