"""A guest: the appliance image in a virtual machine (QEMU, software emulation) that a BMC of the rig can switch.

Power is the process: to cut it is to kill QEMU, to press the button is to start it. The disk, like a disk, stays.
"""

from __future__ import annotations

import base64
import contextlib
import os
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.rig import agent
from tests.rig.agent import Agent, AgentError, Done
from tests.rig.namespace import Namespace
from tests.rig.process import end
from tests.rig.qmp import Qmp
from tests.rig.wait import boottime_ns

MEMORY_MIB = 512
CPU = "qemu64,-svm"  # of AMD, which needs no separate page tables; without svm no guest loads kvm


class GuestDownError(AssertionError):
    """The guest has no power."""


@dataclass(frozen=True, slots=True)
class Nic:
    """A network port: its name for the monitor, its hardware address, and QEMU's -netdev without the id."""

    name: str
    mac: str
    netdev: str


class Guest:
    """One virtual machine, switched off at first. Everything it writes is in `directory`; sockets are in `sockets`.

    `switch` may be called from the BMC's thread while a test uses the guest: one lock orders them.
    """

    def __init__(
        self,
        name: str,
        namespace: Namespace,
        directory: Path,
        sockets: Path,
        disk: Path,
        nics: Sequence[Nic],
        heartbeat_port: str,
        *,
        credentials: Mapping[str, str],
        outputs: Mapping[str, Path],
    ) -> None:
        """`credentials` are given to its systemd; `outputs` are virtio ports whose bytes go to files."""
        directory.mkdir(parents=True, exist_ok=True)
        self.name, self.namespace, self.directory, self.disk = name, namespace, directory, disk
        self.nics = tuple(nics)
        self.console = sockets / f"{name}.console"
        self.journal = directory / "journal.log"
        self.console_log = directory / "console.log"
        self._sockets = sockets
        self._heartbeat_port = heartbeat_port
        self._credentials = {**agent.credentials(), **credentials}
        self._outputs = {agent.JOURNAL_PORT: self.journal, **outputs}
        self._lock = threading.RLock()
        self._process: subprocess.Popen[str] | None = None
        self._qmp: Qmp | None = None
        self._agent: Agent | None = None
        self._unplugged: set[str] = set()
        self._started_at = 0

    # ---- power ----

    @property
    def alive(self) -> bool:
        """Whether the machine has power."""
        return self._process is not None and self._process.poll() is None

    @property
    def started_at(self) -> int:
        """When power was last switched on, CLOCK_BOOTTIME of the host in nanoseconds."""
        return self._started_at

    def power_on(self) -> None:
        """Switch the machine on; a second call does nothing. Unplugged cables stay unplugged."""
        with self._lock:
            if self.alive:
                return
            self._drop()
            self._started_at = boottime_ns()
            self._process = self.namespace.spawn(
                self._command(), output=self.directory / "qemu.log", directory=self.directory
            )
            self._qmp = Qmp(self._sockets / f"{self.name}.qmp")
            for nic in self._unplugged:
                self._qmp.execute("set_link", name=nic, up=False)
            self._qmp.execute("cont")
            self._agent = Agent(self._sockets / f"{self.name}.agent")

    def power_off(self) -> None:
        """Cut the power: the machine is dead when this returns."""
        with self._lock:
            if self._process is not None:
                end(self._process)
                self._process = None
            self._drop()

    def switch(self, on: bool) -> None:
        """Follow the BMC."""
        if on:
            self.power_on()
        else:
            self.power_off()

    # ---- cables ----

    def plug(self, nic: str, connected: bool) -> None:
        """Plug or unplug the cable of a network port: the guest sees its carrier change. Survives power cuts."""
        with self._lock:
            if connected:
                self._unplugged.discard(nic)
            else:
                self._unplugged.add(nic)
            if self.alive and self._qmp is not None:
                self._qmp.execute("set_link", name=nic, up=connected)

    # ---- inside ----

    def run(self, script: str | None, timeout_s: float = 120) -> Done:
        """Run a shell script as root, or ask for the daemon's status (None). AgentError: no answer; GuestDownError."""
        return self._shell().run(script, timeout_s)

    def fire(self, script: str) -> None:
        """Have a script run that may take the guest with it; nothing is waited for."""
        self._shell().fire(script)

    def answers(self, timeout_s: float = 5) -> bool:
        """Whether the shell in the guest answers: false while it boots, or is dead."""
        try:
            return self._shell().run("true", timeout_s).status == 0
        except (AgentError, GuestDownError):
            return False

    def events(self) -> list[str]:
        """Return the names of what QEMU told about this machine since it was switched on."""
        with self._lock:
            if self._qmp is None:
                return []
            self._qmp.execute("query-status")  # takes in what came meanwhile
            return list(self._qmp.events)

    def close(self) -> None:
        """End the machine."""
        self.power_off()

    def _shell(self) -> Agent:
        shell = self._agent
        if shell is None or not self.alive:
            raise GuestDownError(self.name)
        return shell

    def _drop(self) -> None:
        for connection in (self._agent, self._qmp):
            if connection is not None:
                with contextlib.suppress(OSError):
                    connection.close()
        self._agent = self._qmp = None
        for path in self._sockets.glob(f"{self.name}.*"):
            path.unlink(missing_ok=True)

    def _command(self) -> list[str]:
        """Return QEMU's command line: stopped at first (-S), so that cables are as they should be from the start."""
        words = ["qemu-system-x86_64", "-S", "-no-user-config", "-nodefaults", "-display", "none", "-name", self.name]
        words += ["-machine", "pc", "-accel", "tcg", "-cpu", CPU, "-smp", "1", "-m", str(MEMORY_MIB)]
        words += ["-drive", f"file={self.disk},format=raw,if=virtio,cache=unsafe"]
        words += ["-chardev", self._listen("console") + f",logfile={self.console_log},logappend=on"]
        words += ["-serial", "chardev:console"]
        words += ["-chardev", f"serial,id=heartbeat,path={self._heartbeat_port}", "-serial", "chardev:heartbeat"]
        words += ["-device", "virtio-serial-pci"]
        words += ["-chardev", self._listen("agent")]
        words += ["-device", f"virtserialport,chardev=agent,name={agent.PORT}"]
        for port, path in self._outputs.items():
            words += ["-chardev", f"file,id={port},path={path},append=on"]
            words += ["-device", f"virtserialport,chardev={port},name={port}"]
        for nic in self.nics:
            words += ["-netdev", f"{nic.netdev},id=net-{nic.name}"]
            words += ["-device", f"virtio-net-pci,id={nic.name},netdev=net-{nic.name},mac={nic.mac},romfile="]
        words += ["-device", "i6300esb", "-action", "watchdog=reset"]
        words += ["-chardev", self._listen("qmp"), "-mon", "chardev=qmp,mode=control"]
        for name, text in self._credentials.items():
            value = base64.b64encode(text.encode()).decode()
            words += ["-smbios", f"type=11,value=io.systemd.credential.binary:{name}={value}"]
        nice = os.environ.get("HBLINK_VM_NICE")
        return [*(["nice", "-n", nice] if nice else []), *words]

    def _listen(self, what: str) -> str:
        return f"socket,id={what},path={self._sockets / f'{self.name}.{what}'},server=on,wait=off"
