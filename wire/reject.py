"""Why bytes were not taken for what they claim to be: one name for log field, counter and test.

A rejection is a value, never an exception: what comes in on a line cannot be a programming error.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, unique


@unique
class Reject(Enum):
    """The reasons, in the order in which a byte stream meets them."""

    NOISE = "noise"  # delimiter or COBS wrong, or no magic: not one of our frames
    ASCII = "ascii"  # text: a console, a getty or a modem at the other end
    BIT_ERRORS = "bit_errors"  # CRC
    BAD_LENGTH = "bad_length"
    BAD_VERSION = "bad_version"
    OTHER_CLUSTER = "other_cluster"  # cabled to another pair
    REFLECTED = "reflected"  # my own node id: loopback plug, echoing getty, switch loop
    WRONG_LINK = "wrong_link"  # swapped cables, or a replay across links
    UNKNOWN_KEY = "unknown_key"
    BAD_HMAC = "bad_hmac"
    BAD_FIELD = "bad_field"  # unknown enum value, reserved not 0, malformed TLV
    RETIRED_SESSION = "retired_session"
    REPLAYED = "replayed"
    STALE = "stale"
    NOT_FRESH = "not_fresh"
    CRITICAL_TLV = "critical_tlv"


@dataclass(frozen=True, slots=True)
class Rejected:
    """A refusal; `detail` is a few ASCII words for a person, never a secret."""

    reason: Reject
    detail: str = ""
