"""Waiting for a condition with a deadline, and saying what stood in the logs when it did not come.

Polling lives here alone, so that no test sleeps.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


class WaitError(AssertionError):
    """The awaited condition did not come true in time."""


def boottime_ns() -> int:
    """CLOCK_BOOTTIME in nanoseconds, the clock of the daemon's own log."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def log_end(log: Path, lines: int = 25) -> str:
    """Return the last `lines` of `log` under its name; a missing file is said to be missing."""
    if not log.exists():
        return f"--- {log.name}: not there"
    text = log.read_text(errors="replace").splitlines()
    return "\n".join([f"--- {log.parent.name}/{log.name}, last {lines} of {len(text)} lines", *text[-lines:]])


def wait_until(
    condition: Callable[[], T | None],
    timeout_s: float,
    what: str,
    *,
    logs: Iterable[Path] = (),
    interval_s: float = 0.01,
) -> T:
    """Poll `condition` until it returns something true, and return that.

    Raises WaitError, with `what` was awaited, the last value seen and the ends of `logs`, after `timeout_s`.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            ends = "\n".join(log_end(log) for log in logs)
            raise WaitError(f"not within {timeout_s:g} s: {what} (last seen: {value!r})\n{ends}")
        time.sleep(interval_s)
