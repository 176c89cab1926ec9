"""`hblink key`: make a key that can be typed at the other console, list the keyring without showing any, and rotate it.

A key is printed only when it is made; the keyring file is 0600, is replaced whole or not at all, and never by a step
that is not known to be safe.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from hblink_wire.key import Key, Keyring, KeyringError, format_keyring, new_key, parse_key_text

from hblink.cli.check import configuration_directory, listed, print_problems
from hblink.cli.reload import reload, show
from hblink.cli.rotation import Rings, next_id, next_step, refuse_activation, refuse_removal
from hblink.cli.status import fetch
from hblink.cli.terminal import CONFIGURATION, GOOD, NOT_GOOD, USAGE, clean, cut, wrap
from hblink.config import ConfigError, load
from hblink.config.secret import load_keyring
from hblink.control import ControlError


def declare(parser: argparse.ArgumentParser, _name: str) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    new = actions.add_parser("new", help="make a key and print it")
    new.add_argument("--add", action="store_true", help="make one more, numbered after those in the keyring")
    new.add_argument("--write", action="store_true", help="create the keyring file with it (0600), never over another")
    actions.add_parser("list", help="ids and fingerprints, no secrets, and the next safe step")
    actions.add_parser("add", help="accept one more key: its line, as key new printed it, on standard input")
    for action, text in (("activate", "sign with this key from now on"), ("remove", "accept this key no more")):
        actions.add_parser(action, help=text).add_argument("id", metavar="ID", type=int)
    for each in actions.choices.values():
        each.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Carry out one action; 1 if it is refused because it is not known to be safe."""
    as_json: bool = arguments.json
    try:
        path = keyring_path()
        match arguments.action:
            case "new":
                return _new(path, arguments.add, arguments.write, as_json)
            case "list":
                return _list(path, as_json)
            case "add":
                return _add(path, as_json)
            case _:
                return _change(path, arguments.action, arguments.id, as_json)
    except ConfigError as error:
        if as_json:
            print(json.dumps({"ok": False, "problems": listed(error.problems)}))
        else:
            print_problems(error.problems, (), sys.stderr)
        return CONFIGURATION
    except KeyringError as error:
        return _refused(str(error), as_json)


def keyring_path() -> Path:
    """Where the keyring is: as hblink.toml says, else hblink.keys in the configuration directory.

    A configuration that does not exist yet, or has problems, must not keep an operator from making its first key.
    """
    directory = configuration_directory(os.environ)
    try:
        return load(directory / "hblink.toml").key_file
    except ConfigError:
        return directory / "hblink.keys"


def _list(path: Path, as_json: bool) -> int:
    ring = load_keyring(path)
    rings, peer, trouble = _both_rings()
    step = f"not known: {trouble}" if rings is None else next_step(rings, peer)
    unread = rings is not None and (rings.mine != ring.ids or rings.active != ring.active_id)
    if unread:
        step = "hblink reload --keys: the daemon does not use this file yet"
    if as_json:
        keys = [{"id": key.id, "fingerprint": _fingerprint(key), "active": key.id == ring.active_id} for key in ring]
        theirs = None if rings is None else {"accepted": rings.theirs, "active": rings.their_active}
        print(json.dumps({"file": str(path), "keys": keys, "peer": theirs, "next": step}))
        return GOOD
    print(f"{cut(clean(path))}\n id  fingerprint  here    {peer or 'peer'}")
    for key in ring:
        here = "active" if key.id == ring.active_id else "yes"
        print(f"{key.id:3}  {_fingerprint(key):11}  {here:6}  {_word(rings, key.id)}")
    for key_id in () if rings is None else sorted(set(rings.theirs) - set(ring.ids)):
        print(f"{key_id:3}  {'?':11}  {'no':6}  {_word(rings, key_id)}")
    print(*wrap(step, "next: "), sep="\n")
    return GOOD


def _word(rings: Rings | None, key_id: int) -> str:
    if rings is None:
        return "?"
    return "no" if key_id not in rings.theirs else "active" if key_id == rings.their_active else "yes"


def _both_rings() -> tuple[Rings | None, str, str]:
    """What the two daemons use, by this node's daemon: the rings or None, the peer's name if known, why not."""
    try:
        status = fetch()
    except ControlError as error:
        return None, "", str(error)
    keys, peer = status.get("keys") or {}, clean(status.get("peer"))
    if not keys.get("peer_accepted") or not keys.get("peer_active"):
        return None, peer, f"{peer} is not heard; hblink status"
    mine, theirs = tuple(keys["accepted"]), tuple(keys["peer_accepted"])
    return Rings(mine, keys["active"], theirs, keys["peer_active"]), peer, ""


