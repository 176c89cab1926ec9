"""Who a BMC is: GUIDs learned, remembered and compared, so that a command reaches the peer's machine and no other.

A BMC's address may come to answer for another machine (a swapped board, a copied address, a stale lease). The first
GUID that answers is remembered (in the state directory, where there is one) unless the configuration names it; from
then on another is refused. One's own GUIDs come from the kernel (SMBIOS) and from one's own BMC; a device that has one
of them is never sent a command. This module must never forget what it learned by itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from uuid import UUID

from hblink.fencing.device import FenceReason

PRODUCT_UUID = Path("/sys/class/dmi/id/product_uuid")


class Identities:
    """The GUIDs that were learned, by a name for each device; `save` is given the file's new content."""

    def __init__(self, content: bytes, own: Iterable[str], save: Callable[[bytes], None]) -> None:
        self._learned = _parse(content)
        self._own = set(own)
        self._save = save

    def judge(self, name: str, configured: str | None, guid: str | None) -> tuple[FenceReason, str]:
        """Compare the GUID that answered with whom it should be; the first one that answers is learned.

        OK, WRONG_DEVICE or OWN_DEVICE, and what to tell of it. A device that never told a GUID is not judged; one that
        did and does not any more is another.
        """
        if guid is not None and guid in self._own:
            return FenceReason.OWN_DEVICE, f"GUID {guid} is that of this node's own BMC"
        expected = configured or self._learned.get(name)
        if expected is None:
            if guid is not None:
                self.learn(name, guid)
        elif guid != expected:
            return FenceReason.WRONG_DEVICE, f"GUID {guid or 'none'}, expected {expected}"
        return FenceReason.OK, ""

    def own(self, guid: str) -> None:
        """Take note of a GUID of this node's own."""
        self._own.add(guid)

    def learned(self, name: str) -> str | None:
        """The GUID that was learned of a device."""
        return self._learned.get(name)

    def learn(self, name: str, guid: str) -> None:
        """Remember a GUID."""
        if self._learned.get(name) != guid:
            self._learned[name] = guid
            self._write()

    def forget(self, name: str) -> bool:
        """Let the next GUID be learned: an operator says that the board was changed. False if none was known."""
        known = self._learned.pop(name, None) is not None
        if known:
            self._write()
        return known

    def _write(self) -> None:
        self._save(json.dumps({"guid": self._learned}, sort_keys=True).encode() + b"\n")


def _parse(content: bytes) -> dict[str, str]:
    """What was saved; nothing if it cannot be understood: then it is learned anew."""
    try:
        learned = json.loads(content)["guid"]
    except (ValueError, KeyError, TypeError):
        return {}
    if not isinstance(learned, dict):
        return {}
    return {name: guid for name, guid in learned.items() if isinstance(name, str) and isinstance(guid, str)}


def smbios_guids(path: Path = PRODUCT_UUID) -> frozenset[str]:
    """The forms in which a BMC may tell the UUID of this machine (IPMI v2.0 20.8, SMBIOS 7.2.1); none if unreadable."""
    try:
        uuid = UUID(path.read_text("ascii").strip())
    except (OSError, ValueError):
        return frozenset()
    forms = (uuid.bytes, uuid.bytes_le, uuid.bytes[::-1], uuid.bytes_le[::-1])
    return frozenset(form.hex() for form in forms if form.strip(b"\0") and form.strip(b"\xff"))
