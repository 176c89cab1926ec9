"""`hblink replay FILE`: feed a flight record through this version's decision, and say whether it decides the same.

A record is written by `hblink run --flight FILE`. Nothing is sent and no machine is touched.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from hblink.cli.terminal import GOOD, NOT_GOOD, clean, cut, wrap
from hblink.core.invariant import InvariantViolated
from hblink.core.state import State
from hblink.flight import FlightError, Step, read, replay

_HEAD = '{"flight"'


def declare(parser: argparse.ArgumentParser, _name: str) -> None:
    parser.add_argument("file", metavar="FILE", type=Path, help="a flight record")


def run(arguments: argparse.Namespace) -> int:
    """Print the roles by time; 1 at the first difference, or if the record cannot be read."""
    path: Path = arguments.file
    try:
        with path.open(encoding="ascii") as file:
            return _replay(file)
    except (FlightError, UnicodeDecodeError) as error:
        print(*wrap(f"hblink: {path}: {error}"), sep="\n", file=sys.stderr)
    except OSError as error:
        print(*wrap(f"hblink: {path}: {error.strerror}"), sep="\n", file=sys.stderr)
    return NOT_GOOD


def _replay(lines: Iterable[str]) -> int:
    """Feed the lines through the core, printing as they come: a record may be longer than memory."""
    heads: list[str] = []
    shown = 0
    steps = 0
    before = ""
    try:
        for recorded, state, effects in replay(read(_noting(lines, heads))):
            steps += 1
            for head in heads[shown:]:
                print(cut(_life(head)))
            if len(heads) > shown:
                shown, before = len(heads), recorded.before
            if state.role.value != before:
                print(cut(_change(recorded, before, state)))
                before = state.role.value
            if (state.role.value, effects) != (recorded.after, recorded.effects):
                print(*_difference(steps, recorded, state, effects), sep="\n")
                return NOT_GOOD
    except InvariantViolated as error:
        print(*wrap(f"step {steps + 1} breaks an invariant: {error}"), sep="\n")
        return NOT_GOOD
    print(f"the same in {steps} steps")
    return GOOD


def _noting(lines: Iterable[str], heads: list[str]) -> Iterator[str]:
    """Pass lines on, and keep those that begin a life of the daemon."""
    for line in lines:
        if line.startswith(_HEAD):
            heads.append(line)
        yield line


def _life(head: str) -> str:
    document = json.loads(head)
    return f"{clean(document.get('node'))}, hblink {clean(document.get('version'))}"


def _change(recorded: Step, before: str, state: State) -> str:
    why = "" if state.reason.value == "none" else f" ({state.reason.value})"
    return f"{_seconds(recorded.at)}  {before} -> {state.role.value}{why}, epoch {state.epoch}"


def _difference(number: int, recorded: Step, state: State, effects: tuple[object, ...]) -> list[str]:
    """The event, what was decided then and what is decided now."""
    then, now = ("; ".join(str(effect) for effect in each) or "no effect" for each in (recorded.effects, effects))
    return [
        *wrap(f"step {number} at {_seconds(recorded.at).strip()} s differs: {recorded.event}"),
        *wrap(f"{recorded.after}: {then}", "  then  "),
        *wrap(f"{state.role.value}: {now}", "  now   "),
    ]


def _seconds(at: int) -> str:
    """An instant as the log has it, in seconds since boot."""
    return f"{at / 1e9:12.3f}"
