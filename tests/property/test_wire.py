"""What must hold of every byte string and of every way to cut a stream."""

from __future__ import annotations

import dataclasses
import hashlib
import hmac

from hblink_wire import (
    Deframer,
    Expected,
    Flag,
    Frame,
    Keyring,
    KeyringError,
    Rejected,
    Role,
    SessionState,
    Tlv,
    TlvType,
    decode,
    encode,
    enframe,
    format_keyring,
    new_key,
    parse_keyring,
    serial_length,
)
from hblink_wire.key import frame_key, parse_key_text
from hblink_wire.serial import stuff, unstuff
from hypothesis import given, settings
from hypothesis import strategies as st

modest = settings(derandomize=True, max_examples=150, deadline=None)

RING = Keyring((new_key(1, hashlib.sha256(b"one").digest()),), 1)
EXPECTED = Expected(4711, 0, 1)


def below(bits: int, least: int = 0) -> st.SearchStrategy[int]:
    return st.integers(least, (1 << bits) - 1)


# Types that this version does not know: what it knows must be well formed.
unknown = st.integers(max(TlvType) + 1, 127) | st.integers(128, 255)
tlvs = st.lists(st.builds(Tlv, unknown, st.binary(max_size=20)), max_size=7)
frames = st.builds(
    Frame,
    cluster_id=st.just(4711),
    node_id=st.just(1),
    link_id=st.just(1),
    session=below(64, 1),
    echo_session=below(64, 1),
    seq=below(64, 1),
    tx_ms=below(32),
    echo_seq=below(32),
    echo_lag=below(8),
    hears=below(4),
    carrier=below(4),
    hold_ms=below(16),
    epoch=below(32),
    role=st.sampled_from(Role),
    session_state=st.sampled_from(SessionState),
    flags=below(8).map(Flag),
    diag=below(8),
    health=st.integers(0, 100) | st.just(255),
    multiplier=below(8, 1),
    tx_interval_ms=below(16),
    rx_loss=st.integers(0, 100),
    tlvs=tlvs.map(tuple),
)


@modest
@given(frames)
def test_what_is_encoded_is_decoded(frame: Frame) -> None:
    assert decode(encode(frame, RING), RING, EXPECTED) == dataclasses.replace(frame, key_id=1)


@modest
@given(st.binary(max_size=300))
def test_no_byte_string_is_accepted_without_the_key(data: bytes) -> None:
    assert isinstance(decode(data, RING, EXPECTED), Rejected)


@modest
@given(st.binary(min_size=56, max_size=224), st.binary(min_size=16, max_size=16))
def test_no_well_addressed_byte_string_is_accepted_without_the_key(body: bytes, tag: bytes) -> None:
    header = bytes((0x68, 0x10, len(body) + 16, 1)) + (4711).to_bytes(2, "big") + b"\x11"
    assert isinstance(decode(header + body[7:] + tag, RING, EXPECTED), Rejected)


@modest
@given(st.binary(min_size=56, max_size=224))
def test_whatever_the_key_signs_is_judged_and_can_be_said_again(body: bytes) -> None:
    """The holder of the key may send anything: decode does not raise, and what it accepts has one spelling."""
    header = bytes((0x68, 0x10, len(body) + 16, 1)) + (4711).to_bytes(2, "big") + b"\x11"
    plausible = bytearray(header + body[7:])
    plausible[48] &= 0x71
    plausible[50:52] = b"\xff\x01"
    plausible[54:56] = b"\0\0"
    ring = RING
    for signed in (header + body[7:], bytes(plausible)):
        data = signed + _tag(signed)
        result = decode(data, ring, EXPECTED)
        assert isinstance(result, Rejected) or encode(result, ring) == data


def _tag(signed: bytes) -> bytes:
    return hmac.digest(frame_key(RING.active.secret, 4711), signed, "sha256")[:16]


@settings(derandomize=True, max_examples=10, deadline=None)
@given(frames, st.integers(1, 255))
def test_every_single_byte_mutation_is_rejected(frame: Frame, difference: int) -> None:
    data = encode(frame, RING)
    for at in range(len(data)):
        mutated = data[:at] + bytes((data[at] ^ difference,)) + data[at + 1 :]
        assert isinstance(decode(mutated, RING, EXPECTED), Rejected)


