"""Announcements of virtual addresses: gratuitous ARP (RFC 5227 2.3, RFC 826) and unsolicited NA (RFC 4861 7.2.6).

Frames are built here byte by byte and sent through a packet socket, so that they leave on the right interface whatever
the routing table says. This module must never raise for an interface that is missing, down or not Ethernet.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Callable, Iterable
from pathlib import Path

from hblink.ethernet import (
    ARP_REPLY,
    ARP_REQUEST,
    ARPHRD_ETHER,
    ETH_P_ARP,
    ETH_P_IPV6,
    arp,
    close_aside,
    hardware_address,
    internet_checksum,
)
from hblink.vip.address import Vip

ETH_ALL_NODES = bytes.fromhex("333300000001")  # RFC 2464 7, of ff02::1
ICMPV6_NEIGHBOR_ADVERTISEMENT = 136
NA_ROUTER = 0x8000_0000
NA_OVERRIDE = 0x2000_0000
OPTION_TARGET_LINK_LAYER_ADDRESS = 2
ALL_NODES = ipaddress.IPv6Address("ff02::1")

# Builds the frames for an address from the sender's hardware address, each with its protocol (ETH_P_*).
FrameBuilder = Callable[[bytes, Vip], list[tuple[int, bytes]]]


def gratuitous_arp(mac: bytes, address: ipaddress.IPv4Address) -> tuple[bytes, bytes]:
    """Build the two Ethernet frames that say that `address` is at `mac` (6 bytes).

    A request with equal sender and target addresses, the announcement of RFC 5227 2.3, and a reply of the same content:
    some stacks heed only the one, some only the other. Both are broadcast; each is 42 bytes, unpadded.
    """
    here = (mac, address.packed)
    return arp(ARP_REQUEST, here, (bytes(6), address.packed)), arp(ARP_REPLY, here, here)


def unsolicited_advertisement(mac: bytes, address: ipaddress.IPv6Address, *, is_router: bool) -> bytes:
    """Build the Ethernet frame of an unsolicited neighbour advertisement with the override flag (RFC 4861 4.4, 7.2.6).

    `is_router` must be true on a machine that forwards: hosts strike an advertiser without that flag off their list of
    default routers (7.2.5). The hop limit is 255, the source is `address` itself, and the frame is 86 bytes.
    """
    flags = NA_OVERRIDE | (NA_ROUTER if is_router else 0)
    message = struct.pack("!BBHI16s", ICMPV6_NEIGHBOR_ADVERTISEMENT, 0, 0, flags, address.packed) + struct.pack(
        "!BB6s", OPTION_TARGET_LINK_LAYER_ADDRESS, 1, mac
    )
    return icmpv6_frame(mac, ETH_ALL_NODES, address, ALL_NODES, message)


def icmpv6_frame(
    mac: bytes, to: bytes, source: ipaddress.IPv6Address, destination: ipaddress.IPv6Address, message: bytes
) -> bytes:
    """Build an Ethernet frame with an ICMPv6 `message`, whose checksum is filled in; the hop limit is 255."""
    pseudo_header = struct.pack("!16s16sI3xB", source.packed, destination.packed, len(message), socket.IPPROTO_ICMPV6)
    checksum = internet_checksum(pseudo_header + message)
    message = message[:2] + checksum.to_bytes(2, "big") + message[4:]
    header = struct.pack(
        "!IHBB16s16s", 6 << 28, len(message), socket.IPPROTO_ICMPV6, 255, source.packed, destination.packed
    )
    return struct.pack("!6s6sH", to, mac, ETH_P_IPV6) + header + message


class Announcer:
    """Sends announcements through one packet socket, which stays open: closing one waits for the kernel, some 20 ms.

    It belongs to the network namespace in which it was first used.
    """

    def __init__(self) -> None:
        self._socket: socket.socket | None = None

    def close(self) -> None:
        """Close the socket; the next announcement opens another."""
        if self._socket is not None:
            close_aside(self._socket)
            self._socket = None

    def announce(self, vips: Iterable[Vip]) -> tuple[str, ...]:
        """Announce each address once on its interface; return what failed, one text an interface."""
        return self.send(vips, announcements)

    def send(self, vips: Iterable[Vip], frames: FrameBuilder) -> tuple[str, ...]:
        """Send what `frames(mac, vip)` builds for each address on its interface; return what failed, as `announce`."""
        by_interface: dict[str, list[Vip]] = {}
        for vip in vips:
            by_interface.setdefault(vip.interface, []).append(vip)
        failures = (self._send_on(interface, group, frames) for interface, group in by_interface.items())
        return tuple(failure for failure in failures if failure is not None)

    def _send_on(self, interface: str, vips: list[Vip], frames: FrameBuilder) -> str | None:
        """Send the frames of one interface; return what failed."""
        try:
            if self._socket is None:
                kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
                self._socket = socket.socket(socket.AF_PACKET, kind, 0)  # protocol 0: it receives nothing
            hardware_type, mac = hardware_address(interface, self._socket)
            if hardware_type != ARPHRD_ETHER:
                return f"{interface}: not an Ethernet interface, nothing to announce on"
            for vip in vips:
                for protocol, frame in frames(mac, vip):
                    self._socket.sendto(frame, (interface, protocol))
        except OSError as error:
            return f"{interface}: {error.strerror}"
        return None


def announcements(mac: bytes, vip: Vip) -> list[tuple[int, bytes]]:
    """Build the frames that announce `vip`, each with its protocol."""
    ip = vip.address.ip
    if isinstance(ip, ipaddress.IPv4Address):
        return [(ETH_P_ARP, frame) for frame in gratuitous_arp(mac, ip)]
    return [(ETH_P_IPV6, unsolicited_advertisement(mac, ip, is_router=_forwards_ipv6(vip.interface)))]


def _forwards_ipv6(interface: str) -> bool:
    try:
        return Path(f"/proc/sys/net/ipv6/conf/{interface}/forwarding").read_text().strip() != "0"
    except OSError:
        return False
