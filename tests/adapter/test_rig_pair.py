"""The rig's pair: its cables, what its observer sees, and that nothing of it stays."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from tests.rig import probe
from tests.rig.namespace import Namespace, lab, leftover
from tests.rig.nullmodem import Direction
from tests.rig.pair import Pair
from tests.rig.process import PYTHON, ROOT, child_of, runs
from tests.rig.setting import HEARTBEAT_ADDRESS, NODES, VIP, VIPS
from tests.rig.wait import boottime_ns, wait_until

PORT = 4000


@pytest.fixture
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="hblink-") as made:
        yield Path(made) / "pair"


@pytest.fixture
def pair(directory: Path) -> Iterator[Pair]:
    """Give a pair whose nodes are up, without daemons."""
    with Pair(directory) as made:
        for node in made.nodes.values():
            node.boot(daemon=False)
        yield made


def bound(namespace: Namespace, address: str) -> socket.socket:
    """Return a UDP socket that belongs to `namespace`; a thread enters it, so that the test itself stays outside."""
    made: list[socket.socket] = []

    def enter_and_bind() -> None:
        probe.enter(str(namespace.path))
        made.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        made[0].bind((address, PORT))
        made[0].settimeout(1)

    thread = threading.Thread(target=enter_and_bind)
    thread.start()
    thread.join()
    return made[0]


def arrives(sender: socket.socket, receiver: socket.socket, address: str) -> bool:
    """Whether a datagram gets through."""
    sender.sendto(b"beat", (address, PORT))
    try:
        return receiver.recv(100) == b"beat"
    except TimeoutError:
        return False


def ways(pair: Pair) -> list[bool]:
    """Whether the direct cable carries alpha to beta, and beta to alpha."""
    sockets = [bound(pair.nodes[node].namespace, HEARTBEAT_ADDRESS[node]) for node in NODES]
    with sockets[0], sockets[1]:
        return [
            arrives(sockets[source], sockets[1 - source], HEARTBEAT_ADDRESS[NODES[1 - source]]) for source in (0, 1)
        ]


@pytest.mark.parametrize("direction", list(Direction))
def test_ethernet_is_cut_by_direction_and_heals(pair: Pair, direction: Direction) -> None:
    assert ways(pair) == [True, True]
    pair.cut_ethernet(direction)
    assert ways(pair) == [source not in direction.sources for source in (0, 1)]
    pair.heal()
    assert ways(pair) == [True, True]


def test_a_cut_outlives_a_reboot(pair: Pair) -> None:
    pair.cut_ethernet()
    pair.beta.power_off()
    pair.beta.boot(daemon=False)
    assert ways(pair) == [False, False]
    pair.heal()
    assert ways(pair) == [True, True]


def test_an_unplugged_cable_has_no_carrier(pair: Pair) -> None:
    def carrier() -> str:
        return pair.alpha.run("cat", "/sys/class/net/hb0/carrier").stdout.strip()

    wait_until(lambda: carrier() == "1", 30, "carrier")
    pair.unplug_ethernet()
    wait_until(lambda: carrier() == "0", 30, "no carrier")
    pair.heal()
    wait_until(lambda: carrier() == "1", 30, "carrier again")
    wait_until(lambda: ways(pair) == [True, True], 30, "both ways again")  # the kernel sends a moment after that


def test_a_service_port_loses_its_carrier(pair: Pair) -> None:
    pair.cut_service("alpha", "lan1")
    wait_until(
        lambda: pair.alpha.run("cat", "/sys/class/net/lan1/carrier").stdout.strip() == "0", 30, "lan1 without carrier"
    )
    assert pair.alpha.run("cat", "/sys/class/net/lan0/carrier").stdout.strip() == "1"


def test_the_observer_sees_an_address_move_and_measures_the_gap(pair: Pair) -> None:
    vips = {address: f"address add {address} dev {interface}" for address, interface in VIPS}
    pair.alpha.namespace.ip(*(f"{line} nodad" if ":" in line else line for line in vips.values()))
    pair.wait_active("alpha")
    begun = boottime_ns()
    pair.alpha.crash()
    silent_from = boottime_ns()
    pair.observer.wait_owner(VIP, None)
    silent_until = boottime_ns()
    pair.beta.namespace.ip(*(f"{line} nodad" if ":" in line else line for line in vips.values()))
    pair.wait_active("beta")
    pair.client.run("ip", "neighbour", "flush", "dev", "lan0")
    wait_until(lambda: pair.observer.seen(VIP, "echo", silent_until), 30, "an echo from beta")
    late = probe.LATE_NS + max(pair.observer.late_ms, default=0) * 1_000_000  # so much later an answer may be noted
    assert pair.observer.gap_ns(VIP, begun, kind="who") >= silent_until - silent_from - late
    assert pair.observer.gap_ns(VIP, begun) >= silent_until - silent_from - late
    assert {answer.node for answer in pair.observer.seen(VIP, "echo", silent_until)} == {"beta"}
    assert [(change.node, change.present) for change in pair.observer.held() if change.vip == VIP.split("/")[0]] == [
        ("alpha", True),
        ("alpha", False),
        ("beta", True),
    ]
    assert pair.observer.dual() == []
    assert pair.observer.overlaps() == []


@pytest.mark.parametrize(("vip", "interface"), VIPS)
def test_the_observer_sees_two_owners(pair: Pair, vip: str, interface: str) -> None:
    for node in pair.nodes.values():
        node.namespace.ip(f"address add {vip} dev {interface}" + (" nodad" if ":" in vip else ""))
    dual = wait_until(pair.observer.dual, 30, "both nodes to answer one question")
    assert dual[0].nodes == {"alpha", "beta"}
    assert dual[0].vip == vip.split("/")[0]
    assert [change.node for change in pair.observer.overlaps()] == ["beta"]
    assert pair.active() is None


def test_an_announcement_is_no_answer() -> None:
    mac, me = bytes.fromhex("020000000101"), bytes.fromhex("020000000103")
    address = ip_address("192.0.2.10")
    announced = probe.who_has(mac, address, address)
    assert probe.parse(announced, me) == probe.Seen("announce", address, mac.hex(":"))
    reply = me + mac + announced[12:21] + b"\x02" + announced[22:]
    assert probe.parse(reply, me) == probe.Seen("who", address, mac.hex(":"))


def test_configuration_is_the_same_on_both_and_secrets_are_private(pair: Pair) -> None:
    for name in ("hblink.toml", "hblink.keys", "ipmi-alpha.pass", "ipmi-beta.pass"):
        files = [node.configuration / name for node in pair.nodes.values()]
        assert files[0].read_bytes() == files[1].read_bytes()
        assert {file.stat().st_mode & 0o777 for file in files} == {0o644 if name == "hblink.toml" else 0o600}
    assert [(node.configuration / "node").read_text() for node in pair.nodes.values()] == ["alpha\n", "beta\n"]


def test_nothing_is_left_after_a_failure(directory: Path) -> None:
    inside: list[int] = []

    def fail() -> None:
        with Pair(directory) as pair:
            for node in pair.nodes.values():
                node.program = ("sleep", "1000")
                node.boot()
                inside.extend(node.namespace.processes())
            assert len(leftover(os.getpid())) == 8, "six namespaces, and the runtime directory of each node"
            raise RuntimeError("a test failed")

    before = child_of(os.getpid())
    with pytest.raises(RuntimeError, match="a test failed"):
        fail()
    assert len(inside) >= 4
    assert [pid for pid in inside if runs(pid)] == []
    assert leftover(os.getpid()) == []
    assert child_of(os.getpid()) == before


def test_a_killed_rig_leaves_no_process_and_the_next_one_sweeps(directory: Path) -> None:
    script = (
        "import pathlib, sys, time\n"
        "from tests.rig.pair import Pair\n"
        "pair = Pair(pathlib.Path(sys.argv[1]))\n"
        "for node in pair.nodes.values():\n"
        "    node.program = ('sleep', '1000')\n"
        "    node.boot()\n"
        "print(*(pid for space in (pair.switch, pair.client, *(n.namespace for n in pair.nodes.values()),"
        " *(n.bmc.namespace for n in pair.nodes.values())) for pid in space.processes()), flush=True)\n"
        "time.sleep(1000)\n"
    )
    with subprocess.Popen(
        [PYTHON[0], "-c", script, str(directory)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as victim:
        assert victim.stdout is not None
        inside = [int(pid) for pid in victim.stdout.readline().split()]
        assert len(inside) >= 6
        victim.send_signal(signal.SIGKILL)
    wait_until(lambda: not any(runs(pid) for pid in inside), 30, "the processes to die with the rig")
    with lab():  # sweeps, beside another run that may be sweeping too
        wait_until(lambda: leftover(victim.pid) == [], 30, "the namespaces to be swept away")
