"""A root shell in a guest, for the harness: scripts go in and outputs come out over a virtio port.

The shipped image knows nothing of it. Its two units and the drop-in that starts them come as systemd credentials from
the machine's SMBIOS (systemd.system-credentials(7)), as only the owner of the virtual machine can give them.
"""

from __future__ import annotations

import json
import socket
import time
from dataclasses import dataclass
from pathlib import Path

PORT = "hblink.agent"
JOURNAL_PORT = "hblink.journal"

# A line in: [number, seconds, script]. A line out: [number, exit status, output]. Instead of a script, null asks the
# daemon for its status: by its socket, as starting a Python for each question would keep an emulated processor busy.
_SHELL = f"""\
import json, socket, subprocess
STATUS = b'{{"command": "status"}}\\n'
def status(limit):
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(limit)
        try:
            peer.connect("/run/hblink/hblink.sock")
            peer.sendall(STATUS)
            return 0, peer.makefile().readline()
        except OSError as error:
            return 1, str(error)
def run(limit, script):
    if script is None:
        return status(limit)
    try:
        done = subprocess.run(script, shell=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=limit)
    except subprocess.TimeoutExpired as late:
        return 124, (late.output or b"").decode(errors="replace")
    return done.returncode, done.stdout.decode(errors="replace")
with open("/dev/virtio-ports/{PORT}", "r+b", buffering=0) as port:
    pending = b""
    while data := port.read(4096):
        *lines, pending = (pending + data).split(b"\\n")
        for line in lines:
            number, limit, script = json.loads(line)
            port.write(json.dumps([number, *run(limit, script)]).encode() + b"\\n")
"""
_AGENT_UNIT = f"""\
[Unit]
Description=Root shell of the test harness
StartLimitIntervalSec=0
[Service]
ExecStart=/usr/bin/python3 -I /run/credentials/@system/{PORT}
Restart=always
RestartSec=1
"""
_JOURNAL_UNIT = f"""\
[Unit]
Description=Journal for the test harness
[Service]
ExecStart=/bin/sh -c 'exec journalctl -f -b --no-tail -o short-monotonic >/dev/virtio-ports/{JOURNAL_PORT}'
"""
_START = "[Unit]\nWants=hblink-agent.service hblink-journal.service\n"


class AgentError(AssertionError):
    """The guest did not answer in time, or is gone."""


@dataclass(frozen=True, slots=True)
class Done:
    """How a script ended: its exit status (124: it took too long) and what it wrote on both outputs."""

    status: int
    output: str


def credentials() -> dict[str, str]:
    """Return the system credentials that put the agent into a guest, by name."""
    return {
        PORT: _SHELL,
        "systemd.extra-unit.hblink-agent.service": _AGENT_UNIT,
        "systemd.extra-unit.hblink-journal.service": _JOURNAL_UNIT,
        "systemd.unit-dropin.multi-user.target": _START,
    }


class Agent:
    """The host's end. It may be asked before the guest is up: the answer comes when it is."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.connect(str(path))
        self._number = 0
        self._buffer = b""

    def run(self, script: str | None, timeout_s: float = 30) -> Done:
        """Run a shell script in the guest as root, or ask its daemon for its status (None: a JSON line).

        Raises AgentError when no answer comes within `timeout_s`.
        """
        number = self.fire(script, timeout_s)
        deadline = time.monotonic() + timeout_s + 5
        while True:
            line = self._line(deadline)
            if line is None:
                raise AgentError(f"no answer within {timeout_s:g} s to: {script or 'status'}")
            answer = json.loads(line)
            if answer[0] == number:
                return Done(answer[1], answer[2])

    def fire(self, script: str | None, timeout_s: float = 30) -> int:
        """Have a script run and do not wait: it may take the guest with it."""
        self._number += 1
        try:
            self._socket.settimeout(timeout_s)
            self._socket.sendall(json.dumps([self._number, timeout_s, script]).encode() + b"\n")
        except OSError as error:
            raise AgentError(f"the guest is gone: {error}") from error
        return self._number

    def close(self) -> None:
        """End the connection."""
        self._socket.close()

    def _line(self, deadline: float) -> bytes | None:
        """Return the next line, None when `deadline` (monotonic) has passed."""
        while b"\n" not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            self._socket.settimeout(left)
            try:
                data = self._socket.recv(65536)
            except TimeoutError:
                return None
            except OSError as error:
                raise AgentError(f"the guest is gone: {error}") from error
            if not data:
                raise AgentError("the guest is gone")
            self._buffer += data
        line, self._buffer = self._buffer.split(b"\n", 1)
        return line
