"""Upstream targets, asked over a real cable: who answers, from which address, and what the score makes of it."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from hblink.ethernet import ETH_P_ARP, Field, packet_socket
from hblink.health.monitor import HealthMonitor
from hblink.health.target import TARGETS, NoOwnAddressError, Place, Target, own_address
from hblink.loop import Loop
from tests.adapter.stage import inside, run_until, wait_up
from tests.rig.namespace import Lab, Namespace
from tests.rig.wait import boottime_ns

MS = 1_000_000
GATEWAY4, GATEWAY6 = ipaddress.ip_address("192.0.2.1"), ipaddress.ip_address("2001:db8::1")
VIP4, VIP6 = ipaddress.ip_address("192.0.2.10"), ipaddress.ip_address("2001:db8::10")
NEVER = frozenset({VIP4, VIP6})
ASKED_BY = {
    "icmp4": ("icmp", GATEWAY4),
    "icmp6": ("icmp", GATEWAY6),
    "link-local": ("icmp", ipaddress.ip_address("fe80::1")),
    "arp": ("arp", GATEWAY4),
}


@dataclass
class Lan:
    """A node, its gateway, and what the node's monitor told."""

    node: Namespace
    gateway: Namespace
    loop: Loop
    stack: contextlib.ExitStack
    scores: list[int | None] = field(default_factory=list)
    states: list[tuple[str, bool | None]] = field(default_factory=list)

    def target(self, how: str) -> Target:
        method, address = ASKED_BY[how]
        made = TARGETS[method](self.loop, Place(address, "eth0", NEVER))
        self.stack.callback(made.close)
        return made

    def monitor(self, *how: str, interval_ns: int = 50 * MS, samples: int = 3) -> HealthMonitor:
        made = HealthMonitor(
            self.loop,
            [self.target(each) for each in how],
            interval_ns=interval_ns,
            samples=samples,
            on_score=lambda score, _now: self.scores.append(score),
            on_target=lambda target, answers, _now: self.states.append((str(target.place.address), answers)),
        )
        self.stack.callback(made.close)
        made.start()
        return made

    def until(self, condition: Callable[[], object], what: str) -> None:
        run_until(self.loop, condition, what)

    def run_for(self, duration_ns: int) -> None:
        end = boottime_ns() + duration_ns
        while boottime_ns() < end:
            self.loop.run_once(20 * MS)


@pytest.fixture
def lan(rig: Lab) -> Iterator[Lan]:
    node, gateway = rig.namespace("node"), rig.namespace("gateway")
    node.ip(f"link add eth0 type veth peer name lan netns {gateway.name}", "link set eth0 up")
    node.ip(
        "address add 192.0.2.101/24 dev eth0",
        "address add 2001:db8::101/64 dev eth0 nodad",
        "address add fe80::101/64 dev eth0 nodad",
        "address add 192.0.2.10/32 dev eth0",
        "address add 2001:db8::10/128 dev eth0 nodad preferred_lft 0",
    )
    gateway.ip(
        "link set lan up",
        "address add 192.0.2.1/24 dev lan",
        "address add 2001:db8::1/64 dev lan nodad",
        "address add fe80::1/64 dev lan nodad",
    )
    wait_up((node, "eth0"), (gateway, "lan"))
    with contextlib.ExitStack() as stack:
        yield Lan(node, gateway, Loop(), stack)


def deafen(lan: Lan) -> None:
    """Let the gateway answer no echo any more; carrier, ARP and neighbour discovery go on."""
    lan.gateway.run("sysctl", "-qw", "net.ipv4.icmp_echo_ignore_all=1", "net.ipv6.icmp.echo_ignore_all=1")


@pytest.mark.parametrize("how", ASKED_BY)
def test_a_target_that_is_there_answers(lan: Lan, how: str) -> None:
    with inside(lan.node):
        target = lan.target(how)
        for _ in range(2):
            assert target.ask() is True
            assert not target.answered
            lan.until(lambda: target.answered, "the answer")


@pytest.mark.parametrize("how", ASKED_BY)
def test_a_target_that_is_gone_does_not(lan: Lan, how: str) -> None:
    with inside(lan.node):
        target = lan.target(how)
        assert target.ask()
        lan.until(lambda: target.answered, "the first answer")
        lan.gateway.ip("link set lan down")
        target.ask()
        lan.run_for(100 * MS)
        assert not target.answered
        lan.gateway.ip("link set lan up", "address replace 2001:db8::1/64 dev lan nodad")
        lan.gateway.ip("address replace fe80::1/64 dev lan nodad")

        def answers() -> bool:
            target.ask()
            lan.run_for(50 * MS)
            return target.answered

        lan.until(answers, "the target to be back")


