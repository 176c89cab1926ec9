"""Who else holds an address, asked of real kernels on a cable: one that has it, one that takes it, one that goes."""

from __future__ import annotations

import contextlib
import ipaddress
import itertools
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from hblink.ethernet import (
    ARP_REPLY,
    ARP_REQUEST,
    ARP_TARGET_IP,
    ETH_P_ARP,
    ETH_P_IPV6,
    Field,
    arp,
    hardware_addresses,
    packet_socket,
)
from hblink.loop import Loop
from hblink.vip.address import Vip
from hblink.vip.announcement import gratuitous_arp, unsolicited_advertisement
from hblink.vip.holder import DEFEND_INTERVAL_NS, FLOOD_PAUSE_NS, RECEIVES_PER_EVENT, HolderWatch, Pace, Sighting
from hblink.vip.probe import advertisement_claims, arp_claims, questions, read_claim
from tests.adapter.stage import inside, run_until, wait_up
from tests.rig.namespace import Lab, Namespace
from tests.rig.wait import boottime_ns

MS = 1_000_000
SECOND = 1_000_000_000
VIP4 = Vip(ipaddress.ip_interface("192.0.2.10/32"), "eth0")
VIP6 = Vip(ipaddress.ip_interface("2001:db8::10/128"), "eth0")
NODE_MAC = bytes.fromhex("020000000a01")
OTHER_MAC = bytes.fromhex("020000000a02")
SEEN4, SEEN6 = Sighting(VIP4, OTHER_MAC), Sighting(VIP6, OTHER_MAC)


@dataclass
class Lan:
    """A node and another machine on one cable, and what the node's watch has told."""

    node: Namespace
    other: Namespace
    loop: Loop
    stack: contextlib.ExitStack
    told: list[frozenset[Sighting]] = field(default_factory=list)
    conflicts: list[int] = field(default_factory=list)
    watch: HolderWatch | None = None

    def open(self, *vips: Vip) -> HolderWatch:
        """Make the watch; the caller is inside the node."""
        self.watch = HolderWatch(
            self.loop,
            vips or (VIP4, VIP6),
            on_change=lambda sightings, _now: self.told.append(sightings),
            on_conflict=self.conflicts.append,
        )
        self.stack.callback(self.watch.close)
        return self.watch

    def until(self, condition: Callable[[], object], what: str) -> None:
        run_until(self.loop, condition, what)

    def until_asked_of(self, sighting: Sighting, keep_ns: int) -> None:
        """Run until `sighting` rests on an answer of this instant; for a clock that the test sets."""
        watch, until = self.watch, self.loop.now() + keep_ns
        assert watch is not None
        self.until(lambda: watch._until.get(sighting) == until, "the answer")

    def run_for(self, duration_ns: int) -> None:
        end = boottime_ns() + duration_ns
        while boottime_ns() < end:
            self.loop.run_once(20 * MS)


@pytest.fixture
def lan(rig: Lab) -> Iterator[Lan]:
    node, other = rig.namespace("node"), rig.namespace("other")
    node.ip(
        f"link add eth0 address {NODE_MAC.hex(':')} type veth peer name lan address {OTHER_MAC.hex(':')}"
        f" netns {other.name}",
        "link set eth0 up",
        "address add 192.0.2.1/24 dev eth0",
    )
    other.ip("link set lan up", "address add 192.0.2.2/24 dev lan")
    wait_up((node, "eth0"), (other, "lan"))
    with contextlib.ExitStack() as stack:
        yield Lan(node, other, Loop(), stack)


def take(lan: Lan, *addresses: str) -> None:
    lan.other.ip(*(f"address add {address} dev lan {'nodad' if ':' in address else ''}" for address in addresses))


def drop(lan: Lan, *addresses: str) -> None:
    lan.other.ip(*(f"address delete {address} dev lan" for address in addresses))


