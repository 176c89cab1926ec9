"""The inventory of a machine as its BMC stores it: the bytes that `ipmitool fru print` reads.

Sections are those of the IPMI Platform Management FRU Information Storage Definition, v1.0 revision 1.3.
"""

from __future__ import annotations

_ENGLISH, _ANY_DATE, _RACK = 25, bytes(3), 0x17
_END = b"\xc1"


def inventory(*, product: str | None = None, board: str | None = None, chassis: str | None = None) -> bytes:
    """An inventory whose areas have these serial numbers; the areas that are not named are not there."""
    areas = (
        None if chassis is None else _area(bytes([_RACK]), "PART-C", chassis),  # 10
        None if board is None else _area(bytes([_ENGLISH]) + _ANY_DATE, "Maker", "Board", board, "PART-B", ""),  # 11
        None if product is None else _area(bytes([_ENGLISH]), "Maker", "Box", "PART-P", "1", product, "", ""),  # 12
    )
    offsets, content = [], b""
    for area in areas:
        offsets.append(0 if area is None else 1 + len(content) // 8)
        content += area or b""
    head = bytes([1, 0, *offsets, 0, 0])  # 8: version, internal use, chassis, board, product, more records, pad
    return head + _checksum(head) + content


def stored(fru: bytes) -> str:
    """The line with which ipmi_sim takes an inventory as that of its FRU device 0; nothing if it is empty."""
    return f"mc_add_fru_data 0x20 0 {len(fru)} data {' '.join(map(hex, fru))}" if fru else ""


def _area(head: bytes, *fields: str) -> bytes:
    """One area, in units of 8 bytes; a field is its type (11b, 8-bit text) and length, and the text (13)."""
    body = head + b"".join(bytes([0xC0 | len(text)]) + text.encode("latin-1") for text in fields) + _END
    units = -(-(2 + len(body) + 1) // 8)
    area = (bytes([1, units]) + body).ljust(8 * units - 1, b"\0")
    return area + _checksum(area)


def _checksum(data: bytes) -> bytes:
    return bytes([-sum(data) & 0xFF])
