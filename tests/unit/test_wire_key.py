"""Keys as people type them, the keyring file, and the derivation against RFC 5869."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest
from hblink_wire import Key, Keyring, KeyringError, format_keyring, new_key, parse_keyring
from hblink_wire.key import KEYS_MAX, hkdf_sha256, parse_key_text


def secret(number: int) -> bytes:
    return hashlib.sha256(bytes((number,))).digest()


KEY = new_key(1, secret(1))


def test_hkdf_gives_the_vectors_of_rfc_5869() -> None:
    okm = hkdf_sha256(b"\x0b" * 22, bytes(range(13)), bytes(range(0xF0, 0xFA)), 42)
    assert okm.hex() == "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
    okm = hkdf_sha256(b"\x0b" * 22, b"", b"", 42)
    assert okm.hex() == "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"


def test_a_key_is_eight_groups_of_eight_characters() -> None:
    groups = KEY.text.split("-")
    assert [len(group) for group in groups] == [8] * 8
    assert not set("ILOU") & set(KEY.text)


def test_a_key_can_be_typed_carelessly() -> None:
    text = KEY.text
    for typed in (
        text.lower(),
        text.replace("-", ""),
        text.replace("-", " "),
        text.replace("0", "O").replace("1", "l"),
        text.replace("0", "o").replace("1", "I"),
        "".join(f"{letter} " for letter in text),
    ):
        assert parse_key_text(typed) == KEY.secret


def test_every_single_wrong_character_is_found_and_its_group_named() -> None:
    text = KEY.text
    for at, letter in enumerate(text):
        if letter == "-":
            continue
        wrong = "7" if letter != "7" else "8"
        with pytest.raises(KeyringError, match=f"group {at // 9 + 1} of 8 holds a typing error"):
            parse_key_text(text[:at] + wrong + text[at + 1 :])


def test_groups_in_the_wrong_order_are_found() -> None:
    groups = KEY.text.split("-")
    groups[2], groups[5] = groups[5], groups[2]
    with pytest.raises(KeyringError, match="group 3 of 8"):
        parse_key_text("-".join(groups))


def test_a_character_that_no_key_has_is_named() -> None:
    with pytest.raises(KeyringError, match="group 2: U does not occur"):
        parse_key_text(KEY.text[:9] + "U" + KEY.text[10:])
    with pytest.raises(KeyringError, match="group 1: a character does not occur"):
        parse_key_text("é" + KEY.text[1:])


@pytest.mark.parametrize("text", [KEY.text[:-1], KEY.text[:-9], KEY.text + "0", ""])
def test_a_key_of_the_wrong_length_is_refused(text: str) -> None:
    with pytest.raises(KeyringError, match="must have 64"):
        parse_key_text(text)


def test_a_key_never_shows_its_secret() -> None:
    assert repr(KEY) == "Key(id=1)"
    assert str(Keyring((KEY,), 1)) == "Keyring(keys=(Key(id=1),), active_id=1)"


@pytest.mark.parametrize(("key_id", "octets"), [(0, secret(1)), (256, secret(1)), (1, secret(1)[:31]), (1, bytes(32))])
def test_unusable_keys_are_refused(key_id: int, octets: bytes) -> None:
    with pytest.raises(KeyringError):
        new_key(key_id, octets)


def test_a_keyring_file_is_read_and_written() -> None:
    ring = Keyring((KEY, Key(200, secret(2))), 200)
    assert parse_keyring(format_keyring(ring)) == ring
    text = f"\n# old\n200 {ring.keys[1].text.lower()} ACTIVE # since May\n  1\t{KEY.text.replace('-', ' ')}\r\n"
    assert parse_keyring(text) == ring


def test_a_single_key_needs_no_mark() -> None:
    assert parse_keyring(f"7 {KEY.text}").active == Key(7, KEY.secret)


OTHER = Key(2, secret(2)).text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# nothing\n", "no key; make one with"),
        (f"1 {KEY.text}\n2 {OTHER}\n", "no key is marked active"),
        (f"1 {KEY.text} active\n2 {OTHER} active\n", "line 2: keys 1 and 2 are both active"),
        (f"1 {KEY.text}\n1 {OTHER} active\n", "line 2: key id 1 twice"),
        (f"1 {KEY.text}\n2 {KEY.text} active\n", "line 2: key 2 is a copy"),
        (f"\n\n{KEY.text}\n", "line 3: must begin with a key id"),
        (f"0 {KEY.text}\n", "line 1: key id 0"),
        (f"256 {KEY.text}\n", "line 1: key id 256"),
        (f"٣ {KEY.text}\n", "line 1: must begin with a key id"),
        ("1\n", "line 1: the key has 0 characters"),
        ("active\n", "line 1: must begin with a key id"),
        (f"1 {KEY.text[:-1]} active", "line 1: the key has 63 characters"),
    ],
)
def test_errors_name_the_line_and_not_the_secret(text: str, message: str) -> None:
    with pytest.raises(KeyringError, match=message) as caught:
        parse_keyring(text)
    assert KEY.text[9:17] not in str(caught.value)


def test_a_ring_is_changed_step_by_step() -> None:
    ring = Keyring((KEY,), 1)
    both = ring.with_key(Key(2, secret(2)))
    assert (both.ids, both.active_id) == ((1, 2), 1)
    switched = both.activated(2)
    assert switched.active.id == 2
    assert switched.without(1) == Keyring((Key(2, secret(2)),), 2)
    refusals: tuple[Callable[[], Keyring], ...] = (
        lambda: both.without(1),
        lambda: both.without(3),
        lambda: both.activated(3),
        lambda: both.with_key(Key(2, secret(3))),
        lambda: both.with_key(Key(3, secret(2))),
    )
    for refused in refusals:
        with pytest.raises(KeyringError):
            refused()


def test_a_ring_is_bounded() -> None:
    keys = tuple(Key(number, secret(number)) for number in range(1, KEYS_MAX + 2))
    assert len(Keyring(keys[:-1], 1).ids) == KEYS_MAX
    with pytest.raises(KeyringError, match="17 keys"):
        Keyring(keys, 1)
    with pytest.raises(KeyringError, match="0 keys"):
        Keyring((), 1)
