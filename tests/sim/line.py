"""Two real sessions, and somebody on both links who keeps every frame and can bring it where and when he likes.

Each delivery is judged by what is known of the frame: who sent it, in which life, when, and on which link. Violation
names the rule that is broken; nothing here asks the code under test.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from hblink_wire import Expected, Frame, Keyring, SessionState, decode, new_key

from hblink.core.event import PeerBeat
from hblink.core.value import MS, SECOND, Advert, Role
from hblink.session import Identity, LinkTiming
from tests.sim.duel import Violation
from tests.sim.fresh import Code

CLUSTER = 4711
AGE_NS = 1000 * MS
RING = Keyring((new_key(1, hashlib.sha256(b"one").digest()),), 1)
OTHER_RING = Keyring((new_key(2, hashlib.sha256(b"two").digest()),), 2)
TIMINGS = (LinkTiming(100 * MS, SECOND), LinkTiming(100 * MS, SECOND))


@dataclass(frozen=True)
class Sent:
    """A frame that a node sent."""

    data: bytes
    sender: int
    life: int
    link: int
    at: int
    seq: int
    is_up: bool


class Line:
    """Two nodes on two links, the record of all frames, and what came of each delivery."""

    def __init__(self, code: Code) -> None:
        self.code = code
        self.now = 100 * SECOND
        self.lives = [0, 0]
        self.sessions = [self.session(0), self.session(1)]
        self._sent: dict[bytes, Sent] = {}
        self._adopted: tuple[list[int], list[int]] = ([], [])  # by hearer: the lives of the peer, in order
        self._credited: tuple[set[Sent], set[Sent]] = (set(), set())
        self._applied = [(0, 0), (0, 0)]
        self._newest: list[Sent | None] = [None, None]

    def session(self, node: int, ring: Keyring = RING) -> Any:
        self.lives[node] += 1
        return self.code.session(
            Identity(CLUSTER, node, 1 - node),
            TIMINGS,
            ring,
            session_id=1000 * (node + 1) + self.lives[node],
            started_at=self.now,
            echo_age_max_ns=AGE_NS,
            boot_id=bytes(16),
            config_digest=bytes(8),
            software_version="0.1.0",
        )

    def restart(self, node: int) -> None:
        """A new daemon on one node."""
        self.sessions[node] = self.session(node)
        self._adopted[node].clear()
        self._credited[node].clear()
        self._applied[node] = (0, 0)
        self._newest[node] = None

    def send(self, node: int) -> list[Sent]:
        """Let a node say something on both links; nothing is delivered yet."""
        frames = self.speak(self.sessions[node])
        return [self._record(node, link, data) for link, data in enumerate(frames)]

    def speak(self, session: Any) -> tuple[bytes, bytes]:
        """What a session, of this pair or a stranger's, says on both links."""
        frames = session.compose(Advert(Role.STANDBY, 2), (0, 1), self.now, 3)
        return frames[0], frames[1]

    def talk(self, rounds: int = 6, links: tuple[int, ...] = (0, 1)) -> None:
        """Let both speak in turn, and deliver all of it at once on `links`."""
        for _ in range(rounds):
            for node in (0, 1):
                for sent in self.send(node):
                    if sent.link in links:
                        self.deliver(sent.data, 1 - node, sent.link)
                self.now += 20 * MS

    def deliver(self, data: bytes, node: int, link: int) -> None:
        """Bring bytes to a node on a link, and judge what comes of it."""
        session = self.sessions[node]
        echoes = self._echoes(node)
        received = session.receive(link, data, self.now)
        if received.reply is not None:
            self._record(node, link, received.reply)
        if not received.events and self._echoes(node) != echoes:
            raise Violation("R6", "what the node echoes has changed, and the core was not told")
        sent = self._sent.get(data)
        for event in received.events:
            if sent is None:
                raise Violation("I4", "a frame that nobody sent is heard")
            if sent.sender == node or sent.link != link:
                raise Violation("I4", "a reflected or moved frame is heard")
            self._judge_age(sent, node)
            if isinstance(event, PeerBeat):
                self._judge_credit(sent, node, event)

    def _judge_age(self, sent: Sent, node: int) -> None:
        """Frames of a life that has ended, or overtaken long ago, may not even be heard."""
        adopted, newest = self._adopted[node], self._newest[node]
        if adopted and sent.life in adopted and sent.life != adopted[-1]:
            raise Violation("I4", "a frame of an earlier life of the peer is heard")
        overtaken = newest is not None and newest.life == sent.life and sent.seq < newest.seq
        if overtaken and newest is not None and newest.at - sent.at > AGE_NS:
            raise Violation("I4", "a frame that was overtaken long ago is heard")
        if newest is None or (sent.life, sent.seq) > (newest.life, newest.seq):
            self._newest[node] = sent

    def _judge_credit(self, sent: Sent, node: int, beat: PeerBeat) -> None:
        adopted = self._adopted[node]
        if self.now - sent.at >= AGE_NS:
            raise Violation("I5", "a frame is credited that was sent longer than echo_age_max ago")
        if beat.echo_sent_at > sent.at:
            raise Violation("I5", "a frame is credited that was sent before what it is said to echo")
        if sent in self._credited[node]:
            raise Violation("I4", "a frame is credited twice")
        if adopted and sent.life < adopted[-1]:
            raise Violation("I4", "the node goes back to an earlier life of the peer")
        self._credited[node].add(sent)
        if not adopted or adopted[-1] != sent.life:
            adopted.append(sent.life)
        if beat.advert is None:
            return
        if not sent.is_up:
            raise Violation("R7", "a frame is applied whose sender had not adopted this node's session")
        if (sent.life, sent.seq) <= self._applied[node]:
            raise Violation("I4", "an older frame is applied after a newer one")
        self._applied[node] = (sent.life, sent.seq)

    def _record(self, node: int, link: int, data: bytes) -> Sent:
        frame = decode(data, RING, Expected(CLUSTER, 1 - node, link))
        assert isinstance(frame, Frame)
        is_up = frame.session_state is SessionState.UP
        sent = Sent(data, node, self.lives[node], link, self.now, frame.seq, is_up)
        self._sent[data] = sent
        return sent

    def _echoes(self, node: int) -> dict[int, int]:
        """The sequence that a frame to each session of the peer would echo."""
        session = self.sessions[node]
        speakers = [*session._candidates.values(), *([session._peer] if session._peer else [])]
        return {speaker.session: speaker.highest for speaker in speakers}
