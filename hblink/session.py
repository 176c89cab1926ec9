"""Frames to events and back: receive rules R2 to R7, sessions, and what my own frames say of them.

One `Session` lives as long as the daemon. It does no IO, reads no clock and draws no random number. Two things it must
never do: credit liveness before freshness is proven, and echo a sequence of which the core was not told.

The second is why order matters to the caller. What my frames echo says "I had heard this when I spoke", and grants rest
on it. So all events of `receive` must have passed through `step` before the next `compose`, and `compose` must be given
the advert of the state that came out.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from hblink_wire import (
    Expected,
    Frame,
    Keyring,
    Reject,
    Rejected,
    Role,
    SessionState,
    Tlv,
    decode,
    encode,
)
from hblink_wire.frame import ECHO_LAG_SILENT, HOLD_MS_MAX

from hblink.advert import advert_of, diag_of, flags_of, health_of
from hblink.core import value
from hblink.core.event import PeerBeat, PeerHalfOpen
from hblink.core.value import MS, Advert
from hblink.element import Elements
from hblink.freshness import MASK32, Emission, Emissions, Reception, Speaker

LINKS_MAX = 4
_REPLY_INTERVAL_NS = 100 * MS  # R3: at most 10 replies a second on a link
_CANDIDATES_MAX = 32
# More than eight adoptions back an id may be forgotten: such a session would be unknown again, and R3 then asks it for
# an echo of a sequence that I sent after the last adoption, which no frame from before it can carry.
_RETIRED_MAX = 8
_QUIET_SHARE = 4
_NOTHING = Advert(value.Role.STARTING, value.EPOCH_NONE, able=False)  # what a reply says of this node
_INTERVAL_FACTOR = 4  # how far a promised interval may be from my own before it is not believed


@dataclass(frozen=True, slots=True)
class Identity:
    """Who speaks to whom: the cluster, and the indices 0 and 1 of the two nodes."""

    cluster_id: int
    me: int
    peer: int


@dataclass(frozen=True, slots=True)
class LinkTiming:
    """What this node promises on one link, and after what silence it calls the link down."""

    interval_ns: int
    deadtime_ns: int


@dataclass(frozen=True, slots=True)
class Received:
    """What one frame led to: events for the core in order, a frame to send back on that link, the reason if refused."""

    events: tuple[PeerBeat | PeerHalfOpen, ...] = ()
    reply: bytes | None = None
    rejected: Rejected | None = None


@dataclass(frozen=True, slots=True)
class LinkReport:
    """One link for `status`; `accepted` counts fresh frames, `rejected` the others by the name of their reason."""

    accepted_at: int | None
    round_trip_ns: int | None
    rx_loss: int
    peer_hears: bool | None
    accepted: int
    rejected: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class PeerReport:
    """The adopted session of the peer for `status`; None or empty where it has not said so yet."""

    session: int
    boot_id: bytes | None
    config_digest: bytes | None
    software_version: str | None
    key_id: int  # under which its last frame was signed
    key_ids: tuple[int, ...]  # that it accepts
    service_macs: frozenset[bytes]  # of its interfaces that carry the virtual addresses
    config_sections: Mapping[int, bytes] = field(default_factory=dict)  # digests of its configuration's parts
    diag: int = 0  # hblink.advert
    promise_ns: int | None = None  # S2e


class Session:
    """My end of the conversation with the peer.

    `session_id` is random and never 0, new for every daemon. `started_at` and every `now` are CLOCK_BOOTTIME in
    nanoseconds. `boot_id` has 16 bytes, `config_digest` 8; `software_version` has 1 to 32 ASCII characters, no
    space. `keyring` may be replaced at any time. ValueError if an argument cannot be expressed on the wire.
    """

    def __init__(
        self,
        identity: Identity,
        links: Sequence[LinkTiming],
        keyring: Keyring,
        *,
        session_id: int,
        started_at: int,
        echo_age_max_ns: int,
        boot_id: bytes,
        config_digest: bytes,
        software_version: str,
        first_seq: int = 1,
    ) -> None:
        if not 1 <= len(links) <= LINKS_MAX:
            raise ValueError(f"{len(links)} links, must be 1 to {LINKS_MAX}")
        if any(timing.interval_ns < MS for timing in links):
            raise ValueError("an interval must be 1 ms or longer")
        if not 0 < session_id < 1 << 64:
            raise ValueError("the session id must be 1 to 2**64 - 1")
        self.keyring = keyring
        self.session_id = session_id
        self._identity = identity
        self._timings = tuple(links)
        self._expected = tuple(Expected(identity.cluster_id, identity.me, link) for link in range(len(links)))
        self._started_at = started_at
        self._echo_age_max_ns = echo_age_max_ns
        self.elements = Elements(boot_id, config_digest, software_version)
        self._boot_id_arrived = False
        self._emissions = Emissions(first_seq, echo_age_max_ns)
        self._spoken = False
        self._peer: Speaker | None = None
        self._floor = 0  # my last sequence when the peer's session was adopted
        self._candidates: dict[int, Speaker] = {}  # the one that advanced last stands last
        self._retired: deque[int] = deque(maxlen=_RETIRED_MAX)
        self._replied_at: list[int | None] = [None] * len(links)
        self._accepted = [0] * len(links)
        self._rejected: list[Counter[str]] = [Counter() for _ in links]

    # Receiving

    def receive(self, link: int, data: bytes, now: int) -> Received:
        """Judge one datagram or deframed block that came in on `link`, by R0 to R7 in order.

        The reply, if any, is to be sent on the same link after the events have passed through `step`.
        """
        frame = decode(data, self.keyring, self._expected[link])
        if isinstance(frame, Rejected):
            return self._refuse(link, frame)
        if frame.session in self._retired:  # R2
            return self._refuse(link, Rejected(Reject.RETIRED_SESSION, f"session {frame.session:016x}"))
        peer = self._peer
        is_known = peer is not None and peer.session == frame.session
        speaker = peer if peer is not None and is_known else self._candidate(frame.session)
        if refusal := speaker.refusal(link, frame, self._echo_age_max_ns // MS):  # R4, R5
            return self._refuse(link, refusal)
        echoed = self._echoed(frame, now)
        if not is_known and (echoed is None or echoed.seq <= self._floor):  # R3
            return self._hear_candidate(link, speaker, frame, now)
        if not is_known:
            self._adopt(speaker)
        newest = speaker.note(link, frame, now, self._believed_interval(link, frame))
        if frame.is_understood and (newest or not is_known):
            speaker.learn(frame)
        if echoed is None:  # R6
            return self._refuse(link, _NOT_FRESH, PeerHalfOpen(link))
        return self._credit(link, speaker, frame, echoed, newest, not is_known, now)

    def count(self, link: int, rejected: Rejected) -> None:
        """Count what was refused on `link` before it reached `receive`: by the deframer, or for its TTL."""
        self._rejected[link][rejected.reason.value] += 1

    def _refuse(self, link: int, rejected: Rejected, *events: PeerHalfOpen, reply: bytes | None = None) -> Received:
        self.count(link, rejected)
        return Received(events, reply, rejected)

    def _candidate(self, session: int) -> Speaker:
        """Return what is known of a session that is not adopted. It is kept only once a frame of it is recorded."""
        return self._candidates.get(session) or Speaker(session, tuple(Reception() for _ in self._timings))

    def _echoed(self, frame: Frame, now: int) -> Emission | None:
        """Return the sequence of mine that proves the frame fresh, if there is one."""
        return self._emissions.find(frame.echo_seq, now) if frame.echo_session == self.session_id else None

    def _hear_candidate(self, link: int, speaker: Speaker, frame: Frame, now: int) -> Received:
        """Answer an authentic session that proves nothing yet (R3), and remember how far it got."""
        newest = speaker.note(link, frame, now, self._believed_interval(link, frame))
        if newest or speaker.session not in self._candidates:
            self._candidates.pop(speaker.session, None)
            self._candidates[speaker.session] = speaker
        if len(self._candidates) > _CANDIDATES_MAX:
            del self._candidates[next(iter(self._candidates))]
        events = (PeerHalfOpen(link),) if newest else ()
        return self._refuse(link, _NOT_ADOPTED, *events, reply=self._reply(link, speaker, now))

    def _adopt(self, speaker: Speaker) -> None:
        """Make a candidate the peer's session, and forget all that the old one said.

        From here on another session is adopted only if it echoes what I send from now on. A frame of an earlier session
        that is still on its way cannot, so it never displaces its successor, and a retired session is surely dead.
        """
        if self._peer is not None:
            self._retired.append(self._peer.session)
            speaker.service_macs = speaker.service_macs or self._peer.service_macs  # the machine's, not the session's
        self._candidates.pop(speaker.session, None)
        self._peer = speaker
        self._floor = self._emissions.next_seq - 1
        self._boot_id_arrived = False

    def _credit(
        self, link: int, speaker: Speaker, frame: Frame, echoed: Emission, newest: bool, adopted: bool, now: int
    ) -> Received:
        """Report a fresh frame; R7: apply what it says only if it is the newest, UP and understood."""
        reception = speaker.links[link]
        reception.fresh_at = now
        self._measure_round_trip(reception, frame, now)
        is_up = frame.session_state is SessionState.UP
        if is_up and echoed.with_boot_id:
            self._boot_id_arrived = True
        self._accepted[link] += 1
        applied = newest and is_up and frame.is_understood
        beat = PeerBeat(
            link=link,
            advert=advert_of(frame, speaker.promise_ns) if applied else None,
            echo_sent_at=echoed.at,
            newest=newest,
            adopted=adopted,
            hears=frame.hears if applied else None,
            boot=None if speaker.boot_id is None else int.from_bytes(speaker.boot_id, "big"),
        )
        if frame.is_understood:
            return Received((beat,))
        rejected = Rejected(Reject.CRITICAL_TLV, "nothing applied: the peer says what this version does not know")
        self.count(link, rejected)
        return Received((beat,), None, rejected)

    def _measure_round_trip(self, reception: Reception, frame: Frame, now: int) -> None:
        """Take a sample from the last sequence of mine that came to the peer on this very link."""
        if frame.echo_lag == ECHO_LAG_SILENT or frame.hold_ms == HOLD_MS_MAX:
            return
        emission = self._emissions.find((frame.echo_seq - frame.echo_lag) & MASK32, now)
        if emission is not None:
            reception.note_round_trip(max(0, now - emission.at - frame.hold_ms * MS))

    def _believed_interval(self, link: int, frame: Frame) -> int:
        mine = self._timings[link].interval_ns
        return min(max(frame.tx_interval_ms * MS, mine // _INTERVAL_FACTOR), mine * _INTERVAL_FACTOR)

    # Sending

    def compose(self, advert: Advert, links: Iterable[int], now: int, carrier: int) -> dict[int, bytes]:
        """Return the frame to send at `now` on each of `links`, all with one new sequence number.

        `advert` is of the state that every event so far has passed into; `carrier` has bit i set if link i has carrier.
        """
        with_boot_id = not self._boot_id_arrived
        self.elements.set_promise(advert.promise_ns)
        tlvs = (self.elements.boot_id if with_boot_id else self.elements.next(self.keyring.ids),)
        seq = self._emissions.add(now, with_boot_id)
        self._spoken = True
        speaker = self._addressee(now)
        return {
            link: self._build(link, speaker, seq, now, advert=advert, carrier=carrier & 0xF, tlvs=tlvs)
            for link in links
        }

    def _addressee(self, now: int) -> Speaker | None:
        """Return the session to echo: the adopted one, unless it is quiet and another one asks.

        While it can be heard, nobody else is answered: else a replayed frame of a forgotten session could make my
        frames prove nothing to the peer that is there.
        """
        candidate = next(reversed(self._candidates.values()), None)
        if candidate is None or now - candidate.heard_at >= self._echo_age_max_ns:
            return self._peer
        if self._peer is None:
            return candidate
        is_quiet = now - self._peer.heard_at >= self._echo_age_max_ns // _QUIET_SHARE
        return candidate if is_quiet and candidate.heard_at > self._peer.heard_at else self._peer

    def _reply(self, link: int, candidate: Speaker, now: int) -> bytes | None:
        """Return a frame that echoes `candidate` and says nothing of my state; None before my first frame.

        At most one in 100 ms, nor more often than my frames go out on that link.
        """
        last = self._replied_at[link]
        spacing_ns = max(_REPLY_INTERVAL_NS, self._timings[link].interval_ns)
        if not self._spoken or (last is not None and now - last < spacing_ns) or self._addressee(now) is self._peer:
            return None
        self._replied_at[link] = now
        return self._build(link, candidate, self._emissions.add(now, with_boot_id=False), now)

    def _build(
        self,
        link: int,
        speaker: Speaker | None,
        seq: int,
        now: int,
        *,
        advert: Advert = _NOTHING,
        carrier: int = 0,
        tlvs: tuple[Tlv, ...] = (),
    ) -> bytes:
        timing = self._timings[link]
        reception = Reception() if speaker is None else speaker.links[link]
        frame = Frame(
            cluster_id=self._identity.cluster_id,
            node_id=self._identity.me,
            link_id=link,
            flags=flags_of(advert),
            session=self.session_id,
            echo_session=0 if speaker is None else speaker.session,
            seq=seq,
            tx_ms=(now - self._started_at) // MS & MASK32,
            echo_seq=0 if speaker is None else speaker.highest & MASK32,
            echo_lag=_echo_lag(speaker, reception),
            hears=self._hears(now) if speaker is self._peer else 0,
            carrier=carrier,
            hold_ms=_hold_ms(reception, now),
            epoch=advert.epoch,
            role=Role[advert.role.name],
            session_state=SessionState.UP if speaker is not None and speaker is self._peer else SessionState.INIT,
            diag=diag_of(advert),
            health=health_of(advert),
            multiplier=min(255, max(1, timing.deadtime_ns // timing.interval_ns)),
            tx_interval_ms=min(0xFFFF, timing.interval_ns // MS),
            rx_loss=reception.loss(now),
            tlvs=tlvs,
        )
        return encode(frame, self.keyring)

    def _hears(self, now: int) -> int:
        """Return the links on which the adopted session was accepted within deadtime, as a bit mask."""
        if self._peer is None:
            return 0
        pairs = zip(self._peer.links, self._timings, strict=True)
        return sum(
            1 << link
            for link, (reception, timing) in enumerate(pairs)
            if reception.fresh_at is not None and now - reception.fresh_at < timing.deadtime_ns
        )

    # Looking in

    def link_report(self, link: int, now: int) -> LinkReport:
        """Describe one link at `now`."""
        reception = Reception() if self._peer is None else self._peer.links[link]
        return LinkReport(
            accepted_at=reception.fresh_at,
            round_trip_ns=reception.round_trip_ns,
            rx_loss=reception.loss(now),
            peer_hears=None if self._peer is None else bool(self._peer.hears >> link & 1),
            accepted=self._accepted[link],
            rejected=dict(self._rejected[link]),
        )

    def peer_report(self) -> PeerReport | None:
        """Describe the adopted session of the peer; None before the first adoption."""
        peer = self._peer
        if peer is None:
            return None
        return PeerReport(
            peer.session,
            peer.boot_id,
            peer.config_digest,
            peer.software_version,
            peer.key_id,
            peer.key_ids,
            peer.service_macs,
            peer.config_sections,
            peer.diag,
            peer.promise_ns,
        )


_NOT_FRESH = Rejected(Reject.NOT_FRESH, "echoes nothing that I sent lately")
_NOT_ADOPTED = Rejected(Reject.NOT_FRESH, "a session that has not answered me yet")


def _echo_lag(speaker: Speaker | None, reception: Reception) -> int:
    if speaker is None or reception.heard_at is None:
        return ECHO_LAG_SILENT
    return min(ECHO_LAG_SILENT, speaker.highest - reception.seq)


def _hold_ms(reception: Reception, now: int) -> int:
    return HOLD_MS_MAX if reception.heard_at is None else min(HOLD_MS_MAX, (now - reception.heard_at) // MS)
