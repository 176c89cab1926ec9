"""Which program may have taken an address away: for the log, so that a person knows where to look.

A guess, and said as one. It reads /proc, which is memory and not a disk, and stops after a few milliseconds whatever is
left. This module must never do anything about a program that it names.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

# Programs that configure addresses, by the 15 characters that the kernel keeps of a name (proc(5), /proc/PID/comm).
KNOWN = {
    "systemd-network": "systemd-networkd",
    "NetworkManager": "NetworkManager",
    "connmand": "connman",
    "wickedd": "wicked",
    "wickedd-nanny": "wicked",
    "netifd": "netifd",
    "dhclient": "dhclient",
    "dhcpcd": "dhcpcd",
    "udhcpc": "udhcpc",
    "keepalived": "keepalived",
    "ucarp": "ucarp",
    "corosync": "corosync",
    "pacemakerd": "pacemaker",
}
BOUND_NS = 5_000_000
SEARCH_EVERY_NS = 10_000_000_000


class Suspects:
    """The programs that were seen to run; looked for at most once in 10 s. `proc` is where proc(5) is mounted."""

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc
        self._names: tuple[str, ...] = ()
        self._looked_at: int | None = None

    def describe(self, port: int, now: int) -> str:
        """Return who is suspected, as the end of a sentence; `port` is the netlink port that asked, 0 if unknown."""
        if port and (name := self._comm(port)) is not None:
            return f"by process {port} ({KNOWN.get(name, name)})"
        if self._looked_at is None or now - self._looked_at >= SEARCH_EVERY_NS:
            self._looked_at = now
            self._names = self._search()
        return "suspected: " + (", ".join(self._names) if self._names else "no known network manager runs here")

    def _search(self) -> tuple[str, ...]:
        found: set[str] = set()
        deadline = time.monotonic_ns() + BOUND_NS
        try:
            with os.scandir(self._proc) as entries:
                for entry in entries:
                    if entry.name.isdigit() and (name := self._comm(int(entry.name))) in KNOWN:
                        found.add(KNOWN[name])
                    if time.monotonic_ns() > deadline:
                        break
        except OSError:
            return ()
        return tuple(sorted(found))

    def _comm(self, pid: int) -> str | None:
        try:
            name = (self._proc / str(pid) / "comm").read_text(errors="replace").strip()
        except OSError:
            return None
        return name if name.isprintable() else "?"
