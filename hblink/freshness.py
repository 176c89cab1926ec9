"""What was sent, and what was heard of one session of the peer: the records against which a frame is judged.

Both are bounded, and both hold instants of CLOCK_BOOTTIME in nanoseconds that were passed in. Numbers of 32 bits on the
wire are compared modulo 2**32 (RFC 1982). This module must never credit anything: it keeps books for the session.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from hblink_wire import Frame, Reject, Rejected, TlvType
from hblink_wire.tlv import MAC_BYTES, SECTION_BYTES

from hblink.core.value import MS

MASK32 = 0xFFFF_FFFF
_EMISSIONS_MAX = 4096
_WINDOW = 64  # frames over which loss is measured
_WINDOW_MASK = (1 << _WINDOW) - 1
_SMOOTHING = 8  # weight of the past in the round trip, as in RFC 6298 section 2


@dataclass(frozen=True, slots=True)
class Emission:
    """One sequence number of mine: when it was sent, and whether the boot id went with it."""

    seq: int
    at: int
    with_boot_id: bool


class Emissions:
    """The sequence numbers sent within the last `keep_ns`; older ones prove nothing and are forgotten.

    At most 4096 are kept: one that was forgotten too early only makes a frame that echoes it not fresh.
    """

    __slots__ = ("_keep_ns", "_sent", "next_seq")

    def __init__(self, first_seq: int, keep_ns: int) -> None:
        self.next_seq = first_seq
        self._keep_ns = keep_ns
        self._sent: deque[Emission] = deque(maxlen=_EMISSIONS_MAX)

    def add(self, now: int, with_boot_id: bool) -> int:
        """Take the next sequence number for a frame that is sent at `now`."""
        seq = self.next_seq
        self.next_seq += 1
        while self._sent and now - self._sent[0].at >= self._keep_ns:
            self._sent.popleft()
        self._sent.append(Emission(seq, now, with_boot_id))
        return seq

    def find(self, echo_seq: int, now: int) -> Emission | None:
        """Return the emission with these low 32 bits, if it is younger than `keep_ns`."""
        if not self._sent:
            return None
        index = (echo_seq - self._sent[0].seq) & MASK32
        if index >= len(self._sent):
            return None
        emission = self._sent[index]
        return emission if now - emission.at < self._keep_ns else None


@dataclass(slots=True)
class Reception:
    """What came in from one session of the peer on one link."""

    seq: int = 0  # the last one that passed R4; the wire has no sequence 0
    tx_ms: int = 0  # of that frame
    heard_at: int | None = None  # when it came
    fresh_at: int | None = None  # when the last fresh frame came
    interval_ns: int = 0  # that the peer promised, within bounds
    round_trip_ns: int | None = None
    history: int = 0  # bit set: lost; bit 0 is the newest
    samples: int = 0

    def note(self, frame: Frame, now: int, interval_ns: int) -> None:
        """Record a frame that passed R4 and R5."""
        missed = 0
        if self.heard_at is not None:
            elapsed_ns = ((frame.tx_ms - self.tx_ms) & MASK32) * MS
            missed = _missed(elapsed_ns, interval_ns)
        self._shift(missed, hit=True)
        self.seq, self.tx_ms, self.heard_at, self.interval_ns = frame.seq, frame.tx_ms, now, interval_ns

    def note_round_trip(self, sample_ns: int) -> None:
        """Smooth a sample into the estimate."""
        past = self.round_trip_ns
        self.round_trip_ns = sample_ns if past is None else past + (sample_ns - past) // _SMOOTHING

    def loss(self, now: int) -> int:
        """Return the share lost of the last 64 frames that the peer promised, in per cent, overdue ones included.

        Judged by the promised interval: sequence numbers count the fastest link, and slower links skip some.
        """
        if self.heard_at is None:
            return 0
        overdue = _missed(now - self.heard_at, self.interval_ns)
        lost = (self.history << overdue & _WINDOW_MASK).bit_count() + overdue
        return lost * 100 // min(_WINDOW, self.samples + overdue)

    def _shift(self, missed: int, hit: bool) -> None:
        lost = (1 << missed) - 1
        self.history = (self.history << missed | lost) << hit & _WINDOW_MASK
        self.samples = min(_WINDOW, self.samples + missed + hit)


@dataclass(slots=True)
class Speaker:
    """One session of the peer, adopted or not: what it said last, and on which link how far it got."""

    session: int
    links: tuple[Reception, ...]
    highest: int = 0  # the highest sequence that passed R4 on any link: what my frames echo
    tx_ms: int = 0  # of the frame with that sequence
    heard_at: int = 0  # when the last frame passed R4 and R5, on any link
    hears: int = 0
    boot_id: bytes | None = None
    config_digest: bytes | None = None
    software_version: str | None = None
    key_id: int = 0
    key_ids: tuple[int, ...] = field(default=())
    service_macs: frozenset[bytes] = frozenset()
    config_sections: Mapping[int, bytes] = field(default_factory=dict)
    diag: int = 0
    promise_ns: int | None = None

    def refusal(self, link: int, frame: Frame, age_max_ms: int) -> Rejected | None:
        """Judge R4 and R5; changes nothing.

        R5 asks only frames that other frames have overtaken. One with the highest sequence of all cannot be older than
        the newest, and asking it would lock out a peer that was silent for more than half the range of tx_ms.
        """
        last = self.links[link].seq
        if frame.seq <= last:
            return Rejected(Reject.REPLAYED, f"sequence {frame.seq} after {last}")
        lag_ms = (self.tx_ms - frame.tx_ms) & MASK32
        if frame.seq < self.highest and lag_ms > age_max_ms:
            return Rejected(Reject.STALE, f"{lag_ms} ms behind")
        return None

    def note(self, link: int, frame: Frame, now: int, interval_ns: int) -> bool:
        """Record a frame that passed R4 and R5; tell whether its sequence is the highest so far."""
        self.links[link].note(frame, now, interval_ns)
        self.heard_at = now
        if frame.seq <= self.highest:
            return False
        self.highest, self.tx_ms = frame.seq, frame.tx_ms
        return True

    def learn(self, frame: Frame) -> None:
        """Take over what holds for the session as a whole."""
        self.key_id = frame.key_id
        self.hears = frame.hears
        self.boot_id = frame.tlv(TlvType.BOOT_ID) or self.boot_id
        self.config_digest = frame.tlv(TlvType.CONFIG_DIGEST) or self.config_digest
        if (version := frame.tlv(TlvType.SOFTWARE_VERSION)) is not None:
            self.software_version = version.decode("ascii")
        if (key_ids := frame.tlv(TlvType.KEY_IDS)) is not None:
            self.key_ids = tuple(key_ids)
        self.diag = frame.diag
        if (sections := frame.tlv(TlvType.CONFIG_SECTIONS)) is not None:
            entries = (sections[at : at + SECTION_BYTES] for at in range(0, len(sections), SECTION_BYTES))
            self.config_sections = {entry[0]: entry[1:] for entry in entries}
        if (promise := frame.tlv(TlvType.STOP_PROMISE)) is not None:
            self.promise_ns = int.from_bytes(promise, "big") * MS
        if (macs := frame.tlv(TlvType.SERVICE_MACS)) is not None:
            self.service_macs = frozenset(macs[at : at + MAC_BYTES] for at in range(0, len(macs), MAC_BYTES))


def _missed(elapsed_ns: int, interval_ns: int) -> int:
    """How many frames should have come between two that are `elapsed_ns` apart; at most a window's worth."""
    return min(_WINDOW, max(0, (elapsed_ns + interval_ns // 2) // interval_ns - 1))
