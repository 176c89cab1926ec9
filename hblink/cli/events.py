"""`hblink events`: what happened on this node, when and why, since its daemon started; `--flight` for the decision.

The history is the daemon's, in memory and bounded; the log (journalctl -u hblink) goes back further.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

from hblink.cli.terminal import GOOD, NOT_GOOD, clean, wrap
from hblink.cli.word import alarm, reason
from hblink.control import ControlError, socket_path
from hblink.control.client import ask

TIMEOUT = 3.0  # seconds
RETRY_S = 1.0
FOLLOW_TIMEOUT = 10.0  # the daemon answers a follower after 5 s at the latest
DEFAULT_COUNT = 20  # fits a screen
EVERYTHING = 1 << 30


def declare(parser: argparse.ArgumentParser, _name: str) -> None:
    parser.add_argument("-f", "--follow", action="store_true", help="go on as things happen, until Ctrl-C")
    parser.add_argument("-n", "--count", type=_count, help=f"the last N; 0 for all (default: {DEFAULT_COUNT})")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    parser.add_argument("--flight", action="store_true", help="dump the flight record in memory, for hblink replay")


def run(arguments: argparse.Namespace) -> int:
    """Print the last events, and with -f those that come; 1 if no daemon answers."""
    if arguments.flight and (arguments.follow or arguments.count is not None):
        print("hblink events: --flight goes with neither -f nor -n", file=sys.stderr)
        return 2
    try:
        if arguments.flight:
            for line in flight_lines():
                print(line)
            return GOOD
        count = DEFAULT_COUNT if arguments.count is None else arguments.count or EVERYTHING
        show = _Screen() if not arguments.json else None
        for event in events(count, arguments.follow):
            print(*([json.dumps(event)] if show is None else show.lines(event)), sep="\n", flush=arguments.follow)
    except ControlError as error:
        print(f"hblink: {error}", file=sys.stderr)
        return NOT_GOOD
    except KeyboardInterrupt:
        return GOOD
    return GOOD


def events(count: int, follow: bool) -> Iterator[dict[str, Any]]:
    """The last `count` events, and with `follow` all that come after, also from the daemon after a restart.

    Raise ControlError; a follower does so at its first question only, and then goes on asking. Where it was too slow
    for the daemon's ring, an event of level "lost" says how many it did not see.
    """
    answer = _ask({"command": "events", "limit": count}, TIMEOUT)
    yield from answer["events"]
    while answer["events"] or follow:
        question = {"command": "events", "after": answer["next"], "wait": follow}
        try:
            following = _ask(question, FOLLOW_TIMEOUT if follow else TIMEOUT)
            if following["life"] != answer["life"]:
                yield _remark("the daemon has been started anew")
                following = _ask({**question, "after": 0}, FOLLOW_TIMEOUT)
        except ControlError:
            if not follow:
                raise
            time.sleep(RETRY_S)
            continue
        answer = following
        if answer["lost"]:
            yield _remark(f"{answer['lost']} events were not seen")
        yield from answer["events"]


def _remark(text: str) -> dict[str, Any]:
    return {"level": "lost", "kind": "daemon", "text": text, "time_ms": time.time_ns() // 1_000_000, "fields": {}}


def flight_lines() -> Iterator[str]:
    """The lines of the daemon's flight record in memory, oldest first; raise ControlError."""
    number = 0
    while True:
        answer = _ask({"command": "flight", "from": number}, TIMEOUT)
        yield from answer["lines"]
        if not answer["lines"]:
            return
        number = answer["next"]


def _ask(question: dict[str, object], timeout: float) -> dict[str, Any]:
    answer = ask(socket_path(os.environ), question, timeout)
    if answer.get("ok") is not True:
        raise ControlError(f"the daemon gave no events: {clean(answer.get('error', 'no reason given'))}")
    return answer


class _Screen:
    """Lines of text for events, with a line for each new day."""

    def __init__(self) -> None:
        self._day = ""

    def lines(self, event: dict[str, Any]) -> list[str]:
        """The event as it reads on a console of 80 columns: time, kind, what, and its particulars."""
        at = time.localtime(event.get("time_ms", 0) // 1000)
        stamp = f"{time.strftime('%H:%M:%S', at)}.{event.get('time_ms', 0) % 1000:03}"
        head = f"{stamp} {_mark(event)}{clean(event.get('kind')):8} "
        lines = wrap(_sentence(event), head)
        day = time.strftime("%Y-%m-%d %Z", at)
        if day != self._day:
            self._day = day
            lines.insert(0, clean(f"--- {day}"))
        return lines


def _mark(event: dict[str, Any]) -> str:
    level = event.get("level")
    return "!" if level in ("critical", "error", "lost") else "*" if level == "warning" else " "


def _sentence(event: dict[str, Any]) -> str:
    """What happened, and why in words where the daemon gave a code."""
    fields = dict(event.get("fields") or {})
    text = str(event.get("text", ""))
    code = fields.get("reason")
    head, _, alarm_code = text.partition(": ")
    if event.get("kind") == "alarm" and head in ("alarm raised", "alarm cleared"):
        text = f"{text} ({alarm(alarm_code)})"
    if event.get("kind") in ("role", "operator") and code not in (None, "none"):
        del fields["reason"]
        text = f"{text}: {reason(code)} ({code})"
    elif code == "none":
        del fields["reason"]
    return " ".join([text, *(f"{name}={value}" for name, value in fields.items() if value not in (None, ""))])


def _count(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, 0 or more")
    return int(text)
