"""A node: an appliance that boots, dies, is switched off, and runs the daemon.

A boot is a new process, mount and IPC world: its first process is the init of a process-id namespace, so that killing
it kills everything that ever ran on the node, wherever it hid, and a `reboot(2)` from inside ends that world and not
the machine. The network namespace stays, as the cables do. The boot id is a file bound over the kernel's; the
kernel's reset trigger, where there is one, is bound to a file that only records, and the machine's journal is hidden.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hblink.control import ControlError, socket_path
from hblink.control.client import ask
from tests.rig.bmc import Bmc
from tests.rig.namespace import Namespace, directory_in_memory
from tests.rig.process import PYTHON, ROOT, UNTIL_PARENT_DIES, child_of, end, in_real_time, send
from tests.rig.wait import boottime_ns, wait_until

# `cat` is the node's init: it ends with its standard input, which the kernel closes when the rig dies. With SIGCHLD
# ignored the kernel reaps the orphans that it inherits, as a real init would.
_INIT = """\
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount --bind "$0/boot_id" /proc/sys/kernel/random/boot_id
test ! -e /proc/sysrq-trigger || mount --bind "$0/sysrq" /proc/sysrq-trigger
test ! -d /run/systemd || mount -t tmpfs tmpfs /run/systemd
echo up
exec env --ignore-signal=CHLD cat >/dev/null
"""
STATUS_TIMEOUT_S = 5.0
HBLINK = (*PYTHON, "-m", "hblink.cli.main")


class NodeDown(AssertionError):  # noqa: N818 - a state, not an error of the rig
    """The node is switched off or has crashed."""


@dataclass(frozen=True, slots=True)
class Interface:
    """A network interface of a node and its own addresses, which a boot configures."""

    name: str
    addresses: tuple[str, ...]


class Notifications:
    """A socket for sd_notify(3) whose datagrams a thread records with their time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._said: list[tuple[int, str]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._thread = threading.Thread(target=self._listen, name="notify", daemon=True)
        self._thread.start()

    def said(self, since: int = 0) -> list[tuple[int, str]]:
        """Return (instant, text) of each datagram that came at or after `since`."""
        return [entry for entry in self._said if entry[0] >= since]

    def close(self) -> None:
        """End the thread and remove the socket."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as goodbye:
            goodbye.sendto(b"", str(self.path))
        self._thread.join(5)
        self._socket.close()
        self.path.unlink()

    def _listen(self) -> None:
        while data := self._socket.recv(65536):
            self._said.append((boottime_ns(), data.decode(errors="replace")))


class Node:
    """One appliance. Any thread may call; what it starts dies with that thread. The BMC's thread calls `switch`."""

    def __init__(self, name: str, namespace: Namespace, directory: Path, interfaces: Sequence[Interface]) -> None:
        self.name, self.namespace, self.interfaces = name, namespace, tuple(interfaces)
        self.directory = directory
        self.configuration = directory / "etc"
        self.runtime = directory_in_memory(name)  # the loop writes there, and must not wait for the machine's disk
        self.state = directory / "state"
        self.log = directory / "daemon.log"
        for made in (self.configuration, self.state):
            made.mkdir(parents=True, mode=0o700)
        (self.configuration / "node").write_text(f"{name}\n")
        (directory / "sysrq").touch()
        self.bmc: Bmc | None = None
        self.notifications = Notifications(directory / "notify")
        self.environment: dict[str, str] = {}  # added to the daemon's
        self.boots: list[str] = []  # every boot id so far
        self.program: tuple[str, ...] = (*in_real_time(), *HBLINK, "run")
        self.starts_daemon = True  # a boot also starts the daemon
        self.cabling: Callable[[Node], None] = lambda _node: None  # called in a boot when the links have come up
        self._lock = threading.RLock()
        self._init: subprocess.Popen[str] | None = None
        self._daemon: subprocess.Popen[str] | None = None
        self._started_at = 0
        self._links_down()

    # ---- power ----

    @property
    def alive(self) -> bool:
        """Whether the node's kernel runs."""
        return self._init is not None and self._init.poll() is None

    def boot(self, *, daemon: bool | None = None) -> None:
        """Power on: a new boot id, an empty runtime directory, links up, and the daemon unless told otherwise."""
        with self._lock:
            assert not self.alive, f"{self.name} is up"
            self._reap()
            self.boots.append(str(uuid.uuid4()))
            (self.directory / "boot_id").write_text(f"{self.boots[-1]}\n")
            shutil.rmtree(self.runtime)
            self.runtime.mkdir(mode=0o700)
            self._links_up()
            self.cabling(self)
            self._start_init()
            if self.bmc is not None:
                self.bmc.set_power(True)
            if self.starts_daemon if daemon is None else daemon:
                self.start_daemon()

    def crash(self) -> None:
        """Die as in a kernel panic: no process, no link, no address; the BMC goes on saying ON."""
        with self._lock:
            if self._init is not None:
                first, daemon = child_of(self._init.pid), self.daemon_pid
                if first is not None:
                    send(first, signal.SIGKILL)
                if daemon is not None:  # the end of the init reaches it later, and it must not see its links go
                    send(daemon, signal.SIGKILL)
            self._links_down()
            if self._daemon is not None:
                send(self._daemon.pid, signal.SIGCONT)  # it must reap a daemon that died while it was frozen
            self._reap()
            self._forget_addresses()  # a process may have put one back after the links went down, while it died

    def power_off(self) -> None:
        """Lose power as by the button: dead as after `crash`, and the BMC says OFF."""
        with self._lock:
            self.crash()
            if self.bmc is not None:
                self.bmc.set_power(False)

    def switch(self, on: bool) -> None:
        """Follow the BMC: what its chassis program calls. Returns when the node is dead, or its daemon started."""
        with self._lock:
            if not on:
                self.crash()
            elif not self.alive:
                self.boot()

    def revive(self) -> None:
        """Have it on, and its daemon running, whatever it is now; its BMC may be at it."""
        with self._lock:
            self.switch(True)
            if self.daemon_pid is None:
                self.start_daemon()
            else:
                self.cont()

    @contextlib.contextmanager
    def steady(self) -> Iterator[None]:
        """Let nobody switch it on or off meanwhile, its BMC neither."""
        with self._lock:
            yield

    def close(self) -> None:
        """End everything that runs on the node."""
        self.crash()
        self.notifications.close()
        shutil.rmtree(self.runtime)

    # ---- processes ----

    def command(self, argv: Sequence[str]) -> list[str]:
        """Return the command line that runs `argv` on the node, in its namespaces; NodeDown if it is not up."""
        init = self._init
        first = None if init is None else child_of(init.pid)
        if first is None:
            raise NodeDown(self.name)
        where = ["nsenter", "--target", str(first), "--mount", "--pid", "--ipc", "--net", "--uts"]
        return [*UNTIL_PARENT_DIES, *where, "--", *argv]

    def run(self, *argv: str, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a program on the node to its end, in the daemon's environment; its exit status is the caller's."""
        return subprocess.run(
            self.command(argv),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            env=self._environment(),
            cwd=ROOT,
            check=False,
        )

    def hblink(self, *words: str, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
        """Run an `hblink` command on the node, as its operator would."""
        return self.run(*HBLINK, *words, timeout_s=timeout_s)

    def status(self) -> dict[str, Any] | None:
        """Return the document of `hblink status --json`; None while the daemon does not answer or the node is down.

        Asked at the control socket: polling with a new Python each time would slow the daemons that it watches.
        """
        try:
            answer = ask(socket_path(self._environment()), {"command": "status"}, STATUS_TIMEOUT_S)
        except ControlError:
            return None
        status = answer.get("status")
        return status if isinstance(status, dict) else None

    def start_daemon(self) -> None:
        """Start `program`, which is `hblink run`; its output is appended to `log`."""
        with self._lock:
            assert self.daemon_pid is None, f"the daemon of {self.name} runs"
            self._reap_daemon()
            self._started_at = boottime_ns()
            with self.log.open("a") as sink:
                self._daemon = subprocess.Popen(
                    self.command(self.program),
                    stdin=subprocess.DEVNULL,
                    stdout=sink,
                    stderr=subprocess.STDOUT,
                    text=True,
                    env=self._environment(),
                    cwd=ROOT,
                    start_new_session=True,
                )
            daemon = self._daemon
            wait_until(
                lambda: self.daemon_pid is not None or daemon.poll() is not None, 15, f"{self.name} to run a program"
            )

    @property
    def started_at(self) -> int:
        """When the daemon was last started."""
        return self._started_at

    @property
    def daemon_pid(self) -> int | None:
        """The daemon's process id as the rig sees it (not nsenter's, which waits for it); None if it does not run."""
        if self._daemon is None or self._daemon.poll() is not None:
            return None
        return child_of(self._daemon.pid)

    def ready_at(self) -> int | None:
        """When the daemon said READY=1 since its last start; None if it has not yet."""
        said = self.notifications.said(self._started_at)
        return next((at for at, text in said if "READY=1" in text.splitlines()), None)

    def kill_daemon(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send the daemon a signal; its children are left alone, as by kill(1)."""
        pid = self.daemon_pid
        assert pid is not None, f"no daemon on {self.name}"
        send(pid, number)

    def stop(self) -> None:
        """Freeze the daemon (SIGSTOP)."""
        self.kill_daemon(signal.SIGSTOP)

    def cont(self) -> None:
        """Let a frozen daemon go on; nsenter froze with it and goes on too."""
        self.kill_daemon(signal.SIGCONT)
        assert self._daemon is not None
        send(self._daemon.pid, signal.SIGCONT)

    def wait_daemon(self, timeout_s: float = 30) -> int:
        """Wait for the daemon to end and return its exit status, negative for a signal."""
        assert self._daemon is not None
        daemon = self._daemon
        wait_until(lambda: daemon.poll() is not None, timeout_s, f"the daemon of {self.name} to end", logs=[self.log])
        assert daemon.returncode is not None
        return daemon.returncode

    # ---- what it has ----

    def addresses(self) -> dict[str, list[str]]:
        """Dump the kernel's addresses by interface, VIPs and own ones."""
        return self.namespace.addresses()

    def has(self, *vips: str) -> set[str]:
        """Return those of `vips` that the kernel holds, on any interface, whatever their prefix there."""
        held = {entry.split("/")[0] for entries in self.addresses().values() for entry in entries}
        return {vip for vip in vips if vip.split("/")[0] in held}

    def write(self, name: str, text: str, mode: int = 0o600) -> Path:
        """Write a file into the configuration directory."""
        path = self.configuration / name
        path.write_text(text)
        path.chmod(mode)
        return path

    def _environment(self) -> Mapping[str, str]:
        return {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG": "C.UTF-8",
            "RUNTIME_DIRECTORY": str(self.runtime),
            "STATE_DIRECTORY": str(self.state),
            "CONFIGURATION_DIRECTORY": str(self.configuration),
            "NOTIFY_SOCKET": str(self.notifications.path),
            "PYTHONUNBUFFERED": "1",
            **({"PYTHONDONTWRITEBYTECODE": "1"} if "PYTHONDONTWRITEBYTECODE" in os.environ else {}),
            **self.environment,
        }

    def _start_init(self) -> None:
        where = ["unshare", "--mount", "--ipc", "--uts", "--propagation", "private", "--pid", "--fork"]
        init = ["sh", "-ec", _INIT, str(self.directory)]
        with (self.directory / "init.log").open("a") as sink:  # unshare grumbles when its child is killed
            self._init = subprocess.Popen(
                [*UNTIL_PARENT_DIES, *self.namespace.enter, *where, "--kill-child", "--", *init],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=sink,
                text=True,
                start_new_session=True,
            )
        assert self._init.stdout is not None
        assert self._init.stdout.readline() == "up\n", f"{self.name} does not boot"

    def _links_up(self) -> None:
        self.namespace.ip(
            *(f"link set {interface.name} up" for interface in self.interfaces),
            *(
                f"address replace {address} dev {interface.name}"
                for interface in self.interfaces
                for address in interface.addresses
            ),
        )

    def _links_down(self) -> None:
        self.namespace.ip(*(f"link set {interface.name} down" for interface in self.interfaces))
        self._forget_addresses()

    def _forget_addresses(self) -> None:
        self.namespace.ip(*(f"address flush dev {interface.name}" for interface in self.interfaces))

    def _reap(self) -> None:
        if self._init is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._init.wait(5)  # unshare ends after the init, and the init after everything else of the node
            end(self._init)
            self._init = None
        self._reap_daemon()

    def _reap_daemon(self) -> None:
        if self._daemon is not None:
            end(self._daemon)
            self._daemon = None
