"""The protocol of two nodes: values, layout, codec, keys and serial framing; see PROTOCOL.md beside this file.

Bytes in, values out, and back. This package must never open a socket or a file, read a clock, draw a random number, or
know anything of the daemon that uses it.
"""

from __future__ import annotations

from hblink_wire.codec import Expected, decode, encode
from hblink_wire.frame import Flag, Frame, Role, SessionState
from hblink_wire.key import Key, Keyring, KeyringError, format_keyring, new_key, parse_keyring
from hblink_wire.layout import FRAME_MAX, FRAME_MIN
from hblink_wire.reject import Reject, Rejected
from hblink_wire.serial import Deframer, enframe, serial_length
from hblink_wire.tlv import Tlv, TlvType

__all__ = [
    "FRAME_MAX",
    "FRAME_MIN",
    "Deframer",
    "Expected",
    "Flag",
    "Frame",
    "Key",
    "Keyring",
    "KeyringError",
    "Reject",
    "Rejected",
    "Role",
    "SessionState",
    "Tlv",
    "TlvType",
    "decode",
    "encode",
    "enframe",
    "format_keyring",
    "new_key",
    "parse_keyring",
    "serial_length",
]
