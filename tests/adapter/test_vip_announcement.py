"""Announcements, heard by a packet socket on the other end of the cable and believed by that machine's kernel."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from hblink.ethernet import internet_checksum
from hblink.loop import Loop
from hblink.vip.address import Vip, VipError
from hblink.vip.announcement import gratuitous_arp, unsolicited_advertisement
from hblink.vip.keeper import VipKeeper
from tests.adapter.stage import inside, wait_up
from tests.rig.namespace import Lab, Namespace
from tests.rig.wait import wait_until

MS = 1_000_000
SECOND = 1_000_000_000
NODE_MAC = bytes.fromhex("020000000a01")
STALE_MAC = "02:00:00:00:00:99"
VIP4 = Vip(ipaddress.ip_interface("192.0.2.10/32"), "eth0")
VIP6 = Vip(ipaddress.ip_interface("2001:db8::10/128"), "eth0")
FRAMES = {
    "arp request": gratuitous_arp(NODE_MAC, ipaddress.IPv4Address("192.0.2.10"))[0],
    "arp reply": gratuitous_arp(NODE_MAC, ipaddress.IPv4Address("192.0.2.10"))[1],
    "advertisement": unsolicited_advertisement(NODE_MAC, ipaddress.IPv6Address("2001:db8::10"), is_router=False),
    "router's advertisement": unsolicited_advertisement(
        NODE_MAC, ipaddress.IPv6Address("2001:db8::10"), is_router=True
    ),
}


class Clock:
    """A clock that the test sets, so that a schedule of 5 s takes no time."""

    def __init__(self) -> None:
        self.now = 1000 * SECOND

    def __call__(self) -> int:
        return self.now


@dataclass
class Lan:
    """A node and a client on one cable, and a socket that hears all that reaches the client."""

    node: Namespace
    client: Namespace
    ear: socket.socket
    stack: contextlib.ExitStack

    def keeper(self, loop: Loop, vips: list[Vip], lease_ns: int) -> VipKeeper:
        made = VipKeeper(loop, vips, lease_ns)
        self.stack.callback(made.close)
        return made

    def heard(self) -> list[str]:
        """Every frame of the node's VIPs heard since the last call, without padding or other traffic."""
        frames: list[str] = []
        while True:
            try:
                frame = self.ear.recv(2048)
            except BlockingIOError:
                return frames
            frames += [name for name, known in FRAMES.items() if frame == known]

    def hear(self, count: int) -> list[str]:
        """Wait for at least `count` frames of the node's VIPs, and return all that came."""
        frames: list[str] = []

        def enough() -> bool:
            frames.extend(self.heard())
            return len(frames) >= count

        wait_until(enough, 30, f"{count} announcements")
        return frames

    def neighbour(self, ip: str) -> str:
        entries = json.loads(self.client.run("ip", "-json", "neigh", "show", "to", ip, "dev", "lan"))
        return str(entries[0]["lladdr"])


@pytest.fixture
def lan(rig: Lab) -> Iterator[Lan]:
    node, client = rig.namespace("node"), rig.namespace("client")
    node.ip(f"link add eth0 address 02:00:00:00:0a:01 type veth peer name lan netns {client.name}", "link set eth0 up")
    node.ip("address add 192.0.2.1/24 dev eth0", "address add 2001:db8::1/64 dev eth0 nodad")
    client.ip(
        "link set lan up",
        "address add 192.0.2.2/24 dev lan",
        "address add 2001:db8::2/64 dev lan nodad",
        f"neigh replace 192.0.2.10 lladdr {STALE_MAC} nud reachable dev lan",
        f"neigh replace 2001:db8::10 lladdr {STALE_MAC} nud reachable dev lan",
    )
    wait_up((node, "eth0"), (client, "lan"))
    with inside(client):
        ear = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.htons(0x0003))
    ear.bind(("lan", 0x0003))
    with ear, contextlib.ExitStack() as stack:
        yield Lan(node, client, ear, stack)


def test_the_frames_say_what_the_rfcs_ask() -> None:
    request, reply = FRAMES["arp request"], FRAMES["arp reply"]
    assert request.hex() == (
        "ffffffffffff020000000a010806"  # Ethernet: broadcast
        "0001080006040001"  # Ethernet, IPv4, request
        "020000000a01c000020a"  # sender
        "000000000000c000020a"  # target: the same address
    )
    assert reply.hex() == request.hex()[:40] + "0002" + "020000000a01c000020a" * 2
    advertisement = FRAMES["advertisement"]
    assert len(advertisement) == 86
    assert advertisement[:14].hex() == "333300000001020000000a0186dd"
    assert advertisement[14:22].hex() == "6000000000203aff"  # 32 bytes of ICMPv6, hop limit 255
    assert advertisement[54:56].hex() == "8800"
    assert advertisement[58:62].hex() == "20000000"  # override, neither router nor solicited
    assert advertisement[62:].hex() == "20010db8" + "00" * 11 + "10" + "0201020000000a01"
    pseudo_header = advertisement[22:54] + struct.pack("!II", 32, 58)
    assert internet_checksum(pseudo_header + advertisement[54:]) == 0


def test_a_machine_that_forwards_says_that_it_is_a_router() -> None:
    frame = unsolicited_advertisement(NODE_MAC, ipaddress.IPv6Address("2001:db8::10"), is_router=True)
    assert frame[58:62].hex() == "a0000000"


