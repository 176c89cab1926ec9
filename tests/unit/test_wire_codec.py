"""The codec against bytes that were put together by hand, and each reason for which it refuses."""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import struct
from typing import Any

import pytest
from hblink_wire import (
    FRAME_MAX,
    Expected,
    Flag,
    Frame,
    Key,
    Keyring,
    Reject,
    Rejected,
    Role,
    SessionState,
    Tlv,
    TlvType,
    decode,
    encode,
)
from hblink_wire.key import frame_key

SECRET = bytes(range(32))
RING = Keyring((Key(3, SECRET),), 3)
OTHER_RING = Keyring((Key(3, SECRET[::-1]),), 3)
EXPECTED = Expected(cluster_id=0x1267, my_node_id=0, link_id=2)

FRAME = Frame(
    cluster_id=0x1267,
    node_id=1,
    link_id=2,
    session=0x1122334455667788,
    echo_session=0x99AABBCCDDEEFF00,
    seq=0x0102030405060708,
    tx_ms=0xA1A2A3A4,
    echo_seq=0xB1B2B3B4,
    echo_lag=5,
    hears=0b0110,
    carrier=0b1011,
    hold_ms=0xC1C2,
    epoch=0xD1D2D3D4,
    role=Role.ACTIVE,
    session_state=SessionState.UP,
    flags=Flag.FENCE_READY | Flag.RUN_EVER,
    diag=7,
    health=99,
    multiplier=10,
    tx_interval_ms=200,
    rx_loss=3,
    tlvs=(Tlv(TlvType.BOOT_ID, bytes(range(16))), Tlv(0x41, b"later")),
)


def signed(body: bytes, secret: bytes = SECRET, cluster_id: int = 0x1267) -> bytes:
    """Sign any body whatever, as only the holder of the key can."""
    return body + hmac.new(frame_key(secret, cluster_id), body, hashlib.sha256).digest()[:16]


def altered(at: int, octet: int) -> bytes:
    """FRAME with one byte changed by somebody who has the key."""
    body = bytearray(encode(FRAME, RING)[:-16])
    body[at] = octet
    return signed(bytes(body))


def with_tail(tail: bytes) -> bytes:
    """FRAME with other elements, well signed."""
    body = bytearray(encode(FRAME, RING)[:56]) + tail
    body[2] = len(body) + 16
    return signed(bytes(body))


def reason(data: bytes, ring: Keyring = RING, expected: Expected = EXPECTED) -> Reject | None:
    result = decode(data, ring, expected)
    return result.reason if isinstance(result, Rejected) else None


def test_bytes_are_those_of_the_golden_vector() -> None:
    tail = b"\x02\x10" + bytes(range(16)) + b"\x41\x05later"
    body = struct.pack(
        ">BBBBHBBQQQIIBBHIBBBBHBB",
        0x68,
        0x10,
        72 + len(tail),
        3,
        0x1267,
        0x12,
        0x81,
        0x1122334455667788,
        0x99AABBCCDDEEFF00,
        0x0102030405060708,
        0xA1A2A3A4,
        0xB1B2B3B4,
        5,
        0xB6,
        0xC1C2,
        0xD1D2D3D4,
        0x41,
        7,
        99,
        10,
        200,
        3,
        0,
    )
    assert len(body) == 56
    # The key by RFC 5869, written out a second time.
    extracted = hmac.new(b"\x12\x67", SECRET, hashlib.sha256).digest()
    key = hmac.new(extracted, b"hblink frame v1\x01", hashlib.sha256).digest()
    golden = body + tail + hmac.new(key, body + tail, hashlib.sha256).digest()[:16]
    assert encode(FRAME, RING) == golden
    assert decode(golden, RING, EXPECTED) == dataclasses.replace(FRAME, key_id=3)


def test_a_frame_without_elements_has_72_bytes() -> None:
    assert len(encode(dataclasses.replace(FRAME, tlvs=()), RING)) == 72


