"""wire/vectors.json holds, for a second implementation, frames and what they mean: checked here both ways.

Run as a program, this file writes it anew, which only a change of the protocol may make necessary.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

from hblink_wire import (
    Deframer,
    Expected,
    Flag,
    Frame,
    Keyring,
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
)
from hblink_wire.key import frame_key

PATH = Path(__file__).parents[2] / "wire" / "vectors.json"
CLUSTER = 4711
RING = Keyring(tuple(new_key(key_id, hashlib.sha256(bytes((key_id,))).digest()) for key_id in (1, 7)), 7)

FIRST = Frame(
    cluster_id=CLUSTER,
    node_id=0,
    link_id=0,
    session=0x0123456789ABCDEF,
    seq=1,
    tx_ms=100,
    role=Role.STANDBY,
    session_state=SessionState.INIT,
    tx_interval_ms=100,
    multiplier=10,
)
FRAMES = {
    "first words": FIRST,
    "active, up, every flag": dataclasses.replace(
        FIRST,
        link_id=1,
        seq=0x1_0000_0002,
        tx_ms=0xFFFFFFFF,
        echo_session=0xFEDCBA9876543210,
        echo_seq=3,
        echo_lag=1,
        hears=3,
        carrier=3,
        hold_ms=42,
        epoch=0x10000,
        role=Role.ACTIVE,
        session_state=SessionState.UP,
        flags=Flag(0xFF),
        diag=1,
        health=100,
        tx_interval_ms=200,
        rx_loss=100,
    ),
    "all elements": dataclasses.replace(
        FIRST,
        tlvs=(
            Tlv(TlvType.CONFIG_DIGEST, bytes(8)),
            Tlv(TlvType.BOOT_ID, bytes(range(16))),
            Tlv(TlvType.SOFTWARE_VERSION, b"0.1.0"),
            Tlv(TlvType.KEY_IDS, b"\x01\x07"),
        ),
    ),
    "hardware addresses and sections": dataclasses.replace(
        FIRST,
        tlvs=(
            Tlv(TlvType.SERVICE_MACS, bytes.fromhex("525400000001525400000002")),
            Tlv(TlvType.CONFIG_SECTIONS, b"\x02\x00\x01\x02\x03\x04\xff\xff\xff\xff"),
        ),
    ),
    "an unknown element": dataclasses.replace(FIRST, tlvs=(Tlv(0x7F, b""),)),
    "an unknown critical element: alive, and nothing applied": dataclasses.replace(FIRST, tlvs=(Tlv(0xFF, b"\x00"),)),
}


def altered(at: int, octet: int) -> bytes:
    data = bytearray(encode(FIRST, RING))
    data[at] = octet
    return bytes(data)


REFUSED = {
    "cut short": encode(FIRST, RING)[:-1],
    "magic": altered(0, 0),
    "version 2": altered(1, 0x20),
    "length": altered(2, 73),
    "another cluster": altered(5, 0),
    "my own": altered(6, 0x10),
    "another link": altered(6, 0x01),
    "unknown key": altered(3, 2),
    "one bit": altered(47, 0x80),
}


def expected(frame: Frame) -> Expected:
    return Expected(CLUSTER, 1, frame.link_id)


def fields(frame: Frame) -> dict[str, object]:
    said = {field.name: getattr(frame, field.name) for field in dataclasses.fields(frame) if field.name != "tlvs"}
    said |= {"role": frame.role.name, "session_state": frame.session_state.name, "flags": int(frame.flags)}
    # 64-bit numbers as text: not every JSON reader keeps them whole.
    said |= {name: f"{getattr(frame, name):016x}" for name in ("session", "echo_session", "seq")}
    return said | {"tlvs": [[tlv.type, tlv.value.hex()] for tlv in frame.tlvs]}


def vectors() -> dict[str, object]:
    def reason(data: bytes) -> str:
        result = decode(data, RING, expected(FIRST))
        assert isinstance(result, Rejected)
        return result.reason.value

    accepted = []
    for name, frame in FRAMES.items():
        data = encode(frame, RING)
        said = fields(dataclasses.replace(frame, key_id=RING.active_id))
        accepted.append(
            {
                "name": name,
                "fields": said,
                "understood": frame.is_understood,
                "frame": data.hex(),
                "serial": enframe(data).hex(),
            }
        )
    return {
        "keyring": format_keyring(RING),
        "keys": {str(key.id): key.secret.hex() for key in RING},
        "cluster_id": CLUSTER,
        "frame_keys": {str(key.id): frame_key(key.secret, CLUSTER).hex() for key in RING},
        "receiver": {"node_id": 1, "link_id": "that of the frame; 0 for the refused"},
        "accepted": accepted,
        "refused": [{"name": name, "frame": data.hex(), "reason": reason(data)} for name, data in REFUSED.items()],
    }


def test_the_file_is_what_the_code_says() -> None:
    assert json.loads(PATH.read_text()) == vectors()


def test_the_code_reads_what_the_file_says() -> None:
    stored = json.loads(PATH.read_text())
    ring = parse_keyring(stored["keyring"])
    assert ring == RING
    for vector in stored["accepted"]:
        data = bytes.fromhex(vector["frame"])
        frame = decode(data, ring, Expected(stored["cluster_id"], 1, vector["fields"]["link_id"]))
        assert isinstance(frame, Frame), vector["name"]
        assert fields(frame) == vector["fields"]
        assert frame.is_understood is vector["understood"]
        assert Deframer().feed(bytes.fromhex(vector["serial"])) == [data]
    for vector in stored["refused"]:
        refused = decode(bytes.fromhex(vector["frame"]), ring, Expected(stored["cluster_id"], 1, 0))
        assert isinstance(refused, Rejected), vector["name"]
        assert refused.reason.value == vector["reason"]


if __name__ == "__main__":
    PATH.write_text(json.dumps(vectors(), indent=1) + "\n")
