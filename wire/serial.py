"""Frames on a serial line: 00 | COBS(frame + CRC-16) | 00, and back out of whatever the line brings.

The CRC names bit errors for diagnosis; integrity is the MAC's. COBS is written out here because it is twenty lines, and
a dependency on the heartbeat path that raises on noise would not save one of them (S. Cheshire, M. Baker, "Consistent
Overhead Byte Stuffing", IEEE/ACM Transactions on Networking 7(2), 1999). The deframer must never hold more than one
block, never raise, and give the same results however the stream is cut into chunks.
"""

from __future__ import annotations

import binascii

from hblink_wire.layout import FRAME_MAX, FRAME_MIN
from hblink_wire.reject import Reject, Rejected

_CRC_LENGTH = 2
_RUN = 254  # bytes without a zero that one COBS code octet can announce
_BLOCK_MAX = FRAME_MAX + _CRC_LENGTH + 1
_TEXT = frozenset(range(0x20, 0x7F)) | frozenset(b"\a\b\t\n\r\x1b")
_TEXT_MIN = 4  # shorter runs of printable bytes are noise as likely as text


def enframe(frame: bytes) -> bytes:
    """Return what to write to the line for one frame.

    The leading 00 ends whatever noise came before, and disarms SysRq on a console port; the trailing one ends the frame
    at once instead of with the next.
    """
    return b"\0" + stuff(frame + _crc(frame)) + b"\0"


def serial_length(frame_length: int) -> int:
    """Return the bytes on the line for a frame of this length: 77 for the shortest."""
    return frame_length + _CRC_LENGTH + (frame_length + _CRC_LENGTH) // _RUN + 3


class Deframer:
    """Cut a byte stream into frames; one for each opening of the port."""

    __slots__ = ("_block", "_overrun")

    def __init__(self) -> None:
        self._block = bytearray()
        self._overrun = False  # what follows, up to the next delimiter, is the rest of a block that was too long

    def feed(self, chunk: bytes) -> list[bytes | Rejected]:
        """Take the next bytes of the stream; return the frames and rejections that they complete, in order.

        A frame has a good CRC and nothing else is known of it.
        """
        results: list[bytes | Rejected] = []
        first, *others = bytes(chunk).split(b"\0")
        self._append(first, results)
        for part in others:
            results += self.flush()
            self._overrun = False
            self._append(part, results)
        return results

    @property
    def missing(self) -> int:
        """At least so many more bytes must come before `feed` can return a frame: 0 if none has begun."""
        if not self._block or self._overrun:
            return 0
        return max(0, serial_length(FRAME_MIN) - 1 - len(self._block))

    def flush(self) -> list[bytes | Rejected]:
        """Judge what stands before the next delimiter as if it had come: for a line that fell silent."""
        if not self._block:
            return []
        judged = _judge(bytes(self._block), self._overrun)
        self._block.clear()
        self._overrun = True
        return [judged]

    def _append(self, part: bytes, results: list[bytes | Rejected]) -> None:
        while len(self._block) + len(part) > _BLOCK_MAX:
            room = _BLOCK_MAX + 1 - len(self._block)
            self._block += part[:room]
            part = part[room:]
            results += self.flush()
        self._block += part


def _judge(block: bytes, overrun: bool) -> bytes | Rejected:
    content = None if overrun else unstuff(block)
    if content is not None and len(content) > _CRC_LENGTH and content[-2:] == _crc(content[:-2]):
        return content[:-2]
    text = sum(octet in _TEXT for octet in block)
    if len(block) >= _TEXT_MIN and text * 10 >= len(block) * 9:
        shown = "".join(chr(octet) if 0x20 <= octet < 0x7F else "." for octet in block[:24])
        return Rejected(Reject.ASCII, f"{len(block)} bytes: {shown}")
    if content is not None and len(content) > _CRC_LENGTH:
        return Rejected(Reject.BIT_ERRORS, f"CRC of {len(content)} bytes")
    return Rejected(Reject.NOISE, f"{len(block)} bytes")


def _crc(frame: bytes) -> bytes:
    """CRC-16/IBM-3740."""
    return binascii.crc_hqx(frame, 0xFFFF).to_bytes(2, "big")


def stuff(data: bytes) -> bytes:
    """Return `data` in a form without zeros, one byte longer for each 254 begun."""
    stuffed = bytearray()
    for part in data.split(b"\0"):
        while len(part) >= _RUN:
            stuffed += b"\xff" + part[:_RUN]
            part = part[_RUN:]
        stuffed += bytes((len(part) + 1,)) + part
    return bytes(stuffed)


def unstuff(block: bytes) -> bytes | None:
    """Return what was stuffed, or None if no data stuffs to `block`; `block` holds no zero."""
    data = bytearray()
    at = 0
    while at < len(block):
        code = block[at]
        run = block[at + 1 : at + code]
        if len(run) != code - 1:
            return None
        data += run
        at += code
        if code <= _RUN and at < len(block):
            data.append(0)
    return bytes(data)
