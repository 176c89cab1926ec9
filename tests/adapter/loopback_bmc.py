"""A BMC on loopback, for tests that need no node behind it: a real ipmi_sim whose chassis is a file."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tests.rig.fru import stored
from tests.rig.wait import wait_until

SECOND = 1_000_000_000
PASSWORD = "s3cret-of-the-bmc"
GUID = "a123456789abcdefa123456789abcdef"

LAN = """\
name "bmc"
set_working_mc 0x20
  startlan 1
    addr 127.0.0.1 {port}
    priv_limit admin
    allowed_auths_callback none md2 md5 straight
    allowed_auths_user none md2 md5 straight
    allowed_auths_operator none md2 md5 straight
    allowed_auths_admin none md2 md5 straight
    guid {guid}
  endlan
  chassis_control "{program} 0x20"
  user 2 true "fence" "{password}" admin 10 md5 straight
"""
EMULATION = """\
mc_setbmc 0x20
mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr
{inventory}
sel_enable 0x20 1000 0x0a
mc_enable 0x20
"""
CHASSIS = """\
#!/bin/sh
cd {directory} || exit 1
echo "$2 $4" >>requests
test ! -e broken || exit 1
case "$2" in get) read -r power <power && echo "power:$power" ;; set) test -e stuck || echo "$4" >power ;; esac
"""


@dataclass(frozen=True)
class Settings:
    """What IpmiDevice wants to know of a BMC."""

    port: int
    password_file: Path
    host: str = "127.0.0.1"
    user: str = "fence"
    cipher_suite: int = 3  # the only one that ipmi_sim speaks
    privilege: str = "OPERATOR"
    command_timeout_ns: int = 10 * SECOND


def claimed_port() -> tuple[socket.socket, int]:
    """Return a port that is free for UDP, and a TCP socket on it: another test run sees by that that it is taken.

    It is below those that the kernel gives to whoever asks for any (ip(7), ip_local_port_range), as ipmi_sim binds it
    only a moment later.
    """
    for port in range(20_000, 32_000):
        claim = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            claim.bind(("127.0.0.1", port))
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            claim.close()
        else:
            return claim, port
    raise AssertionError("no port is free")


class Bmc:
    """An ipmi_sim whose chassis is a file: `power` holds 0 or 1, `requests` what was asked of it; `fru`: its inventory.

    Faults are files: while `broken` is there the chassis fails, while `stuck` is there it says yes and does nothing.
    """

    def __init__(self, directory: Path, guid: str = GUID, fru: bytes = b"") -> None:
        self.directory = directory
        self._claim, self.port = claimed_port()
        program, password = directory / "chassis", directory / "password"
        program.write_text(CHASSIS.format(directory=directory))
        program.chmod(0o700)
        password.write_text(f"{PASSWORD}\n")
        password.chmod(0o600)
        (directory / "lan.conf").write_text(LAN.format(guid=guid, port=self.port, program=program, password=PASSWORD))
        (directory / "sim.emu").write_text(EMULATION.format(inventory=stored(fru)))
        self.settings = Settings(self.port, password)
        self.reset()
        with (directory / "log").open("wb") as log:
            argv = ["setpriv", "--pdeathsig", "KILL", "ipmi_sim", "-n", "-c", "lan.conf", "-f", "sim.emu", "-s", "."]
            self.process = subprocess.Popen(
                argv, cwd=directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    @property
    def bound(self) -> bool:
        """Whether the simulator listens (proc_net in proc(5): addresses in hexadecimal)."""
        assert self.process.poll() is None, (self.directory / "log").read_text()
        return f"0100007F:{self.port:04X} " in Path("/proc/net/udp").read_text()

    def reset(self) -> None:
        (self.directory / "power").write_text("1\n")
        (self.directory / "requests").write_text("")
        for fault in ("broken", "stuck"):
            (self.directory / fault).unlink(missing_ok=True)

    @property
    def power(self) -> str:
        return (self.directory / "power").read_text().strip()

    @property
    def commands(self) -> list[str]:
        return [line for line in (self.directory / "requests").read_text().splitlines() if line.startswith("set")]

    @property
    def requests(self) -> list[str]:
        """The verbs of everything that was asked of the chassis."""
        return [line.split()[0] for line in (self.directory / "requests").read_text().splitlines()]

    def close(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._claim.close()


@contextlib.contextmanager
def loopback_bmc(directory: Path, guid: str = GUID, fru: bytes = b"") -> Iterator[Bmc]:
    """Start a BMC, wait until it listens, and end it."""
    bmc = Bmc(directory, guid, fru)
    try:
        wait_until(lambda: bmc.bound, 60, "ipmi_sim listens", logs=[directory / "log"])
        yield bmc
    finally:
        bmc.close()


@contextlib.contextmanager
def silent_port(settings: Settings) -> Iterator[Settings]:
    """A port that takes every datagram and answers none: ipmitool waits there until it is killed."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as hole:
        hole.bind(("127.0.0.1", 0))
        yield replace(settings, port=hole.getsockname()[1])


def ipmitools(port: int) -> list[int]:
    """Pids of the living ipmitool processes that talk to `port`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if words[0].endswith(b"ipmitool") and str(port).encode() in words:
            found.append(int(path.parent.name))
    return found
