"""Which serial number a machine has, out of what ipmitool prints of its BMC's inventory (`fru print 0`).

An inventory is filled in by hand in a factory, so much of it says nothing. This module must never take a serial number
out of half an inventory: the wrong one of two would pass for another machine.
"""

from __future__ import annotations

import re

from hblink.fencing.device import one_line

# In the order in which they are believed: of the machine, of its board, of the case, which two nodes may share.
_PRODUCT, _BOARD, _CHASSIS = (
    re.compile(rf"^ {area} Serial +: (.*)$", re.MULTILINE) for area in ("Product", "Board", "Chassis")
)
# An area that could not be read is left out by ipmitool, which exits with 0 all the same (read_fru_area, ipmi_fru.c).
_UNREAD = re.compile(r"FRU Read failed|Read FRU Area|Not enough buffer size|No Response|malloc")
# What a factory leaves where a serial number should be.
_NOTHING = frozenset(
    {
        "0123456789", "123456789", "1234567890", "base board serial number", "chassis serial number", "default",
        "default string", "empty", "invalid", "n/a", "na", "no serial number", "none", "not applicable",
        "not available", "not specified", "null", "oem", "serial", "serial number", "system serial number", "tbd",
        "to be filled by o.e.m", "unknown", "unspecified",
    }
)  # fmt: skip


def serial_of(stdout: str, stderr: str) -> str | None:
    """Return the serial number of the machine, else of its board, else of its case; None if there is none to rely on.

    One of the board or the case counts only where all of the inventory was read: it must not stand in for that of the
    machine because a datagram was lost.
    """
    areas = (_PRODUCT,) if _UNREAD.search(stdout) or _UNREAD.search(stderr) else (_PRODUCT, _BOARD, _CHASSIS)
    for area in areas:
        found = [text.strip() for text in area.findall(stdout)]
        if len(found) == 1 and _says_something(found[0]):
            return one_line(found[0])
    return None


def _says_something(text: str) -> bool:
    """Whether it can tell two machines apart: no noise, not one character again and again, no factory's text."""
    letters = set(re.sub("[^0-9A-Za-z]", "", text))
    return text.isascii() and text.isprintable() and len(letters) > 1 and text.casefold().strip(" .") not in _NOTHING
