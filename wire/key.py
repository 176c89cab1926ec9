"""Keys: their typed form, the keyring, and the derivation of the key that signs frames.

Text in, values out. This module must never read a file, draw a random number, or put a secret in an error, a `repr`
or a log: an error names the line and the group, never what stands there.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

SECRET_LENGTH = 32
KEYS_MAX = 16
_LABEL = b"hblink frame v1"

# Crockford's base32: no I, L, O or U, so that what is read aloud or copied by hand comes back as it was.
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_DIGITS = {letter: value for value, letter in enumerate(_ALPHABET)} | {"I": 1, "L": 1, "O": 0}
_GROUPS = 8
_GROUP_CHARACTERS = 8  # 4 bytes of the secret and one of check
_DISTINCT_MIN = 8  # 32 random bytes have fewer distinct values once in about 10**35 keys


class KeyringError(ValueError):
    """A keyring or key text is not usable; the message names the line and what to do, never a secret."""


@dataclass(frozen=True, slots=True)
class Key:
    """A shared secret of 32 bytes and the number, 1 to 255, by which frames name it."""

    id: int
    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if not 1 <= self.id <= 255:
            raise KeyringError(f"key id {self.id}: must be 1 to 255")
        if len(self.secret) != SECRET_LENGTH:
            raise KeyringError(f"key {self.id}: the secret has {len(self.secret)} bytes, must have {SECRET_LENGTH}")
        if len(set(self.secret)) < _DISTINCT_MIN:
            raise KeyringError(f"key {self.id}: the secret is not random; make one with: hblink key new")

    @property
    def text(self) -> str:
        """The secret as a person can type it: eight groups of eight characters, each with its own check."""
        return "-".join(_group_text(index, self.secret[4 * index : 4 * index + 4]) for index in range(_GROUPS))


@dataclass(frozen=True, slots=True)
class Keyring:
    """The accepted keys, in the order of their ids, and the id of the one that signs."""

    keys: tuple[Key, ...]
    active_id: int

    def __post_init__(self) -> None:
        ids = self.ids
        if not ids or len(ids) > KEYS_MAX:
            raise KeyringError(f"the keyring holds {len(ids)} keys, must hold 1 to {KEYS_MAX}")
        if list(ids) != sorted(set(ids)):
            raise KeyringError("the keyring's ids are not ascending and unique")
        if len({key.secret for key in self.keys}) != len(ids):
            raise KeyringError("two keys have the same secret")
        if self.active_id not in ids:
            raise KeyringError(f"the active key {self.active_id} is not in the keyring")

    def __iter__(self) -> Iterator[Key]:
        return iter(self.keys)

    @property
    def ids(self) -> tuple[int, ...]:
        """The accepted ids, ascending."""
        return tuple(key.id for key in self.keys)

    @property
    def active(self) -> Key:
        """The key that signs what is sent."""
        return next(key for key in self.keys if key.id == self.active_id)

    def get(self, key_id: int) -> Key | None:
        """Return the key with this id, if it is accepted."""
        return next((key for key in self.keys if key.id == key_id), None)

    def with_key(self, key: Key) -> Keyring:
        """Return a ring that also accepts `key`; KeyringError if its id or its secret is there already."""
        return replace(self, keys=tuple(sorted((*self.keys, key), key=lambda each: each.id)))

    def without(self, key_id: int) -> Keyring:
        """Return a ring that no longer accepts this key; KeyringError if it is the active one or not there."""
        if self.get(key_id) is None:
            raise KeyringError(f"key {key_id} is not in the keyring")
        return replace(self, keys=tuple(key for key in self.keys if key.id != key_id))

    def activated(self, key_id: int) -> Keyring:
        """Return a ring that signs with this key; KeyringError if it is not there."""
        return replace(self, active_id=key_id)


def new_key(key_id: int, random_bytes: bytes) -> Key:
    """Make a key of 32 bytes fresh from the operating system's random source; KeyringError if they are not usable."""
    return Key(key_id, bytes(random_bytes))


