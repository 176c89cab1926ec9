"""`hblink switchover` and `hblink fence`: what an operator asks of the daemon, which may refuse and says why."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from hblink.cli.status import Status, fence_lines, fetch
from hblink.cli.terminal import GOOD, NOT_GOOD, clean, wrap
from hblink.cli.word import reason
from hblink.control import ControlError, socket_path
from hblink.control.client import ask

ACT_TIMEOUT = 120.0  # seconds; longer than any handover or confirmed takeover that is configured sensibly

CONSEQUENCE = """\
You are about to swear that {peer} is OFF: no power, or stopped for good.
{me} will then take over the service without any proof of its own.
If {peer} is alive after all, both nodes own the addresses and write to what
they share. Look at the machine, or pull its power cord first.
Do this on one node only, never on both. It is valid once, for 60 seconds.
"""


def declare(parser: argparse.ArgumentParser, name: str) -> None:
    if name == "switchover":
        parser.add_argument("--json", action="store_true", help="print the daemon's answer")
        return
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    status = actions.add_parser("status", help="readiness of the peer's fence device and its age")
    status.add_argument("--json", action="store_true", help="print one JSON object")
    confirm = actions.add_parser("confirm", help="swear that NODE is off, so that this node may take over")
    confirm.add_argument("node", metavar="NODE", help="the peer, which you know to be off")
    confirm.add_argument("--yes", action="store_true", help="do not ask")
    confirm.add_argument("--json", action="store_true", help="print the daemon's answer")


def run(arguments: argparse.Namespace) -> int:
    """Carry out the request; 0 if it was done, 1 if it was refused, failed, or nobody answered."""
    try:
        if arguments.command == "switchover":
            return _report("switchover", ask(_socket(), {"command": "switchover"}, ACT_TIMEOUT), arguments.json)
        status = fetch()
        if arguments.action == "status":
            return _fence_status(status, arguments.json)
        return _confirm(status, arguments)
    except ControlError as error:
        print(f"hblink: {error}", file=sys.stderr)
        return NOT_GOOD


def _confirm(status: Status, arguments: argparse.Namespace) -> int:
    me, peer = clean(status.get("node")), clean(status.get("peer"))
    node: str = arguments.node
    if node.lower() != peer.lower():
        what = "is this node itself" if node.lower() == me.lower() else "is no node of this pair"
        print(f"hblink fence confirm: {clean(node)} {what}; the peer is {peer}", file=sys.stderr)
        return NOT_GOOD
    print(CONSEQUENCE.format(me=me, peer=peer), end="", file=sys.stderr)
    if not arguments.yes and not _typed(peer):
        print("not confirmed: nothing was done", file=sys.stderr)
        return NOT_GOOD
    answer = ask(_socket(), {"command": "fence_confirm", "node": peer}, ACT_TIMEOUT)
    return _report(f"confirmation that {peer} is off", answer, arguments.json)


def _typed(name: str) -> bool:
    print(f"Type {name} to go on: ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() == name.lower()


def _report(what: str, answer: Status, as_json: bool) -> int:
    done = answer.get("ok") is True
    if as_json:
        print(json.dumps(answer))
    else:
        why = answer.get("error") or answer.get("text") or reason(answer.get("reason") or "none")
        print(*wrap(f"{what}: done" if done else f"{what}: refused: {why}"), sep="\n")
    return GOOD if done else NOT_GOOD


def _fence_status(status: Status, as_json: bool) -> int:
    fence = status.get("fence")
    if as_json:
        print(json.dumps(fence))
    else:
        print(*fence_lines(status), sep="\n")
    return GOOD if isinstance(fence, dict) and fence.get("ready") is True else NOT_GOOD


def _socket() -> Path:
    return socket_path(os.environ)
