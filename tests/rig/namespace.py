"""Network namespaces under names of this process alone, removed with everything in them when the context ends.

Must never touch the namespace that the tests were started in: every interface is made inside a namespace of the rig.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.rig.process import UNTIL_PARENT_DIES, run, send
from tests.rig.wait import wait_until

DIRECTORY = Path("/run/netns")
MEMORY = Path("/dev/shm")
PREFIX = "hblinkrig"
_number = itertools.count()

# No duplicate address detection and no router solicitation: an address is usable the moment it is there.
_SYSCTL = (
    "for scope in all default; do"
    " echo 0 > /proc/sys/net/ipv6/conf/$scope/disable_ipv6;"
    " echo 0 > /proc/sys/net/ipv6/conf/$scope/accept_dad;"
    " echo 0 > /proc/sys/net/ipv6/conf/$scope/router_solicitations;"
    " echo 0 > /proc/sys/net/ipv6/conf/$scope/accept_ra; done;"
    " ip link set lo up"
)


class Namespace:
    """A named network namespace; `delete` kills what runs in it and removes it."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.name = f"{PREFIX}-{os.getpid()}-{next(_number)}-{label}"
        run(["ip", "netns", "add", self.name])
        run([*self.enter, "sh", "-ec", _SYSCTL])

    @property
    def path(self) -> Path:
        """The file that setns(2) takes."""
        return DIRECTORY / self.name

    @property
    def enter(self) -> tuple[str, ...]:
        """The words before a command that is to run inside."""
        return ("nsenter", f"--net={self.path}", "--")

    def run(self, *argv: str, timeout_s: float = 20) -> str:
        """Run a command inside and return its output; ProgramError if it fails."""
        return run([*self.enter, *argv], timeout_s=timeout_s)

    def spawn(self, argv: Sequence[str], *, output: Path, directory: Path | None = None) -> subprocess.Popen[str]:
        """Start a program inside, its output appended to the file `output`; it dies with the thread that called."""
        with output.open("a") as sink:
            return subprocess.Popen(
                [*UNTIL_PARENT_DIES, *self.enter, *argv],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                text=True,
                cwd=directory,
                start_new_session=True,
            )

    def ip(self, *lines: str) -> None:
        """Carry out lines of ip(8) inside, in order, ending with ProgramError at the first that fails."""
        run(["ip", "-netns", self.name, "-batch", "-"], stdin="".join(f"{line}\n" for line in lines))

    def addresses(self) -> dict[str, list[str]]:
        """Dump the kernel's addresses: interface name to `address/prefix`, without link-local ones."""
        dump: list[dict[str, Any]] = json.loads(run(["ip", "-netns", self.name, "-json", "address", "show"]))
        return {
            link["ifname"]: [
                f"{entry['local']}/{entry['prefixlen']}" for entry in link["addr_info"] if entry["scope"] != "link"
            ]
            for link in dump
            if link
        }

    def packets(self, interface: str) -> tuple[int, int]:
        """Return how many packets `interface` has (received, sent)."""
        link = json.loads(run(["ip", "-netns", self.name, "-json", "-stats", "link", "show", "dev", interface]))[0]
        return int(link["stats64"]["rx"]["packets"]), int(link["stats64"]["tx"]["packets"])

    def forwarding(self) -> set[str]:
        """The bridge ports inside that have carrier and forward."""
        ports: list[dict[str, Any]] = json.loads(run(["bridge", "-netns", self.name, "-json", "link", "show"]))
        return {port["ifname"] for port in ports if port["state"] == "forwarding" and "LOWER_UP" in port["flags"]}

    def processes(self) -> list[int]:
        """The process ids of everything that runs inside."""
        return [int(pid) for pid in run(["ip", "netns", "pids", self.name]).split()]

    def delete(self) -> None:
        """Kill every process inside and remove the namespace; a second call does nothing."""
        if not self.path.exists():
            return

        def empty() -> bool:
            inside = self.processes()
            for pid in inside:
                send(pid, signal.SIGKILL)
            return not inside

        wait_until(empty, 15, f"processes of {self.name} to die")
        run(["ip", "netns", "delete", self.name])


class Lab:
    """Makes namespaces; `close` removes them all, the last one first, whatever happened in between."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        sweep()

    def namespace(self, label: str) -> Namespace:
        """Make a namespace whose name contains `label`."""
        made = Namespace(label)
        self._stack.callback(made.delete)
        return made

    def close(self) -> None:
        """Remove every namespace that was made."""
        self._stack.close()


@contextlib.contextmanager
def lab() -> Iterator[Lab]:
    """Give a Lab and remove all that it made at the end."""
    made = Lab()
    with contextlib.closing(made):
        yield made


def directory_in_memory(name: str) -> Path:
    """Make a directory where nothing waits for a disk, as /run is on an appliance; where there is such a place."""
    place = MEMORY if MEMORY.is_dir() else None
    return Path(tempfile.mkdtemp(prefix=f"{PREFIX}-{os.getpid()}-{name}-", dir=place))


def leftover(pid: int | None = None) -> list[str]:
    """Names of the rig's namespaces and directories in memory that exist, of all processes or only of `pid`."""
    wanted = f"{PREFIX}-" if pid is None else f"{PREFIX}-{pid}-"
    places = (place for place in (DIRECTORY, MEMORY) if place.is_dir())
    return sorted(entry.name for place in places for entry in place.iterdir() if entry.name.startswith(wanted))


def sweep() -> None:
    """Remove what is left of rigs whose process was killed before it could clean up."""
    for name in leftover():
        maker = re.match(rf"{PREFIX}-(\d+)-", name)
        if maker is None or Path(f"/proc/{maker[1]}").exists():
            continue
        if (MEMORY / name).is_dir():
            shutil.rmtree(MEMORY / name, ignore_errors=True)
        else:
            with contextlib.suppress(AssertionError):  # another run may be sweeping at this moment
                run(["ip", "netns", "delete", name])
