"""A BMC: a real `ipmi_sim` whose chassis program truly switches a node of the rig off and on.

The program itself is a few lines of shell (a reading costs about a millisecond); commands go through a pair of FIFOs to
a thread of this process, which carries them out. `power` on disk is the truth that readings report: it says 0 only
after the node is dead. Every command is recorded with its time, so that a test can count the fences.
"""

from __future__ import annotations

import hashlib
import json
import os
import selectors
import signal
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.rig.fru import inventory, stored
from tests.rig.namespace import Namespace
from tests.rig.process import end, run, send
from tests.rig.wait import boottime_ns, wait_until

USER = "fence"
CIPHER_SUITE = 3  # the only one that ipmi_sim speaks

_LAN = """\
name "{name}"
set_working_mc 0x20
  startlan 1
    addr {address} {port}
    priv_limit admin
    allowed_auths_callback none md2 md5 straight
    allowed_auths_user none md2 md5 straight
    allowed_auths_operator none md2 md5 straight
    allowed_auths_admin none md2 md5 straight
    guid {guid}
  endlan
  chassis_control "{program} 0x20"
  user 2 true "{user}" "{password}" admin 10 md5 straight
"""
_EMULATION = """\
mc_setbmc 0x20
mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr
{inventory}
sel_enable 0x20 1000 0x0a
mc_enable 0x20
"""
# ipmi_sim calls it as `PROGRAM 0x20 get power` and `PROGRAM 0x20 set power 0|1`.
_CHASSIS = """\
#!/bin/sh
cd {directory} || exit 1
case "$2 $3" in
"get power") echo read >>readings; read -r power <power; echo "power:$power" ;;
"set power") echo "$4" >command; read -r answer <answer; test "$answer" = done ;;
*) exit 1 ;;
esac
"""


@dataclass(frozen=True, slots=True)
class PowerCommand:
    """One `set power` that reached the chassis; `at` is CLOCK_BOOTTIME in nanoseconds."""

    at: int
    on: bool


