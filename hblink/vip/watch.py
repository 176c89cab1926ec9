"""What happens to the service interfaces: carrier, and addresses that go away, told by the kernel as it happens.

The socket is the standard library's, the parser is pyroute2's: so nothing blocks, and a receive buffer that overran
(ENOBUFS) is mended by a dump, with every version of pyroute2. A hint that hurries a decision: a lost one must cost
only time. This module must never change anything.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Callable, Iterable
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.rtnl.marshal import MarshalRtnl

from hblink.loop import Loop
from hblink.vip.address import VipError

# linux/rtnetlink.h, linux/if.h
RTMGRP_LINK = 0x1
RTMGRP_IPV4_IFADDR = 0x10
RTMGRP_IPV6_IFADDR = 0x100
IFF_LOWER_UP = 0x10000

RECEIVE_BYTES = 65536
RECEIVES_PER_EVENT = 32  # then the loop's timers have their turn
RECEIVES_TO_DISCARD = 100_000  # far more than any receive buffer holds
DUMP_ATTEMPTS = 5

OnCarrier = Callable[[bool, int], None]
OnAddressRemoved = Callable[[str, str, int], None]


class ServiceWatch:
    """Watch `interfaces` of the caller's network namespace.

    `on_carrier(up, now)` is called when the answer of `carrier` changes; `on_address_removed(ip, interface, now)` for
    every address that disappears from a watched interface, by whatever hand: removed by another program, lapsed, or
    released by this one.
    """

    def __init__(
        self,
        loop: Loop,
        interfaces: Iterable[str],
        on_carrier: OnCarrier,
        on_address_removed: OnAddressRemoved,
    ) -> None:
        self._loop = loop
        self._interfaces = frozenset(interfaces)
        self._on_carrier = on_carrier
        self._on_address_removed = on_address_removed
        self._socket: socket.socket | None = None
        self._marshal = MarshalRtnl()
        self._links: dict[int, tuple[str, bool]] = {}  # every interface: index to name and carrier
        self._addresses: set[tuple[str, str]] = set()  # of watched interfaces: IP address and interface
        self._carrier = False
        self.overruns = 0
        self.undecodable = 0

    def open(self) -> None:
        """Begin to watch, from the state of now. Raises VipError."""
        if self._socket is not None:
            return
        try:
            sock = socket.socket(
                socket.AF_NETLINK,
                socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC,
                socket.NETLINK_ROUTE,
            )
        except OSError as error:
            raise VipError(f"no netlink socket: {error.strerror}") from error
        try:
            sock.bind((0, RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR))
            self._links, self._addresses = self._dump()  # after bind: what changes meanwhile is read afterwards
        except (OSError, NetlinkError) as error:
            sock.close()
            raise VipError(f"the kernel did not list its interfaces: {error.args[-1]}") from error
        self._socket = sock
        self._carrier = self._compute_carrier()
        self._loop.watch(sock.fileno(), self._on_readable)

    def close(self) -> None:
        """Stop watching; may be repeated."""
        if self._socket is not None:
            self._loop.unwatch(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def carrier(self) -> bool:
        """Say whether every watched interface exists and has carrier (IFF_LOWER_UP), as of the last event."""
        return self._carrier

    def without_carrier(self) -> tuple[str, ...]:
        """Return the watched interfaces that are missing or have no carrier, sorted, for messages."""
        up = {name for name, lower_up in self._links.values() if lower_up}
        return tuple(sorted(self._interfaces - up))

    def _on_readable(self, now: int) -> None:
        removed: list[tuple[str, str]] = []
        for _ in range(RECEIVES_PER_EVENT):
            if self._socket is None:
                return
            try:
                data = self._socket.recv(RECEIVE_BYTES)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self.overruns += 1
                self._discard(self._socket)
                removed += self._resynchronise()
                break
            for message in self._marshal.parse(data):
                removed += self._apply(message)
        self._tell(removed, now)

    def _tell(self, removed: list[tuple[str, str]], now: int) -> None:
        up = self._compute_carrier()
        if up != self._carrier:
            self._carrier = up
            self._on_carrier(up, now)
        for ip, interface in removed:
            self._on_address_removed(ip, interface, now)

    def _apply(self, message: Any) -> list[tuple[str, str]]:
        """Take in one event; return the addresses that went away by it."""
        kind, index = message.get("event"), message.get("index")
        if kind == "RTM_NEWLINK":
            if message.get_attr("IFLA_IFNAME") is not None:
                self._links[index] = _link(message)
        elif kind == "RTM_DELLINK":
            # a bridge port that leaves its bridge is told in the bridge's address family: the interface stays
            if message["family"] == socket.AF_UNSPEC:
                self._links.pop(index, None)
        elif kind in ("RTM_NEWADDR", "RTM_DELADDR"):
            name, _ = self._links.get(index, ("", False))
            if name in self._interfaces:
                address = (_ip(message), name)
                if kind == "RTM_NEWADDR":
                    self._addresses.add(address)
                else:
                    self._addresses.discard(address)
                    return [address]
        else:
            self.undecodable += 1
        return []

    def _discard(self, sock: socket.socket) -> None:
        """Empty the queue: its events are older than the lost ones, and until it is empty more are lost in silence.

        (The kernel says ENOBUFS once, and accepts again only when the queue was drained: netlink_overrun.)
        """
        for _ in range(RECEIVES_TO_DISCARD):
            try:
                sock.recv(RECEIVE_BYTES)
            except BlockingIOError:
                return
            except OSError:
                self.overruns += 1

    def _resynchronise(self) -> list[tuple[str, str]]:
        """Dump after events were lost; return the addresses that went away meanwhile.

        If even that fails, nothing is known of the interfaces, which counts as no carrier, until the next event.
        """
        known = self._addresses
        try:
            self._links, self._addresses = self._dump()
        except (OSError, NetlinkError):
            self._links, self._addresses = {}, set()
        return sorted(known - self._addresses)

    def _dump(self) -> tuple[dict[int, tuple[str, bool]], set[tuple[str, str]]]:
        for attempt in range(DUMP_ATTEMPTS):
            try:
                with IPRoute() as route:
                    links = {message["index"]: _link(message) for message in route.get_links()}
                    addresses = {
                        (_ip(message), links[message["index"]][0])
                        for message in route.get_addr()
                        if message["index"] in links and links[message["index"]][0] in self._interfaces
                    }
                return links, addresses
            except NetlinkError:  # interrupted by a change in the middle
                if attempt + 1 == DUMP_ATTEMPTS:
                    raise
        raise AssertionError("unreachable")

    def _compute_carrier(self) -> bool:
        return not self.without_carrier()


def _link(message: Any) -> tuple[str, bool]:
    return message.get_attr("IFLA_IFNAME"), bool(message["flags"] & IFF_LOWER_UP)


def _ip(message: Any) -> str:
    return str(ipaddress.ip_address(message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")))
