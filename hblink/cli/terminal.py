"""How every command speaks: exit codes, and plain ASCII that fits a serial console of 80 by 24.

It must never let a byte of someone else's text (a peer's version, a device's message) reach the terminal unseen.
"""

from __future__ import annotations

import textwrap

GOOD = 0
NOT_GOOD = 1  # degraded, blocked, refused, or no daemon
USAGE = 2
CONFIGURATION = 78  # sysexits.h, EX_CONFIG

WIDTH = 79  # the last column of a VT100 wraps
HEIGHT = 24


def clean(text: object) -> str:
    """`text` as printable ASCII; every other character becomes a question mark."""
    return "".join(letter if " " <= letter <= "~" else "?" for letter in str(text))


def cut(text: str, width: int = WIDTH) -> str:
    """`text` in at most `width` columns, its end replaced by two dots if it is longer."""
    return text if len(text) <= width else text[: width - 2] + ".."


def wrap(text: object, head: str = "", lines: int | None = None) -> list[str]:
    """Break `text` into lines of the screen's width behind `head`, which later lines leave blank; at most `lines`."""
    return textwrap.wrap(
        clean(text),
        WIDTH,
        initial_indent=head,
        subsequent_indent=" " * len(head),
        max_lines=lines,
        placeholder=" ..",
        break_on_hyphens=False,
    ) or [head.rstrip()]


def duration(milliseconds: float | None) -> str:
    """A duration in at most two units, such as 85 ms, 12 s, 4 min 3 s, 3 d 4 h; a dash if it is unknown."""
    if milliseconds is None:
        return "-"
    if milliseconds < 1000:
        return f"{milliseconds:.0f} ms"
    seconds = int(milliseconds // 1000)
    for size, unit, part, smaller in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if seconds >= size:
            rest = seconds % size // part
            return f"{seconds // size} {unit} {rest} {smaller}" if rest else f"{seconds // size} {unit}"
    return f"{milliseconds / 1000:.1f} s" if seconds < 10 else f"{seconds} s"