def test_a_gateway_that_ignores_echo_still_answers_arp(lan: Lan) -> None:
    deafen(lan)
    with inside(lan.node):
        targets = {how: lan.target(how) for how in ASKED_BY}
        for target in targets.values():
            assert target.ask() is True
        lan.until(lambda: targets["arp"].answered, "the answer to ARP")
        lan.run_for(150 * MS)
        assert {how: target.answered for how, target in targets.items()} == {
            "icmp4": False,
            "icmp6": False,
            "link-local": False,
            "arp": True,
        }


def test_the_question_comes_from_an_own_address_never_from_a_virtual_one(lan: Lan) -> None:
    with inside(lan.node):
        assert own_address(Place(GATEWAY4, "eth0", NEVER)) == ipaddress.ip_address("192.0.2.101")
        assert own_address(Place(GATEWAY6, "eth0", NEVER)) == ipaddress.ip_address("2001:db8::101")
        lan.node.ip("address delete 192.0.2.101/24 dev eth0", "address replace 192.0.2.10/32 dev eth0")
        lan.node.ip("route add 192.0.2.0/24 dev eth0 src 192.0.2.10")
        with pytest.raises(NoOwnAddressError):
            own_address(Place(GATEWAY4, "eth0", NEVER))
        with inside(lan.gateway):
            ear = packet_socket("lan", ETH_P_ARP, [Field(28, 4, [int(VIP4)])])
        with ear:
            assert lan.target("icmp4").ask() is None
            assert lan.target("arp").ask() is None
            lan.run_for(50 * MS)
            with pytest.raises(BlockingIOError):
                ear.recv(100)


def test_answers_of_another_machine_and_to_another_program_are_not_taken(lan: Lan) -> None:
    deafen(lan)
    lan.gateway.ip("address add 192.0.2.2/24 dev lan")
    with inside(lan.node):
        target = lan.target("icmp4")
        assert target.ask()
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
            with inside(lan.gateway):
                forger = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
            with forger:
                forger.bind(("192.0.2.1", 0))
                reply = bytes.fromhex("0000ffff00000000")  # an echo reply of ident 0, sequence 0
                forger.sendto(reply, ("192.0.2.101", 0))
                forger.bind(("192.0.2.2", 0))
                forger.sendto(reply, ("192.0.2.101", 0))
                assert other.recv(100)
        lan.run_for(50 * MS)
        assert not target.answered


def test_the_score_follows_what_answers(lan: Lan) -> None:
    with inside(lan.node):
        monitor = lan.monitor("icmp4", "icmp6", "arp")
        lan.until(lambda: lan.scores == [100], "the first score")
        assert sorted(lan.states) == [("192.0.2.1", True), ("192.0.2.1", True), ("2001:db8::1", True)]
        deafen(lan)
        lan.until(lambda: lan.scores[-1] == 33, "the loss of echo")
        assert monitor.score == 33
        lan.gateway.ip("link set lan down")
        lan.until(lambda: lan.scores[-1] == 0, "the loss of everything")
        assert [answers for _, answers in monitor.answers()] == [False, False, False]


def test_without_an_own_address_the_score_is_unknown(lan: Lan) -> None:
    with inside(lan.node):
        lan.monitor("icmp4")
        lan.until(lambda: lan.scores == [100], "the first score")
        lan.node.ip("address delete 192.0.2.101/24 dev eth0", "address replace 192.0.2.10/32 dev eth0")
        lan.node.ip("route add 192.0.2.0/24 dev eth0 src 192.0.2.10")
        lan.until(lambda: lan.scores[-1] is None, "unknown")
        assert lan.states[-1] == ("192.0.2.1", None)


def test_a_round_in_which_the_loop_was_late_accuses_nobody(lan: Lan) -> None:
    now = boottime_ns()
    lan.loop = Loop(lambda: now)
    with inside(lan.node):
        monitor = lan.monitor("icmp4", interval_ns=500 * MS, samples=1)
        [(target, _)] = monitor.answers()
        lan.until(lambda: target.answered, "the answer")
        now += 500 * MS
        lan.until(lambda: lan.scores == [100], "the first score")
        deafen(lan)
        for _ in range(3):
            now += 20_000 * MS  # frozen
            lan.run_for(30 * MS)
        assert monitor.score == 100
        now += 500 * MS
        lan.until(lambda: lan.scores == [100, 0], "a round in time")
