"""`hblink switchover`, `standby`, `online`, `maintenance`: what an operator asks of the daemon.

The daemon may refuse, and says why. Nothing is decided here.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from hblink.cli.status import Status
from hblink.cli.terminal import GOOD, NOT_GOOD, USAGE, wrap
from hblink.cli.word import reason
from hblink.control import ControlError, socket_path
from hblink.control.client import ask

ACT_TIMEOUT = 120.0  # seconds; longer than any handover or confirmed takeover that is configured sensibly
UNITS = {"s": 1, "m": 60, "h": 3600}
FOR_MAX_S = 7 * 86400
BEGUN = frozenset({"fence_failed", "timed_out"})  # reasons of what was not refused, and did not come to its end


def declare(parser: argparse.ArgumentParser, name: str) -> None:
    parser.add_argument("--json", action="store_true", help="print the daemon's answer")
    if name == "maintenance":
        parser.add_argument("state", choices=("on", "off"), help="on: no takeover and no fence, on either node")
        parser.add_argument("--for", dest="duration", type=_seconds, metavar="TIME", help="end by itself: 90s, 30m, 2h")


def run(arguments: argparse.Namespace) -> int:
    """Carry out the request; 0 if it was done, 1 if it was refused, failed, or nobody answered."""
    try:
        return _act(arguments)
    except ControlError as error:
        print(f"hblink: {error}", file=sys.stderr)
        return NOT_GOOD


def _act(arguments: argparse.Namespace) -> int:
    command: str = arguments.command
    request: dict[str, object] = {"command": command}
    what = command
    if command == "maintenance":
        if arguments.state == "off" and arguments.duration is not None:
            print("hblink maintenance: --for goes with on", file=sys.stderr)
            return USAGE
        request |= {"on": arguments.state == "on", "for_s": arguments.duration}
        what = f"maintenance {arguments.state}"
    return report(what, ask(control_socket(), request, ACT_TIMEOUT), arguments.json)


def _seconds(text: str) -> int:
    """A duration such as 90s, 30m or 2h, at most a week; a bare number is seconds."""
    number, unit = (text[:-1], text[-1:]) if text[-1:] in UNITS else (text, "s")
    if not (number.isascii() and number.isdigit() and 0 < int(number) * UNITS[unit] <= FOR_MAX_S):
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration such as 90s, 30m or 2h, at most 7 days")
    return int(number) * UNITS[unit]


def report(what: str, answer: Status, as_json: bool) -> int:
    """Print what the daemon answered; 0 if it was done, 1 if it was refused or failed."""
    done = answer.get("ok") is True
    if as_json:
        print(json.dumps(answer))
    else:
        why = answer.get("error") or answer.get("text") or reason(answer.get("reason") or "none")
        outcome = "failed" if answer.get("begun") or answer.get("reason") in BEGUN else "refused"
        print(*wrap(f"{what}: done" if done else f"{what}: {outcome}: {why}"), sep="\n")
    return GOOD if done else NOT_GOOD


def control_socket() -> Path:
    """Where the daemon of this machine listens."""
    return socket_path(os.environ)
