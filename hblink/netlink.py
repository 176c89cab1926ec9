"""Events of the kernel's interfaces and addresses as they happen (rtnetlink(7)), undecoded.

The socket is the standard library's: so nothing blocks, and a receive buffer that overran (ENOBUFS) is emptied and told
of, whatever library decodes the rest. An event is a hint that hurries a look: a lost one must cost only time. This
module must never decode a message, and never send one.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Sequence

from hblink.loop import Loop

# linux/rtnetlink.h
RTMGRP_LINK = 0x1
RTMGRP_IPV4_IFADDR = 0x10
RTMGRP_IPV6_IFADDR = 0x100

RECEIVE_BYTES = 65536
RECEIVES_PER_EVENT = 32  # then the loop's timers have their turn
RECEIVES_TO_DISCARD = 100_000  # far more than any receive buffer holds

OnEvents = Callable[[Sequence[bytes], bool, int], None]


class RouteEvents:
    """Hear `groups` (RTMGRP_*) of the network namespace that the caller is in when it opens.

    `on_events(datagrams, lost, now)` gets what has come in, in order, each datagram with one or more messages; `lost`
    tells that events after these were lost, and that only a look at the kernel's tables says what is so now.
    """

    def __init__(self, loop: Loop, groups: int, on_events: OnEvents) -> None:
        self._loop = loop
        self._groups = groups
        self._on_events = on_events
        self._socket: socket.socket | None = None
        self.overruns = 0

    @property
    def is_open(self) -> bool:
        """Whether events are heard."""
        return self._socket is not None

    def open(self) -> None:
        """Begin to hear; what is looked up afterwards is either as it was found or told by an event. Raises OSError."""
        if self._socket is not None:
            return
        kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        sock = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
        try:
            sock.bind((0, self._groups))
        except OSError:
            sock.close()
            raise
        self._socket = sock
        self._loop.watch(sock.fileno(), self._on_readable)

    def close(self) -> None:
        """Hear no more; may be repeated."""
        if self._socket is not None:
            self._loop.unwatch(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def _on_readable(self, now: int) -> None:
        assert self._socket is not None
        datagrams: list[bytes] = []
        lost = False
        while not lost and len(datagrams) < RECEIVES_PER_EVENT:
            try:
                datagrams.append(self._socket.recv(RECEIVE_BYTES))
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                lost = True
                self.overruns += 1
                self._discard(self._socket)
        self._on_events(datagrams, lost, now)

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
