"""The reset of oneself: the last thing a node can do about a service that does not stop (SAFETY S8).

At once and without a sync: what is written now might be written beside the other node. This module must never be
reached but by the effect ResetSelf.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from pathlib import Path

SYSRQ_TRIGGER = Path("/proc/sysrq-trigger")
_RB_AUTOBOOT = 0x0123_4567  # reboot(2): restart at once, no sync


def reset_machine(trigger: Path = SYSRQ_TRIGGER, reboot: Callable[[], None] | None = None) -> str:
    """Reset this machine by sysrq (sysrq.rst, `b`), else by reboot(2); return why that failed, if this returns."""
    complaints: list[str] = []
    try:
        trigger.write_bytes(b"b")
    except OSError as error:
        complaints.append(f"{trigger}: {error.strerror}")
    try:
        (reboot or _reboot)()
    except OSError as error:
        complaints.append(f"reboot(2): {error.strerror}")
    return "; ".join(complaints)


def _reboot() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.reboot(_RB_AUTOBOOT) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