def test_the_longest_frame_has_240_bytes_and_one_more_is_refused() -> None:
    longest = dataclasses.replace(FRAME, tlvs=(Tlv(0x41, bytes(166)),))
    data = encode(longest, RING)
    assert len(data) == FRAME_MAX
    assert decode(data, RING, EXPECTED) == dataclasses.replace(longest, key_id=3)
    with pytest.raises(ValueError, match="241"):
        encode(dataclasses.replace(FRAME, tlvs=(Tlv(0x41, bytes(167)),)), RING)


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        (b"", Reject.BAD_LENGTH),
        (encode(FRAME, RING)[:71], Reject.BAD_LENGTH),
        (encode(FRAME, RING)[:-1], Reject.BAD_LENGTH),
        (encode(FRAME, RING) + b"\0", Reject.BAD_LENGTH),
        (bytes(1500), Reject.BAD_LENGTH),
        (altered(2, 72), Reject.BAD_LENGTH),
        (altered(0, 0x69), Reject.NOISE),
        (altered(1, 0x20), Reject.BAD_VERSION),
        (altered(4, 0x13), Reject.OTHER_CLUSTER),
        (altered(6, 0x02), Reject.REFLECTED),
        (altered(6, 0x11), Reject.WRONG_LINK),
        (altered(3, 4), Reject.UNKNOWN_KEY),
        (altered(3, 0), Reject.UNKNOWN_KEY),
        (encode(FRAME, OTHER_RING), Reject.BAD_HMAC),
        (altered(1, 0x11), Reject.BAD_FIELD),  # a type that this version does not define
        (altered(6, 0x22), Reject.BAD_FIELD),  # a third node
        (altered(48, 0x81), Reject.BAD_FIELD),  # role
        (altered(48, 0x42), Reject.BAD_FIELD),  # session state
        (altered(50, 101), Reject.BAD_FIELD),  # health
        (altered(51, 0), Reject.BAD_FIELD),  # multiplier
        (altered(54, 101), Reject.BAD_FIELD),  # loss
        (altered(55, 1), Reject.BAD_FIELD),  # reserved
        (with_tail(b"\x41"), Reject.BAD_FIELD),
        (with_tail(b"\x41\x02x"), Reject.BAD_FIELD),
        (with_tail(b"\x00\x00"), Reject.BAD_FIELD),
        (with_tail(b"\x02\x0f" + bytes(15)), Reject.BAD_FIELD),
        (with_tail(2 * (b"\x01\x08" + bytes(8))), Reject.BAD_FIELD),
        (with_tail(b"\x03\x01\n"), Reject.BAD_FIELD),
        (with_tail(b"\x04\x02\x02\x01"), Reject.BAD_FIELD),
        (with_tail(b"\x04\x01\x00"), Reject.BAD_FIELD),
    ],
)
def test_refusals_are_named(data: bytes, wanted: Reject) -> None:
    assert reason(data) is wanted


@pytest.mark.parametrize(("at", "width"), [(8, 8), (24, 8)])
def test_no_session_and_no_sequence_is_zero(at: int, width: int) -> None:
    body = bytearray(encode(FRAME, RING)[:-16])
    body[at : at + width] = bytes(width)
    assert reason(signed(bytes(body))) is Reject.BAD_FIELD


def test_up_names_a_session() -> None:
    body = bytearray(encode(FRAME, RING)[:-16])
    body[16:24] = bytes(8)
    assert reason(signed(bytes(body))) is Reject.BAD_FIELD


def test_refusals_come_in_the_order_of_the_protocol() -> None:
    """Each defect is added to the later ones and takes precedence over them."""
    body = bytearray(encode(FRAME, RING)[:-16])
    body[55] = 1
    seen = [reason(signed(bytes(body)))]
    seen.append(reason(bytes(body) + bytes(16)))
    for at, octet in ((3, 9), (6, 0x10), (6, 0x00), (4, 0xFF), (1, 0xF0), (2, 0), (0, 0)):
        body[at] = octet
        seen.append(reason(bytes(body) + bytes(16)))
    assert seen == [
        Reject.BAD_FIELD,
        Reject.BAD_HMAC,
        Reject.UNKNOWN_KEY,
        Reject.WRONG_LINK,
        Reject.REFLECTED,
        Reject.OTHER_CLUSTER,
        Reject.BAD_VERSION,
        Reject.BAD_LENGTH,
        Reject.NOISE,
    ]


def test_unknown_elements_are_delivered_and_the_critical_ones_marked() -> None:
    later = decode(with_tail(b"\x41\x01x"), RING, EXPECTED)
    critical = decode(with_tail(b"\xc1\x01x"), RING, EXPECTED)
    known_as_critical = decode(with_tail(b"\x82\x10" + bytes(16)), RING, EXPECTED)
    assert isinstance(later, Frame)
    assert later.is_understood
    assert isinstance(critical, Frame)
    assert not critical.is_understood
    assert isinstance(known_as_critical, Frame)
    assert not known_as_critical.is_understood  # the critical bit is a part of the type


def test_the_key_depends_on_the_cluster() -> None:
    assert frame_key(SECRET, 1) != frame_key(SECRET, 2)


def test_any_accepted_key_verifies_and_only_the_active_one_signs() -> None:
    both = Keyring((Key(3, SECRET), Key(9, SECRET[::-1])), 9)
    data = encode(FRAME, both)
    assert data[3] == 9
    assert reason(data, RING) is Reject.UNKNOWN_KEY
    assert decode(encode(FRAME, RING), both, EXPECTED) == dataclasses.replace(FRAME, key_id=3)
    assert decode(data, both, EXPECTED) == dataclasses.replace(FRAME, key_id=9)


@pytest.mark.parametrize(
    "change",
    [
        {"seq": 1 << 64},
        {"seq": 0},
        {"tx_ms": -1},
        {"link_id": 16},
        {"session": 0},
        {"health": 101},
        {"hears": 16},
        {"tlvs": (Tlv(TlvType.BOOT_ID, b""),)},
        {"tlvs": (Tlv(0, b""),)},
        {"echo_session": 0},
        {"cluster_id": 0x10000},
    ],
)
def test_what_cannot_be_said_is_not_encoded(change: dict[str, Any]) -> None:
    broken = Frame(**({field.name: getattr(FRAME, field.name) for field in dataclasses.fields(FRAME)} | change))
    with pytest.raises(ValueError):  # noqa: PT011 - any of several texts
        encode(broken, RING)
