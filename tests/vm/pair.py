"""Two guests as an installer would cable them, and every fault that a step may want.

    client (the bridge lan0) ---+--- alpha === hb0 (direct cable), null modem on ttyS1 === beta
                                +--- beta        BMCs: ipmi_sim on loopback, seen by the guests at 10.0.2.2

Everything is in one network namespace of the rig. Guests keep their disks; `close` ends all processes.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from hblink_wire.key import SECRET_LENGTH, Keyring, format_keyring, new_key

from tests.rig.agent import AgentError
from tests.rig.bmc import Bmc
from tests.rig.guest import Guest, GuestDownError, Nic
from tests.rig.namespace import Lab
from tests.rig.nullmodem import NullModem
from tests.rig.observer import Observer
from tests.rig.process import ROOT, run
from tests.rig.setting import HEARTBEAT_ADDRESS, HEARTBEAT_INTERFACE, HOST, NODES, SERVICE, Setting
from tests.rig.wait import log_end, wait_until

T = TypeVar("T")
LAN, CABLE = "lan0", HEARTBEAT_INTERFACE
VIPS = tuple((address, LAN) for address in ("192.0.2.10/32", "2001:db8:1::10/128"))
VIP = VIPS[0][0]
BMC_PORT = {"alpha": 9001, "beta": 9002}
SERIAL_PORT = "/dev/hblink/serial"
FLIGHT_PORT = "hblink.flight"
OBSERVE_MS = 200
OWNER_MS = 3000  # an answer of a starved guest may be late by a second or two

# Software emulation: a loop there is up to a third of a second late, and a Python needs seconds to start.
SETTING = Setting(
    timing={
        "keepalive_ms": 500,
        "deadtime_ms": 5000,
        "lease_ms": 8000,
        "initdead_ms": 20000,
        "handover_ms": 15000,
        "half_open_max_ms": 8000,
    },
    vips=VIPS,
    serial_keepalive_ms=1000,
    off_interval_ms=500,
    fence_extra={"host": "10.0.2.2", "command_timeout_ms": 8000, "attempt_ms": 26000, "latency_ms": 10000},
    fence_of={node: {"port": port} for node, port in BMC_PORT.items()},
)
# Longer than the worst lateness of an emulated loop; the peer fences sooner, where it can.
GUARD = '\n[guard]\nwatchdog = "/dev/watchdog0"\ntimeout_ms = 10000\nself_reset_ms = 10000\n'
# The shipped unit runs `hblink run`; here it also writes down each step, out of the machine.
_FLIGHT = (
    f"[Service]\nExecStart=\nExecStart=/usr/bin/hblink run --flight /dev/virtio-ports/{FLIGHT_PORT}\n"
    "Environment=PYTHONUNBUFFERED=1\nDeviceAllow=char-virtio-portsdev rw\n"
)


class GuestPair:
    """Two guests, switched off, with fresh copies of the image's disk in `directory`."""

    def __init__(self, directory: Path, image: Path, setting: Setting = SETTING) -> None:
        self.directory, self.image, self.setting = directory, image, setting
        self._stack = contextlib.ExitStack()
        directory.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as undo:
            undo.callback(self._stack.close)
            self._build()
            undo.pop_all()

    def __enter__(self) -> GuestPair:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End every process, remove the namespace; a second call does nothing."""
        self._stack.close()

    # ---- parts ----

    def _build(self) -> None:
        lab = Lab()
        self._stack.callback(lab.close)
        self.space = lab.namespace("vm")
        self.nullmodem = NullModem(baud=self.setting.baud)
        self._stack.callback(self.nullmodem.close)
        # Paths of unix sockets are short (108 bytes), those of a work tree may not be.
        self.sockets = sockets = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="hblink-vm-")))
        self._cable()
        self.guests: dict[str, Guest] = {}
        self.bmcs: dict[str, Bmc] = {}
        for index, node in enumerate(NODES):
            disk = self.directory / f"{node}.raw"
            run(["cp", "--sparse=always", str(self.image), str(disk)], timeout_s=600)
            guest = Guest(
                node,
                self.space,
                self.directory / node,
                sockets,
                disk,
                _nics(index),
                self.nullmodem.paths[index],
                credentials={"systemd.unit-dropin.hblink.service": _FLIGHT},
                outputs={FLIGHT_PORT: self.directory / node / "flight.jsonl"},
            )
            self.guests[node] = guest
            self._stack.callback(guest.close)
        for node, guest in self.guests.items():  # closed first: nobody fences anybody while the rig ends
            self.bmcs[node] = Bmc(
                self.space, self.directory / f"bmc-{node}", "127.0.0.1", guest.switch, port=BMC_PORT[node]
            )
            self._stack.callback(self.bmcs[node].close)
            self.bmcs[node].start()
        self.observer = Observer(
            self.space,
            {},
            {nic.mac: node for node, guest in self.guests.items() for nic in guest.nics if nic.name == LAN},
            self.setting.observed(),
            self.directory / "observer.jsonl",
            interval_ms=OBSERVE_MS,
        )
        self._stack.callback(self.observer.close)
        self._keys = format_keyring(Keyring((new_key(1, os.urandom(SECRET_LENGTH)),), 1))

    def _cable(self) -> None:
        four, six = SERVICE[LAN]
        lines = []
        for bridge in (LAN, CABLE):
            lines += [f"link add {bridge} type bridge stp_state 0 forward_delay 0 mcast_snooping 0"]
            lines += [f"link set {bridge} up"]
            for port in (f"{bridge}-{node}" for node in NODES):
                lines += [f"tuntap add {port} mode tap", f"link set {port} master {bridge} up"]
        lines += [
            f"address add {four}{HOST['client']}/24 dev {LAN}",
            f"address add {six}{HOST['client']}/64 dev {LAN}",
        ]
        self.space.ip(*lines)

    # ---- files of a node ----

    def configuration(self, node: str) -> dict[str, tuple[str, str]]:
        """Return what an installer writes on `node`: path to (mode, content)."""
        files = {
            "/etc/hblink/hblink.toml": ("0640", self.setting.toml((SERIAL_PORT, SERIAL_PORT)) + GUARD),
            "/etc/hblink/node": ("0644", f"{node}\n"),
            "/etc/hblink/hblink.keys": ("0600", self._keys),
            "/etc/hostname": ("0644", f"{node}\n"),
            "/etc/modules-load.d/watchdog.conf": ("0644", "i6300esb\n"),
        }
        for name, bmc in self.bmcs.items():
            files[f"/etc/hblink/ipmi-{name}.pass"] = ("0600", f"{bmc.password}\n")
        four, six = SERVICE[LAN]
        number = HOST[node]
        addresses = {
            LAN: (f"{four}{number}/24", f"{six}{number}/64"),
            CABLE: (f"{HEARTBEAT_ADDRESS[node]}/24",),
            "mgmt0": ("10.0.2.15/24",),
        }
        for nic in self.guests[node].nics:
            match = f"[Match]\nMACAddress={nic.mac}\n"
            files[f"/etc/systemd/network/10-{nic.name}.link"] = ("0644", f"{match}[Link]\nName={nic.name}\n")
            lines = "".join(f"Address={address}\n" for address in addresses[nic.name])
            own = "[Network]\nIPv6AcceptRA=no\nIPv6DuplicateAddressDetection=0\nConfigureWithoutCarrier=yes\n"
            files[f"/etc/systemd/network/20-{nic.name}.network"] = (
                "0644",
                f"[Match]\nName={nic.name}\n{own}{lines}",
            )
        return files

    def install(self, node: str) -> None:
        """Write the configuration of `node` from inside, as its installer would at the console."""
        script = ["set -e"]
        for path, (mode, text) in self.configuration(node).items():
            script += [f"mkdir -p {Path(path).parent}", f"cat >{path} <<'HBLINK_END'", text.rstrip("\n")]
            script += ["HBLINK_END", f"chmod {mode} {path}"]
        done = self.guests[node].run("\n".join([*script, "sync"]))
        assert done.status == 0, f"{node} cannot be configured: {done.output}"

    def provision(self, node: str) -> None:
        """Put the configuration of `node`, which is off, on its state partition, as a factory would."""
        with tempfile.TemporaryDirectory() as made:
            tree = Path(made) / "tree"
            for path, (mode, text) in self.configuration(node).items():
                file = tree / path.lstrip("/")
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text)
                file.chmod(int(mode, 8))
            run([str(ROOT / "images" / "write-state"), str(self.guests[node].disk), str(tree)], timeout_s=300)

    def update_image(self, node: str) -> None:
        """Write the image anew on the disk of `node`, which is off; its state partition stays."""
        assert not self.guests[node].alive
        run([str(ROOT / "images" / "update-disk"), str(self.image), str(self.guests[node].disk)], timeout_s=600)

    # ---- power and cables ----

    def power_on(self, node: str) -> None:
        """Press the power button of `node`: its BMC reads ON."""
        self.bmcs[node].set_power(True)
        self.guests[node].power_on()

    def lose_power(self, node: str) -> None:
        """Cut the power of `node`; its BMC, which has its own, reads OFF."""
        self.guests[node].power_off()
        self.bmcs[node].set_power(False)

    def cut_ethernet(self) -> None:
        """Take the direct cable out, at both ends."""
        for guest in self.guests.values():
            guest.plug(CABLE, False)

    def cut_serial(self) -> None:
        """Lose every byte on the null modem."""
        self.nullmodem.cut()

    def heal(self) -> None:
        """Mend every cable."""
        self.nullmodem.heal()
        for guest in self.guests.values():
            for nic in guest.nics:
                guest.plug(nic.name, True)

    # ---- looking and waiting ----

    def wait(self, condition: Callable[[], T | None], timeout_s: float, what: str) -> T:
        """Wait for `condition`; it is asked every half second, as each question costs the guests time."""
        return wait_until(condition, timeout_s, what, interval_s=0.5)

    def owner(self) -> str | None:
        """Return who answers for every VIP now; None if not every one is answered, or not by the same."""
        owners = {self.observer.owner(vip, within_ms=OWNER_MS) for vip, _ in VIPS}
        return owners.pop() if len(owners) == 1 else None

    @property
    def offs(self) -> dict[str, int]:
        """How many commands to switch off each node's BMC has had."""
        return {name: bmc.offs for name, bmc in self.bmcs.items()}

    def report(self, lines: int = 30) -> str:
        """Return the ends of everything that helps to understand a failed step."""
        parts = []
        for name, guest in self.guests.items():
            parts.append(f"--- {name}: {'on' if guest.alive else 'off'}, BMC commands {self.bmcs[name].commands[-4:]}")
            parts += [log_end(guest.journal, lines), log_end(guest.console_log, 12)]
            with contextlib.suppress(AgentError, GuestDownError):
                parts += [f"--- {name}: hblink status", guest.run("hblink status; hblink why", 60).output]
        return "\n".join(parts)


def _nics(index: int) -> list[Nic]:
    """Return the ports of a node: the service network, the direct cable, and the management network.

    The cable is a bridge with two ports: QEMU's own datagram cable stops for good when a starved peer is slow to read.
    """
    node = NODES[index]
    taps = {name: f"tap,ifname={name}-{node},script=no,downscript=no" for name in (LAN, CABLE)}
    netdevs = {**taps, "mgmt0": "user"}
    return [
        Nic(name, f"02:00:00:00:{number + 1:02x}:{index + 1:02x}", netdev)
        for number, (name, netdev) in enumerate(netdevs.items())
    ]


def build_image(directory: Path, log: Path) -> Path:
    """Build the package and the image into `directory` unless it is newer than everything it is made of."""
    image = directory / "hblink-appliance.raw"
    parts = [path for room in ("hblink", "wire", "images", "udev") for path in (ROOT / room).rglob("*")]
    newest = max(part.stat().st_mtime for part in parts if part.is_file() and part.suffix != ".pyc")
    if not image.exists() or image.stat().st_mtime < newest:
        with log.open("w") as sink:
            subprocess.run([ROOT / "images" / "build-image", directory], stdout=sink, stderr=sink, check=True)
    return image
