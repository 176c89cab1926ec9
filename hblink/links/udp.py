"""A UDP link to the peer's address, one hop away, IPv4 or IPv6.

Only datagrams from the peer's address with hop limit 255 are passed on: nobody beyond a router can send one (GTSM,
RFC 5082). That is a sieve, no proof: authenticity is the frame's own business. The socket is not connected, so that
each send looks up its route anew and an interface may go away and come back. Must never block, and never know a frame.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import ipaddress
import socket
import struct
from collections.abc import Sequence

from hblink.links.link import LinkCounters, LinkError, OnBytes, OnClosed, OnSignal
from hblink.loop import Loop
from hblink.netlink import RTMGRP_LINK, RouteEvents

HOP_LIMIT = 255  # RFC 5082 3
DSCP_CS6 = 0xC0  # network control (RFC 2474 4.2.2), as the type of service or traffic class byte
PRIORITY = 6  # TC_PRIO_INTERACTIVE; the highest that needs no privilege (socket(7))
RECEIVE_BYTES = 2048
RECEIVES_PER_EVENT = 64  # then the loop's timers have their turn

# linux/in.h, linux/in6.h: not all are in Python's socket module
IP_RECVTTL = 12
IP_FREEBIND = 15
IPV6_FREEBIND = 78

SIOCGIFFLAGS = 0x8913
IFF_UP = 0x1
IFF_RUNNING = 0x40

# The device that the socket is bound to was removed; one of the same name may come back.
DEVICE_GONE = frozenset({errno.ENODEV, errno.ENXIO})
# What says nothing about the socket itself: worth a count, and the next send or receive may work.
TRANSIENT = DEVICE_GONE | {
    errno.ECONNREFUSED,
    errno.ENETUNREACH,
    errno.EHOSTUNREACH,
    errno.ENETDOWN,
    errno.EHOSTDOWN,
    errno.EADDRNOTAVAIL,
    errno.ENOBUFS,
    errno.ENOMEM,
    errno.EMSGSIZE,
    errno.EINVAL,  # IPv6 with a source address that is gone
    errno.EPERM,  # a packet filter
    errno.EACCES,
    errno.EPROTO,
    errno.ENOPROTOOPT,
}


class UdpLink:
    """Send to `peer` and receive from it, both on `port`, from the own address `local`.

    `interface`, if given, is the only device used, in both directions; link-local IPv6 addresses need it. `on_bytes`
    gets one datagram at a time. `on_closed` is called when the socket itself fails, which no network event does.
    `on_signal` is given where `interface` is cabled straight to the peer, so that its carrier is that of the far end.
    """

    def __init__(
        self,
        loop: Loop,
        local: str,
        peer: str,
        port: int,
        interface: str | None,
        on_bytes: OnBytes,
        on_closed: OnClosed,
        on_signal: OnSignal | None = None,
    ) -> None:
        self._loop = loop
        self._local = ipaddress.ip_address(local)
        self._peer = ipaddress.ip_address(peer)
        if self._local.version != self._peer.version:
            raise ValueError(f"{local} and {peer} are not of the same IP version")
        self._port = port
        self._interface = interface
        self._on_bytes = on_bytes
        self._on_closed = on_closed
        self._on_signal = on_signal
        self._events = RouteEvents(loop, RTMGRP_LINK, self._on_interfaces)
        self._socket: socket.socket | None = None
        self._destination: tuple[str, int] | tuple[str, int, int, int] = ("", 0)
        self.counters = LinkCounters()

    @property
    def is_open(self) -> bool:
        """Whether the socket is open; the network may still be away."""
        return self._socket is not None

    @property
    def ready_at(self) -> int:
        """0: datagrams are not paced."""
        return 0

    def open(self) -> None:
        """Open and bind the socket; the own address need not exist yet. Raises LinkError."""
        if self._socket is not None:
            return
        family = socket.AF_INET if self._local.version == 4 else socket.AF_INET6
        where = f"UDP {self._local} port {self._port}"
        try:
            sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        except OSError as error:
            raise LinkError(f"{where}: no socket: {error.strerror}") from error
        try:
            self._bind_device(sock)
            _set_options(sock, family)
            sock.bind(self._sockaddr(self._local))
            self._destination = self._sockaddr(self._peer)
        except OSError as error:
            sock.close()
            raise LinkError(f"{where}{self._on_interface()}: {error.strerror}; {self._way_out(error)}") from error
        self._socket = sock
        self._loop.watch(sock.fileno(), self._on_readable)
        if self._on_signal is not None:
            with contextlib.suppress(OSError):  # events only hurry: `signal` is asked all the time
                self._events.open()

    def close(self) -> None:
        """Close the socket; may be repeated."""
        if self._socket is not None:
            self._loop.unwatch(self._socket.fileno())
            self._socket.close()
            self._socket = None
            self._events.close()

    def send(self, data: bytes, now: int) -> bool:
        """Send one datagram now or not at all."""
        if self._socket is None:
            self.counters.unsent["closed"] += 1
            return False
        try:
            self._socket.sendto(data, self._destination)
        except BlockingIOError:
            self.counters.unsent["not drained"] += 1
            return False
        except OSError as error:
            self.counters.unsent[_name(error)] += 1
            if error.errno in TRANSIENT:
                self._rebind()
            else:
                self._fail(error, now)
            return False
        self.counters.sent += 1
        self.counters.sent_bytes += len(data)
        return True

    def carrier(self) -> bool | None:
        """Say whether the interface is up and has carrier; None if no interface was given or the socket is closed."""
        if self._interface is None or self._socket is None:
            return None
        return self._flags() & (IFF_UP | IFF_RUNNING) == IFF_UP | IFF_RUNNING

    def signal(self) -> bool | None:
        """Say whether a direct cable has carrier, which it has from the far end's hardware.

        None for every other network, where it comes from a switch, and while the own interface is missing or set down.
        The kernel lets a loss be seen at once, or a second later if another interface has just changed (link_watch.c).
        A far end that is switched off may keep carrier up for wake-on-LAN; one without power cannot.
        """
        if self._on_signal is None or self._socket is None:
            return None
        flags = self._flags()
        return bool(flags & IFF_RUNNING) if flags & IFF_UP else None

    def _flags(self) -> int:
        """The interface's flags (netdevice(7)); 0 if it is missing."""
        if self._interface is None or self._socket is None:
            return 0
        request = struct.pack("16sH14x", self._interface.encode(), 0)
        try:
            answer = fcntl.ioctl(self._socket.fileno(), SIOCGIFFLAGS, request)
        except OSError:
            return 0
        flags: int = struct.unpack_from("16sH", answer)[1]
        return flags

    def _on_interfaces(self, _datagrams: Sequence[bytes], _lost: bool, now: int) -> None:
        """Some interface has changed; which one is seen by looking."""
        if self._on_signal is not None:
            self._on_signal(now)

    def _on_readable(self, now: int) -> None:
        for _ in range(RECEIVES_PER_EVENT):
            if self._socket is None:  # closed by on_bytes
                return
            try:
                data, ancillary, flags, source = self._socket.recvmsg(RECEIVE_BYTES, 256)
            except BlockingIOError:
                return
            except OSError as error:
                self.counters.dropped[_name(error)] += 1
                if error.errno not in TRANSIENT:
                    self._fail(error, now)
                return
            reason = self._reason_to_drop(ancillary, flags, source)
            if reason is not None:
                self.counters.dropped[reason] += 1
                continue
            self.counters.received += 1
            self.counters.received_bytes += len(data)
            self._on_bytes(data, now)

    def _reason_to_drop(
        self, ancillary: list[tuple[int, int, bytes]], flags: int, source: tuple[str, int] | tuple[str, int, int, int]
    ) -> str | None:
        host = source[0].partition("%")[0]
        if ipaddress.ip_address(host).packed != self._peer.packed:
            return "foreign source"
        if _hop_limit(ancillary) != HOP_LIMIT:
            return "hop limit"
        if flags & socket.MSG_TRUNC:
            return "oversized"
        return None

    def _bind_device(self, sock: socket.socket) -> None:
        if self._interface is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, self._interface.encode() + b"\0")

    def _rebind(self) -> None:
        """Bind to the device of the same name, in case it went away and came back: its index is a new one then."""
        if self._socket is None or self._interface is None:
            return
        try:
            self._bind_device(self._socket)
            self._destination = self._sockaddr(self._peer)
        except OSError as error:
            self.counters.unsent[f"rebind {_name(error)}"] += 1

    def _sockaddr(
        self, address: ipaddress.IPv4Address | ipaddress.IPv6Address
    ) -> tuple[str, int] | tuple[str, int, int, int]:
        if isinstance(address, ipaddress.IPv4Address):
            return (str(address), self._port)
        scope = 0
        if address.is_link_local and self._interface is not None:
            scope = socket.if_nametoindex(self._interface)
        return (str(ipaddress.IPv6Address(address.packed)), self._port, 0, scope)

    def _fail(self, error: OSError, now: int) -> None:
        reason = _name(error)
        self.counters.closed[reason] += 1
        self.close()
        self._on_closed(reason, now)

    def _on_interface(self) -> str:
        return "" if self._interface is None else f" on {self._interface}"

    def _way_out(self, error: OSError) -> str:
        if error.errno in DEVICE_GONE:
            return f"there is no interface {self._interface} here now, see: ip link"
        if error.errno == errno.EADDRINUSE:
            return "another process has this port, see: ss -ulpn; is hblink running already?"
        if error.errno in (errno.EPERM, errno.EACCES):
            return "binding to an interface needs CAP_NET_RAW"
        if self._local.version == 6 and self._local.is_link_local and self._interface is None:
            return "a link-local address needs its interface in the configuration"
        return "see: ip addr"


def _set_options(sock: socket.socket, family: int) -> None:
    if family == socket.AF_INET:
        sock.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, HOP_LIMIT)
        sock.setsockopt(socket.IPPROTO_IP, IP_RECVTTL, 1)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, DSCP_CS6)
    else:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, HOP_LIMIT)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, DSCP_CS6)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY, PRIORITY)  # after IP_TOS, which sets it too


def _hop_limit(ancillary: list[tuple[int, int, bytes]]) -> int | None:
    for level, kind, data in ancillary:
        if (level, kind) in ((socket.IPPROTO_IP, socket.IP_TTL), (socket.IPPROTO_IPV6, socket.IPV6_HOPLIMIT)):
            value: int = struct.unpack_from("i", data)[0]
            return value
    return None


def _name(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, str(error.errno))
