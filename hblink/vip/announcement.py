"""Announcements of virtual addresses: gratuitous ARP (RFC 5227 2.3, RFC 826) and unsolicited NA (RFC 4861 7.2.6).

Frames are built here byte by byte and sent through a packet socket, so that they leave on the right interface whatever
the routing table says. This module must never raise for an interface that is missing, down or not Ethernet.
"""

from __future__ import annotations

import fcntl
import ipaddress
import socket
import struct
from collections.abc import Iterable
from pathlib import Path

from hblink.vip.address import Vip

ETH_BROADCAST = b"\xff" * 6
ETH_ALL_NODES = bytes.fromhex("333300000001")  # RFC 2464 7, of ff02::1
ETH_P_ARP = 0x0806
ETH_P_IPV6 = 0x86DD
SIOCGIFHWADDR = 0x8927
ARPHRD_ETHER = 1
ARP_REQUEST = 1
ARP_REPLY = 2
ICMPV6_NEIGHBOR_ADVERTISEMENT = 136
NA_ROUTER = 0x8000_0000
NA_OVERRIDE = 0x2000_0000
OPTION_TARGET_LINK_LAYER_ADDRESS = 2
ALL_NODES = ipaddress.IPv6Address("ff02::1")


def gratuitous_arp(mac: bytes, address: ipaddress.IPv4Address) -> tuple[bytes, bytes]:
    """Build the two Ethernet frames that say that `address` is at `mac` (6 bytes).

    A request with equal sender and target addresses, the announcement of RFC 5227 2.3, and a reply of the same content:
    some stacks heed only the one, some only the other. Both are broadcast; each is 42 bytes, unpadded.
    """

    def frame(operation: int, target_mac: bytes) -> bytes:
        return (
            struct.pack("!6s6sH", ETH_BROADCAST, mac, ETH_P_ARP)
            + struct.pack("!HHBBH", ARPHRD_ETHER, 0x0800, 6, 4, operation)
            + struct.pack("!6s4s6s4s", mac, address.packed, target_mac, address.packed)
        )

    return frame(ARP_REQUEST, bytes(6)), frame(ARP_REPLY, mac)


def unsolicited_advertisement(mac: bytes, address: ipaddress.IPv6Address, *, is_router: bool) -> bytes:
    """Build the Ethernet frame of an unsolicited neighbour advertisement with the override flag (RFC 4861 4.4, 7.2.6).

    `is_router` must be true on a machine that forwards: hosts strike an advertiser without that flag off their list of
    default routers (7.2.5). The hop limit is 255, the source is `address` itself, and the frame is 86 bytes.
    """
    flags = NA_OVERRIDE | (NA_ROUTER if is_router else 0)
    message = struct.pack("!BBHI16s", ICMPV6_NEIGHBOR_ADVERTISEMENT, 0, 0, flags, address.packed) + struct.pack(
        "!BB6s", OPTION_TARGET_LINK_LAYER_ADDRESS, 1, mac
    )
    pseudo_header = struct.pack("!16s16sI3xB", address.packed, ALL_NODES.packed, len(message), socket.IPPROTO_ICMPV6)
    checksum = internet_checksum(pseudo_header + message)
    message = message[:2] + checksum.to_bytes(2, "big") + message[4:]
    header = struct.pack(
        "!IHBB16s16s", 6 << 28, len(message), socket.IPPROTO_ICMPV6, 255, address.packed, ALL_NODES.packed
    )
    return struct.pack("!6s6sH", ETH_ALL_NODES, mac, ETH_P_IPV6) + header + message


def internet_checksum(data: bytes) -> int:
    """Return the one's complement checksum of RFC 1071 over an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


class Announcer:
    """Sends announcements through one packet socket, which stays open: closing one waits for the kernel, some 20 ms.

    It belongs to the network namespace in which it was first used.
    """

    def __init__(self) -> None:
        self._socket: socket.socket | None = None

    def close(self) -> None:
        """Close the socket; the next announcement opens another."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def announce(self, vips: Iterable[Vip]) -> tuple[str, ...]:
        """Announce each address once on its interface; return what failed, one text an interface."""
        by_interface: dict[str, list[Vip]] = {}
        for vip in vips:
            by_interface.setdefault(vip.interface, []).append(vip)
        failures = (self._announce_on(interface, group) for interface, group in by_interface.items())
        return tuple(failure for failure in failures if failure is not None)

    def _announce_on(self, interface: str, vips: list[Vip]) -> str | None:
        """Send the frames of one interface; return what failed."""
        try:
            if self._socket is None:
                kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
                self._socket = socket.socket(socket.AF_PACKET, kind, 0)  # protocol 0: it receives nothing
            hardware_type, mac = _hardware_address(self._socket, interface)
            if hardware_type != ARPHRD_ETHER:
                return f"{interface}: not an Ethernet interface, nothing to announce on"
            for vip in vips:
                for protocol, frame in _frames(mac, vip):
                    self._socket.sendto(frame, (interface, protocol))
        except OSError as error:
            return f"{interface}: {error.strerror}"
        return None


def _hardware_address(sock: socket.socket, interface: str) -> tuple[int, bytes]:
    """Return the hardware type and the address of an interface (SIOCGIFHWADDR, netdevice(7))."""
    answer = fcntl.ioctl(sock.fileno(), SIOCGIFHWADDR, struct.pack("16s24x", interface.encode()))
    hardware_type, mac = struct.unpack_from("16xH6s", answer)
    return hardware_type, mac


def _frames(mac: bytes, vip: Vip) -> list[tuple[int, bytes]]:
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
