"""UDP links over a veth cable between two namespaces."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from hblink.links.link import LinkError
from hblink.links.udp import UdpLink
from hblink.loop import Loop
from tests.adapter.stage import inside, run_until, wait_up
from tests.rig.namespace import Lab, Namespace

PORT = 1694
FAMILIES = {
    "ipv4": ("10.9.0.1", "10.9.0.2"),
    "ipv6": ("fd00:9::1", "fd00:9::2"),
    "ipv6-link-local": ("fe80::a", "fe80::b"),
}
CABLE = (
    "address add 10.9.0.{n}/24 dev hb",
    "address add fd00:9::{n}/64 dev hb nodad",
    "address add fe80::{letter}/64 dev hb nodad",
    "link set hb up",
)


@dataclass
class End:
    """One end of the cable and what its link said."""

    namespace: Namespace
    address: str
    link: UdpLink
    got: list[bytes]
    closed: list[str]


@dataclass
class Cable:
    loop: Loop
    alpha: End
    beta: End

    def open(self) -> None:
        for end in (self.alpha, self.beta):
            with inside(end.namespace):
                end.link.open()

    def plug(self) -> None:
        plug(self.alpha.namespace, self.beta.namespace)

    def crosses(self, sender: End, receiver: End) -> None:
        """Send until something arrives: the first packets may wait for neighbour discovery or a route."""
        before = len(receiver.got)

        def arrived() -> bool:
            sender.link.send(b"beat", self.loop.now())
            return len(receiver.got) > before

        run_until(self.loop, arrived, "a datagram to cross")
        assert receiver.got[-1] == b"beat"


def plug(alpha: Namespace, beta: Namespace) -> None:
    alpha.ip(f"link add hb type veth peer name hb netns {beta.name}")
    for n, namespace in enumerate((alpha, beta), 1):
        namespace.ip(*(line.format(n=n, letter="_ab"[n]) for line in CABLE))
    wait_up((alpha, "hb"), (beta, "hb"))


def make_end(loop: Loop, namespace: Namespace, local: str, peer: str, interface: str | None = "hb") -> End:
    got: list[bytes] = []
    closed: list[str] = []
    link = UdpLink(
        loop, local, peer, PORT, interface, lambda data, _now: got.append(data), lambda why, _now: closed.append(why)
    )
    return End(namespace, local, link, got, closed)


@pytest.fixture(params=FAMILIES)
def cable(rig: Lab, request: pytest.FixtureRequest) -> Iterator[Cable]:
    alpha, beta = FAMILIES[request.param]
    spaces = rig.namespace("alpha"), rig.namespace("beta")
    plug(*spaces)
    loop = Loop()
    made = Cable(loop, make_end(loop, spaces[0], alpha, beta), make_end(loop, spaces[1], beta, alpha))
    yield made
    made.alpha.link.close()
    made.beta.link.close()


def stranger(namespace: Namespace, address: str, *, hop_limit: int) -> socket.socket:
    """A plain socket of another program on the peer's machine."""
    with inside(namespace):
        if ":" not in address:
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, hop_limit)
            sock.bind((address, 0))
        else:
            sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, hop_limit)
            sock.bind((address, 0, 0, socket.if_nametoindex("hb")))
        return sock


def shout(sock: socket.socket, namespace: Namespace, data: bytes, destination: str) -> None:
    with inside(namespace):
        scope = (0, socket.if_nametoindex("hb")) if destination.startswith("fe80") else ()
        sock.sendto(data, (destination, PORT, *scope))


def test_datagrams_cross_both_ways_whole(cable: Cable) -> None:
    cable.open()
    cable.crosses(cable.alpha, cable.beta)
    cable.crosses(cable.beta, cable.alpha)
    everything = bytes(range(256))
    assert cable.alpha.link.send(everything, 0)
    run_until(cable.loop, lambda: everything in cable.beta.got, "all byte values")
    assert cable.alpha.link.carrier() is True
    counters = cable.beta.link.counters
    assert counters.received == len(cable.beta.got)
    assert counters.received_bytes == sum(map(len, cable.beta.got))
    assert not counters.dropped
    assert not cable.alpha.closed
    assert not cable.beta.closed


