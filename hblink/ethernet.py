"""Raw Ethernet: packet sockets (packet(7)) that wake for what they wait for and for nothing else, and ARP frames.

The filter runs in the kernel (BPF of classic form, Documentation/networking/filter.rst): a daemon on a busy interface
must not be woken by traffic that is not its own. This module must never decide what an answer means.
"""

from __future__ import annotations

import ctypes
import fcntl
import socket
import struct
import threading
from collections.abc import Sequence
from dataclasses import dataclass

BROADCAST = b"\xff" * 6
ETH_P_ARP = 0x0806
ETH_P_IPV6 = 0x86DD
ARPHRD_ETHER = 1
ARP_REQUEST = 1
ARP_REPLY = 2
ARP_FRAME_BYTES = 42
# offsets in an Ethernet frame that carries ARP for IPv4 (RFC 826)
ARP_OPERATION = 20
ARP_SENDER_MAC = 22
ARP_SENDER_IP = 28
ARP_TARGET_IP = 38

_SIOCGIFHWADDR = 0x8927  # netdevice(7)
_SO_ATTACH_FILTER = 26  # socket(7)
# linux/filter.h: load a byte, half-word or word at an absolute offset; jump if equal; return
_LOAD = {1: 0x30, 2: 0x28, 4: 0x20}
_JUMP_IF_EQUAL = 0x15
_RETURN = 0x06
_VALUES_MAX = 200  # a jump is at most 255 instructions long
_WHOLE_FRAME = 0xFFFF


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a frame that must have one of `values`: `size` is 1, 2 or 4 bytes at `offset`, big-endian."""

    offset: int
    size: int
    values: Sequence[int]


def packet_socket(interface: str, protocol: int, fields: Sequence[Field]) -> socket.socket:
    """Return a non-blocking packet socket that gives whole frames of `protocol` of which all `fields` hold.

    With protocol 0 it only sends. More than 200 values of a field are not looked at: the caller judges again anyway.
    It hears what is addressed to this host, broadcast or multicast, and never what this host sent. Raises OSError.
    """
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, 0)
    try:
        if protocol:
            _attach(sock, _program(fields))  # before bind, which is what lets the first frame in
        sock.bind((interface, protocol))
    except OSError:
        sock.close()
        raise
    return sock


def close_aside(sock: socket.socket) -> None:
    """Close a packet socket on a thread of its own, after the loop has let go of it; no more is heard or sent.

    close(2) of one waits until no processor looks at it any more (synchronize_net() in packet_release(),
    net/packet/af_packet.c), 20 to 100 ms each; enough of them in a row would be a pause, and end the service (S7).
    """
    threading.Thread(target=sock.close, name="hblink-close", daemon=True).start()


def hardware_address(interface: str, sock: socket.socket | None = None) -> tuple[int, bytes]:
    """Return the hardware type (ARPHRD_*) and the 6-byte address of an interface. Raises OSError.

    `sock` may be any socket of the caller's network namespace; without one, a socket is opened for the question.
    """
    if sock is None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as made:
            return hardware_address(interface, made)
    answer = fcntl.ioctl(sock.fileno(), _SIOCGIFHWADDR, struct.pack("16s24x", interface.encode()))
    hardware_type, mac = struct.unpack_from("16xH6s", answer)
    return hardware_type, mac


def hardware_addresses(interfaces: Sequence[str] | None = None) -> frozenset[bytes]:
    """Return the Ethernet addresses of `interfaces`, or of all in this network namespace; those that have none miss."""
    names = [name for _, name in socket.if_nameindex()] if interfaces is None else interfaces
    found: set[bytes] = set()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        for name in names:
            try:
                hardware_type, mac = hardware_address(name, sock)
            except OSError:  # it has just vanished
                continue
            if hardware_type == ARPHRD_ETHER and any(mac):
                found.add(mac)
    return frozenset(found)


def arp(operation: int, sender: tuple[bytes, bytes], target: tuple[bytes, bytes], to: bytes = BROADCAST) -> bytes:
    """Build an Ethernet frame with an ARP packet for IPv4 (RFC 826), 42 bytes, unpadded.

    `sender` and `target` are (hardware address of 6 bytes, IPv4 address of 4 bytes).
    """
    return (
        struct.pack("!6s6sH", to, sender[0], ETH_P_ARP)
        + struct.pack("!HHBBH", ARPHRD_ETHER, 0x0800, 6, 4, operation)
        + struct.pack("!6s4s6s4s", *sender, *target)
    )


def internet_checksum(data: bytes) -> int:
    """Return the one's complement checksum of RFC 1071 over an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def _program(fields: Sequence[Field]) -> bytes:
    """Compile to struct sock_filter: each field is loaded and compared in turn, one that differs ends in `return 0`."""
    judged = [field for field in fields if len(field.values) <= _VALUES_MAX]
    left = sum(1 + len(field.values) for field in judged) + 1  # instructions from here to the final `return 0`
    code = []
    for field in judged:
        code.append((_LOAD[field.size], 0, 0, field.offset))
        left -= 1
        for index, value in enumerate(field.values):
            left -= 1
            is_last = index == len(field.values) - 1
            code.append((_JUMP_IF_EQUAL, len(field.values) - 1 - index, left if is_last else 0, value))
    code += [(_RETURN, 0, 0, _WHOLE_FRAME), (_RETURN, 0, 0, 0)]
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)


def _attach(sock: socket.socket, program: bytes) -> None:
    buffer = ctypes.create_string_buffer(program, len(program))
    sock.setsockopt(
        socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", len(program) // 8, ctypes.addressof(buffer))
    )
