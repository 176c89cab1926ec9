"""The asking end of the control socket: connect, one line out, one line in, all before a deadline.

It must never wait without a bound, and never import what the daemon needs and a client does not.
"""

from __future__ import annotations

import contextlib
import json
import socket
import time
from pathlib import Path

from hblink.control import ANSWER_MAX, ControlError


def ask(path: Path, request: dict[str, object], timeout: float) -> dict[str, object]:
    """Send `request` to the daemon at `path` and return its answer.

    `timeout` in seconds bounds the whole exchange (CLOCK_MONOTONIC). Raise ControlError, whose message says what to
    look at next.
    """
    deadline = time.monotonic() + timeout
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as peer:
        try:
            peer.settimeout(timeout)
            peer.connect(str(path))
            with contextlib.suppress(BrokenPipeError):  # a daemon that refuses says so before it hangs up
                peer.sendall(json.dumps(request).encode() + b"\n")
            line = _read_line(peer, deadline)
        except FileNotFoundError:
            raise ControlError(f"daemon not running: no socket at {path}; try: systemctl status hblink") from None
        except ConnectionRefusedError:
            raise ControlError(f"daemon not running: nobody listens at {path}; try: systemctl status hblink") from None
        except PermissionError:
            raise ControlError(f"not allowed to use {path}: be root, or in its group (ls -l {path})") from None
        except TimeoutError:
            raise ControlError(
                f"no answer within {timeout:g} s at {path}: the daemon is frozen or busy; try: systemctl status hblink"
            ) from None
        except OSError as error:
            raise ControlError(f"cannot ask {path}: {error.strerror or error}") from error
    return _decode(line, path)


def _read_line(peer: socket.socket, deadline: float) -> bytes:
    received = bytearray()
    while b"\n" not in received:
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError
        peer.settimeout(remaining)
        chunk = peer.recv(65536)
        if not chunk:
            raise ControlError("the daemon hung up without an answer; try: journalctl -u hblink -n 20")
        received += chunk
        if len(received) > ANSWER_MAX:
            raise ControlError(f"the answer is longer than {ANSWER_MAX} bytes")
    return bytes(received.partition(b"\n")[0])


def _decode(line: bytes, path: Path) -> dict[str, object]:
    try:
        answer = json.loads(line)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise ControlError(f"what listens at {path} is not hblink: it answered no JSON object")
    return answer
