"""What only the machine can tell of a configuration: judged on a small tree of /sys, /proc and /etc."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from hblink_wire.key import Keyring, format_keyring, new_key

from hblink.config import Config, parse
from hblink.host import SLEEP_TARGETS, judge_host, promotes_secondaries
from tests.unit.sample import edited, secret


class Machine:
    """A good appliance: a tree of kernel files, secrets in place, and a pty as the serial port."""

    def __init__(self, directory: Path, port: str) -> None:
        self.root = directory / "root"
        self.configuration = directory / "etc"
        self.configuration.mkdir()
        self.port = port
        for interface in ("eth0", "eth1"):
            (self.root / "sys/class/net" / interface).mkdir(parents=True)
        self.write("sys/power/state", "")
        ring = Keyring((new_key(1, random.Random(7).randbytes(32)),), 1)
        secret(self.configuration / "hblink.keys", format_keyring(ring))
        for node in ("alpha", "beta"):
            secret(self.configuration / f"ipmi-{node}.pass", "secret")

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def config(self, *edits: tuple[str, str]) -> Config:
        return parse(edited(("/dev/ttyS1", self.port), *edits), self.configuration)

    def problems(self, *edits: tuple[str, str], hostname: str = "alpha") -> dict[str, str]:
        found = judge_host(self.config(*edits), self.configuration, hostname, self.root).problems
        return {problem.path: f"{problem.message} -> {problem.hint}" for problem in found}


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    master, slave = os.openpty()
    yield Machine(tmp_path, os.ttyname(slave))
    os.close(slave)
    os.close(master)


def test_a_good_machine_has_no_problem(machine: Machine) -> None:
    assert machine.problems() == {}


def test_files_beside_the_configuration(machine: Machine) -> None:
    keys, password = machine.configuration / "hblink.keys", machine.configuration / "ipmi-beta.pass"
    keys.chmod(0o640)
    password.unlink()
    found = machine.problems()
    assert set(found) == {str(keys), str(password)}
    assert "chmod 600" in found[str(keys)]


def test_a_machine_that_is_no_node_of_the_pair(machine: Machine) -> None:
    assert list(machine.problems(hostname="gamma")) == ["host name"]


def test_interfaces_and_ports_that_are_not_there(machine: Machine) -> None:
    (machine.root / "sys/class/net/eth0").rmdir()
    (machine.root / "sys/class/net/eth1").rmdir()
    found = machine.problems((machine.port, "/dev/hblink-none"))
    assert set(found) == {"link[0].interface.alpha", "link[1].endpoint.alpha", "vip[0].interface", "vip[1].interface"}
    found = machine.problems((machine.port, str(machine.root)))
    assert "is not a serial port" in found["link[1].endpoint.alpha"]


def test_a_port_that_is_a_console(machine: Machine) -> None:
    assert "is a console" in machine.problems((machine.port, "/dev/console"))["link[1].endpoint.alpha"]


def test_a_kernel_that_can_sleep_must_be_kept_from_it(machine: Machine) -> None:
    machine.write("sys/power/state", "freeze mem disk\n")
    assert "systemctl mask sleep.target suspend.target" in machine.problems()["host"]
    units = machine.root / "etc/systemd/system"
    units.mkdir(parents=True)
    for target in SLEEP_TARGETS[:-1]:
        (units / target).symlink_to("/dev/null")
    assert "and hybrid-sleep.target would let it" in machine.problems()["host"]
    (units / SLEEP_TARGETS[-1]).symlink_to("/dev/null")
    assert machine.problems() == {}
    (units / "sleep.target").unlink()
    (units / "sleep.target").symlink_to("/usr/lib/systemd/system/sleep.target")
    assert "and sleep.target would let it" in machine.problems()["host"]


def test_a_wide_prefix_needs_promote_secondaries(machine: Machine) -> None:
    wide = ('"192.0.2.10/32"', '"192.0.2.10/24"\nallow_prefix = true')
    setting = "proc/sys/net/ipv4/conf/{}/promote_secondaries"
    assert list(machine.problems(wide)) == ["vip[0].address"]
    machine.write(setting.format("all"), "0\n")
    machine.write(setting.format("eth0"), "0\n")
    assert not promotes_secondaries("eth0", machine.root)
    assert "sysctl net.ipv4.conf.eth0.promote_secondaries=1" in machine.problems(wide)["vip[0].address"]
    for name in ("all", "eth0"):
        machine.write(setting.format("all"), "0\n")
        machine.write(setting.format(name), "1\n")
        assert machine.problems(wide) == {}


def test_ipmitool_must_be_in_path(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hblink.host.PATH", str(machine.root))
    assert "install ipmitool" in machine.problems()["fence[0]"]


GUARD = ('cluster = "fw-pair"\n', 'cluster = "fw-pair"\nguard = { watchdog = "/dev/watchdog0", lease_mode = true }\n')


def test_a_watchdog_that_is_not_there_is_a_problem(machine: Machine) -> None:
    assert "there is no /dev/watchdog0" in machine.problems(GUARD)["guard.watchdog"]
    machine.write("dev/watchdog0", "")
    assert machine.problems(GUARD) == {}


def test_the_lease_mode_is_refused_on_a_timer_of_the_kernel_itself(machine: Machine) -> None:
    machine.write("dev/watchdog0", "")
    machine.write("sys/class/watchdog/watchdog0/identity", "i6300ESB timer\n")
    assert machine.problems(GUARD) == {}
    machine.write("sys/class/watchdog/watchdog0/identity", "Software Watchdog\n")
    assert "softdog" in machine.problems(GUARD)["guard.lease_mode"]
    without = (GUARD[0], GUARD[1].replace(", lease_mode = true", ""))
    assert machine.problems(without) == {}, "to reset a hung daemon it is good enough"
