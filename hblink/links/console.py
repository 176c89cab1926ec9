"""Whether a serial port is in use as a console: a heartbeat there would be typed into a login, or read as SysRq.

It only looks, and must never open the port.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

CGROUP_ROOTS = (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/systemd"))


def console_use(port: str, proc: Path = Path("/proc"), cgroups: tuple[Path, ...] = CGROUP_ROOTS) -> str | None:
    """Say by whom `port`, a path, is used as a console; None if nothing says that it is.

    Looks at the kernel's consoles (proc_consoles(5)), its command line, running serial-getty units, and processes whose
    controlling terminal it is. What cannot be read, for instance in a sandbox with ProcSubset=pid, counts as no use.
    """
    device = os.path.realpath(port)
    name = device.removeprefix("/dev/")
    if name in ("console", "tty", "tty0"):
        return f"{device} stands for whatever console the machine has"
    if name in _kernel_consoles(proc):
        return f"{name} is a console of the running kernel (/proc/consoles)"
    if name in _command_line_consoles(proc):
        return f"{name} is a console on the kernel's command line (/proc/cmdline)"
    unit = f"serial-getty@{name.replace('/', '-')}.service"
    if any(next(root.glob(f"system.slice/*/{unit}"), None) is not None for root in cgroups):
        return f"{unit} is running on it"
    return _controlling(device, proc)


def _kernel_consoles(proc: Path) -> frozenset[str]:
    return frozenset(line.split()[0] for line in _read(proc / "consoles").splitlines() if line.strip())


def _command_line_consoles(proc: Path) -> frozenset[str]:
    """The devices of console=, earlycon= and kgdboc= (kernel-parameters.txt), without their options."""
    words = (word.partition("=") for word in _read(proc / "cmdline").split())
    return frozenset(
        device.removeprefix("/dev/")
        for key, _, value in words
        if key in ("console", "kgdboc")
        for device in value.split(",")
        if device
    )


def _controlling(device: str, proc: Path) -> str | None:
    """Find a process whose controlling terminal is `device`: field 7 of proc_pid_stat(5), an encoded device number."""
    try:
        status = os.stat(device)
    except OSError:
        return None
    if not stat.S_ISCHR(status.st_mode):
        return None
    wanted = (os.major(status.st_rdev), os.minor(status.st_rdev))
    for directory in proc.glob("[0-9]*"):
        # the name in parentheses may hold anything, also spaces and parentheses
        match = re.fullmatch(r"(\d+) \((.*)\) (.*)", _read(directory / "stat").strip(), re.DOTALL)
        if match is None:
            continue
        number = int(match[3].split()[4])
        if (number >> 8 & 0xFFF, number & 0xFF | number >> 12 & 0xFFF00) == wanted:
            return f"it is the controlling terminal of process {match[1]} ({match[2]})"
    return None


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
