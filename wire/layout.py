"""The fixed part of a frame as a declaration, to be read beside the table of PROTOCOL.md.

Never call `.compile()` on it: compiled parsers accept fields that are cut short. Its `parse` ignores what follows
byte 56, so the codec hands it exactly that much, and checks enums and ranges itself.
"""

from __future__ import annotations

from typing import Any

from construct import Bytes, Const, Container, ExprAdapter, Int8ub, Int16ub, Int32ub, Int64ub, Struct

MAGIC = 0x68
VERSION = 1
TYPE_HEARTBEAT = 0

# Raw offsets of what is checked before the MAC, and therefore before anything is parsed.
AT_MAGIC, AT_KIND, AT_LENGTH, AT_KEY_ID, AT_CLUSTER_ID, AT_PLACE = 0, 1, 2, 3, 4, 6

HEADER_LENGTH = 56
TAG_LENGTH = 16
FRAME_MIN = HEADER_LENGTH + TAG_LENGTH
FRAME_MAX = 240


def nibbles(high: str, low: str) -> Any:
    """Two numbers of 0 to 15 in one byte, `high` in its upper half. Building raises ValueError if one does not fit.

    By hand, because a BitStruct of two Nibbles costs ten times as much, four times a frame.
    """

    def encode(pair: Any, _context: Any) -> int:
        upper, lower = pair[high], pair[low]
        if not (0 <= upper <= 15 and 0 <= lower <= 15):
            raise ValueError(f"{high} {upper} or {low} {lower} does not fit in half a byte")
        return int(upper << 4 | lower)

    return ExprAdapter(Int8ub, lambda byte, _context: Container({high: byte >> 4, low: byte & 15}), encode)


HEADER = Struct(
    "magic" / Const(MAGIC, Int8ub),
    "kind" / nibbles("version", "type"),
    "length" / Int8ub,
    "key_id" / Int8ub,
    "cluster_id" / Int16ub,
    "place" / nibbles("node_id", "link_id"),
    "flags" / Int8ub,
    "session" / Int64ub,
    "echo_session" / Int64ub,
    "seq" / Int64ub,
    "tx_ms" / Int32ub,
    "echo_seq" / Int32ub,
    "echo_lag" / Int8ub,
    "lines" / nibbles("carrier", "hears"),
    "hold_ms" / Int16ub,
    "epoch" / Int32ub,
    "state" / nibbles("role", "session_state"),
    "diag" / Int8ub,
    "health" / Int8ub,
    "multiplier" / Int8ub,
    "tx_interval_ms" / Int16ub,
    "rx_loss" / Int8ub,
    "reserved" / Bytes(1),
)
