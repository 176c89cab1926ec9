"""A secret on its way from its file to a device's program: read afresh for each request, so that it can be changed.

The loop itself opens and reads the file, and waits for the disk if the kernel has it no longer in memory: that is the
price of a password that is changed under a running daemon. It must never be in a message, and never be taken from a
file that others can read.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path


class PasswordError(Exception):
    """The password file cannot be used; the text says why, never what is in it."""


def read_password(path: Path, limit: int) -> bytes:
    """Return the first line of `path`, 1 to `limit` bytes.

    Raises PasswordError if it cannot be read, is not a regular file, or is accessible to group or others.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise PasswordError(f"{path}: {error.strerror}") from error
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise PasswordError(f"{path}: not a regular file")
        if status.st_mode & 0o077:
            raise PasswordError(f"{path}: mode {stat.S_IMODE(status.st_mode):04o} lets others use it, must be 0600")
        content = os.read(fd, 4096)
    except OSError as error:
        raise PasswordError(f"{path}: {error.strerror}") from error
    finally:
        os.close(fd)
    password = content.partition(b"\n")[0].removesuffix(b"\r")
    if not password or b"\0" in password or len(password) > limit:
        raise PasswordError(f"{path}: the first line must have 1 to {limit} bytes, none of them NUL")
    return password