def _add(path: Path, as_json: bool) -> int:
    """Take the line of a key from standard input into the keyring, accepted and not active."""
    ring = load_keyring(path)
    text = sys.stdin.read(4096)
    words = [line.partition("#")[0].split() for line in text.splitlines()]
    lines = [each for each in words if each]
    if len(lines) != 1 or not lines[0][0].isdigit():
        return _refused("one line is wanted on standard input: ID KEY, as hblink key new --add printed it", as_json)
    key = Key(int(lines[0][0]), parse_key_text("".join(lines[0][1:])))
    return _put(path, ring.with_key(key), f"key {key.id} is accepted", as_json)


def _change(path: Path, action: str, key_id: int, as_json: bool) -> int:
    """Activate or remove a key, if that is known to be safe for a peer that is heard."""
    ring = load_keyring(path)
    rings, peer, trouble = _both_rings()
    if not peer:
        return _refused(trouble, as_json)
    if action == "activate":
        refusal = refuse_activation(key_id, ring.ids, rings, peer)
    else:
        refusal = refuse_removal(key_id, ring.ids, ring.active_id, rings, peer)
    if refusal is not None:
        return _refused(refusal, as_json)
    if action == "activate":
        return _put(path, ring.activated(key_id), f"key {key_id} signs from now on", as_json)
    return _put(path, ring.without(key_id), f"key {key_id} is accepted no more", as_json)


def _put(path: Path, ring: Keyring, done: str, as_json: bool) -> int:
    """Replace the file and have the daemon read it; if the daemon refuses, the file is as it was before."""
    before = path.read_bytes()
    answer: dict[str, Any] | None = None
    try:
        _replace(path, format_keyring(ring).encode("ascii"))
        try:
            answer = reload(keys_only=True)
        except ControlError as error:
            trouble = f"{done} in {path}; the daemon has not read it: {error}"
            document = {"ok": False, "written": True, "error": trouble}
            print(*([json.dumps(document)] if as_json else wrap(trouble)), sep="\n")
            return NOT_GOOD
        if not answer["ok"]:
            _replace(path, before)
    except OSError as error:
        return _refused(f"{path}: {error.strerror}", as_json, written=answer is not None)
    if not answer["ok"]:
        if as_json:
            print(json.dumps(answer | {"written": False}))
        else:
            show(answer)
        return NOT_GOOD
    rings, peer, trouble = _both_rings()
    step = f"not known: {trouble}" if rings is None else next_step(rings, peer)
    if as_json:
        mine = {"accepted": ring.ids, "active": ring.active_id}
        print(json.dumps({"ok": True, "file": str(path), **mine, "written": True, "next": step}))
        return GOOD
    print(*wrap(f"{done}; {path} is written and in force"), sep="\n")
    print(*wrap(step, "next: "), sep="\n")
    return GOOD


def _replace(path: Path, content: bytes) -> None:
    """Make `content` that of `path`, whole or not at all: a temporary file, fsync(2), rename(2). Raises OSError."""
    temporary = path.with_name(f".{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)
    temporary.replace(path)


def _refused(why: str, as_json: bool, what: str = "hblink key: refused", *, written: bool = False) -> int:
    """Say why nothing is in force that was not before; `written` says whether the file was changed nevertheless."""
    if as_json:
        print(json.dumps({"ok": False, "written": written, "error": why}))
    else:
        print(*wrap(f"{what}: {why}"), sep="\n", file=sys.stderr)
    return NOT_GOOD


def _new(path: Path, add: bool, write: bool, as_json: bool) -> int:
    if add and write:
        print("hblink key new: --write never changes a keyring; use --add without it", file=sys.stderr)
        return USAGE
    ring = load_keyring(path) if add else None
    try:
        key = new_key(1 if ring is None else next_id(ring.ids), os.urandom(32))
    except KeyringError as error:
        return _refused(str(error), as_json, "hblink key new")
    if write and (refusal := _create(path, format_keyring(Keyring((key,), key.id)))) is not None:
        return _refused(refusal, as_json, "hblink key new")
    line, fingerprint, advice = f"{key.id:<3} {key.text}", _fingerprint(key), _advice(path, add, write)
    if as_json:
        made = {"id": key.id, "line": line, "fingerprint": fingerprint, "file": str(path)}
        print(json.dumps({"ok": True, **made, "written": write, "next": " ".join(advice)}))
        return GOOD
    # The line alone is on stdout, so that it can be piped to the other node; what to do with it is beside it.
    print(line)
    first, *others = advice
    print(f"# fingerprint {fingerprint}; {first}", *(f"# {other}" for other in others), sep="\n", file=sys.stderr)
    return GOOD


def _advice(path: Path, add: bool, write: bool) -> list[str]:
    if add:
        return ["on both nodes: hblink key add, with this line on its standard input"]
    if write:
        return [f"written here; put the same line into {path} (mode 0600)", "on the other node"]
    return [f"put this line into {path} (mode 0600) on both nodes"]


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
