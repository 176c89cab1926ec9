"""`hblink replay FILE`: feed a flight record through this version's decision, and say whether it decides the same.

A record is written by `hblink run --flight FILE`. Nothing is sent and no machine is touched.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from hblink.cli.terminal import GOOD, NOT_GOOD, clean, cut, wrap
from hblink.core.invariant import InvariantViolated
from hblink.core.state import State
from hblink.flight import FlightError, Step, read, replay

_HEAD = '{"flight"'


def declare(parser: argparse.ArgumentParser, _name: str) -> None:
    parser.add_argument("file", metavar="FILE", type=Path, help="a flight record")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Print the roles by time; 1 at the first difference, or if the record cannot be read."""
    path: Path = arguments.file
    try:
        with path.open(encoding="ascii") as file:
            return _replay(file, _Document() if arguments.json else _Screen())
    except (FlightError, UnicodeDecodeError) as error:
        trouble = str(error)
    except OSError as error:
        trouble = str(error.strerror)
    if arguments.json:
        print(json.dumps({"ok": False, "error": f"{path}: {trouble}"}))
    else:
        print(*wrap(f"hblink: {path}: {trouble}"), sep="\n", file=sys.stderr)
    return NOT_GOOD


def _replay(lines: Iterable[str], told: _Screen | _Document) -> int:
    """Feed the lines through the core, telling what comes as it comes: a record may be longer than memory."""
    heads: list[str] = []
    shown = 0
    steps = 0
    before = ""
    try:
        for recorded, state, effects in replay(read(_noting(lines, heads))):
            steps += 1
            for head in heads[shown:]:
                told.life(json.loads(head))
            if len(heads) > shown:
                shown, before = len(heads), recorded.before
            if state.role.value != before:
                told.change(recorded, before, state)
                before = state.role.value
            if (state.role.value, effects) != (recorded.after, recorded.effects):
                told.difference(steps, recorded, state, effects)
                return NOT_GOOD
    except InvariantViolated as error:
        told.violation(steps + 1, error)
        return NOT_GOOD
    told.sameness(steps)
    return GOOD


def _noting(lines: Iterable[str], heads: list[str]) -> Iterator[str]:
    """Pass lines on, and keep those that begin a life of the daemon."""
    for line in lines:
        if line.startswith(_HEAD):
            heads.append(line)
        yield line


class _Screen:
    """Print it for a person, line by line."""

    def life(self, head: dict[str, Any]) -> None:
        print(cut(f"{clean(head.get('node'))}, hblink {clean(head.get('version'))}"))

    def change(self, recorded: Step, before: str, state: State) -> None:
        why = "" if state.reason.value == "none" else f" ({state.reason.value})"
        print(cut(f"{_seconds(recorded.at)}  {before} -> {state.role.value}{why}, epoch {state.epoch}"))

    def difference(self, number: int, recorded: Step, state: State, effects: tuple[object, ...]) -> None:
        """Print the event, what was decided then and what is decided now."""
        then, now = ("; ".join(str(effect) for effect in each) or "no effect" for each in (recorded.effects, effects))
        lines = [
            *wrap(f"step {number} at {_seconds(recorded.at).strip()} s differs: {recorded.event}"),
            *wrap(f"{recorded.after}: {then}", "  then  "),
            *wrap(f"{state.role.value}: {now}", "  now   "),
        ]
        print(*lines, sep="\n")

    def violation(self, number: int, error: InvariantViolated) -> None:
        print(*wrap(f"step {number} breaks an invariant: {error}"), sep="\n")

    def sameness(self, steps: int) -> None:
        print(f"the same in {steps} steps")


class _Document:
    """Keep the lives and their changes of role, and print them with the verdict as one JSON object."""

    def __init__(self) -> None:
        self._lives: list[dict[str, Any]] = []

    def life(self, head: dict[str, Any]) -> None:
        self._lives.append({"node": head.get("node"), "version": head.get("version"), "changes": []})

    def change(self, recorded: Step, before: str, state: State) -> None:
        after = {"after": state.role.value, "reason": state.reason.value, "epoch": state.epoch}
        self._lives[-1]["changes"].append({"at_ns": recorded.at, "before": before, **after})

    def difference(self, number: int, recorded: Step, state: State, effects: tuple[object, ...]) -> None:
        then, now = (
            {"role": role, "effects": [str(effect) for effect in each]}
            for role, each in ((recorded.after, recorded.effects), (state.role.value, effects))
        )
        self._print(number, difference={"at_ns": recorded.at, "event": str(recorded.event), "then": then, "now": now})

    def violation(self, number: int, error: InvariantViolated) -> None:
        self._print(number, error=f"breaks an invariant: {error}")

    def sameness(self, steps: int) -> None:
        self._print(steps)

    def _print(self, steps: int, **trouble: object) -> None:
        """Print the verdict; `steps` is the number of the last one that was taken."""
        print(json.dumps({"ok": not trouble, "steps": steps, "lives": self._lives, **trouble}))


def _seconds(at: int) -> str:
    """An instant as the log has it, in seconds since boot."""
    return f"{at / 1e9:12.3f}"
