"""`hblink key`: make a key that can be typed at the other console, and list the keyring without showing any.

A key is printed only when it is made; the keyring file is created 0600 and never overwritten.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
from pathlib import Path

from hblink_wire.key import Key, Keyring, KeyringError, format_keyring, new_key

from hblink.cli.check import configuration_directory, print_problems
from hblink.cli.terminal import CONFIGURATION, GOOD, NOT_GOOD, USAGE
from hblink.config import ConfigError, load
from hblink.config.secret import load_keyring


def declare(parser: argparse.ArgumentParser, _name: str) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    new = actions.add_parser("new", help="make a key and print it")
    new.add_argument("--add", action="store_true", help="make one more, numbered after those in the keyring")
    new.add_argument("--write", action="store_true", help="create the keyring file with it (0600), never over another")
    actions.add_parser("list", help="ids and fingerprints of the keyring, no secrets")


def run(arguments: argparse.Namespace) -> int:
    """Make a key, or list those there are."""
    try:
        path = keyring_path()
        return _list(path) if arguments.action == "list" else _new(path, arguments.add, arguments.write)
    except ConfigError as error:
        print_problems(error.problems, (), sys.stderr)
        return CONFIGURATION


def keyring_path() -> Path:
    """Where the keyring is: as hblink.toml says, else hblink.keys in the configuration directory.

    A configuration that does not exist yet, or has problems, must not keep an operator from making its first key.
    """
    directory = configuration_directory(os.environ)
    try:
        return load(directory / "hblink.toml").key_file
    except ConfigError:
        return directory / "hblink.keys"


def _list(path: Path) -> int:
    ring = load_keyring(path)
    print(f"{path}\n id  fingerprint")
    for key in ring:
        print(f"{key.id:3}  {_fingerprint(key)}{'  active' if key.id == ring.active_id else ''}")
    return GOOD


def _new(path: Path, add: bool, write: bool) -> int:
    if add and write:
        print("hblink key new: --write never changes a keyring; use --add without it", file=sys.stderr)
        return USAGE
    ring = load_keyring(path) if add else None
    try:
        key = new_key(1 if ring is None else max(ring.ids) + 1, os.urandom(32))
    except KeyringError as error:
        print(f"hblink key new: {error}", file=sys.stderr)
        return NOT_GOOD
    if write and (refusal := _create(path, format_keyring(Keyring((key,), key.id)))) is not None:
        print(f"hblink key new: {refusal}", file=sys.stderr)
        return NOT_GOOD
    # The line alone is on stdout, so that it can be piped to the other node; what to do with it is beside it.
    print(f"{key.id:<3} {key.text}")
    print(f"# fingerprint {_fingerprint(key)}; {_advice(path, add, write)}", file=sys.stderr)
    return GOOD


def _advice(path: Path, add: bool, write: bool) -> str:
    if add:
        return f"add this line to {path} on both nodes, not active yet"
    if write:
        return f"written here; put the same line into {path} (mode 0600)\n# on the other node"
    return f"put this line into {path} (mode 0600) on both nodes"


def _create(path: Path, text: str) -> str | None:
    """Create the file with `text`, readable by its owner alone; return why not. A half-written one is removed."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        return f"{path} is there already and is not overwritten"
    except OSError as error:
        return f"cannot create {path}: {error.strerror}"
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(descriptor)
    except OSError as error:
        path.unlink(missing_ok=True)
        return f"cannot write {path}: {error.strerror}"
    return None


def _fingerprint(key: Key) -> str:
    """Eight hexadecimal digits that tell keys apart; the key has 256 random bits, so they say nothing of it."""
    return hashlib.sha256(b"hblink key fingerprint" + key.secret).hexdigest()[:8]