def test_the_questions_are_those_of_the_rfcs() -> None:
    ((protocol, probe),) = questions(NODE_MAC, VIP4)
    assert protocol == ETH_P_ARP
    assert probe.hex() == (
        "ffffffffffff020000000a010806"  # broadcast
        "0001080006040001"  # a request
        "020000000a0100000000"  # from no address (RFC 5227 2.1.1)
        "000000000000c000020a"
    )
    ((protocol, solicitation),) = questions(NODE_MAC, VIP6)
    assert protocol == ETH_P_IPV6
    assert solicitation[:14].hex() == "3333ff000010020000000a0186dd"
    assert solicitation[14:22].hex() == "6000000000183aff"
    assert solicitation[22:38] == bytes(16), "from no address, and so without an address option (RFC 4861 4.3)"
    assert solicitation[38:54].hex() == "ff02" + "00" * 9 + "01ff000010"
    assert solicitation[54:56].hex() == "8700"
    assert solicitation[62:].hex() == "20010db8" + "00" * 11 + "10"


@pytest.mark.parametrize("length", range(0, 86, 7))
def test_a_frame_that_is_cut_off_claims_nothing_or_what_it_says(length: int) -> None:
    four, six = VIP4.address.ip, VIP6.address.ip
    assert isinstance(four, ipaddress.IPv4Address)
    assert isinstance(six, ipaddress.IPv6Address)
    for frame, whole in (
        (gratuitous_arp(OTHER_MAC, four)[0], 42),
        (unsolicited_advertisement(OTHER_MAC, six, is_router=False), 78),
    ):
        claim = read_claim(frame[:length])
        assert (claim is not None) == (length >= whole)
        assert claim is None or claim.mac == OTHER_MAC


def test_what_comes_from_beyond_a_router_claims_nothing() -> None:
    six = VIP6.address.ip
    assert isinstance(six, ipaddress.IPv6Address)
    frame = bytearray(unsolicited_advertisement(OTHER_MAC, six, is_router=False))
    assert read_claim(bytes(frame)) is not None
    frame[21] = 254
    assert read_claim(bytes(frame)) is None


def test_a_holder_is_found_at_once_and_forgotten_when_it_is_gone(lan: Lan) -> None:
    now = boottime_ns()
    lan.loop = Loop(lambda: now)
    take(lan, "192.0.2.10/32", "2001:db8::10/128")
    with inside(lan.node):
        watch = lan.open()
        watch.follow(Pace.CLAIM)
        lan.until(lambda: watch.sightings == {SEEN4, SEEN6}, "both to be seen, by the first question")
        drop(lan, "192.0.2.10/32", "2001:db8::10/128")
        now += Pace.CLAIM.keep_ns  # so that an address that is free is taken without delay
        lan.until(lambda: watch.sightings == frozenset(), "both to be forgotten")
        assert lan.told[-1] == frozenset()
        assert lan.conflicts == [], "nothing is held here, so nothing is defended"


def test_no_question_is_put_and_nothing_heard_when_off(lan: Lan) -> None:
    now = boottime_ns()
    lan.loop = Loop(lambda: now)
    take(lan, "192.0.2.10/32")
    with inside(lan.node):
        with inside(lan.other):
            ear = packet_socket("lan", ETH_P_ARP, [Field(ARP_TARGET_IP, 4, [int(VIP4.address.ip)])])

        def asked() -> int:
            count = 0
            with contextlib.suppress(BlockingIOError):
                while ear.recv(100):
                    count += 1
            return count

        with ear:
            watch = lan.open()
            watch.follow(Pace.CLAIM)
            lan.until_asked_of(SEEN4, Pace.CLAIM.keep_ns)
            assert asked() == 1
            for _ in range(3):
                now += 100 * MS - 1
                lan.run_for(10 * MS)
                assert asked() == 0
                now += 1
                lan.until_asked_of(SEEN4, Pace.CLAIM.keep_ns)
                assert asked() == 1, "each 100 ms before a claim"
            watch.follow(Pace.BLOCKED)
            lan.until_asked_of(SEEN4, Pace.BLOCKED.keep_ns)
            assert asked() == 1
            now += 2 * SECOND - 1
            lan.run_for(10 * MS)
            assert asked() == 0, "each 2 s while nothing is near"
            assert watch.sightings == {SEEN4}
            now += 1
            lan.until_asked_of(SEEN4, Pace.BLOCKED.keep_ns)
            assert asked() == 1
            watch.follow(Pace.OFF)
            assert lan.told[-1] == frozenset()
            now += 2 * SECOND
            lan.run_for(10 * MS)
            assert asked() == 0