@settings(derandomize=True, max_examples=20, deadline=None)
@given(frames, st.binary(max_size=3))
def test_every_truncation_and_extension_is_rejected(frame: Frame, more: bytes) -> None:
    data = encode(frame, RING)
    for length in range(len(data)):
        assert isinstance(decode(data[:length], RING, EXPECTED), Rejected)
    assert isinstance(decode(data + b"\0" + more, RING, EXPECTED), Rejected)


@modest
@given(st.binary(max_size=600))
def test_cobs_is_undone(data: bytes) -> None:
    stuffed = stuff(data)
    assert 0 not in stuffed
    assert unstuff(stuffed) == data


noise = st.binary(max_size=40) | st.text(st.characters(max_codepoint=127), max_size=300).map(str.encode)
streams = st.lists(noise | frames.map(lambda frame: enframe(encode(frame, RING))), max_size=6).map(b"".join)


@modest
@given(streams, st.lists(st.integers(0, 400), max_size=12))
def test_split_points_do_not_matter(stream: bytes, cuts: list[int]) -> None:
    whole = Deframer().feed(stream)
    by_byte, by_cut = Deframer(), Deframer()
    assert [result for octet in stream for result in by_byte.feed(bytes((octet,)))] == whole
    results = []
    for cut in cuts:
        results += by_cut.feed(stream[:cut])
        stream = stream[cut:]
    assert results + by_cut.feed(stream) == whole
    assert by_byte.flush() == by_cut.flush()


@modest
@given(st.lists(st.tuples(noise, frames), min_size=1, max_size=5))
def test_noise_between_frames_costs_no_frame(parts: list[tuple[bytes, Frame]]) -> None:
    sent = [encode(frame, RING) for _, frame in parts]
    stream = b"".join(before + enframe(data) for (before, _), data in zip(parts, sent, strict=True))
    assert [result for result in Deframer().feed(stream) if not isinstance(result, Rejected)] == sent


@modest
@given(st.lists(frames, min_size=3, max_size=3), st.data())
def test_damage_costs_the_frames_it_touches(three: list[Frame], data: st.DataObject) -> None:
    sent = [encode(frame, RING) for frame in three]
    framed = [bytearray(enframe(each)) for each in sent]
    at = data.draw(st.integers(1, len(framed[1]) - 2))
    length = data.draw(st.integers(1, len(framed[1]) - 1 - at))
    framed[1][at : at + length] = data.draw(st.binary(max_size=length))
    results = [result for result in Deframer().feed(b"".join(framed)) if not isinstance(result, Rejected)]
    assert results[0] == sent[0]
    assert results[-1] == sent[2]
    # What the CRC lets pass in between, the MAC does not.
    accepted = [each for each in results if isinstance(decode(each, RING, EXPECTED), Frame)]
    assert all(each in sent for each in accepted)


@modest
@given(st.binary(max_size=2000))
def test_the_deframer_holds_at_most_one_block(stream: bytes) -> None:
    deframer = Deframer()
    deframer.feed(stream)
    assert len(deframer._block) <= serial_length(240) - 2


@modest
@given(st.text(max_size=200))
def test_no_keyring_text_raises_anything_but_its_error(text: str) -> None:
    try:
        ring = parse_keyring(text)
    except KeyringError:
        return
    assert parse_keyring(format_keyring(ring)) == ring


secrets = st.binary(min_size=32, max_size=32).filter(lambda octets: len(set(octets)) >= 8)


@modest
@given(st.dictionaries(st.integers(1, 255), secrets, min_size=1, max_size=16), st.data())
def test_a_keyring_is_read_back_as_it_was_written(secrets_by_id: dict[int, bytes], data: st.DataObject) -> None:
    distinct = {secret: key_id for key_id, secret in secrets_by_id.items()}
    keys = sorted((new_key(key_id, secret) for secret, key_id in distinct.items()), key=lambda key: key.id)
    ring = Keyring(tuple(keys), data.draw(st.sampled_from(keys)).id)
    assert parse_keyring(format_keyring(ring)) == ring


@modest
@given(secrets, st.integers(0, 63), st.sampled_from("0123456789ABCDEFGHJKMNPQRSTVWXYZ"))
def test_no_single_wrong_character_passes_for_a_key(secret: bytes, at: int, letter: str) -> None:
    letters = new_key(1, secret).text.replace("-", "")
    typed = letters[:at] + letter + letters[at + 1 :]
    try:
        assert (parse_key_text(typed) == secret) is (typed == letters)
    except KeyringError:
        assert typed != letters
