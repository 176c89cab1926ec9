"""Questions to a machine beyond the service port: ICMP echo (RFC 792, RFC 4443), or ARP where echo is not answered.

They leave by the service interface, from an address of this node's own, and never from a virtual address: a probe that
uses what it is to judge proves nothing (SAFETY S6, S12). This module must never wait for an answer.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Protocol

from hblink.ethernet import (
    ARP_FRAME_BYTES,
    ARP_OPERATION,
    ARP_REPLY,
    ARP_REQUEST,
    ARP_SENDER_IP,
    ETH_P_ARP,
    Field,
    arp,
    close_aside,
    hardware_address,
    internet_checksum,
    packet_socket,
)
from hblink.loop import Loop

IpAddress = IPv4Address | IPv6Address

DISCARD_PORT = 9  # only named, never sent to: connect(2) of a datagram socket asks the routing table
SOL_RAW = 255
ICMP_FILTER = 1  # raw(7): a mask of types that are kept from the socket
ICMPV6_FILTER = 1  # RFC 3542 3.2, as Linux has it: likewise, 256 bits
ECHO_REPLY = {4: 0, 6: 129}
ECHO_REQUEST = {4: 8, 6: 128}
ANSWER_BYTES = 2048
RECEIVES_PER_EVENT = 16


@dataclass(frozen=True, slots=True)
class Place:
    """A target: whom to ask, through which interface, and from which addresses never."""

    address: IpAddress
    interface: str
    never_from: frozenset[IpAddress]

    def __str__(self) -> str:
        return f"{self.address} on {self.interface}"


class Target(Protocol):
    """One machine to ask, again and again."""

    place: Place
    answered: bool  # since the last question

    def ask(self) -> bool | None:
        """Ask; False if that was not possible, None if this node has no address of its own to ask from."""

    def close(self) -> None:
        """Let go of the socket."""


class NoOwnAddressError(Exception):
    """Only a virtual address could be asked from."""


def own_address(place: Place) -> IpAddress:
    """Return the address that the kernel would ask `place` from; NoOwnAddressError, or OSError if there is none."""
    family = socket.AF_INET if place.address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, place.interface.encode() + b"\0")
        sock.connect(_sockaddr(place.address, place.interface, DISCARD_PORT))
        found = ip_address(sock.getsockname()[0].partition("%")[0])
    if found in place.never_from:
        raise NoOwnAddressError(str(found))
    return found


class EchoTarget:
    """A machine that answers ICMP echo requests."""

    def __init__(self, loop: Loop, place: Place) -> None:
        self.place = place
        self.answered = False
        self._loop = loop
        self._socket: socket.socket | None = None
        self._source: IpAddress | None = None
        self._ident = os.getpid() & 0xFFFF
        self._sequence = 0

    def ask(self) -> bool | None:
        """Send one echo request; see Target."""
        self.answered = False
        self._sequence = (self._sequence + 1) & 0xFFFF
        try:
            source = own_address(self.place)
            if self._socket is None or source != self._source:
                self._open(source)
            assert self._socket is not None
            self._socket.send(self._request())
        except NoOwnAddressError:
            self.close()
            return None
        except OSError:  # no carrier, no route, no neighbour, a full queue: then no answer comes
            self.close()
            return False
        return True

    def close(self) -> None:
        """Let go of the socket."""
        if self._socket is not None:
            self._loop.unwatch(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def _open(self, source: IpAddress) -> None:
        self.close()
        is_ipv6 = source.version == 6
        sock = socket.socket(
            socket.AF_INET6 if is_ipv6 else socket.AF_INET,
            socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC,
            socket.IPPROTO_ICMPV6 if is_ipv6 else socket.IPPROTO_ICMP,
        )
        try:
            self._filter(sock, is_ipv6)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, self.place.interface.encode() + b"\0")
            sock.bind(_sockaddr(source, self.place.interface, 0))
            sock.connect(_sockaddr(self.place.address, self.place.interface, 0))  # others' answers are not for us
        except OSError:
            sock.close()
            raise
        self._socket, self._source = sock, source
        self._loop.watch(sock.fileno(), self._on_readable)

    @staticmethod
    def _filter(sock: socket.socket, is_ipv6: bool) -> None:
        """Let in echo replies only: the kernel then does not wake this process for anything else."""
        if is_ipv6:
            wanted = ECHO_REPLY[6]
            words = [0xFFFF_FFFF ^ (1 << wanted % 32 if word == wanted // 32 else 0) for word in range(8)]
            sock.setsockopt(socket.IPPROTO_ICMPV6, ICMPV6_FILTER, struct.pack("=8I", *words))
        else:
            sock.setsockopt(SOL_RAW, ICMP_FILTER, struct.pack("=I", 0xFFFF_FFFF ^ 1 << ECHO_REPLY[4]))

    def _request(self) -> bytes:
        version = self.place.address.version
        body = struct.pack("!BBHHH", ECHO_REQUEST[version], 0, 0, self._ident, self._sequence)
        if version == 6:  # the kernel fills in the checksum (RFC 3542 3.1)
            return body
        return body[:2] + internet_checksum(body).to_bytes(2, "big") + body[4:]

    def _on_readable(self, _now: int) -> None:
        for _ in range(RECEIVES_PER_EVENT):
            if self._socket is None:
                return
            try:
                packet = self._socket.recv(ANSWER_BYTES)
            except OSError:  # empty, or an ICMP error that the kernel passes on (raw(7))
                return
            self._take(packet)

    def _take(self, packet: bytes) -> None:
        version = self.place.address.version
        body = packet[(packet[0] & 15) * 4 :] if version == 4 and packet else packet  # IPv4 comes with its header
        if len(body) >= 8 and body[0] == ECHO_REPLY[version]:
            self.answered |= struct.unpack_from("!HH", body, 4) == (self._ident, self._sequence)


class ArpTarget:
    """A machine on the same network that answers ARP, as every one does that speaks IPv4."""

    def __init__(self, loop: Loop, place: Place) -> None:
        self.place = place
        self.answered = False
        self._loop = loop
        self._socket: socket.socket | None = None
        self._index = 0

    def ask(self) -> bool | None:
        """Send one ARP request; see Target."""
        self.answered = False
        place = self.place
        try:
            source = own_address(place)
            mac = hardware_address(place.interface)[1]
            self._open()
            assert self._socket is not None
            self._socket.send(arp(ARP_REQUEST, (mac, source.packed), (bytes(6), place.address.packed)))
        except NoOwnAddressError:
            return None
        except OSError:  # the socket stays open: closing a packet socket waits for the kernel, some 20 ms
            return False
        return True

    def close(self) -> None:
        """Let go of the socket."""
        if self._socket is not None:
            self._loop.unwatch(self._socket.fileno())
            close_aside(self._socket)
            self._socket = None

    def _open(self) -> None:
        """Open the socket, or another one if the interface is a new one of the same name."""
        index = socket.if_nametoindex(self.place.interface)
        if self._socket is not None and index == self._index:
            return
        self.close()
        fields = [Field(ARP_OPERATION, 2, [ARP_REPLY]), Field(ARP_SENDER_IP, 4, [int(self.place.address)])]
        self._socket, self._index = packet_socket(self.place.interface, ETH_P_ARP, fields), index
        self._loop.watch(self._socket.fileno(), self._on_readable)

    def _on_readable(self, _now: int) -> None:
        for _ in range(RECEIVES_PER_EVENT):
            if self._socket is None:
                return
            try:
                frame = self._socket.recv(ANSWER_BYTES)
            except OSError:  # empty, or the interface went down, said once
                return
            self.answered |= len(frame) >= ARP_FRAME_BYTES


TARGETS: dict[str, Callable[[Loop, Place], Target]] = {"icmp": EchoTarget, "arp": ArpTarget}


def _sockaddr(address: IpAddress, interface: str, port: int) -> tuple[str, int] | tuple[str, int, int, int]:
    if address.version == 4:
        return str(address), port
    return str(address), port, 0, socket.if_nametoindex(interface) if address.is_link_local else 0
