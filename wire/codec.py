"""Frames to bytes and back: receive rules R0 and R1, then the checks that a declaration cannot make.

Order matters: length, addressing and MAC are judged on the raw bytes, and only an authentic frame is parsed. `decode`
must never raise, whatever the bytes, and must never return a Frame that was not made with a key of the ring.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import Any

from construct import ConstructError
from hblink_wire import layout, tlv
from hblink_wire.frame import HEALTH_UNKNOWN, Flag, Frame, Role, SessionState
from hblink_wire.key import Keyring, frame_key
from hblink_wire.reject import Reject, Rejected

_ROLES = frozenset(int(role) for role in Role)
_SESSION_STATES = frozenset(int(state) for state in SessionState)


@dataclass(frozen=True, slots=True)
class Expected:
    """Where a frame must come from: my cluster, not myself (`my_node_id`), the link that it came in on (0 to 3)."""

    cluster_id: int
    my_node_id: int
    link_id: int


def encode(frame: Frame, ring: Keyring) -> bytes:
    """Return the bytes of `frame`, signed with the ring's active key.

    72 to 240 bytes. ValueError if a value does not fit its field or would be refused by `decode`.
    """
    tail = tlv.pack(frame.tlvs)
    length = layout.FRAME_MIN + len(tail)
    if length > layout.FRAME_MAX:
        raise ValueError(f"frame of {length} bytes, at most {layout.FRAME_MAX}")
    if problem := _problem(frame):
        raise ValueError(problem)
    try:
        header: bytes = layout.HEADER.build(_container(frame, length, ring.active.id))
    except ConstructError as error:
        raise ValueError(f"a value does not fit its field: {error}") from error
    signed = header + tail
    return signed + _tag(signed, frame_key(ring.active.secret, frame.cluster_id))


def decode(data: bytes, ring: Keyring, expected: Expected) -> Frame | Rejected:
    """Return the frame in `data` if it is whole, meant for `expected`, authentic and well formed; else the reason.

    `data` is one datagram or one deframed block, of any length. A frame with an unknown critical element is returned;
    its `is_understood` is False.
    """
    if rejected := _misplaced(data, expected):
        return rejected
    key = ring.get(data[layout.AT_KEY_ID])
    if key is None:
        return Rejected(Reject.UNKNOWN_KEY, f"key id {data[layout.AT_KEY_ID]}")
    signed, tag = data[: -layout.TAG_LENGTH], data[-layout.TAG_LENGTH :]
    if not hmac.compare_digest(tag, _tag(signed, frame_key(key.secret, expected.cluster_id))):
        return Rejected(Reject.BAD_HMAC, f"key id {key.id}")
    return _parse(signed)


def _misplaced(data: bytes, expected: Expected) -> Rejected | None:
    """R0, in the order of PROTOCOL.md, on the raw bytes."""
    if not layout.FRAME_MIN <= len(data) <= layout.FRAME_MAX:
        return Rejected(Reject.BAD_LENGTH, f"{len(data)} bytes")
    if data[layout.AT_MAGIC] != layout.MAGIC:
        return Rejected(Reject.NOISE, f"first byte 0x{data[layout.AT_MAGIC]:02x}")
    if data[layout.AT_LENGTH] != len(data):
        return Rejected(Reject.BAD_LENGTH, f"{len(data)} bytes, says {data[layout.AT_LENGTH]}")
    version = data[layout.AT_KIND] >> 4
    if version != layout.VERSION:
        return Rejected(Reject.BAD_VERSION, f"version {version}")
    cluster_id = int.from_bytes(data[layout.AT_CLUSTER_ID : layout.AT_CLUSTER_ID + 2], "big")
    if cluster_id != expected.cluster_id:
        return Rejected(Reject.OTHER_CLUSTER, f"cluster {cluster_id}")
    node_id, link_id = divmod(data[layout.AT_PLACE], 16)
    if node_id == expected.my_node_id:
        return Rejected(Reject.REFLECTED, f"node {node_id}")
    if link_id != expected.link_id:
        return Rejected(Reject.WRONG_LINK, f"link {link_id} on link {expected.link_id}")
    return None


def _tag(signed: bytes, key: bytes) -> bytes:
    return hmac.digest(key, signed, "sha256")[: layout.TAG_LENGTH]


def _parse(signed: bytes) -> Frame | Rejected:
    raw: Any = layout.HEADER.parse(signed[: layout.HEADER_LENGTH])
    if raw.kind.type != layout.TYPE_HEARTBEAT:
        return Rejected(Reject.BAD_FIELD, f"type {raw.kind.type}")
    if raw.state.role not in _ROLES:
        return Rejected(Reject.BAD_FIELD, f"role {raw.state.role}")
    if raw.state.session_state not in _SESSION_STATES:
        return Rejected(Reject.BAD_FIELD, f"session state {raw.state.session_state}")
    if raw.reserved != b"\0":
        return Rejected(Reject.BAD_FIELD, "reserved byte not 0")
    tlvs = tlv.unpack(signed[layout.HEADER_LENGTH :])
    if isinstance(tlvs, str):
        return Rejected(Reject.BAD_FIELD, tlvs)
    frame = Frame(
        key_id=raw.key_id,
        cluster_id=raw.cluster_id,
        node_id=raw.place.node_id,
        link_id=raw.place.link_id,
        flags=Flag(raw.flags),
        session=raw.session,
        echo_session=raw.echo_session,
        seq=raw.seq,
        tx_ms=raw.tx_ms,
        echo_seq=raw.echo_seq,
        echo_lag=raw.echo_lag,
        hears=raw.lines.hears,
        carrier=raw.lines.carrier,
        hold_ms=raw.hold_ms,
        epoch=raw.epoch,
        role=Role(raw.state.role),
        session_state=SessionState(raw.state.session_state),
        diag=raw.diag,
        health=raw.health,
        multiplier=raw.multiplier,
        tx_interval_ms=raw.tx_interval_ms,
        rx_loss=raw.rx_loss,
        tlvs=tlvs,
    )
    problem = _problem(frame)
    return Rejected(Reject.BAD_FIELD, problem) if problem else frame


def _problem(frame: Frame) -> str:
    """Say what no sender may say although its field could hold it; empty if nothing."""
    if frame.node_id not in (0, 1):
        return f"node {frame.node_id}"
    if frame.seq == 0:
        return "sequence 0"
    if frame.session == 0:
        return "session 0"
    if frame.session_state is SessionState.UP and frame.echo_session == 0:
        return "UP without a session"
    if frame.health > 100 and frame.health != HEALTH_UNKNOWN:
        return f"health {frame.health}"
    if frame.rx_loss > 100:
        return f"loss {frame.rx_loss}"
    if frame.multiplier == 0:
        return "multiplier 0"
    return ""


def _container(frame: Frame, length: int, key_id: int) -> dict[str, object]:
    return {
        "kind": {"version": layout.VERSION, "type": layout.TYPE_HEARTBEAT},
        "length": length,
        "key_id": key_id,
        "cluster_id": frame.cluster_id,
        "place": {"node_id": frame.node_id, "link_id": frame.link_id},
        "flags": int(frame.flags),
        "session": frame.session,
        "echo_session": frame.echo_session,
        "seq": frame.seq,
        "tx_ms": frame.tx_ms,
        "echo_seq": frame.echo_seq,
        "echo_lag": frame.echo_lag,
        "lines": {"carrier": frame.carrier, "hears": frame.hears},
        "hold_ms": frame.hold_ms,
        "epoch": frame.epoch,
        "state": {"role": int(frame.role), "session_state": int(frame.session_state)},
        "diag": frame.diag,
        "health": frame.health,
        "multiplier": frame.multiplier,
        "tx_interval_ms": frame.tx_interval_ms,
        "rx_loss": frame.rx_loss,
        "reserved": b"\0",
    }
