"""The rig's nodes and BMCs: real `ipmitool` switches a node off and on through a real `ipmi_sim`."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rig.node import NodeDown
from tests.rig.pair import Pair
from tests.rig.process import ProgramError, runs
from tests.rig.wait import boottime_ns, wait_until

BUSY = ("sh", "-c", "setsid sleep 1000 & exec sleep 1000")


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Give a pair whose nodes are up and run something that is not the daemon."""
    with tempfile.TemporaryDirectory(prefix="hblink-") as directory, Pair(Path(directory) / "pair") as made:
        for node in made.nodes.values():
            node.program = BUSY
            node.boot()
        yield made


def power(pair: Pair, word: str) -> str:
    """Ask beta's BMC from alpha."""
    return pair.bmc("beta").ipmitool(pair.alpha.namespace, "chassis", "power", word).strip()


def test_ipmitool_reads_the_power(pair: Pair) -> None:
    assert power(pair, "status") == "Chassis Power is on"
    assert pair.bmc("beta").readings > 0
    assert pair.fences == {"alpha": 0, "beta": 0}


def test_off_kills_everything_before_off_is_read(pair: Pair) -> None:
    running = pair.beta.namespace.processes()
    assert len(running) >= 3  # the init, the program, and what made a session of its own
    pair.beta.namespace.ip("address add 192.0.2.10/32 dev lan0")
    before = boottime_ns()
    power(pair, "off")
    assert power(pair, "status") == "Chassis Power is off"
    assert [pid for pid in running if runs(pid)] == []
    addresses = pair.beta.addresses()
    assert [addresses[interface.name] for interface in pair.beta.interfaces] == [[], [], [], []]
    command = pair.bmc("beta").commands[0]
    assert (command.on, pair.fences) == (False, {"alpha": 0, "beta": 1})
    assert before < command.at < boottime_ns()
    assert pair.alpha.alive


def test_on_boots_anew(pair: Pair) -> None:
    (pair.beta.runtime / "token").touch()
    (pair.beta.state / "epoch").touch()
    power(pair, "off")
    power(pair, "on")
    assert power(pair, "status") == "Chassis Power is on"
    wait_until(lambda: pair.beta.daemon_pid is not None, 30, "beta to have booted")
    first, second = pair.beta.boots
    assert first != second
    assert pair.beta.run("cat", "/proc/sys/kernel/random/boot_id").stdout.strip() == second
    assert not (pair.beta.runtime / "token").exists()
    assert (pair.beta.state / "epoch").exists()
    assert "10.9.0.2/24" in pair.beta.addresses()["hb0"]


def test_a_crash_leaves_the_power_on(pair: Pair) -> None:
    pair.beta.crash()
    assert power(pair, "status") == "Chassis Power is on"
    assert not pair.beta.alive
    assert pair.beta.namespace.processes() == []
    with pytest.raises(NodeDown):
        pair.beta.run("true")
    power(pair, "off")
    assert power(pair, "status") == "Chassis Power is off"


def test_a_crash_takes_a_frozen_daemon_too(pair: Pair) -> None:
    pair.beta.stop()
    pid = pair.beta.daemon_pid
    assert pid is not None
    pair.beta.crash()
    assert not runs(pid)


def test_orphans_are_reaped(pair: Pair) -> None:
    said = pair.alpha.run("sh", "-c", "(sleep 0.01 & echo $!)").stdout
    wait_until(
        lambda: not pair.alpha.run("sh", "-c", f"test ! -e /proc/{said.strip()}").returncode, 30, "the orphan gone"
    )
    assert said.strip().isdigit()


def test_nodes_have_boot_ids_of_their_own(pair: Pair) -> None:
    seen = [node.run("cat", "/proc/sys/kernel/random/boot_id").stdout.strip() for node in pair.nodes.values()]
    assert seen == [pair.alpha.boots[-1], pair.beta.boots[-1]]
    assert seen[0] != seen[1] != Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def test_an_unreachable_bmc_is_only_that(pair: Pair) -> None:
    pair.cut_bmc("beta")
    with pytest.raises(ProgramError):
        pair.bmc("beta").ipmitool(pair.alpha.namespace, "chassis", "power", "status", retries=1, answer_s=1)
    assert pair.bmc("alpha").ipmitool(pair.beta.namespace, "chassis", "power", "status").strip().endswith("on")
    pair.heal()
    assert power(pair, "status") == "Chassis Power is on"
    assert pair.fences == {"alpha": 0, "beta": 0}


def test_a_bmc_that_refuses(pair: Pair) -> None:
    pair.bmc("beta").refuses = True
    with pytest.raises(ProgramError):
        power(pair, "off")
    assert pair.beta.alive
    assert pair.fences["beta"] == 1


def test_a_bmc_that_lies(pair: Pair) -> None:
    pair.bmc("beta").lies = True
    power(pair, "off")
    assert power(pair, "status") == "Chassis Power is off"
    assert pair.beta.alive


def test_a_bmc_that_is_slow(pair: Pair) -> None:
    pair.bmc("beta").off_delay_s = 5  # longer than an ipmitool takes
    power(pair, "off")
    assert power(pair, "status") == "Chassis Power is on"
    wait_until(lambda: not pair.bmc("beta").power, 30, "the delayed off")
    assert not pair.beta.alive
    assert power(pair, "status") == "Chassis Power is off"


def test_signals_reach_the_daemon(pair: Pair) -> None:
    pid = pair.alpha.daemon_pid

    def state() -> str:
        return Path(f"/proc/{pid}/stat").read_text().split()[2]

    pair.alpha.stop()
    wait_until(lambda: state() == "T", 30, "the daemon to stand still")
    pair.alpha.cont()
    wait_until(lambda: state() == "S", 30, "the daemon to go on")
    pair.alpha.kill_daemon(signal.SIGTERM)
    assert pair.alpha.wait_daemon() == -signal.SIGTERM
    assert pair.alpha.alive
    pair.alpha.start_daemon()
    assert pair.alpha.daemon_pid not in (None, pid)


def test_readiness_is_heard(pair: Pair) -> None:
    script = 'import os, socket; socket.socket(1, 2).sendto(b"READY=1\\n", os.environ["NOTIFY_SOCKET"])'
    pair.alpha.kill_daemon()
    pair.alpha.wait_daemon()
    pair.alpha.program = ("python3", "-c", script)
    pair.alpha.start_daemon()
    ready_at = wait_until(pair.alpha.ready_at, 30, "READY=1")
    assert pair.alpha.started_at < ready_at < boottime_ns()
    assert pair.beta.ready_at() is None
