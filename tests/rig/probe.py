"""The observer's program: asks who has the VIPs, from the client's namespace, and prints each answer as a JSON line.

Two questions a round. `who`: an ARP request or a neighbour solicitation from a packet socket, which both nodes would
answer if both held the address. `echo`: an ICMP echo through the client's own neighbour cache, which is what the
client's traffic sees. It also prints unasked announcements, and every address that comes or goes in the nodes' kernels,
so that all is ordered by one clock (CLOCK_BOOTTIME).

Must never import anything of the project: it runs as a program of its own, and ends with its standard input.
"""

from __future__ import annotations

import ctypes
import ipaddress
import json
import os
import selectors
import socket
import struct
import sys
import time
from dataclasses import dataclass
from typing import Any

CLONE_NEWNET = 0x4000_0000
ETH_P_ALL, ETH_P_IP, ETH_P_ARP, ETH_P_IPV6 = 0x0003, 0x0800, 0x0806, 0x86DD
SOL_PACKET, PACKET_IGNORE_OUTGOING = 263, 23
RTM_NEWADDR, RTM_DELADDR = 20, 21
RTMGRP_ADDRESSES = 0x10 | 0x100
SOL_NETLINK, NETLINK_LISTEN_ALL_NSID = 270, 8
RTM_NEWNSID, NETNSA_NSID, NETNSA_FD = 88, 1, 3
NLM_F_REQUEST_ACK = 1 | 4
FIRST_NSID = 1000  # the kernel gives small numbers to the far ends of cables
IFA_ADDRESS, IFA_LOCAL = 1, 2
ECHO_ID = 0x6862
LATE_NS = 50_000_000

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def now_ns() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def enter(path: str) -> None:
    """Make new sockets belong to the namespace at `path` (setns(2))."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.setns(fd, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns", path)
    finally:
        os.close(fd)


def name_namespace(number: int, path: str) -> None:
    """Let this namespace know the one at `path` by a number (rtnetlink(7), RTM_NEWNSID)."""
    with open(path, "rb") as held, socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as route:
        body = struct.pack("=B3xHHiHHI", 0, 8, NETNSA_NSID, number, 8, NETNSA_FD, held.fileno())
        route.send(struct.pack("=IHHII", 16 + len(body), RTM_NEWNSID, NLM_F_REQUEST_ACK, 1, 0) + body)
        (error,) = struct.unpack_from("=i", route.recv(4096), 16)
    if error:
        raise OSError(-error, "RTM_NEWNSID", path)


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    total: int = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def who_has(mac: bytes, source: Address, target: Address) -> bytes:
    """Return the Ethernet frame that asks for `target`: ARP (RFC 826) or neighbour solicitation (RFC 4861 4.3)."""
    if target.version == 4:
        arp = struct.pack("!HHBBH6s4s6s4s", 1, ETH_P_IP, 6, 4, 1, mac, source.packed, bytes(6), target.packed)
        return b"\xff" * 6 + mac + struct.pack("!H", ETH_P_ARP) + arp
    group = bytes.fromhex("ff0200000000000000000001ff") + target.packed[-3:]
    body = struct.pack("!BBHI16sBB6s", 135, 0, 0, 0, target.packed, 1, 1, mac)
    pseudo = source.packed + group + struct.pack("!II", len(body), 58)
    body = body[:2] + struct.pack("!H", checksum(pseudo + body)) + body[4:]
    packet = struct.pack("!IHBB16s16s", 6 << 28, len(body), 58, 255, source.packed, group) + body
    return b"\x33\x33" + group[-4:] + mac + struct.pack("!H", ETH_P_IPV6) + packet


@dataclass(frozen=True, slots=True)
class Seen:
    """What a frame says: `kind` is who, echo or announce; `number` is the echo's, else 0."""

    kind: str
    address: Address
    mac: str
    number: int = 0


def parse(frame: bytes, me: bytes) -> Seen | None:
    """Return what `frame` says about an address, if anything; `me` is the client's own hardware address."""
    mine = frame[:6] == me
    mac = frame[6:12].hex(":")
    match int.from_bytes(frame[12:14], "big"):
        case 0x0806 if len(frame) >= 42:
            operation, sender, target = int.from_bytes(frame[20:22], "big"), frame[28:32], frame[38:42]
            if operation == 2 and mine:
                return Seen("who", ipaddress.IPv4Address(sender), frame[22:28].hex(":"))
            if sender == target:
                return Seen("announce", ipaddress.IPv4Address(sender), frame[22:28].hex(":"))
        case 0x0800 if mine and len(frame) >= 42 and frame[23] == 1:
            icmp = 14 + (frame[14] & 15) * 4
            kind, _, _, ident, number = struct.unpack_from("!BBHHH", frame, icmp)
            if kind == 0 and ident == ECHO_ID:
                return Seen("echo", ipaddress.IPv4Address(frame[26:30]), mac, number)
        case 0x86DD if len(frame) >= 62 and frame[20] == 58:
            if frame[54] == 136 and len(frame) >= 78:
                return Seen("who" if mine else "announce", ipaddress.IPv6Address(frame[62:78]), mac)
            if mine and frame[54] == 129 and frame[58:60] == struct.pack("!H", ECHO_ID):
                return Seen("echo", ipaddress.IPv6Address(frame[22:38]), mac, int.from_bytes(frame[60:62], "big"))
    return None