def test_datagrams_from_beyond_a_router_are_dropped(cable: Cable) -> None:
    cable.open()
    with stranger(cable.beta.namespace, cable.beta.address, hop_limit=254) as sock:
        shout(sock, cable.beta.namespace, b"forwarded", cable.alpha.address)
        run_until(cable.loop, lambda: cable.alpha.link.counters.dropped["hop limit"] == 1, "the drop")
    cable.crosses(cable.beta, cable.alpha)
    assert b"forwarded" not in cable.alpha.got


def test_datagrams_of_others_are_dropped(cable: Cable) -> None:
    cable.open()
    other = {"10.9.0.2": "10.9.0.77", "fd00:9::2": "fd00:9::77", "fe80::b": "fe80::77"}[cable.beta.address]
    cable.beta.namespace.ip(f"address add {other}/" + ("24 dev hb" if "." in other else "64 dev hb nodad"))
    with stranger(cable.beta.namespace, other, hop_limit=255) as sock:
        shout(sock, cable.beta.namespace, b"foreign", cable.alpha.address)
        run_until(cable.loop, lambda: cable.alpha.link.counters.dropped["foreign source"] == 1, "the drop")
    cable.crosses(cable.beta, cable.alpha)
    assert b"foreign" not in cable.alpha.got


def test_oversized_datagrams_are_dropped(cable: Cable) -> None:
    cable.open()
    with stranger(cable.beta.namespace, cable.beta.address, hop_limit=255) as sock:
        shout(sock, cable.beta.namespace, bytes(5000), cable.alpha.address)
        run_until(cable.loop, lambda: cable.alpha.link.counters.dropped["oversized"] == 1, "the drop")
    cable.crosses(cable.beta, cable.alpha)
    assert max(map(len, cable.alpha.got)) == len(b"beat")


def test_a_peer_that_does_not_listen_yet_is_survived(cable: Cable) -> None:
    with inside(cable.alpha.namespace):
        cable.alpha.link.open()
    received = cable.beta.namespace.packets("hb")[0]

    def reached_the_machine() -> bool:
        cable.alpha.link.send(b"beat", 0)
        return cable.beta.namespace.packets("hb")[0] > received + 3

    run_until(cable.loop, reached_the_machine, "the peer's machine to refuse some datagrams")
    cable.open()
    cable.crosses(cable.alpha, cable.beta)
    assert not cable.alpha.closed


def test_an_interface_goes_away_and_comes_back(cable: Cable) -> None:
    cable.open()
    cable.crosses(cable.alpha, cable.beta)
    cable.alpha.namespace.ip("link delete hb")
    with inside(cable.alpha.namespace):
        assert cable.alpha.link.send(b"lost", 0) is False
        assert cable.alpha.link.carrier() is False
    cable.plug()
    # the daemon's own thread stays in the namespace of its links
    with inside(cable.alpha.namespace):
        run_until(cable.loop, lambda: cable.alpha.link.send(b"", 0), "the first link to send again")
    with inside(cable.beta.namespace):
        run_until(cable.loop, lambda: cable.beta.link.send(b"", 0), "the second link to send again")
    cable.crosses(cable.alpha, cable.beta)
    cable.crosses(cable.beta, cable.alpha)
    assert not cable.alpha.closed
    assert not cable.beta.closed


def test_an_interface_goes_down_and_up(cable: Cable) -> None:
    cable.open()
    cable.crosses(cable.alpha, cable.beta)
    cable.alpha.namespace.ip("link set hb down")
    run_until(cable.loop, lambda: not cable.alpha.link.send(b"lost", 0), "a refusal")
    assert cable.alpha.link.carrier() is False
    assert cable.alpha.link.is_open
    cable.alpha.namespace.ip("link set hb up")
    if ":" in cable.alpha.address:  # IPv6 addresses go with the interface; its owner puts them back
        cable.alpha.namespace.ip(f"address replace {cable.alpha.address}/64 dev hb nodad")
    cable.crosses(cable.alpha, cable.beta)
    cable.crosses(cable.beta, cable.alpha)
    assert not cable.alpha.closed


