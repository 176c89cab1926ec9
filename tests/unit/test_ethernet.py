"""What waits for the kernel is not waited for (hblink.ethernet)."""

from __future__ import annotations

import socket
import threading

from hblink.ethernet import close_aside


class Slow(socket.socket):
    """A socket whose close(2) takes until it is allowed to end."""

    may_end, ended = threading.Event(), threading.Event()

    def close(self) -> None:
        assert self.may_end.wait(60)
        super().close()
        self.ended.set()


def test_a_socket_is_closed_without_waiting_for_it() -> None:
    sock = Slow(socket.AF_UNIX)
    close_aside(sock)
    assert not sock.ended.is_set(), "the caller goes on"
    sock.may_end.set()
    assert sock.ended.wait(60)
    assert sock.fileno() == -1
