"""Every reason to refuse bytes can be provoked, and is counted under its own name: a reason without a case fails."""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
from collections.abc import Callable

import pytest
from hblink_wire import Deframer, Keyring, Reject, Rejected, Tlv, encode, enframe, new_key
from hblink_wire.key import frame_key

from hblink.core.value import MS
from hblink.session import Session
from tests.unit.test_session import AGE, CLUSTER, RING, START, forged, pair, read, say, session

AT_RESERVED = 55  # wire/PROTOCOL.md
TAG_LENGTH = 16
Refusal = tuple[Session, int]  # who has refused, on which link


def from_line(stream: bytes) -> Refusal:
    """What a serial line brings up to a delimiter, as the daemon hands it to the session."""
    beta = session(1)
    (refused,) = Deframer().feed(stream + b"\0")
    assert isinstance(refused, Rejected)
    beta.count(0, refused)
    return beta, 0


def flipped() -> bytes:
    stream = bytearray(enframe(say(session(0), START)[0]))
    stream[40] ^= 0x10
    return bytes(stream)


def told(change: Callable[[bytes], bytes], link: int = 0) -> Refusal:
    """A frame for link 0 that somebody has changed on its way to beta."""
    alpha, beta = pair()
    beta.receive(link, change(say(alpha, START + MS)[0]), START + MS)
    return beta, link


def by_another(cluster: int = CLUSTER, ring: Keyring = RING) -> Refusal:
    """A frame of alpha's, of another cluster or signed with another keyring."""
    return told(lambda frame: encode(dataclasses.replace(read(frame, me=1), cluster_id=cluster), ring))


def reflected() -> Refusal:
    alpha, _beta = pair()
    alpha.receive(0, say(alpha, START + MS)[0], START + MS)
    return alpha, 0


def retired() -> Refusal:
    """The old daemon's last frame comes after its successor was adopted."""
    alpha, beta = pair()
    last = say(alpha, START + 50 * MS)[0]
    again = session(0, number=2, at=START)
    for at in (START + 100 * MS, START + 200 * MS):
        again.receive(0, say(beta, at)[0], at)
        beta.receive(0, say(again, at)[0], at)
    beta.receive(0, last, START + 201 * MS)
    return beta, 0


def replayed() -> Refusal:
    alpha, beta = pair()
    frame = say(alpha, START + MS)[0]
    for _ in range(2):
        beta.receive(0, frame, START + MS)
    return beta, 0


def stale() -> Refusal:
    """What was held back on one link comes long after the other link's newest."""
    alpha, beta = pair()
    slow = say(alpha, START + MS)[1]
    now = START + AGE + 3 * MS
    alpha.receive(0, say(beta, now)[0], now)
    beta.receive(0, say(alpha, now)[0], now)
    beta.receive(1, slow, now)
    return beta, 1


def unheard() -> Refusal:
    """A daemon that beta has never spoken to."""
    beta = session(1)
    beta.receive(0, say(session(0), START)[0], START)
    return beta, 0


def unknown_element() -> Refusal:
    alpha, beta = pair()
    beta.receive(0, forged(alpha, START + MS, tlvs=(Tlv(0xFF, b""),)), START + MS)
    return beta, 0


def reserved_set(frame: bytes) -> bytes:
    """Set the reserved byte, and sign again, as only a holder of the key can."""
    body = frame[:AT_RESERVED] + b"\x01" + frame[AT_RESERVED + 1 : -TAG_LENGTH]
    return body + hmac.digest(frame_key(RING.active.secret, CLUSTER), body, "sha256")[:TAG_LENGTH]


OTHER_SECRET = Keyring((new_key(1, hashlib.sha256(b"two").digest()),), 1)
OTHER_ID = Keyring((new_key(2, hashlib.sha256(b"one").digest()),), 2)
PROVOKED: dict[Reject, Callable[[], Refusal]] = {
    Reject.NOISE: lambda: from_line(b"\xff\xfe"),
    Reject.ASCII: lambda: from_line(b"\r\nappliance login: "),
    Reject.BIT_ERRORS: lambda: from_line(flipped()[:-1]),
    Reject.BAD_LENGTH: lambda: told(lambda frame: frame[:-1]),
    Reject.BAD_VERSION: lambda: told(lambda frame: frame[:1] + b"\x20" + frame[2:]),
    Reject.OTHER_CLUSTER: lambda: by_another(cluster=CLUSTER + 1),
    Reject.REFLECTED: reflected,
    Reject.WRONG_LINK: lambda: told(bytes, link=1),
    Reject.UNKNOWN_KEY: lambda: by_another(ring=OTHER_ID),
    Reject.BAD_HMAC: lambda: by_another(ring=OTHER_SECRET),
    Reject.BAD_FIELD: lambda: told(reserved_set),
    Reject.RETIRED_SESSION: retired,
    Reject.REPLAYED: replayed,
    Reject.STALE: stale,
    Reject.NOT_FRESH: unheard,
    Reject.CRITICAL_TLV: unknown_element,
}


@pytest.mark.parametrize("reject", list(Reject), ids=lambda reject: reject.value)
def test_every_reason_is_met_and_is_counted_by_its_name(reject: Reject) -> None:
    refuser, link = PROVOKED[reject]()
    counted = refuser.link_report(link, START).rejected
    assert counted.get(reject.value) == 1, counted
