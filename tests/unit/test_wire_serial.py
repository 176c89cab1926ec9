"""Serial framing: published COBS and CRC values, and what the deframer calls that which is no frame."""

from __future__ import annotations

import binascii

import pytest
from hblink_wire import Deframer, Reject, Rejected, enframe, serial_length
from hblink_wire.serial import stuff, unstuff

FRAME = bytes(range(72))


def crc(frame: bytes) -> bytes:
    return binascii.crc_hqx(frame, 0xFFFF).to_bytes(2, "big")


def reasons(results: list[bytes | Rejected]) -> list[Reject | bytes]:
    return [result.reason if isinstance(result, Rejected) else result for result in results]


def test_the_crc_is_ibm_3740() -> None:
    assert crc(b"123456789") == b"\x29\xb1"  # check value of the CRC catalogue


@pytest.mark.parametrize(
    ("data", "stuffed"),
    [
        (b"", "01"),
        (b"\x00", "0101"),
        (b"\x00\x00", "010101"),
        (b"\x00\x11\x00", "01021101"),
        (b"\x11\x22\x00\x33", "0311220233"),
        (b"\x11\x22\x33\x44", "0511223344"),
        (b"\x11\x00\x00\x00", "0211010101"),
        (bytes(range(1, 255)), "ff" + bytes(range(1, 255)).hex() + "01"),
        (bytes(range(1, 256)), "ff" + bytes(range(1, 255)).hex() + "02ff"),
    ],
)
def test_cobs_of_known_data(data: bytes, stuffed: str) -> None:
    assert stuff(data).hex() == stuffed
    assert unstuff(bytes.fromhex(stuffed)) == data


@pytest.mark.parametrize("cut", ["02", "0311", "ff01", "010211033344"[:-2]])
def test_cobs_that_ends_early_is_refused(cut: str) -> None:
    assert unstuff(bytes.fromhex(cut)) is None


def test_a_frame_stands_between_zeros_and_holds_none() -> None:
    framed = enframe(bytes(72))
    assert framed[0] == framed[-1] == 0
    assert 0 not in framed[1:-1]


@pytest.mark.parametrize("length", [1, 72, 240, 251, 252, 253, 254, 255, 300])
def test_length_on_the_line_is_foretold(length: int) -> None:
    frame = b"\x01" * length
    has_zero = 0 in crc(frame)
    assert has_zero or len(enframe(frame)) == serial_length(length)


def test_the_shortest_frame_takes_77_bytes() -> None:
    assert serial_length(72) == 77
    assert len(enframe(FRAME)) == 77


def test_frames_in_a_row_share_or_do_not_share_delimiters() -> None:
    framed = enframe(FRAME)
    assert Deframer().feed(framed + framed) == [FRAME, FRAME]
    assert Deframer().feed(framed + framed[1:]) == [FRAME, FRAME]
    assert Deframer().feed(b"\0" * 50) == []


def test_a_flipped_bit_is_named_as_such() -> None:
    framed = bytearray(enframe(FRAME))
    framed[40] ^= 0x10
    assert reasons(Deframer().feed(bytes(framed))) == [Reject.BIT_ERRORS]


def test_a_cut_frame_is_noise_and_the_next_one_is_whole() -> None:
    framed = enframe(FRAME)
    assert reasons(Deframer().feed(framed[:30] + framed)) == [Reject.NOISE, FRAME]


@pytest.mark.parametrize("text", [b"\r\nappliance login: ", b"Login incorrect\r\n", b"ATZ\r", b"\x1b[2J\x1b[1;1H~ # "])
def test_text_is_named_as_such(text: bytes) -> None:
    (rejected, frame) = Deframer().feed(text + enframe(FRAME))
    assert isinstance(rejected, Rejected)
    assert rejected.reason is Reject.ASCII
    assert rejected.detail.isprintable()
    assert frame == FRAME


def test_a_line_without_delimiters_is_reported_and_held_in_bounds() -> None:
    deframer = Deframer()
    results = deframer.feed(b"\xc3" * 100_000)
    assert set(reasons(results)) == {Reject.NOISE}
    assert len(results) == 100_000 // 244
    assert reasons(deframer.feed(enframe(FRAME))) == [Reject.NOISE, FRAME]


def test_the_rest_of_an_overlong_block_is_never_a_frame() -> None:
    whole = enframe(FRAME)[1:]
    assert FRAME not in Deframer().feed(b"\xc3" * 244 + whole)


def test_a_silent_line_can_be_asked() -> None:
    deframer = Deframer()
    assert deframer.flush() == []
    assert deframer.feed(b"login: ") == []
    assert reasons(deframer.flush()) == [Reject.ASCII]
    assert deframer.flush() == []
    assert deframer.feed(enframe(FRAME)) == [FRAME]


def test_content_too_short_for_a_crc_is_noise() -> None:
    assert reasons(Deframer().feed(b"\0\x02\xff\0\x01\0")) == [Reject.NOISE, Reject.NOISE]


@pytest.mark.parametrize("extra", [0, 9, 168])
def test_a_frame_never_comes_sooner_than_the_deframer_says(extra: int) -> None:
    """What it calls missing may only err on the low side, whatever the frame and however the line cuts it."""
    line = enframe(bytes(range(72)) + bytes(extra))
    deframer = Deframer()
    for at, octet in enumerate(line):
        missing = deframer.missing
        done = deframer.feed(bytes((octet,)))
        left = len(line) - at
        assert missing <= left
        assert bool(done) == (left == 1)
    assert deframer.missing == 0


def test_after_an_overrun_nothing_is_expected() -> None:
    deframer = Deframer()
    deframer.feed(b"\1" * 400)
    assert deframer.missing == 0
