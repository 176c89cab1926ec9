"""`hblink reload`: have the daemon read its files again; what it cannot take over is named, and nothing is changed."""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any

from hblink.cli.check import print_problems
from hblink.cli.terminal import CONFIGURATION, GOOD, NOT_GOOD, clean, wrap
from hblink.config import Problem
from hblink.control import ControlError, socket_path
from hblink.control.client import ask

TIMEOUT = 30.0  # seconds


def declare(parser: argparse.ArgumentParser, _name: str) -> None:
    parser.add_argument("--keys", action="store_true", help="the keyring alone, whatever else is in the files")
    parser.add_argument("--json", action="store_true", help="print the daemon's answer")


def run(arguments: argparse.Namespace) -> int:
    """Print what has changed, or every problem; 0 if it is in force, 78 if refused, 1 if no daemon answers."""
    try:
        answer = reload(keys_only=arguments.keys)
    except ControlError as error:
        print(f"hblink: {error}", file=sys.stderr)
        return NOT_GOOD
    if arguments.json:
        print(json.dumps(answer))
    else:
        show(answer)
    return GOOD if answer["ok"] else CONFIGURATION


def reload(*, keys_only: bool) -> dict[str, Any]:
    """Ask the daemon to reload; raise ControlError if it gives no proper answer."""
    answer = ask(socket_path(os.environ), {"command": "reload", "what": "keys" if keys_only else "all"}, TIMEOUT)
    if "problems" not in answer:
        raise ControlError(f"the daemon did not reload: {clean(answer.get('error', 'no reason given'))}")
    return answer


def show(answer: dict[str, Any]) -> None:
    """Print the daemon's answer for a person."""
    print_problems(_problems(answer, "problems"), _problems(answer, "warnings"), sys.stdout)
    if answer["ok"]:
        changes = ", ".join(answer["changes"]) or "nothing has changed"
        print(*wrap(f"reloaded: {changes}"), sep="\n")
    else:
        print("refused: the old configuration is still in force, all of it")


def _problems(answer: dict[str, Any], which: str) -> list[Problem]:
    return [Problem(each["path"], each["message"], each["hint"]) for each in answer.get(which, [])]