class Port:
    """An interface of the client: a packet socket on it."""

    def __init__(self, name: str) -> None:
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self.socket.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.socket.bind((name, ETH_P_ALL))
        self.socket.setblocking(False)
        self.mac: bytes = self.socket.getsockname()[4]

    def take(self) -> list[Seen]:
        """Return what the frames say that have come in."""
        found: list[Seen] = []
        while True:
            try:
                frame = self.socket.recv(2048)
            except OSError:  # empty, or the interface went down
                return found
            seen = parse(frame, self.mac)
            if seen is not None:
                found.append(seen)


class Probe:
    """Asks every `interval_ns`, and writes down what comes."""

    def __init__(self, request: dict[str, Any]) -> None:
        self.interval_ns = int(request["interval_ms"] * 1e6)
        self.selector = selectors.DefaultSelector()
        self.selector.register(0, selectors.EVENT_READ)
        enter(request["client"])
        self.nodes = list(request["nodes"])
        for number, path in enumerate(request["nodes"].values()):
            name_namespace(FIRST_NSID + number, path)
        # One queue for the kernels of all nodes: read late, it still tells what came first.
        self.kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self.kernel.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.kernel.setsockopt(SOL_NETLINK, NETLINK_LISTEN_ALL_NSID, 1)
        self.kernel.bind((0, RTMGRP_ADDRESSES))
        self.kernel.setblocking(False)
        self.selector.register(self.kernel, selectors.EVENT_READ)
        self.ports = {name: Port(name) for name in {vip["interface"] for vip in request["vips"]}}
        for port in self.ports.values():
            self.selector.register(port.socket, selectors.EVENT_READ)
        self.vips = [ipaddress.ip_address(vip["address"]) for vip in request["vips"]]
        self.questions = [
            (port.socket, who_has(port.mac, ipaddress.ip_address(vip["source"]), address))
            for vip, address in zip(request["vips"], self.vips, strict=True)
            for port in [self.ports[vip["interface"]]]
        ]
        self.echo = {
            4: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),
            6: socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6),
        }
        for one in self.echo.values():
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)  # the answers are read from the packet sockets
            one.setblocking(False)
        self.round = 0
        self.lines: list[str] = []

    def run(self) -> None:
        """Ask and listen until standard input ends."""
        self.note(kind="ready")
        due = now_ns()
        while True:
            ready = {key.fd for key, _ in self.selector.select(max(0, due - now_ns()) / 1e9)}
            marks = os.read(0, 4096) if 0 in ready else b""
            if 0 in ready and not marks:
                return
            self.hear()
            now = now_ns()
            if now >= due:
                if now - due > LATE_NS:
                    self.note(kind="late", late_ms=(now - due) // 1_000_000)
                    due = now
                due += self.interval_ns
                self.ask()
            for _ in marks:  # whoever asked for it knows that all that was before is written down
                self.note(kind="mark")
            if self.lines:
                os.write(1, "".join(self.lines).encode())
                self.lines.clear()

    def note(self, **fields: str | int | bool) -> None:
        self.lines.append(json.dumps({"at": now_ns(), **fields}) + "\n")

    def ask(self) -> None:
        self.round += 1
        number = self.round & 0xFFFF
        for sock, frame in self.questions:
            self.send(sock, frame, None)
        for vip in self.vips:
            body = struct.pack("!BBHHH", 8 if vip.version == 4 else 128, 0, 0, ECHO_ID, number)
            if vip.version == 4:  # for ICMPv6 the kernel fills in the checksum
                body = body[:2] + struct.pack("!H", checksum(body)) + body[4:]
            self.send(self.echo[vip.version], body, (str(vip), 0))

    @staticmethod
    def send(sock: socket.socket, data: bytes, to: tuple[str, int] | None) -> None:
        try:
            if to is None:
                sock.send(data)
            else:
                sock.sendto(data, to)
        except OSError:
            return  # no route, no neighbour, a full queue: then no answer comes, and that is what is measured

    def hear(self) -> None:
        """Write down what has come; an address that came or went before an answer stands before it."""
        answers = [seen for port in self.ports.values() for seen in port.take()]
        self.hear_kernel()
        for seen in answers:
            if seen.address in self.vips:
                self.note(kind=seen.kind, vip=str(seen.address), mac=seen.mac, round=self.round, number=seen.number)

    def hear_kernel(self) -> None:
        while True:
            try:
                data, ancillary, _, _ = self.kernel.recvmsg(1 << 16, 64)
            except BlockingIOError:
                return
            for level, kind, number in ancillary:  # none: it is of the client's own namespace
                if (level, kind) == (SOL_NETLINK, NETLINK_LISTEN_ALL_NSID):
                    self.note_addresses(data, int.from_bytes(number, sys.byteorder) - FIRST_NSID)

    def note_addresses(self, data: bytes, number: int) -> None:
        if not 0 <= number < len(self.nodes):
            return
        while len(data) >= 16:
            length, kind = struct.unpack_from("=IH", data)
            if kind in (RTM_NEWADDR, RTM_DELADDR):
                address = address_of(data[16:length])
                if address in self.vips:
                    self.note(kind="address", node=self.nodes[number], vip=str(address), present=kind == RTM_NEWADDR)
            data = data[(length + 3) & ~3 :]


def address_of(message: bytes) -> Address | None:
    """Return the address in a struct ifaddrmsg with its attributes (rtnetlink(7))."""
    found: dict[int, bytes] = {}
    rest = message[8:]
    while len(rest) >= 4:
        length, kind = struct.unpack_from("=HH", rest)
        if length < 4:
            break
        found[kind] = rest[4:length]
        rest = rest[(length + 3) & ~3 :]
    raw = found.get(IFA_LOCAL, found.get(IFA_ADDRESS))
    return None if raw is None else ipaddress.ip_address(raw)


if __name__ == "__main__":
    Probe(json.loads(sys.argv[1])).run()
