"""The elements that ride in my frames: one in each, so that frames stay short on slow lines.

The kernel boot id rides until its echo shows that it arrived; then the others take turns. This module must never read
an element of the peer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hblink_wire import Tlv, TlvType
from hblink_wire.tlv import PROMISE_BYTES, SERVICE_MACS_MAX, pack

from hblink.core.value import MS


class Elements:
    """What this node says of itself beside its state.

    `boot_id` has 16 bytes, `config_digest` 8; `software_version` has 1 to 32 ASCII characters, no space. ValueError if
    one of them cannot be expressed.
    """

    def __init__(self, boot_id: bytes, config_digest: bytes, software_version: str) -> None:
        self.boot_id = Tlv(TlvType.BOOT_ID, boot_id)
        self._config = [Tlv(TlvType.CONFIG_DIGEST, config_digest)]
        self._software_version = Tlv(TlvType.SOFTWARE_VERSION, software_version.encode("ascii"))
        self._service_macs: Tlv | None = None
        self._promise: Tlv | None = None
        self._turn = 0
        pack((self.boot_id, self._software_version, *self._config))

    def set_config(self, digest: bytes, sections: Mapping[int, bytes]) -> None:
        """Say which configuration is in force: its digest, 8 bytes, and those of its sections by number, 4 each."""
        parts = b"".join(bytes((number,)) + sections[number] for number in sorted(sections))
        self._config = [Tlv(TlvType.CONFIG_DIGEST, digest)]
        if parts:
            self._config.append(Tlv(TlvType.CONFIG_SECTIONS, parts))
        pack(self._config)

    def set_service_macs(self, macs: Iterable[bytes]) -> None:
        """Say which Ethernet addresses, 6 bytes each, this node's service interfaces have: the first eight, sorted."""
        known = sorted(macs)[:SERVICE_MACS_MAX]
        self._service_macs = Tlv(TlvType.SERVICE_MACS, b"".join(known)) if known else None

    def set_promise(self, promise_ns: int | None) -> None:
        """Say after what time this node's service ends by itself (SAFETY S2e), rounded up to ms; None: it does not."""
        ms = None if promise_ns is None else -(-promise_ns // MS)
        self._promise = None if ms is None else Tlv(TlvType.STOP_PROMISE, ms.to_bytes(PROMISE_BYTES, "big"))

    def next(self, key_ids: Iterable[int]) -> Tlv:
        """Return the element whose turn it is; `key_ids` are those that this node accepts."""
        digest, *sections = self._config
        # The second comes first: what may keep this node's peer from a wrong takeover.
        macs = [] if self._service_macs is None else [self._service_macs]
        promise = [] if self._promise is None else [self._promise]
        turns = [digest, *macs, *promise, *sections, self._software_version, Tlv(TlvType.KEY_IDS, bytes(key_ids))]
        self._turn = (self._turn + 1) % len(turns)
        return turns[self._turn]
