"""What a frame says, as values. Holds no bytes and checks no origin: a `Frame` from `decode` has passed R0 and R1."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, IntFlag, unique

from hblink_wire.tlv import Tlv, TlvType, is_understood

ECHO_LAG_SILENT = 255
HEALTH_UNKNOWN = 255
HOLD_MS_MAX = 0xFFFF


@unique
class Role(IntEnum):
    """What the sender is doing about the service."""

    STARTING = 0
    STANDBY = 1
    FENCING = 2
    CLAIMING = 3
    ACTIVE = 4
    YIELDING = 5
    BLOCKED = 6
    HALTED = 7


@unique
class SessionState(IntEnum):
    """UP: `echo_session` is the session that the sender has adopted. Otherwise INIT."""

    INIT = 0
    UP = 1


class Flag(IntFlag):
    """The flags octet."""

    FENCE_READY = 0x01
    WATCHDOG_ARMED = 0x02
    MAINTENANCE = 0x04
    WANT = 0x08
    YIELDED = 0x10
    STOP_FAILED = 0x20
    DUAL_SEEN = 0x40
    RUN_EVER = 0x80


NO_FLAGS = Flag(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One heartbeat. Field names, widths and units are those of PROTOCOL.md; all are unsigned.

    `key_id` is the key under which a decoded frame was authentic; `encode` ignores it and uses the active key.
    `hears` and `carrier` are bit masks over links 0 to 3.
    """

    cluster_id: int
    node_id: int
    link_id: int
    session: int
    seq: int
    tx_ms: int
    role: Role
    session_state: SessionState
    epoch: int = 0
    flags: Flag = NO_FLAGS
    echo_session: int = 0
    echo_seq: int = 0
    echo_lag: int = ECHO_LAG_SILENT
    hears: int = 0
    carrier: int = 0
    hold_ms: int = HOLD_MS_MAX
    diag: int = 0
    health: int = HEALTH_UNKNOWN
    multiplier: int = 1
    tx_interval_ms: int = 0
    rx_loss: int = 0
    tlvs: tuple[Tlv, ...] = ()
    key_id: int = 0

    @property
    def is_understood(self) -> bool:
        """False if a critical element is unknown: the sender is alive, and nothing that it says may be applied."""
        return all(is_understood(tlv) for tlv in self.tlvs)

    def tlv(self, wanted: TlvType) -> bytes | None:
        """Return the value of the element of type `wanted`, if there is one."""
        return next((tlv.value for tlv in self.tlvs if tlv.type == wanted), None)
