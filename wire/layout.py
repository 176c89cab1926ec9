"""The fixed part of a frame as a declaration, to be read beside the table of PROTOCOL.md.

Never call `.compile()` on it: compiled parsers accept fields that are cut short. Its `parse` ignores what follows
byte 56, so the codec hands it exactly that much, and checks enums and ranges itself.
"""

from __future__ import annotations

from construct import BitStruct, Bytes, Const, Int8ub, Int16ub, Int32ub, Int64ub, Nibble, Struct

MAGIC = 0x68
VERSION = 1
TYPE_HEARTBEAT = 0

# Raw offsets of what is checked before the MAC, and therefore before anything is parsed.
AT_MAGIC, AT_KIND, AT_LENGTH, AT_KEY_ID, AT_CLUSTER_ID, AT_PLACE = 0, 1, 2, 3, 4, 6

HEADER_LENGTH = 56
TAG_LENGTH = 16
FRAME_MIN = HEADER_LENGTH + TAG_LENGTH
FRAME_MAX = 240

HEADER = Struct(
    "magic" / Const(MAGIC, Int8ub),
    "kind" / BitStruct("version" / Nibble, "type" / Nibble),
    "length" / Int8ub,
    "key_id" / Int8ub,
    "cluster_id" / Int16ub,
    "place" / BitStruct("node_id" / Nibble, "link_id" / Nibble),
    "flags" / Int8ub,
    "session" / Int64ub,
    "echo_session" / Int64ub,
    "seq" / Int64ub,
    "tx_ms" / Int32ub,
    "echo_seq" / Int32ub,
    "echo_lag" / Int8ub,
    "lines" / BitStruct("carrier" / Nibble, "hears" / Nibble),
    "hold_ms" / Int16ub,
    "epoch" / Int32ub,
    "state" / BitStruct("role" / Nibble, "session_state" / Nibble),
    "diag" / Int8ub,
    "health" / Int8ub,
    "multiplier" / Int8ub,
    "tx_interval_ms" / Int16ub,
    "rx_loss" / Int8ub,
    "reserved" / Bytes(1),
)