def parse_key_text(text: str) -> bytes:
    """Return the secret typed as `text`; KeyringError names the group that holds a typing error.

    Case, spaces and dashes do not matter; O is read as 0, I and L as 1.
    """
    letters = text.upper().replace("-", "").replace(" ", "").replace("\t", "")
    wanted = _GROUPS * _GROUP_CHARACTERS
    for index, letter in enumerate(letters):
        if letter not in _DIGITS:
            shown = letter if letter.isascii() and letter.isprintable() else "a character"
            raise KeyringError(f"group {index // _GROUP_CHARACTERS + 1}: {shown} does not occur in a key")
    secret = b""
    for index in range(min(_GROUPS, len(letters) // _GROUP_CHARACTERS)):
        group = letters[index * _GROUP_CHARACTERS : (index + 1) * _GROUP_CHARACTERS]
        octets = _number(group).to_bytes(5, "big")
        if _check(index, octets[:4]) != octets[4]:
            raise KeyringError(f"group {index + 1} of {_GROUPS} holds a typing error")
        secret += octets[:4]
    if len(letters) != wanted:
        raise KeyringError(f"the key has {len(letters)} characters, must have {wanted}")
    return secret


def parse_keyring(text: str) -> Keyring:
    """Read the text of a keyring file: `id  key-text  [active]` on each line, `#` begins a comment.

    One key must be marked active unless it is the only one. KeyringError names the line.
    """
    keys: dict[int, Key] = {}
    active_id: int | None = None
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split("#", 1)[0].split()
        if not words:
            continue
        is_active = words[-1].lower() == "active"
        try:
            key = _parse_line(words[:-1] if is_active else words)
            if key.id in keys:
                raise KeyringError(f"key id {key.id} twice")
            if any(key.secret == other.secret for other in keys.values()):
                raise KeyringError(f"key {key.id} is a copy of another key")
            if is_active and active_id is not None:
                raise KeyringError(f"keys {active_id} and {key.id} are both active; mark one")
        except KeyringError as error:
            raise KeyringError(f"line {number}: {error}") from None
        keys[key.id] = key
        active_id = key.id if is_active else active_id
    if not keys:
        raise KeyringError("no key; make one with: hblink key new")
    if active_id is None:
        if len(keys) > 1:
            raise KeyringError("no key is marked active")
        active_id = next(iter(keys))
    return Keyring(tuple(keys[key_id] for key_id in sorted(keys)), active_id)


def format_keyring(ring: Keyring) -> str:
    """Return the text of a keyring file that `parse_keyring` reads back as `ring`."""
    lines = ["# hblink keyring: id, key, active. Mode 0600. The same keys on both nodes."]
    lines += [f"{key.id:<3} {key.text}{'  active' if key.id == ring.active_id else ''}" for key in ring]
    return "\n".join(lines) + "\n"


@functools.lru_cache(maxsize=64)  # a ring's worth: derivation is four hash blocks more than a frame needs
def frame_key(secret: bytes, cluster_id: int) -> bytes:
    """Return the 32-byte key that signs the frames of a cluster: HKDF-SHA256, salt the cluster id, info a label."""
    return hkdf_sha256(secret, cluster_id.to_bytes(2, "big"), _LABEL, 32)


def hkdf_sha256(secret: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    """Derive `length` bytes, at most 8160, as RFC 5869 sections 2.2 and 2.3 say.

    By hand because the standard library has HMAC and no HKDF, and the package that has it brings a whole TLS library;
    the two steps are these six lines, and RFC 5869's own vectors test them.
    """
    extracted = hmac.digest(salt or bytes(hashlib.sha256().digest_size), secret, "sha256")
    derived = block = b""
    for counter in range(1, -(-length // len(extracted)) + 1):
        block = hmac.digest(extracted, block + info + bytes((counter,)), "sha256")
        derived += block
    return derived[:length]


def _parse_line(words: list[str]) -> Key:
    if not words or not (words[0].isascii() and words[0].isdigit()) or len(words[0]) > 3:
        raise KeyringError("must begin with a key id, 1 to 255")
    return Key(int(words[0]), parse_key_text("".join(words[1:])))


def _group_text(index: int, octets: bytes) -> str:
    number = int.from_bytes(octets + bytes((_check(index, octets),)), "big")
    return "".join(_ALPHABET[(number >> shift) & 31] for shift in range(35, -1, -5))


def _number(group: str) -> int:
    return functools.reduce(lambda number, letter: number << 5 | _DIGITS[letter], group, 0)


def _check(index: int, octets: bytes) -> int:
    """CRC-8 (polynomial 0x07) over the group's position and bytes.

    A CRC and not a hash, because it misses no single wrong character (a burst of 5 bits) and no two groups swapped.
    """
    crc = 0
    for octet in bytes((index + 1,)) + octets:
        crc ^= octet
        for _ in range(8):
            crc = (crc << 1 ^ 0x07 if crc & 0x80 else crc << 1) & 0xFF
    return crc
