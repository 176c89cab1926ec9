"""`hblink doctor fence`: is each fence device what the configuration says, and would it obey, before that is needed.

Where the daemon runs it is asked, so that a device has one client at a time; else each device of the configuration is
looked at from here, one after the other. No command is ever sent.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hblink.cli.check import configuration_directory, print_problems
from hblink.cli.fence import level_lines, test_devices
from hblink.cli.terminal import CONFIGURATION, GOOD, NOT_GOOD
from hblink.control import ControlError, socket_path

if TYPE_CHECKING:
    from hblink.config import Config


def declare(parser: argparse.ArgumentParser, _name: str) -> None:
    subjects = parser.add_subparsers(dest="subject", metavar="SUBJECT", required=True)
    fence = subjects.add_parser("fence", help="look at each fence device; sends no command")
    default = configuration_directory(os.environ) / "hblink.toml"
    fence.add_argument(
        "file",
        metavar="FILE",
        nargs="?",
        type=Path,
        help=f"look at this configuration's devices, of both nodes, from here; without a daemon: {default}",
    )
    fence.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Look at the devices; 0 if every one is ready, 1 if one is not, 78 if the configuration cannot be read."""
    file: Path | None = arguments.file
    if file is None and socket_path(os.environ).exists():
        try:
            return _show("as the daemon sees the peer's devices", test_devices(), arguments.json)
        except ControlError as error:
            print(f"hblink: {error}", file=sys.stderr)
            return NOT_GOOD
    return _look(file or configuration_directory(os.environ) / "hblink.toml", arguments.json)


def _look(file: Path, as_json: bool) -> int:
    from hblink.config import ConfigError, load

    try:
        config = load(file)
    except ConfigError as error:
        print_problems(error.problems, (), sys.stderr)
        return CONFIGURATION
    levels = [document for node in range(len(config.nodes)) for document in _look_at(config, node)]
    return _show("both nodes' devices, asked from here, not by a daemon", levels, as_json)


def _look_at(config: Config, node: int) -> list[dict[str, Any]]:
    """Look at each device that switches off `node`, one after the other, as the daemon would."""
    from hblink.fencing.factory import device_of
    from hblink.fencing.identity import Identities
    from hblink.fencing.level import Level
    from hblink.fencing.report import level_document
    from hblink.loop import Loop

    loop = Loop()
    documents = []
    for index, fence in enumerate(config.fences_of(node)):
        identities = Identities(b"", (), lambda _content: None)
        level = Level(
            loop,
            device_of(loop, fence),
            fence,
            identities,
            on_step=lambda _step, _answer, _now: None,
            on_ready=lambda _now: None,
        )
        level.poll()
        while level.readiness.at is None:
            loop.run_once()
        documents.append({**level_document(index, level, loop.now()), "node": config.nodes[node]})
        level.close()
    return documents


def _show(what: str, levels: list[dict[str, Any]], as_json: bool) -> int:
    good = bool(levels) and all(level.get("ready") is True for level in levels)
    if as_json:
        print(json.dumps({"ok": good, "levels": levels}))
    else:
        print(what)
        for level in levels:
            print(*level_lines(level), sep="\n")
        if not levels:
            print("no fence device is configured")
    return GOOD if good else NOT_GOOD
