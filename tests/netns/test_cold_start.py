"""Two daemons started together: one owner, both links in use, and readiness said when it is true."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from ipaddress import ip_interface

import pytest
from hblink_wire import Deframer, Expected, Frame, Keyring, decode, parse_keyring

from tests.netns.situation import ALL_VIPS, QUICK, Since, alarms, blocked, link, logged, settle, status, wait_logged
from tests.rig import probe
from tests.rig.namespace import Namespace
from tests.rig.node import PYTHON, Node
from tests.rig.pair import Pair
from tests.rig.process import in_real_time
from tests.rig.setting import (
    CLUSTER_ID,
    HEARTBEAT_ADDRESS,
    HEARTBEAT_INTERFACE,
    NODES,
    VIPS,
    Setting,
)
from tests.rig.wait import wait_until

# A daemon on a disk that takes its time: longer than the pause of which it has to tell the decision.
SLOW_START = """
import time
from hblink.cli.main import main
from hblink.daemon.memory import MemoryFile
load = MemoryFile.load
MemoryFile.load = lambda self: (time.sleep(0.8), load(self))[1]
raise SystemExit(main())
"""
UDP_PAYLOAD = 14 + 20 + 8  # Ethernet, IPv4 and UDP headers
FRAMES = 5


def packet_socket(namespace: Namespace, interface: str) -> socket.socket:
    """Return a packet socket of `namespace`, which sees what goes both ways; a thread of its own enters it."""
    made: list[socket.socket] = []

    def enter_and_bind() -> None:
        probe.enter(str(namespace.path))
        made.append(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(probe.ETH_P_ALL)))
        made[0].bind((interface, probe.ETH_P_ALL))
        made[0].setblocking(False)

    thread = threading.Thread(target=enter_and_bind)
    thread.start()
    thread.join()
    return made[0]


def decoded(data: bytes, sender: int, link_id: int, ring: Keyring) -> Frame:
    """Decode what node `sender` sent on a link, as its peer would; it must be good."""
    frame = decode(data, ring, Expected(CLUSTER_ID, 1 - sender, link_id))
    assert isinstance(frame, Frame), frame
    return frame


class Capture:
    """The frames on both links, by (sender, sequence)."""

    def __init__(self, pair: Pair) -> None:
        self._ring = parse_keyring((pair.alpha.configuration / "hblink.keys").read_text())
        self._tap = pair.directory / "serial.tap"
        self._packets = packet_socket(pair.alpha.namespace, HEARTBEAT_INTERFACE)
        pair.nullmodem.tap(self._tap)
        self._addresses = [socket.inet_aton(HEARTBEAT_ADDRESS[node]) for node in NODES]
        self.ethernet: dict[tuple[int, int], Frame] = {}
        self.serial: dict[tuple[int, int], Frame] = {}

    def read(self) -> None:
        """Take in what has come so far."""
        while (packet := self._receive()) is not None:
            if packet[12:14] == b"\x08\x00" and packet[26:30] in self._addresses:
                sender = self._addresses.index(packet[26:30])
                length = int.from_bytes(packet[38:40], "big") - 8
                frame = decoded(packet[UDP_PAYLOAD : UDP_PAYLOAD + length], sender, 0, self._ring)
                self.ethernet[sender, frame.seq] = frame
        deframers = (Deframer(), Deframer())
        text = self._tap.read_text() if self._tap.exists() else ""
        for line in text.rpartition("\n")[0].splitlines():  # the last one may be on its way
            sender, data = json.loads(line)
            for block in deframers[sender].feed(bytes.fromhex(data)):
                if isinstance(block, bytes):  # the first may be the end of a frame that began before the tap
                    frame = decoded(block, sender, 1, self._ring)
                    self.serial[sender, frame.seq] = frame

    def close(self) -> None:
        self._packets.close()

    def _receive(self) -> bytes | None:
        try:
            return self._packets.recv(2048)
        except BlockingIOError:
            return None


def test_a_joint_cold_start_makes_one_active_and_uses_both_links(build_pair: Callable[[Setting], Pair]) -> None:
    pair = build_pair(QUICK)
    since = Since(pair)
    pair.start()
    assert settle(pair) is pair.alpha, "the preferred node"
    capture = Capture(pair)

    def enough() -> bool:
        capture.read()
        return all(sum(sender == node for sender, _ in capture.serial) >= FRAMES for node in (0, 1))

    pair.wait(enough, 30, f"{FRAMES} frames of each node on the serial line")
    beats = len(capture.ethernet)
    pair.wait(lambda: capture.read() or len(capture.ethernet) > beats + 2, 30, "the last beats on Ethernet")
    capture.close()
    first = {node: min(seq for sender, seq in capture.ethernet if sender == node) for node in (0, 1)}
    for (sender, seq), frame in capture.serial.items():
        if seq >= first[sender]:
            twin = capture.ethernet[sender, seq]
            assert (twin.session, twin.role, twin.epoch) == (frame.session, frame.role, frame.epoch)
    since.assert_never_two_owners()
    assert since.fences() == {"alpha": 0, "beta": 0}


def test_the_vips_form_one_group_on_two_interfaces_with_the_lease(build_pair: Callable[[Setting], Pair]) -> None:
    pair = build_pair(QUICK)
    pair.start()
    settle(pair, "alpha")
    where = pair.alpha.addresses()
    assert {(address, name) for name, held in where.items() for address in held} >= set(VIPS)
    assert {(ip_interface(address).version, name) for address, name in VIPS} == {
        (4, "lan0"),
        (6, "lan0"),
        (4, "lan1"),
        (6, "lan1"),
    }
    assert pair.beta.has(*ALL_VIPS) == set()
    dump = json.loads(pair.alpha.run("ip", "-json", "address", "show").stdout)
    lifetimes = [
        entry["valid_life_time"]
        for interface in dump
        for entry in interface["addr_info"]
        if f"{entry['local']}/{entry['prefixlen']}" in ALL_VIPS
    ]
    assert len(lifetimes) == len(VIPS)
    assert all(0 < lifetime <= 4 for lifetime in lifetimes), "seconds of the lease"
    first, *others = (document["vips"] for document in (status(pair.alpha), status(pair.beta)))
    assert all(vip["present"] for vip in first)
    assert not any(vip["present"] for vip in others[0])


def lonely(pair: Pair, edit: Callable[[str], str] = str) -> Node:
    """Boot alpha alone, without its daemon, with an edited configuration."""
    node = pair.alpha
    node.write("hblink.toml", edit((node.configuration / "hblink.toml").read_text()), 0o644)
    node.boot(daemon=False)
    return node


def ready_words(node: Node) -> list[str]:
    return [text for _, text in node.notifications.said(node.started_at) if "READY=1" in text]


def test_ready_comes_when_the_control_socket_answers_and_the_links_are_open(
    build_pair: Callable[[Setting], Pair],
) -> None:
    node = lonely(build_pair(QUICK))
    node.start_daemon()
    wait_until(lambda: node.ready_at() is not None, 30, "READY", logs=[node.log], interval_s=0.001)
    document = node.status()
    assert document is not None, "READY came before the control socket answered"
    assert [each["open"] for each in document["links"]] == [True, True]
    assert ready_words(node) == ["READY=1\nSTATUS=all links open"]


def without_port(pair: Pair, toml: str) -> str:
    return toml.replace(pair.nullmodem.paths[0], str(pair.directory / "ttyNONE"))


def test_a_missing_serial_port_is_named_and_ready_still_comes(build_pair: Callable[[Setting], Pair]) -> None:
    pair = build_pair(QUICK)
    node = lonely(pair, lambda toml: without_port(pair, toml))
    node.start_daemon()
    wait_until(lambda: node.ready_at() is not None, 30, "READY", logs=[node.log])
    assert ready_words(node) == ["READY=1\nSTATUS=links missing: serial"]
    assert ("link_missing", "serial") in alarms(node)
    assert not link(status(node), "serial")["open"]
    wait_until(lambda: logged(node, "link serial is not open"), 15, "the log of it", logs=[node.log])


def test_without_any_link_ready_does_not_come_until_one_appears(build_pair: Callable[[Setting], Pair]) -> None:
    pair = build_pair(QUICK)
    node = lonely(pair, lambda toml: without_port(pair, toml))
    node.namespace.ip(f"link set {HEARTBEAT_INTERFACE} down", f"link set {HEARTBEAT_INTERFACE} name away")
    node.start_daemon()
    both = {("link_missing", "serial"), ("link_missing", "direct")}
    wait_until(lambda: both <= alarms(node), 30, "both links to be reported missing", logs=[node.log])
    assert ready_words(node) == []
    node.namespace.ip(f"link set away name {HEARTBEAT_INTERFACE}", f"link set {HEARTBEAT_INTERFACE} up")
    wait_until(lambda: node.ready_at() is not None, 30, "READY", logs=[node.log])
    assert ready_words(node) == ["READY=1\nSTATUS=links missing: serial"]


@pytest.mark.parametrize("first", NODES)
def test_the_first_of_two_waits_for_the_second(build_pair: Callable[[Setting], Pair], first: str) -> None:
    """Booted alone beside a peer whose BMC says ON, a node takes nothing; the pair forms when the other comes."""
    pair = build_pair(QUICK)
    early = pair.nodes[first]
    late = pair.other(early)
    late.boot(daemon=False)
    since = Since(pair)
    early.boot()
    pair.wait(lambda: blocked(early, "inert_peer_on"), 60, f"{first} to be blocked")
    assert pair.held() == {"alpha": set(), "beta": set()}
    late.start_daemon()
    settle(pair, "alpha")
    assert since.fences() == {"alpha": 0, "beta": 0}
    since.assert_never_two_owners()


def test_nothing_secret_is_logged(build_pair: Callable[[Setting], Pair]) -> None:
    pair = build_pair(QUICK)
    pair.start()
    settle(pair, "alpha")
    keys = (pair.alpha.configuration / "hblink.keys").read_text().split()
    secrets = [word for word in keys if len(word) > 8] + [pair.bmc("alpha").password]
    assert secrets
    for node in pair.nodes.values():
        assert not [secret for secret in secrets if secret in node.log.read_text() + json.dumps(status(node))]


def test_a_node_that_is_slow_to_start_has_not_failed_to_stop_anything(build_pair: Callable[[Setting], Pair]) -> None:
    pair = build_pair(QUICK)
    for node in pair.nodes.values():
        node.program = (*in_real_time(), *PYTHON, "-c", SLOW_START, "run")
    since = Since(pair)
    pair.start()
    settle(pair, "alpha")
    for node in pair.nodes.values():
        wait_logged(pair, node, "starting -> standby", since.at)
        assert logged(node, "halted", since.at) == logged(node, "stop_failed", since.at) == []
    since.assert_never_two_owners()
