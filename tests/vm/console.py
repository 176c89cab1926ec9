"""A terminal on a unix socket: `python -m tests.vm.console PATH [--line]`. Control-] leaves.

In line mode the terminal stays as it is, for a peer that reads lines.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import sys
import termios
import time
import tty
from collections.abc import Iterator
from pathlib import Path

LEAVE = b"\x1d"
RETRY_S = 0.5


def main(path: Path, line_mode: bool) -> None:
    """Carry bytes both ways until the person leaves; when the machine is off, wait for it to come back."""
    with _terminal(line_mode):
        while True:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
                if peer.connect_ex(str(path)) == 0 and _carry(peer):
                    return
            if line_mode and not path.exists():
                return
            time.sleep(RETRY_S)


def _carry(peer: socket.socket) -> bool:
    """Carry until either side ends; true when the person left."""
    while True:
        ready, _, _ = select.select([0, peer.fileno()], [], [])
        if peer.fileno() in ready:
            data = peer.recv(65536)
            if not data:
                os.write(1, b"\r\n[no power]\r\n")
                return False
            os.write(1, data)
        if 0 in ready:
            typed = os.read(0, 4096)
            if not typed or LEAVE in typed:
                return True
            peer.sendall(typed)


@contextlib.contextmanager
def _terminal(line_mode: bool) -> Iterator[None]:
    if line_mode:
        yield
        return
    before = termios.tcgetattr(0)
    tty.setraw(0)
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)


if __name__ == "__main__":
    main(Path(sys.argv[1]), "--line" in sys.argv[2:])
