"""The log: one line a fact, on stderr, through the writer thread; journald adds the time and keeps the priority.

Lines read `what happened key=value ...`, in ASCII, without secrets. Nothing here may block the loop.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from enum import Enum, IntEnum, unique

from hblink.daemon.writer import Writer


class Priority(IntEnum):
    """syslog(3) priorities, of which these are used."""

    CRITICAL = 2
    ERROR = 3
    WARNING = 4
    NOTICE = 5
    INFO = 6


@unique
class Kind(Enum):
    """What a line is about, for those who filter the history."""

    DAEMON = "daemon"
    ROLE = "role"
    SERVICE = "service"
    FENCE = "fence"
    ALARM = "alarm"
    OPERATOR = "operator"
    LINK = "link"
    PEER = "peer"
    CONFIG = "config"


class Journal:
    """Write log lines; `fd` is 2 unless a test says otherwise."""

    def __init__(self, writer: Writer, node: str, environment: Mapping[str, str], fd: int = 2) -> None:
        self._writer = writer
        self._node = node
        self._fd = fd
        # sd-daemon(3): under systemd, "<4>" in front of a line carries the priority; elsewhere it is noise.
        self._prefixed = "JOURNAL_STREAM" in environment

    def log(self, priority: Priority, message: str, now: int, **fields: object) -> None:
        """Write one line: `message` and the fields, with the boot-time clock in seconds where nothing else dates it."""
        words = "".join(f" {name}={_word(value)}" for name, value in fields.items())
        head = f"<{priority}>" if self._prefixed else f"{now / 1e9:.3f} {self._node} "
        line = f"{head}{message}{words}\n"
        self._writer.append(self._fd, line.encode("ascii", "backslashreplace"))


def open_append(path: str) -> int:
    """Open `path` for appending lines, mode 0600; raises OSError."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def _word(value: object) -> str:
    text = str(value)
    return text if text and " " not in text and '"' not in text else '"' + text.replace('"', "'") + '"'