def test_who_takes_an_address_that_is_held_here_is_seen_by_its_announcement(lan: Lan) -> None:
    with inside(lan.node):
        lan.node.ip("address add 192.0.2.10/32 dev eth0")
        watch = lan.open()
        watch.follow(Pace.HELD)
        lan.run_for(50 * MS)
        assert lan.told == []
        with inside(lan.other):
            thief = packet_socket("lan", 0, [])
        with thief:
            thief.send(arp(ARP_REQUEST, (OTHER_MAC, VIP4.address.ip.packed), (bytes(6), VIP4.address.ip.packed)))
            lan.until(lambda: watch.sightings == {SEEN4}, "the announcement")
            assert len(lan.conflicts) == 1
            for _ in range(5):
                thief.send(arp(ARP_REPLY, (OTHER_MAC, VIP4.address.ip.packed), (NODE_MAC, bytes(4))))
                lan.run_for(30 * MS)
            assert len(lan.conflicts) == 1, "defended at most once in 10 s (RFC 5227 2.4)"
            assert lan.told == [{SEEN4}], "said once"


def test_a_conflict_is_defended_until_it_is_over(lan: Lan) -> None:
    """By a clock that the test sets: asked about each 3 s, defended each 10 s, over after 7 s of silence."""
    now = boottime_ns()
    lan.loop = Loop(lambda: now)
    take(lan, "192.0.2.10/32")
    with inside(lan.node):
        watch = lan.open(VIP4)
        watch.follow(Pace.HELD)
        lan.until_asked_of(SEEN4, Pace.CONFLICT.keep_ns)
        for _ in range(8):
            now += 3 * SECOND
            lan.until_asked_of(SEEN4, Pace.CONFLICT.keep_ns)
            assert watch.sightings == {SEEN4}
        assert all(b - a >= DEFEND_INTERVAL_NS for a, b in itertools.pairwise(lan.conflicts))
        assert len(lan.conflicts) == 3, "at 0, 12 and 24 s"
        drop(lan, "192.0.2.10/32")
        now += 3 * SECOND
        lan.run_for(50 * MS)
        assert watch.sightings == {SEEN4}
        for _ in range(2):
            now += 3 * SECOND
            lan.run_for(50 * MS)
        assert watch.sightings == frozenset()
        assert lan.told == [{SEEN4}, frozenset()]


def test_this_host_is_no_foreign_holder_on_its_other_interface(lan: Lan) -> None:
    """Linux answers on every interface for every address: two ports in one network would accuse each other."""
    lan.other.ip(
        "link add lan0 type bridge",
        "link set lan0 up",
        "link set lan master lan0",
        f"link add second type veth peer name eth1 netns {lan.node.name}",
        "link set second up master lan0",
    )
    lan.node.ip("link set eth1 up", "address add 192.0.2.3/24 dev eth1", "address add 192.0.2.10/32 dev eth0")
    with inside(lan.node):
        assert len(hardware_addresses()) == 2
        ear = packet_socket("eth0", ETH_P_ARP, arp_claims([ipaddress.IPv4Address("192.0.2.10")]))
        watch = lan.open(VIP4)
        with ear:
            heard: list[bytes] = []

            def listens() -> bool:
                with contextlib.suppress(BlockingIOError):
                    heard.append(ear.recv(100))
                watch.follow(Pace.OFF)
                watch.follow(Pace.CLAIM)
                return bool(heard)

            lan.until(listens, "the host to answer its own question")
        lan.run_for(100 * MS)
        assert lan.told == []


