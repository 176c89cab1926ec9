"""Who a BMC is: GUIDs and serial numbers, so that a command reaches the peer's machine and no other.

A BMC's address may come to answer for another machine (a swapped board, a copied address, a stale lease). The first
GUID and the first serial number that answer are remembered (in the state directory, where there is one) unless the
configuration names them; from then on another is refused. One's own GUIDs come from the kernel (SMBIOS) and from one's
own BMC; a device that has one of them is never sent a command, unless both are known to have serial numbers, and
different ones: some makers give one GUID to a whole series of boards.

Both are compared at each look. Before each shot the GUID alone is read where there is one to go by, and compared with
it is the serial number that was told last, as a rule within the last minute: an inventory takes a dozen exchanges or
more, up to seconds on a real BMC, and a shot must not wait for it. Of a device that tells no GUID, or one of this
node's own, the serial number is read before the shot too, at that price, and what was told earlier does not stand in
for it. One that cannot be read is none: no failure where there is a GUID to go by, and no shot where there is not.

This module must never forget what it learned by itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from hblink.fencing.device import FenceReason, one_line

DMI = Path("/sys/class/dmi/id")


@dataclass(frozen=True, slots=True)
class Identity:
    """What tells one BMC from another; None stands for what is not known, or what the device does not tell."""

    guid: str | None = None
    serial: str | None = None


class Identities:
    """The identities that were learned, by a name for each device; `save` is given the file's new content.

    `own` are this node's own GUIDs, and `own_serials` what the kernel takes for its serial numbers: they only ever
    make a device one's own.
    """

    def __init__(
        self, content: bytes, own: Iterable[str], save: Callable[[bytes], None], own_serials: Iterable[str] = ()
    ) -> None:
        self._learned = _parse(content)
        self._own: dict[str | None, set[str]] = {guid: set() for guid in own}  # the serial numbers told with each GUID
        self._own_serials = frozenset(own_serials)
        self._save = save

    def judge(self, name: str, configured: Identity, told: Identity) -> tuple[FenceReason, str]:
        """Compare what answered with whom it should be; the first GUID and serial number that answer are learned.

        OK, WRONG_DEVICE or OWN_DEVICE, and what to tell of it. A device that never told a GUID is not judged by it; one
        that did and does not any more is another. By its serial number it is judged only while it tells one, or has
        nothing else.
        """
        learned = self.learned(name)
        guid, serial = configured.guid or learned.guid, configured.serial or learned.serial
        if self._is_own(told):
            what = f"serial number {told.serial}" if told.guid is None else f"GUID {told.guid}"
            return FenceReason.OWN_DEVICE, f"{what} is that of this node's own BMC"
        if guid is not None and told.guid != guid:
            return FenceReason.WRONG_DEVICE, f"GUID {told.guid or 'none'}, expected {guid}"
        if serial is not None and told.serial != serial and (told.serial is not None or told.guid is None):
            return FenceReason.WRONG_DEVICE, f"serial number {told.serial or 'none'}, expected {serial}"
        self.learn(name, Identity(told.guid if guid is None else None, told.serial if serial is None else None))
        return FenceReason.OK, ""

    def own(self, told: Identity) -> None:
        """Take note of what this node's own BMC told."""
        if told != Identity():
            self._own.setdefault(told.guid, set()).update(() if told.serial is None else (told.serial,))

    def has_guid_of_own(self, guid: str) -> bool:
        """Whether a GUID does not tell a device from this node's own: its serial number has to."""
        return guid in self._own

    def learned(self, name: str) -> Identity:
        """What was learned of a device."""
        return self._learned.get(name, Identity())

    def learn(self, name: str, told: Identity) -> None:
        """Remember what a device told."""
        known = self.learned(name)
        new = Identity(told.guid or known.guid, told.serial or known.serial)
        if new != known:
            self._learned[name] = new
            self._write()

    def forget(self, name: str) -> bool:
        """Let the next identity be learned: an operator says that the board is new. False if none was known."""
        known = self._learned.pop(name, None) is not None
        if known:
            self._write()
        return known

    def _is_own(self, told: Identity) -> bool:
        """Whether it may be this node's own BMC: by its GUID, if no serial number says no, or by that alone."""
        serials = self._own.get(told.guid)
        if serials is None or told.serial is None:
            return serials is not None and told.guid is not None
        if told.guid is None:
            return told.serial in serials
        return not serials or told.serial in serials or told.serial in self._own_serials

    def _write(self) -> None:
        guids = {name: each.guid for name, each in self._learned.items() if each.guid is not None}
        serials = {name: each.serial for name, each in self._learned.items() if each.serial is not None}
        self._save(json.dumps({"guid": guids, "serial": serials}, sort_keys=True).encode() + b"\n")


def _parse(content: bytes) -> dict[str, Identity]:
    """What was saved, by earlier versions without serial numbers; what cannot be understood is learned anew."""
    try:
        document = json.loads(content)
    except ValueError:
        return {}
    guids, serials = _texts(document, "guid"), _texts(document, "serial")
    return {name: Identity(guids.get(name), serials.get(name)) for name in guids | serials}


def _texts(document: object, key: str) -> dict[str, str]:
    texts = document.get(key) if isinstance(document, dict) else None
    if not isinstance(texts, dict):
        return {}
    return {name: text for name, text in texts.items() if isinstance(name, str) and isinstance(text, str)}


def smbios_guids(directory: Path = DMI) -> frozenset[str]:
    """The forms in which a BMC may tell the UUID of this machine (IPMI v2.0 20.8, SMBIOS 7.2.1); none if unreadable."""
    try:
        uuid = UUID((directory / "product_uuid").read_text("ascii").strip())
    except (OSError, ValueError):
        return frozenset()
    forms = (uuid.bytes, uuid.bytes_le, uuid.bytes[::-1], uuid.bytes_le[::-1])
    return frozenset(form.hex() for form in forms if form.strip(b"\0") and form.strip(b"\xff"))


def smbios_serials(directory: Path = DMI) -> frozenset[str]:
    """The serial numbers of this machine, its board and its case (SMBIOS 7.2 to 7.4), as far as they can be read."""
    found = set()
    for name in ("product_serial", "board_serial", "chassis_serial"):
        try:
            found.add(one_line((directory / name).read_text("ascii")))
        except (OSError, ValueError):
            continue
    return frozenset(found - {""})
