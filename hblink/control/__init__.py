"""The control socket: one JSON object a line over a unix stream socket, one answer to each request.

A request is `{"command": "status", ...}`. An answer always holds "ok"; where it is false, "reason" or "error" says why.
This package's head must stay light: `hblink status` on a slow console imports it and the client, nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

REQUEST_MAX = 4096  # bytes in one request line
ANSWER_MAX = 1 << 20


class ControlError(Exception):
    """The control socket cannot be served, or cannot be asked; the message is one line for the operator."""


def socket_path(environment: Mapping[str, str]) -> Path:
    """Where the socket is: in $RUNTIME_DIRECTORY (systemd.exec(5): may hold several, by colons), else /run/hblink."""
    directory = environment.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    return Path(directory or "/run/hblink") / "hblink.sock"
