"""`hblink why`: the coded reasons why this node is not active, would not take over, or lacks something, each with the
command that comes next, and what would happen if the peer died now.

It shows the causes of the daemon's status document; nothing is decided here.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from hblink.cli.advice import following_in, text
from hblink.cli.status import Status, fetch, is_to_mend
from hblink.cli.terminal import GOOD, HEIGHT, NOT_GOOD, clean, cut, duration, wrap
from hblink.control import ControlError

TOPIC = {
    "not_active": "NOT ACTIVE, BECAUSE",
    "no_takeover": "WOULD NOT TAKE OVER, BECAUSE",
    "redundancy": "WEAK, BECAUSE",
    "warning": "WORTH KNOWING",
}


def declare(parser: argparse.ArgumentParser, _name: str) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Print every cause with its next command; 0 if there is nothing to mend, 1 if there is or no daemon answers."""
    try:
        status = fetch()
    except ControlError as error:
        print(f"hblink: {error}", file=sys.stderr)
        return NOT_GOOD
    document = explain(status)
    print(*([json.dumps(document)] if arguments.json else render(document)), sep="\n")
    return NOT_GOOD if any(is_to_mend(cause) for cause in document["causes"]) else GOOD


def explain(status: Status) -> dict[str, Any]:
    """Join the daemon's causes with their words and next commands."""
    causes = [
        {
            **cause,
            "text": text(cause["kind"], cause["code"], cause.get("detail") or "") + _left(cause),
            "next": following_in(status, cause["kind"], cause["code"], cause.get("link")),
        }
        for cause in status.get("causes") or []
    ]
    kept = ("node", "peer", "role", "peer_role", "if_peer_died_now")
    return {**{name: status.get(name) for name in kept}, "causes": causes}


def _left(cause: dict[str, Any]) -> str:
    return "" if cause.get("left_ms") is None else f": {duration(cause['left_ms'])} more"


def render(document: dict[str, Any]) -> list[str]:
    """Lay it out in at most 24 lines of at most 79 columns; if there is no room, every cause keeps its own line."""
    peer_role = document["peer_role"]
    other = f"{document['peer']} {'is not heard' if peer_role is None else str(peer_role).upper()}"
    head = [cut(clean(f"{document['node']} {str(document['role']).upper()}, {other}"))]
    outlook = (document["if_peer_died_now"] or {}).get("text", "-")
    tail = wrap(outlook, "IF THE PEER DIED NOW  ", 2)
    room = HEIGHT - 1 - len(head) - len(tail)
    body: list[str] = []
    for level in (2, 1, 0):
        body = _body(document["causes"], level)
        if len(body) <= room:
            return [*head, *body, *tail]
    return [*head, *body[: room - 1], f"{len(body) - room + 1} more lines: hblink why --json", *tail]


def _body(causes: list[dict[str, Any]], level: int) -> list[str]:
    """The causes by topic: at level 2 with all their words, at 1 in two lines each, at 0 in one."""
    lines: list[str] = []
    for topic, title in TOPIC.items():
        of_topic = [cause for cause in causes if cause["topic"] == topic]
        if of_topic:
            lines.append(title)
        for cause in of_topic:
            link = f"{cause['link']}: " if cause.get("link") else ""
            lines += wrap(f"{link}{cause['text']}", f"  {clean(cause['code']):22} ", 2 if level == 2 else 1)
            if level:
                lines += wrap(cause["next"], f"  {'':18} ->  ", level)
    return lines or ["nothing stands in the way, and nothing is weak"]
