"""QEMU's monitor (QMP): one JSON object a line over a unix socket, commands answered in order, events in between.

Hand-written because the library for it (qemu.qmp) wants an asyncio loop, and four commands are used here.
"""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

from tests.rig.wait import wait_until


class QmpError(AssertionError):
    """The monitor refused a command, or is gone; the message is QEMU's."""


class Qmp:
    """A connection to the monitor at `path`; `events` holds the names of everything that QEMU told unasked."""

    def __init__(self, path: Path, timeout_s: float = 60) -> None:
        self.events: list[str] = []
        self._buffer = b""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout_s)
        wait_until(lambda: self._connected(path), timeout_s, f"the monitor at {path}")
        self._next()  # the greeting
        self.execute("qmp_capabilities")

    def execute(self, command: str, **arguments: str | int | bool) -> Any:
        """Carry out one command and return its answer; QmpError if QEMU refuses it or has ended.

        An underscore in the name of an argument stands for a hyphen.
        """
        named = {name.replace("_", "-"): value for name, value in arguments.items()}
        try:
            self._socket.sendall(json.dumps({"execute": command, "arguments": named}).encode() + b"\n")
            while True:
                answer = self._next()
                if "return" in answer:
                    return answer["return"]
                if "error" in answer:
                    raise QmpError(f"{command} {named}: {answer['error']['desc']}")
        except OSError as error:
            raise QmpError(f"{command}: {error}") from error

    def close(self) -> None:
        """End the connection."""
        self._socket.close()

    def _connected(self, path: Path) -> bool:
        try:
            self._socket.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        return True

    def _next(self) -> dict[str, Any]:
        """Return the next line that is no event."""
        while True:
            while b"\n" not in self._buffer:
                data = self._socket.recv(65536)
                if not data:
                    raise ConnectionError("the monitor has hung up")
                self._buffer += data
            line, self._buffer = self._buffer.split(b"\n", 1)
            message: dict[str, Any] = json.loads(line)
            if "event" not in message:
                return message
            self.events.append(message["event"])
