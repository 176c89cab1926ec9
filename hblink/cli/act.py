"""`hblink switchover`, `standby`, `online`, `maintenance`: what an operator asks of the daemon.

The daemon may refuse, and says why. Nothing is decided here.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from hblink.cli.advice import REASON_NEXT, following_in
from hblink.cli.status import Status, fetch
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
    """Print what the daemon answered, and the way out if it is not done; 0 if it was done, 1 if refused or failed.

    Where only this node's own order of maintenance has ended, that was done, and it is 1, as the pair is still in it.
    """
    code = answer.get("reason")
    done = answer.get("ok") is True
    if done and code != "peer_maintenance":
        print(*([json.dumps(answer)] if as_json else wrap(f"{what}: done")), sep="\n")
        return GOOD
    status = _known()
    following = following_in(status, "reason", str(code)) if status and code in REASON_NEXT else None
    if as_json:
        print(json.dumps({**answer, "next": following}))
        return NOT_GOOD
    why = answer.get("error") or answer.get("text") or reason(code or "none")
    outcome = f"{'failed' if answer.get('begun') or code in BEGUN else 'refused'}: {why}"
    if done:
        outcome = f"done, but {status.get('peer', 'the peer')} has ordered it too, and the pair is still in it"
    print(*wrap(f"{what}: {outcome}"), sep="\n")
    if following is not None:
        print(*wrap(following, "  ->  "), sep="\n")
    return NOT_GOOD


def _known() -> Status:
    """The situation of what was refused; nothing if the daemon does not tell it any more."""
    try:
        return fetch()
    except ControlError:
        return {}


def control_socket() -> Path:
    """Where the daemon of this machine listens."""
    return socket_path(os.environ)
