"""The hardware watchdog: a timer in the machine that resets it unless it is petted (Linux, watchdog-api.rst).

Opening the device starts the timer, and it goes on whatever becomes of this process: only the magic close after a clean
stop ends it, and with `nowayout` nothing does. This module must never pet by itself, and must never wait.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

SECOND = 1_000_000_000

# linux/watchdog.h by asm-generic/ioctl.h (x86, Arm, RISC-V): direction, size, 'W', number.
WDIOC_GETSUPPORT = 0x8028_5700
WDIOC_KEEPALIVE = 0x8004_5705
WDIOC_SETTIMEOUT = 0xC004_5706
WDIOC_GETTIMEOUT = 0x8004_5707
WDIOF_SETTIMEOUT = 0x0080
WDIOF_MAGICCLOSE = 0x0100
SOFTDOG = "Software Watchdog"  # the identity that drivers/watchdog/softdog.c gives
_INFO = struct.Struct("=II32s")  # struct watchdog_info: options, firmware version, identity
_INT = struct.Struct("=i")

Ioctl = Callable[[int, int, bytearray], int]


class WatchdogError(Exception):
    """The device cannot be used. `reason` is `watchdog_busy`, `watchdog_missing` or `watchdog_refused`."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class WatchdogReport:
    """What the driver says of itself: `timeout_ns` is read back, not what was asked for."""

    identity: str
    timeout_ns: int
    can_stop: bool  # the magic close ends the timer

    @property
    def is_hardware(self) -> bool:
        """Whether it is a timer beside the processor; softdog is one of the very kernel that may hang."""
        return self.identity != SOFTDOG


class Watchdog:
    """An armed watchdog. `ioctl` is fcntl.ioctl; a test gives the driver's side of it."""

    def __init__(self, path: Path, timeout_ns: int, ioctl: Ioctl = fcntl.ioctl, sysfs: Path = Path("/sys")) -> None:
        """Arm the device at `path` with `timeout_ns`, whole seconds. Raise WatchdogError."""
        self._ioctl = ioctl
        self._path = path
        try:
            self._fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        except OSError as error:
            raise _refused(path, error) from error
        try:
            self.report = self._arm(timeout_ns, sysfs)
        except OSError as error:
            self._close()
            raise WatchdogError("watchdog_refused", f"{path}: {error.strerror or error}") from error

    def pet(self) -> None:
        """Begin the time anew. Raise WatchdogError; the timer then runs out."""
        try:
            self._ioctl(self._fd, WDIOC_KEEPALIVE, bytearray(_INT.size))
        except OSError as error:
            raise WatchdogError("watchdog_refused", f"{self._path}: {error.strerror or error}") from error

    def disarm(self) -> bool:
        """Stop the timer, after a clean full stop only; return whether the driver lets it be stopped."""
        self._close()
        return self.report.can_stop

    def abandon(self) -> None:
        """Let go of the device with the timer running: the machine resets when it runs out."""
        os.close(self._fd)

    def _arm(self, timeout_ns: int, sysfs: Path) -> WatchdogReport:
        info = bytearray(_INFO.size)
        self._ioctl(self._fd, WDIOC_GETSUPPORT, info)
        options, _version, identity = _INFO.unpack(info)
        if options & WDIOF_SETTIMEOUT:
            self._ioctl(self._fd, WDIOC_SETTIMEOUT, bytearray(_INT.pack(timeout_ns // SECOND)))
        actual = bytearray(_INT.size)
        self._ioctl(self._fd, WDIOC_GETTIMEOUT, actual)
        return WatchdogReport(
            identity=identity.split(b"\0", 1)[0].decode("ascii", "replace"),
            timeout_ns=_INT.unpack(actual)[0] * SECOND,
            can_stop=bool(options & WDIOF_MAGICCLOSE) and not _is_nowayout(self._path, sysfs),
        )

    def _close(self) -> None:
        """Close with the magic character, which stops the timer where the driver allows that."""
        try:
            os.write(self._fd, b"V")
        except OSError:
            pass  # it stays armed, which is the safe side
        finally:
            os.close(self._fd)


def _is_nowayout(path: Path, sysfs: Path) -> bool:
    """Whether the driver keeps the timer running for ever; unknown counts as yes."""
    name = "watchdog0" if path.name == "watchdog" else path.name
    try:
        return (sysfs / "class/watchdog" / name / "nowayout").read_text("ascii").strip() != "0"
    except OSError:
        return True


def _refused(path: Path, error: OSError) -> WatchdogError:
    if error.errno == errno.EBUSY:
        text = f"{path} is held by another program: with systemd, set RuntimeWatchdogSec=off in system.conf"
        return WatchdogError("watchdog_busy", text)
    if error.errno in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
        return WatchdogError("watchdog_missing", f"{path} is not there: load the driver of the board, or softdog")
    return WatchdogError("watchdog_refused", f"{path}: {error.strerror}")
