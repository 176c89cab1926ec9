"""`hblink release` in a namespace: what a dead daemon left is gone, and beside a living one nothing happens."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hblink.core.value import Memory
from hblink.daemon.daemon import kernel_boot_id
from hblink.daemon.memory import MemoryFile
from hblink.daemon.writer import Writer
from tests.rig.namespace import Lab, Namespace
from tests.rig.process import PYTHON
from tests.unit.sample import WITHOUT_FENCES

LEASED = "addr add 192.0.2.10/32 dev eth0 valid_lft 60 preferred_lft 60"
FOREVER = "addr add 192.0.2.10/32 dev eth0"
FOREVER6 = "addr add 2001:db8::10/128 dev eth0 nodad"
ALIEN = "addr add 192.0.2.10/24 dev eth1"


@pytest.fixture
def node() -> Iterator[Namespace]:
    lab = Lab()
    try:
        made = lab.namespace("node")
        made.ip("link add eth0 type veth peer name far0", "link add eth1 type veth peer name far1")
        made.ip(*(f"link set {name} up" for name in ("lo", "eth0", "far0", "eth1", "far1")))
        made.ip("addr add 192.0.2.1/24 dev eth0")
        yield made
    finally:
        lab.close()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "hblink.toml"
    path.write_text(WITHOUT_FENCES.replace("cluster_id", 'guarantee = "at-least-one"\ncluster_id', 1))
    return path


def release(node: Namespace, config: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*node.enter, *PYTHON, "-m", "hblink.cli.main", "release", *options, str(config)],
        env={**os.environ, "RUNTIME_DIRECTORY": str(config.parent / "run")},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def on(node: Namespace, interface: str) -> list[str]:
    return [address for address in node.addresses().get(interface, []) if not address.startswith("fe80:")]


@pytest.mark.parametrize("left", [LEASED, FOREVER], ids=["leased", "for ever"])
def test_what_a_dead_daemon_left_is_removed(node: Namespace, config: Path, left: str) -> None:
    node.ip(left, FOREVER6)
    done = release(node, config)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["removed 192.0.2.10/32 on eth0", "removed 2001:db8::10/128 on eth0"]
    assert not [address for address in on(node, "eth0") if "192.0.2.10" in address or "2001:db8" in address]
    assert [address for address in on(node, "eth0") if "192.0.2.1" in address], "the host's own address stays"


def test_nothing_to_do_is_good(node: Namespace, config: Path) -> None:
    done = release(node, config)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_an_address_that_it_may_not_touch_is_told(node: Namespace, config: Path) -> None:
    node.ip(ALIEN)
    done = release(node, config)
    assert done.returncode == 1
    assert "192.0.2.10/24 is still on eth1" in done.stderr


def test_beside_a_living_daemon_it_is_refused(node: Namespace, config: Path) -> None:
    node.ip(LEASED)
    (config.parent / "run").mkdir()
    with open(config.parent / "run/hblink.sock.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = release(node, config)
    assert done.returncode == 1
    assert "another hblink daemon" in done.stderr
    assert [address for address in on(node, "eth0") if "192.0.2.10" in address]


def test_without_a_configuration_it_says_so(node: Namespace, config: Path) -> None:
    config.write_text("cluster = 1\n")
    node.ip(LEASED)
    done = release(node, config)
    assert done.returncode == 78
    assert "nothing was removed" in done.stderr


def test_a_program_reads_the_same(node: Namespace, config: Path) -> None:
    node.ip(FOREVER)
    done = release(node, config, "--json")
    removed = {"address": "192.0.2.10/32", "interface": "eth0"}
    assert (done.returncode, json.loads(done.stdout)) == (0, {"ok": True, "removed": [removed], "maintenance": False})
    node.ip(ALIEN)
    done = release(node, config, "--json")
    assert (done.returncode, done.stderr) == (1, "")
    assert "192.0.2.10/24 is still on eth1" in json.loads(done.stdout)["error"]
    with open(config.parent / "run/hblink.sock.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = release(node, config, "--json")
    assert (done.returncode, json.loads(done.stdout)["ok"]) == (1, False)
    MemoryFile(config.parent / "run", None, kernel_boot_id(), Writer()).store(Memory(epoch=2, maintenance=True))
    done = release(node, config, "--json", "--unless-maintenance")
    assert (done.returncode, json.loads(done.stdout)) == (0, {"ok": True, "removed": [], "maintenance": True})
    config.write_text("cluster = 1\n")
    done = release(node, config, "--json")
    assert (done.returncode, done.stderr) == (78, "")
    assert "cluster" in {problem["path"] for problem in json.loads(done.stdout)["problems"]}


@pytest.mark.parametrize(
    ("said", "stays"),
    [
        ({"maintenance": True}, True),
        ({"peer_maintenance": True}, True),
        ({"maintenance": True, "maintenance_until": 1}, False),
        ({"maintenance": True, "boot_id": "of another boot"}, False),
        ({}, False),
    ],
)
def test_in_maintenance_the_unit_leaves_the_service(
    node: Namespace, config: Path, said: dict[str, object], stays: bool
) -> None:
    node.ip(FOREVER)
    runtime = config.parent / "run"
    runtime.mkdir()
    memory = MemoryFile(runtime, None, kernel_boot_id(), Writer())
    memory.store(Memory(epoch=2, ran=True))
    document = json.loads((runtime / "memory.json").read_text())
    (runtime / "memory.json").write_text(json.dumps({**document, **said}))
    done = release(node, config, "--unless-maintenance")
    assert done.returncode == 0, done.stderr
    assert any("192.0.2.10" in address for address in on(node, "eth0")) is stays


def test_by_hand_maintenance_makes_no_difference(node: Namespace, config: Path) -> None:
    node.ip(FOREVER)
    runtime = config.parent / "run"
    runtime.mkdir()
    MemoryFile(runtime, None, kernel_boot_id(), Writer()).store(Memory(epoch=2, ran=True, maintenance=True))
    assert release(node, config).stdout.splitlines() == ["removed 192.0.2.10/32 on eth0"]
