"""The optional tail of a frame: type, length, value.

Parsed by hand: it is one loop, and construct's GreedyRange swallows the errors of its element. This module must never
raise on bytes that came from a line.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum, unique

CRITICAL = 0x80
VERSION_MAX = 32
MAC_BYTES = 6
SECTION_BYTES = 5  # its number, and 4 bytes of its digest
SECTIONS_MAX = 8
PROMISE_BYTES = 4
SERVICE_MACS_MAX = 8  # one element of a frame that a slow line must carry


@unique
class TlvType(IntEnum):
    """The types that this version knows; each occurs at most once in a frame. None is critical."""

    CONFIG_DIGEST = 1  # 8 bytes: digest of the configuration, equal on both nodes
    BOOT_ID = 2  # 16 bytes: kernel boot id, a UUID (random(4), /proc/sys/kernel/random/boot_id)
    SOFTWARE_VERSION = 3  # 1 to 32 printable ASCII characters
    KEY_IDS = 4  # the key ids that the sender accepts, ascending
    SERVICE_MACS = 5  # 1 to 8 Ethernet addresses of 6 bytes, of the interfaces that carry the sender's addresses
    CONFIG_SECTIONS = 6  # 1 to 8 times: number of a section, ascending, and 4 bytes of its digest
    STOP_PROMISE = 7  # 4 bytes, ms, not 0: its service has ended so long after the last frame that was heard of it


@dataclass(frozen=True, slots=True)
class Tlv:
    """One element: `type` is the whole type octet with its critical bit, `value` at most 166 bytes."""

    type: int
    value: bytes

    @property
    def critical(self) -> bool:
        """A receiver that does not know this type must not apply the frame."""
        return bool(self.type & CRITICAL)


_KNOWN = frozenset(int(known) for known in TlvType)


def pack(tlvs: Iterable[Tlv]) -> bytes:
    """Return the bytes of `tlvs` in the order given; ValueError if one cannot be expressed or is malformed."""
    parts = []
    for tlv in tlvs:
        if not 1 <= tlv.type <= 0xFF or len(tlv.value) > 0xFF:
            raise ValueError(f"TLV type {tlv.type} of {len(tlv.value)} bytes cannot be expressed")
        parts.append(bytes((tlv.type, len(tlv.value))) + tlv.value)
    packed = b"".join(parts)
    if isinstance(problem := unpack(packed), str):
        raise ValueError(problem)
    return packed


def unpack(data: bytes) -> tuple[Tlv, ...] | str:
    """Return the elements of `data`, or what is malformed about it. Unknown types are kept."""
    tlvs: list[Tlv] = []
    known_seen: set[int] = set()
    at = 0
    while at < len(data):
        if at + 2 > len(data) or at + 2 + data[at + 1] > len(data):
            return f"TLV at {at} is cut off"
        tlv = Tlv(data[at], bytes(data[at + 2 : at + 2 + data[at + 1]]))
        at += 2 + len(tlv.value)
        if tlv.type == 0:
            return "TLV of type 0"
        if tlv.type in _KNOWN:
            if tlv.type in known_seen:
                return f"TLV {tlv.type} twice"
            known_seen.add(tlv.type)
            if not _is_well_formed(tlv):
                return f"TLV {tlv.type} malformed"
        tlvs.append(tlv)
    return tuple(tlvs)


def is_understood(tlv: Tlv) -> bool:
    """Tell whether a frame with this element may be applied: it is known, or not critical."""
    return tlv.type in _KNOWN or not tlv.critical


def _is_well_formed(tlv: Tlv) -> bool:
    value = tlv.value
    match TlvType(tlv.type):
        case TlvType.CONFIG_DIGEST:
            return len(value) == 8
        case TlvType.BOOT_ID:
            return len(value) == 16
        case TlvType.SOFTWARE_VERSION:
            return 1 <= len(value) <= VERSION_MAX and all(0x20 < octet < 0x7F for octet in value)
        case TlvType.KEY_IDS:
            return bool(value) and value[0] > 0 and all(a < b for a, b in itertools.pairwise(value))
        case TlvType.CONFIG_SECTIONS:
            count, rest = divmod(len(value), SECTION_BYTES)
            ascending = all(a < b for a, b in itertools.pairwise(value[::SECTION_BYTES]))
            return rest == 0 and 1 <= count <= SECTIONS_MAX and ascending
        case TlvType.STOP_PROMISE:
            return len(value) == PROMISE_BYTES and any(value)
        case TlvType.SERVICE_MACS:
            count, rest = divmod(len(value), MAC_BYTES)
            return rest == 0 and 1 <= count <= SERVICE_MACS_MAX
