"""What stands beside hblink.toml and is this node's own: its name, its passwords, its keys.

It must never accept a secret that somebody else can read, never put one into a message, and never follow a name into
something that is not a plain file.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from hblink_wire import Keyring, parse_keyring

from hblink.config.document import ConfigError, Problem
from hblink.config.value import Config, FenceConfig, IpmiFenceConfig

SECRET_BYTES_MAX = 65536
IPMI_PASSWORD_MAX = 20  # bytes, IPMI 2.0 section 22.30


def read_secret(path: Path, hint: str = "") -> str:
    """Return the text of the file at `path`, as it is.

    Raise ConfigError unless it is a plain file of root or of this process's user that neither group nor others may
    touch (mode & 0o077 is 0), and UTF-8. `hint` says what to do if there is no such file.
    """
    try:
        # Non-blocking, so that a FIFO of that name cannot hold the caller; judged by the descriptor, not by the name.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise _refused(
            path, (error.strerror or str(error)).lower(), hint if isinstance(error, FileNotFoundError) else ""
        ) from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise _refused(path, "is not a plain file", "")
        if status.st_uid not in (0, os.geteuid()):
            raise _refused(path, f"belongs to uid {status.st_uid}", f"chown root: {path}")
        if status.st_mode & 0o077:
            mode = stat.S_IMODE(status.st_mode)
            raise _refused(path, f"has mode {mode:04o}: others can touch it", f"chmod 600 {path}")
        content = os.read(descriptor, SECRET_BYTES_MAX + 1)
    finally:
        os.close(descriptor)
    if len(content) > SECRET_BYTES_MAX:
        raise _refused(path, f"is longer than {SECRET_BYTES_MAX} bytes", "")
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise _refused(path, "is not UTF-8 text", "") from None  # the message of the cause would quote it


def read_password(path: Path) -> str:
    """Return the one line in the file at `path`, 1 to 20 bytes, without its end; raise ConfigError."""
    password = _read_line(path)
    if len(password.encode()) > IPMI_PASSWORD_MAX:
        raise _refused(path, f"holds more than {IPMI_PASSWORD_MAX} bytes", "IPMI cannot carry a longer password")
    return password


def judge_fence_secrets(fence: FenceConfig) -> tuple[Problem, ...]:
    """What keeps the secrets of a fence device from being used, by file."""
    problems: list[Problem] = []
    if isinstance(fence, IpmiFenceConfig):
        readers = [(read_password, fence.password_file)]
    else:
        readers = [(_read_line, path) for path in fence.secret_files.values()]
    for read, path in readers:
        try:
            read(path)
        except ConfigError as error:
            problems += error.problems
    return tuple(problems)


def load_keyring(path: Path) -> Keyring:
    """Return the keyring in the file at `path`; raise ConfigError."""
    text = read_secret(path, "hblink key new --write, on one node")
    try:
        return parse_keyring(text)
    except ValueError as error:
        raise _refused(path, str(error), "hblink key new") from None


def node_index(config: Config, directory: Path, hostname: str) -> int:
    """Tell which of the two nodes this is: by the file `node` in `directory`, else by the short host name.

    Raise ConfigError, naming both nodes, if neither says so.
    """
    path = directory / "node"
    try:
        source, name = str(path), path.read_text("ascii").strip()
    except FileNotFoundError:
        source, name = "host name", hostname.partition(".")[0]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([Problem(str(path), f"cannot be read: {error}", "")]) from error
    names = [node.lower() for node in config.nodes]
    if name.lower() in names:
        return names.index(name.lower())
    both = " or ".join(config.nodes)
    raise ConfigError([Problem(source, f'"{name}" is not a node of {config.cluster}', f"write {both} into {path}")])


def _read_line(path: Path) -> str:
    line = read_secret(path, f"umask 077; cat > {path}").rstrip("\r\n")
    if not line or not line.isprintable():
        raise _refused(path, "does not hold one line with a password", "")
    return line


def _refused(path: Path, message: str, hint: str) -> ConfigError:
    return ConfigError([Problem(str(path), message, hint)])
