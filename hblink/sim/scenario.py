"""Scenario files: commands to a simulated pair and, below each group of them, all that happened, as plain text.

A file begins with a comment that says what it shows. A group is some commands, one a line, a line `----`, and what the
pair did, up to an empty line; `ok` stands for nothing. `perform` plays the commands and returns the file as it should
read, so that a file that equals its own performance is a passed test. The format is that of etcd-raft's datadriven
tests; the commands are those of hblink.sim.stage, or, in a file whose first one is `explore`, the moves of the explorer
(hblink.sim.explorer.script). This module must never open a file, and never leave out anything that the log holds.
"""

from __future__ import annotations

from dataclasses import dataclass

from hblink.sim.explorer.script import EXPLORE, Script
from hblink.sim.stage import Stage

RULE = "----"
NOTHING = "ok"


class ScenarioError(ValueError):
    """A scenario file cannot be played; the message names the line."""


@dataclass(frozen=True, slots=True)
class Group:
    """Commands that are played together, with the comments before and between them; `first` is a line number."""

    lines: tuple[str, ...]
    first: int


def perform(text: str) -> str:
    """Play the commands of `text`; return it with what really happened below each group.

    A broken rule is printed as a line beginning with VIOLATION; from then on the pair stands still. Deterministic.
    Raises ScenarioError if the text cannot be played.
    """
    parts = groups(text)
    first = next((words[0] for group in parts for words in _commands(group)), "")
    stage = Script() if first == EXPLORE else Stage()
    lines: list[str] = []
    for group in parts:
        lines += [*group.lines, RULE, *(_play(stage, group) or [NOTHING]), ""]
    return "\n".join(lines[:-1]) + "\n"


def groups(text: str) -> list[Group]:
    """Take the groups out of a file, without what is written below their rules."""
    found: list[Group] = []
    pending: list[str] = []
    first = 1
    below = False
    for number, line in enumerate(text.splitlines(), start=1):
        if below:
            below = bool(line.strip())
            first = number + 1
        elif line.strip() == RULE:
            found.append(Group(tuple(pending), first))
            pending, below = [], True
        else:
            pending.append(line.rstrip())
    if any(pending):
        raise ScenarioError(f"line {first}: there is no line {RULE} below")
    return found


def _commands(group: Group) -> list[list[str]]:
    return [words for line in group.lines if (words := line.split()) and not words[0].startswith("#")]


def _play(stage: Stage | Script, group: Group) -> list[str]:
    happened: list[str] = []
    for number, line in enumerate(group.lines, start=group.first):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        try:
            happened += stage.carry_out(words[0], words[1:])
        except (ValueError, IndexError) as error:
            raise ScenarioError(f"line {number}: {line}: {error}") from error
    return happened