def test_neighbours_learn_the_new_place_at_once(lan: Lan) -> None:
    with inside(lan.node):
        keeper = lan.keeper(Loop(), [VIP4, VIP6], 30 * SECOND)
        assert lan.neighbour("192.0.2.10") == STALE_MAC
        assert lan.neighbour("2001:db8::10") == STALE_MAC
        keeper.acquire()
        wait_until(lambda: lan.neighbour("192.0.2.10") == "02:00:00:00:0a:01", 30, "the IPv4 neighbour")
        wait_until(lambda: lan.neighbour("2001:db8::10") == "02:00:00:00:0a:01", 30, "the IPv6 neighbour")
        lan.client.run("ping", "-c", "1", "-W", "5", "192.0.2.10")
        lan.client.run("ping", "-c", "1", "-W", "5", "2001:db8::10")
        keeper.release()
    assert keeper.announce_failures == {}


def test_the_kernel_that_forwards_is_believed_for_each_interface(lan: Lan) -> None:
    with inside(lan.node):
        keeper = lan.keeper(Loop(), [VIP6], 30 * SECOND)
        keeper.acquire()
        assert lan.hear(1) == ["advertisement"]
        Path("/proc/sys/net/ipv6/conf/eth0/forwarding").write_text("1")
        keeper.announce()
        assert lan.hear(1) == ["router's advertisement"]
        keeper.release()


def test_a_link_local_address_is_announced(lan: Lan) -> None:
    vip = Vip(ipaddress.ip_interface("fe80::10/128"), "eth0")
    lan.client.ip(f"neigh replace fe80::10 lladdr {STALE_MAC} nud reachable dev lan")
    with inside(lan.node):
        keeper = lan.keeper(Loop(), [vip], 30 * SECOND)
        keeper.acquire()
        wait_until(lambda: lan.neighbour("fe80::10") == "02:00:00:00:0a:01", 30, "the neighbour")
        lan.client.run("ping", "-c", "1", "-W", "5", "fe80::10%lan")
        keeper.release()


def test_announcements_are_repeated_for_five_seconds_and_then_refreshed(lan: Lan) -> None:
    clock = Clock()
    loop = Loop(clock)
    began = clock.now
    with inside(lan.node):
        keeper = lan.keeper(loop, [VIP4, VIP6], 30 * SECOND)
        keeper.acquire()
        assert lan.hear(3) == list(FRAMES)[:3]
        for ms in (100, 200, 500, 1000, 2000, 5000):
            clock.now = began + ms * MS - 1
            loop.run_once(0)
            assert lan.heard() == []
            clock.now += 1
            loop.run_once(0)
            assert lan.hear(3) == list(FRAMES)[:3]
        for _ in range(3):
            clock.now += 30 * SECOND - 1
            loop.run_once(0)
            assert lan.heard() == []
            clock.now += 1
            loop.run_once(0)
            assert lan.hear(3) == list(FRAMES)[:3]
        keeper.release()
        clock.now += 60 * SECOND
        loop.run_once(0)
        assert lan.heard() == []


def test_a_release_ends_the_announcements(lan: Lan) -> None:
    clock = Clock()
    loop = Loop(clock)
    with inside(lan.node):
        keeper = lan.keeper(loop, [VIP4, VIP6], 30 * SECOND)
        keeper.acquire()
        lan.hear(3)
        keeper.announce_repeatedly()
        assert lan.hear(3) == list(FRAMES)[:3]
        keeper.release()
        clock.now += 60 * SECOND
        loop.run_once(0)
        # what had been sent before this datagram has arrived with it
        lan.node.run("ping", "-c", "1", "-W", "5", "192.0.2.2")
        assert lan.heard() == []


def test_what_was_taken_away_is_announced_again_once_it_is_back(lan: Lan) -> None:
    with inside(lan.node):
        keeper = lan.keeper(Loop(), [VIP4], 30 * SECOND)
        keeper.acquire()
        assert lan.hear(2) == ["arp request", "arp reply"]
        keeper.renew()
        assert lan.heard() == []
        lan.node.ip("address delete 192.0.2.10/32 dev eth0")
        assert keeper.renew().missing == (VIP4,)
        assert lan.hear(2) == ["arp request", "arp reply"]
        keeper.release()


def test_a_failed_acquisition_announces_nothing(lan: Lan) -> None:
    with inside(lan.node):
        keeper = lan.keeper(Loop(), [VIP4, Vip(VIP6.address, "eth7")], 30 * SECOND)
        with pytest.raises(VipError, match="eth7"):
            keeper.acquire()
        assert keeper.announce() == ()
    assert lan.heard() == []


def test_an_interface_that_cannot_carry_announcements_is_counted(lan: Lan) -> None:
    with inside(lan.node):
        keeper = lan.keeper(Loop(), [VIP4, Vip(ipaddress.ip_interface("127.0.0.9/32"), "lo")], 30 * SECOND)
        keeper.acquire()
        lan.node.ip("link set eth0 down")
        assert keeper.announce() == (
            "eth0: Network is down",
            "lo: not an Ethernet interface, nothing to announce on",
        )
        lan.node.ip("link delete eth0")
        assert keeper.announce()[0] == "eth0: No such device"
        assert keeper.announce_failures["eth0: No such device"] == 1
        keeper.release()
