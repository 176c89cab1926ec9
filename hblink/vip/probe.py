"""Questions for a virtual address, and who claims it: ARP probe (RFC 5227 2.1.1), solicitation as for duplicate address
detection (RFC 4862 5.4.2), and what any host says of an address.

Both questions are asked from no address at all, so that they change nobody's neighbour table. This module must never
judge who may hold an address.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from hblink.ethernet import (
    ARP_FRAME_BYTES,
    ARP_REQUEST,
    ARP_SENDER_IP,
    ARP_SENDER_MAC,
    ETH_P_ARP,
    ETH_P_IPV6,
    Field,
    arp,
)
from hblink.vip.address import IpAddress, Vip
from hblink.vip.announcement import ICMPV6_NEIGHBOR_ADVERTISEMENT, OPTION_TARGET_LINK_LAYER_ADDRESS, icmpv6_frame

ICMPV6_NEIGHBOR_SOLICITATION = 135
IPPROTO_ICMPV6 = 58
UNSPECIFIED = ipaddress.IPv6Address(0)
SOLICITED_NODE = bytes.fromhex("ff0200000000000000000001ff")  # RFC 4291 2.7.1, followed by the last three bytes

# offsets in an Ethernet frame that carries a neighbour advertisement without extension headers (RFC 8200, RFC 4861 4.4)
_NEXT_HEADER = 20
_HOP_LIMIT = 21
_TYPE = 54
_TARGET = 62
_OPTIONS = 78
_LAST_WORD_OF_TARGET = 74


@dataclass(frozen=True, slots=True)
class Claim:
    """A host says that `ip` is at hardware address `mac`."""

    ip: IpAddress
    mac: bytes


def questions(mac: bytes, vip: Vip) -> list[tuple[int, bytes]]:
    """Build the frame that asks who holds `vip`, with its protocol."""
    ip = vip.address.ip
    if isinstance(ip, ipaddress.IPv4Address):
        return [(ETH_P_ARP, arp(ARP_REQUEST, (mac, bytes(4)), (bytes(6), ip.packed)))]
    group = ipaddress.IPv6Address(SOLICITED_NODE + ip.packed[-3:])
    message = struct.pack("!BBHI16s", ICMPV6_NEIGHBOR_SOLICITATION, 0, 0, 0, ip.packed)
    to = b"\x33\x33" + group.packed[-4:]  # RFC 2464 7
    return [(ETH_P_IPV6, icmpv6_frame(mac, to, UNSPECIFIED, group, message))]


def arp_claims(ips: Iterable[ipaddress.IPv4Address]) -> list[Field]:
    """Return the filter for ARP of either kind whose sender holds one of `ips` (RFC 5227 2.4)."""
    return [Field(ARP_SENDER_IP, 4, [int(ip) for ip in ips])]


def advertisement_claims(ips: Iterable[ipaddress.IPv6Address]) -> list[Field]:
    """Return the filter for neighbour advertisements of `ips`, or of others whose last 32 bits are the same."""
    return [
        Field(_NEXT_HEADER, 1, [IPPROTO_ICMPV6]),
        Field(_TYPE, 1, [ICMPV6_NEIGHBOR_ADVERTISEMENT]),
        Field(_LAST_WORD_OF_TARGET, 4, sorted({int(ip) & 0xFFFF_FFFF for ip in ips})),
    ]


def read_claim(frame: bytes) -> Claim | None:
    """Return what `frame` claims; None if it is neither ARP for IPv4 nor a neighbour advertisement, or is cut off."""
    protocol = int.from_bytes(frame[12:14], "big")
    if protocol == ETH_P_ARP and len(frame) >= ARP_FRAME_BYTES:
        ip = ipaddress.IPv4Address(frame[ARP_SENDER_IP : ARP_SENDER_IP + 4])
        return Claim(ip, frame[ARP_SENDER_MAC : ARP_SENDER_MAC + 6])
    if protocol != ETH_P_IPV6 or len(frame) < _OPTIONS:
        return None
    kind = (frame[_NEXT_HEADER], frame[_HOP_LIMIT], frame[_TYPE])
    if kind != (IPPROTO_ICMPV6, 255, ICMPV6_NEIGHBOR_ADVERTISEMENT):  # 255: not from beyond a router (RFC 4861 7.1.2)
        return None
    options = frame[_OPTIONS:]
    has_address = options[:2] == bytes((OPTION_TARGET_LINK_LAYER_ADDRESS, 1)) and len(options) >= 8
    return Claim(ipaddress.IPv6Address(frame[_TARGET:_OPTIONS]), options[2:8] if has_address else frame[6:12])