def test_carrier_of_a_direct_cable_is_the_far_ends_signal(cable: Cable) -> None:
    seen: list[bool | None] = []  # at each event of the kernel
    end = cable.alpha
    with inside(end.namespace):
        direct = UdpLink(
            cable.loop, end.address, cable.beta.address, PORT, "hb", lambda _d, _n: None, lambda _r, _n: None,
            lambda _now: seen.append(direct.signal()),
        )  # fmt: skip
        assert direct.signal() is None
        direct.open()

    def told(signal: bool | None, what: str) -> None:
        run_until(cable.loop, lambda: seen[-1:] == [signal], f"an event that tells of {what}")
        assert direct.signal() is signal

    with contextlib.closing(direct):
        run_until(cable.loop, lambda: direct.signal() is True, "the state at the start")
        cable.beta.namespace.ip("link set hb down")
        told(False, "the loss of the far end")
        cable.beta.namespace.ip("link set hb up")
        told(True, "its return")
        end.namespace.ip("link set hb down")
        told(None, "the own end being down")
        end.namespace.ip("link delete hb")
        seen.clear()
        told(None, "the own end being gone")
    assert direct.signal() is None


def test_a_direct_cable_without_the_far_end_says_so_from_the_start(cable: Cable) -> None:
    cable.beta.namespace.ip("link set hb down")
    with inside(cable.alpha.namespace):
        direct = UdpLink(
            cable.loop, cable.alpha.address, cable.beta.address, PORT, "hb", lambda _d, _n: None, lambda _r, _n: None,
            lambda _now: None,
        )  # fmt: skip
        direct.open()
    with contextlib.closing(direct):
        run_until(cable.loop, lambda: direct.signal() is False, "the kernel to have noticed")


def test_a_network_that_is_not_said_to_be_a_direct_cable_has_no_signal(cable: Cable) -> None:
    cable.open()
    assert cable.alpha.link.carrier() is True
    assert cable.alpha.link.signal() is None
    cable.beta.namespace.ip("link set hb down")
    run_until(cable.loop, lambda: cable.alpha.link.carrier() is False, "the loss of carrier")
    assert cable.alpha.link.signal() is None


def test_the_own_address_may_come_later(cable: Cable) -> None:
    address = f"{cable.alpha.address}/{64 if ':' in cable.alpha.address else 24}"
    cable.alpha.namespace.ip(f"address delete {address} dev hb")
    cable.open()
    cable.alpha.namespace.ip(f"address add {address} dev hb" + (" nodad" if ":" in address else ""))
    cable.crosses(cable.alpha, cable.beta)


def test_a_missing_interface_is_named(cable: Cable) -> None:
    end = make_end(cable.loop, cable.alpha.namespace, cable.alpha.address, cable.beta.address, "eth7")
    with inside(cable.alpha.namespace), pytest.raises(LinkError, match=r"on eth7.*see: ip link"):
        end.link.open()
    assert not end.link.is_open
    assert end.link.send(b"beat", 0) is False
    assert end.link.counters.unsent == {"closed": 1}


def test_a_port_in_use_is_named(cable: Cable) -> None:
    cable.open()
    end = make_end(cable.loop, cable.alpha.namespace, cable.alpha.address, cable.beta.address)
    with inside(cable.alpha.namespace), pytest.raises(LinkError, match=r"port 1694.*another process"):
        end.link.open()


def test_closing_and_opening_again(cable: Cable) -> None:
    cable.open()
    cable.alpha.link.close()
    cable.alpha.link.close()
    assert not cable.alpha.link.is_open
    cable.open()
    cable.crosses(cable.beta, cable.alpha)
    assert not cable.alpha.closed


def test_addresses_of_two_families_are_refused() -> None:
    with pytest.raises(ValueError, match="same IP version"):
        UdpLink(Loop(), "10.9.0.1", "fd00:9::2", PORT, None, lambda _d, _n: None, lambda _r, _n: None)