class Bmc:
    """The BMC of one node, listening on `address` inside `namespace`.

    `switch(on)` is called in the BMC's own thread: it must return only when the node is dead, respectively be quick
    about starting it. Faults: `off_delay_s` (accepts at once, acts later), `lies` (says OFF and does nothing),
    `refuses` (the command fails).
    """

    def __init__(
        self,
        namespace: Namespace,
        directory: Path,
        address: str,
        switch: Callable[[bool], None],
        *,
        password: str = "rig-secret",
        port: int = 623,
    ) -> None:
        directory.mkdir(parents=True)
        self.namespace, self.directory = namespace, directory
        self.address, self.port, self.password = address, port, password
        self.off_delay_s = 0.0
        self.lies = False
        self.refuses = False
        self.log = directory / "ipmi_sim.log"
        self.guid = hashlib.sha256(f"{address} {port}".encode()).hexdigest()[:32]  # each board has its own
        self.serial = f"BOX-{self.guid[:8]}"
        self._switch = switch
        self._commands: list[PowerCommand] = []
        self._delayed: list[int] = []  # instants at which an accepted off takes effect
        self._stop = threading.Event()
        self._process: subprocess.Popen[str] | None = None
        self.write_files()
        for name in ("command", "answer"):
            os.mkfifo(directory / name, 0o600)
        self.set_power(False)
        self._fifos = [os.open(directory / name, os.O_RDWR | os.O_NONBLOCK) for name in ("command", "answer")]
        self._wake_read, self._wake_write = os.pipe()
        self._thread = threading.Thread(target=self._serve, name=f"bmc-{namespace.label}", daemon=True)
        self._thread.start()

    def start(self, timeout_s: float = 10) -> None:
        """Start `ipmi_sim` and wait until it has bound its socket."""
        state = self.directory / "state"
        state.mkdir(exist_ok=True)
        argv = ["ipmi_sim", "-n", "-c", str(self.directory / "lan.conf"), "-f", str(self.directory / "sim.emu")]
        self._process = self.namespace.spawn([*argv, "-s", str(state)], output=self.log, directory=self.directory)
        bound = f"{self.address}:{self.port}"
        wait_until(
            lambda: bound in self.namespace.run("ss", "-Hlun"), timeout_s, f"ipmi_sim on {bound}", logs=[self.log]
        )

    def stop(self) -> None:
        """End `ipmi_sim`: the BMC has lost its power."""
        if self._process is not None:
            send(self._process.pid, signal.SIGKILL)
            end(self._process)
            self._process = None

    def close(self) -> None:
        """End `ipmi_sim` and the thread; a delayed off no longer comes."""
        self.stop()
        self._stop.set()
        os.write(self._wake_write, b"x")
        self._thread.join(10)
        assert not self._thread.is_alive(), "the BMC's thread hangs in a power command"
        for fd in (*self._fifos, self._wake_read, self._wake_write):
            os.close(fd)
        self._fifos = []

    @property
    def commands(self) -> list[PowerCommand]:
        """Every power command so far, also refused ones."""
        return list(self._commands)

    @property
    def offs(self) -> int:
        """How many commands to switch off came: the fences."""
        return sum(not command.on for command in self._commands)

    @property
    def readings(self) -> int:
        """How often the power state was read."""
        path = self.directory / "readings"
        return len(path.read_text().splitlines()) if path.exists() else 0

    @property
    def power(self) -> bool:
        """What a reading says now."""
        return (self.directory / "power").read_text().strip() == "1"

    def set_power(self, on: bool) -> None:
        """Change what a reading says, and nothing else."""
        fresh = self.directory / "power.new"
        fresh.write_text(f"{int(on)}\n")
        fresh.replace(self.directory / "power")

    def ipmitool(self, origin: Namespace, *words: str, retries: int = 2, answer_s: int = 10) -> str:
        """Run ipmitool against this BMC from `origin`, as `chassis power status` and the like.

        Raises ProgramError when it fails; against a BMC that is gone that takes about `retries` times 3 `answer_s`. A
        command that has no answer after `answer_s`, and a second more each time, is sent again, and carried out again.
        """
        host = ["-I", "lanplus", "-C", str(CIPHER_SUITE), "-H", self.address, "-p", str(self.port)]
        secret = self.directory / "password"
        who = ["-U", USER, "-f", str(secret), "-N", str(answer_s), "-R", str(retries)]
        return run([*origin.enter, "ipmitool", *host, *who, *words], timeout_s=120)

    def write_files(self) -> None:
        """Write its configuration; to be called again, while stopped, when `guid` or `serial` was changed."""
        program = self.directory / "chassis"
        program.write_text(_CHASSIS.format(directory=self.directory))
        program.chmod(0o700)
        lan = _LAN.format(
            name=self.namespace.label,
            guid=self.guid,
            address=self.address,
            port=self.port,
            program=program,
            user=USER,
            password=self.password,
        )
        emulation = _EMULATION.format(inventory=stored(inventory(product=self.serial)))
        for name, text in (("lan.conf", lan), ("sim.emu", emulation), ("password", f"{self.password}\n")):
            path = self.directory / name
            path.write_text(text)
            path.chmod(0o600)

    def _serve(self) -> None:
        pending = b""
        with selectors.DefaultSelector() as selector:
            selector.register(self._fifos[0], selectors.EVENT_READ)
            selector.register(self._wake_read, selectors.EVENT_READ)
            while not self._stop.is_set():
                wait_s = max(0, min(self._delayed) - boottime_ns()) / 1e9 if self._delayed else None
                ready = selector.select(wait_s)
                due = [at for at in self._delayed if at <= boottime_ns()]
                if due and not self._stop.is_set():
                    self._delayed = [at for at in self._delayed if at not in due]
                    self._take_off()
                if any(key.fd == self._fifos[0] for key, _ in ready):
                    *lines, pending = (pending + os.read(self._fifos[0], 4096)).split(b"\n")
                    for line in lines:
                        self._obey(line == b"1")

    def _obey(self, on: bool) -> None:
        """Carry out one command; the answer lets the waiting chassis program, and so ipmitool, go on."""
        command = PowerCommand(boottime_ns(), on)
        self._commands.append(command)
        with (self.directory / "commands.jsonl").open("a") as sink:
            sink.write(json.dumps({"at": command.at, "on": on, "refused": self.refuses}) + "\n")
        if self.refuses:
            self._reply(b"refused\n")
        elif on:
            was_on, self._delayed = self.power, []
            self.set_power(True)
            self._reply(b"done\n")
            if not was_on:
                self._switch(True)
        elif self.lies:
            self.set_power(False)
            self._reply(b"done\n")
        elif self.off_delay_s:
            self._delayed.append(command.at + int(self.off_delay_s * 1e9))
            self._reply(b"done\n")
        else:
            self._take_off()
            self._reply(b"done\n")

    def _take_off(self) -> None:
        self._switch(False)
        self.set_power(False)

    def _reply(self, answer: bytes) -> None:
        os.write(self._fifos[1], answer)