def test_the_filter_wakes_for_nothing_else(lan: Lan) -> None:
    with inside(lan.node):
        four = packet_socket("eth0", ETH_P_ARP, arp_claims([ipaddress.IPv4Address("192.0.2.10")]))
        six = packet_socket("eth0", ETH_P_IPV6, advertisement_claims([ipaddress.IPv6Address("2001:db8::10")]))
        none = packet_socket("eth0", ETH_P_ARP, [Field(20, 2, [ARP_REPLY]), Field(28, 4, [1, 2, 3])])
    with four, six, none:
        lan.other.run("ping", "-c", "1", "-W", "5", "192.0.2.1")  # with its ARP
        lan.other.ip("address add 2001:db8::2/64 dev lan nodad")
        lan.node.ip("address add 2001:db8::1/64 dev eth0 nodad")
        lan.other.run("ping", "-c", "1", "-W", "5", "2001:db8::1")  # with its solicitation
        for ear in (four, six, none):
            with pytest.raises(BlockingIOError):
                ear.recv(100)
        with inside(lan.other):
            thief = packet_socket("lan", 0, [])
        with thief:
            wanted = arp(ARP_REPLY, (OTHER_MAC, VIP4.address.ip.packed), (NODE_MAC, bytes(4)))
            thief.send(wanted)
            four.settimeout(30)
            assert four.recv(100) == wanted
        with pytest.raises(BlockingIOError):
            none.recv(100)


def test_a_flood_of_claims_leaves_the_loop_its_time(lan: Lan) -> None:
    """By a clock that the test sets: what is read at once is bounded, and then nothing is for a moment."""
    now = boottime_ns()
    lan.loop = Loop(lambda: now)
    with inside(lan.node):
        watch = lan.open(VIP4)
        watch.follow(Pace.HELD)
        with inside(lan.other):
            thief = packet_socket("lan", 0, [])
        frame = arp(ARP_REPLY, (OTHER_MAC, VIP4.address.ip.packed), (NODE_MAC, bytes(4)))
        with thief:
            thief.setblocking(True)
            for _ in range(4 * RECEIVES_PER_EVENT):
                thief.send(frame)
            lan.until(lambda: not lan.loop._selector.get_map(), "the watch to look away")
            assert watch.sightings == {SEEN4}
            assert len(lan.conflicts) == 1
            now += FLOOD_PAUSE_NS - 1
            lan.loop.run_once(20 * MS)
            assert not lan.loop._selector.get_map()
            now += 1
            lan.until(lan.loop._selector.get_map, "another look")
            assert len(lan.conflicts) == 1


def test_an_interface_that_vanishes_and_returns_is_heard_again(lan: Lan) -> None:
    with inside(lan.node):
        watch = lan.open(VIP4)
        lan.node.ip("link delete eth0")
        watch.follow(Pace.CLAIM)
        lan.run_for(150 * MS)
        assert lan.told == []
        lan.node.ip(
            f"link add eth0 type veth peer name lan address {OTHER_MAC.hex(':')} netns {lan.other.name}",
            "link set eth0 up",
        )
        lan.other.ip("link set lan up")
        take(lan, "192.0.2.10/32")
        lan.until(lambda: watch.sightings == {SEEN4}, "the holder behind the new interface")


def test_hardware_addresses_leave_out_what_has_none(lan: Lan) -> None:
    with inside(lan.node):
        assert hardware_addresses(["eth0", "lo", "eth7"]) == {NODE_MAC}
        assert socket.if_nametoindex("lo")
