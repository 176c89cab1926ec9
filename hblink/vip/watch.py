"""What happens to the service interfaces: carrier, and addresses that go away, told by the kernel as it happens.

The socket is `hblink.netlink`'s, the parser is pyroute2's: so nothing blocks, and a receive buffer that overran
(ENOBUFS) is mended by a dump, with every version of pyroute2. A hint that hurries a decision: a lost one must cost
only time. This module must never change anything.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.rtnl.marshal import MarshalRtnl

from hblink.loop import Loop
from hblink.netlink import RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR, RTMGRP_LINK, RouteEvents
from hblink.vip.address import VipError

IFF_LOWER_UP = 0x10000  # linux/if.h
DUMP_ATTEMPTS = 5

OnCarrier = Callable[[bool, int], None]
OnAddressesRemoved = Callable[[tuple["Removal", ...], int], None]
OnReturn = Callable[[str, int], None]


@dataclass(frozen=True, slots=True)
class Removal:
    """An address that has gone from an interface; `port` is the netlink port that asked for it, 0 if unknown.

    The kernel names the port for IPv4 only, and not for a lease that lapsed. Most programs have their process id as
    their first port (netlink(7), nl_pid), which is what makes it a hint.
    """

    ip: str
    interface: str
    port: int = 0


@dataclass(frozen=True, slots=True)
class Link:
    """An interface: its name, whether it has carrier, and its hardware address as text."""

    name: str
    lower_up: bool
    mac: str


class ServiceWatch:
    """Watch `interfaces` of the caller's network namespace.

    `on_carrier(up, now)` is called when the answer of `carrier` changes; `on_return(interface, now)` when one interface
    has carrier again or another hardware address, so that the network must learn anew where its addresses are;
    `on_addresses_removed(removals, now)` for addresses that disappear from watched interfaces, by whatever hand:
    removed by another program, lapsed, or released by this one. One that is back already is not told.
    """

    def __init__(
        self,
        loop: Loop,
        interfaces: Iterable[str],
        on_carrier: OnCarrier,
        on_addresses_removed: OnAddressesRemoved,
        on_return: OnReturn,
    ) -> None:
        self._interfaces = frozenset(interfaces)
        self._on_carrier = on_carrier
        self._on_addresses_removed = on_addresses_removed
        self._on_return = on_return
        self._events = RouteEvents(loop, RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR, self._take)
        self._marshal = MarshalRtnl()
        self._links: dict[int, Link] = {}  # every interface by its index
        self._returned: set[str] = set()  # watched interfaces that have come back, not told yet
        self._addresses: set[tuple[str, str]] = set()  # of watched interfaces: IP address and interface
        self._carrier = False
        self.undecodable = 0

    @property
    def overruns(self) -> int:
        """How often the kernel has said that events were lost."""
        return self._events.overruns

    def open(self) -> None:
        """Begin to watch, from the state of now. Raises VipError."""
        if self._events.is_open:
            return
        try:
            self._events.open()
        except OSError as error:
            raise VipError(f"no netlink socket: {error.strerror}") from error
        try:
            self._links, self._addresses = self._dump()  # after open: what changes meanwhile is read afterwards
        except (OSError, NetlinkError) as error:
            self._events.close()
            raise VipError(f"the kernel did not list its interfaces: {error.args[-1]}") from error
        self._carrier = self._compute_carrier()

    def close(self) -> None:
        """Stop watching; may be repeated."""
        self._events.close()

    def carrier(self) -> bool:
        """Say whether every watched interface exists and has carrier (IFF_LOWER_UP), as of the last event."""
        return self._carrier

    def without_carrier(self) -> tuple[str, ...]:
        """Return the watched interfaces that are missing or have no carrier, sorted, for messages."""
        up = {link.name for link in self._links.values() if link.lower_up}
        return tuple(sorted(self._interfaces - up))

    def _take(self, datagrams: Sequence[bytes], lost: bool, now: int) -> None:
        removed: list[Removal] = []
        for data in datagrams:
            for message in self._marshal.parse(data):
                removed += self._apply(message)
        if lost:
            removed += self._resynchronise()
        self._tell(removed, now)

    def _tell(self, removed: list[Removal], now: int) -> None:
        up = self._compute_carrier()
        if up != self._carrier:
            self._carrier = up
            self._on_carrier(up, now)
        gone = {each for each in removed if (each.ip, each.interface) not in self._addresses}
        if gone:
            self._on_addresses_removed(tuple(sorted(gone, key=str)), now)
        returned, self._returned = self._returned, set()
        for interface in sorted(returned):
            self._on_return(interface, now)

    def _apply(self, message: Any) -> list[Removal]:
        """Take in one event; return the addresses that went away by it."""
        kind, index = message.get("event"), message.get("index")
        if kind == "RTM_NEWLINK":
            if message.get_attr("IFLA_IFNAME") is not None:
                self._take_link(index, _link(message))
        elif kind == "RTM_DELLINK":
            # a bridge port that leaves its bridge is told in the bridge's address family: the interface stays
            if message["family"] == socket.AF_UNSPEC:
                self._links.pop(index, None)
        elif kind in ("RTM_NEWADDR", "RTM_DELADDR"):
            link = self._links.get(index)
            if link is not None and link.name in self._interfaces:
                ip = _ip(message)
                if kind == "RTM_NEWADDR":
                    self._addresses.add((ip, link.name))
                else:
                    self._addresses.discard((ip, link.name))
                    return [Removal(ip, link.name, message["header"]["pid"])]
        else:
            self.undecodable += 1
        return []

    def _take_link(self, index: int, link: Link) -> None:
        before = self._links.get(index)
        self._links[index] = link
        if link.name in self._interfaces and link.lower_up and link != before:
            self._returned.add(link.name)

    def _resynchronise(self) -> list[Removal]:
        """Dump after events were lost; return the addresses that went away meanwhile.

        If even that fails, nothing is known of the interfaces, which counts as no carrier, until the next event.
        """
        known, before = self._addresses, self._links
        try:
            links, self._addresses = self._dump()
        except (OSError, NetlinkError):
            links, self._addresses = {}, set()
        self._links = dict(before)
        for index, link in links.items():
            self._take_link(index, link)
        self._links = links
        return [Removal(ip, interface) for ip, interface in sorted(known - self._addresses)]

    def _dump(self) -> tuple[dict[int, Link], set[tuple[str, str]]]:
        for attempt in range(DUMP_ATTEMPTS):
            try:
                with IPRoute() as route:
                    links = {message["index"]: _link(message) for message in route.get_links()}
                    addresses = {
                        (_ip(message), links[message["index"]].name)
                        for message in route.get_addr()
                        if message["index"] in links and links[message["index"]].name in self._interfaces
                    }
                return links, addresses
            except NetlinkError:  # interrupted by a change in the middle
                if attempt + 1 == DUMP_ATTEMPTS:
                    raise
        raise AssertionError("unreachable")

    def _compute_carrier(self) -> bool:
        return not self.without_carrier()


def _link(message: Any) -> Link:
    return Link(
        message.get_attr("IFLA_IFNAME"), bool(message["flags"] & IFF_LOWER_UP), message.get_attr("IFLA_ADDRESS") or ""
    )


def _ip(message: Any) -> str:
    return str(ipaddress.ip_address(message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")))
