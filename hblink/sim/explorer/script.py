"""A way through the explorer's world as a scenario file: one command a move, and what each move made of the nodes.

    explore [KEY=VALUE...]                                  only as the first; the keys are those of WISHES
    start NODE    boot NODE    panic NODE    unplug NODE    press NODE        (hosts and their daemons)
    die NODE    forget NODE    freeze NODE    thaw NODE    hiccup NODE
    beat NODE [LINK]    hold NODE LINK    late NODE LINK                      (what NODE sends)
    cut    heal    cut_one NODE LINK    mend NODE LINK
    done NODE    fail_start NODE    fail_stop NODE    lose_service NODE       (the service at NODE)
    read NODE    read_early NODE    read_unknown NODE    execute NODE         (power, as asked by NODE)
    off NODE    fail_off NODE    late_off NODE    slow_off NODE    on NODE    fail_on NODE
    carrier NODE    carrier_back NODE    switchover NODE    confirm NODE    shutdown NODE
    tick    settle                                (all faults end, until one node owns the service)

The simulator has a clock and a wire of its own, and no command of it can bring two frames, a reading and a stop into a
given order within an instant, which is where most violations live. So a trace is not translated: the file names the
explorer's own moves, and the scenario runner makes them anew, on the shipped cores. A move that is not possible (since
the core behaves otherwise by now) is said so and left out. This module must never judge: that is in rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

from hblink.core.state import State
from hblink.sim.explorer.decision import Cores
from hblink.sim.explorer.fair import LIVENESS, settle
from hblink.sim.explorer.family import Family
from hblink.sim.explorer.joint import Node, Violation
from hblink.sim.explorer.machine import nothing
from hblink.sim.explorer.move import EVERY_MOVE, TICK_MOVE, Budget, Move, Moves

NODES = ("alpha", "beta")
LINKS = ("ethernet", "serial")
EXPLORE, SETTLE, VIOLATION = "explore", "settle", "VIOLATION"
# What of a family changes what a move does, or what is wrong.
WISHES = (
    "links", "absent", "dark", "disk", "disks", "has_fence", "deadtime", "half_open_ticks", "one_link_alive",
    "steady", "slots_hold", "auto_failback", "fence_cap", "self_reset", "lease", "by_fence",
)  # fmt: skip
_PLENTY = Budget(1, 1, 1)
_BASE = Family("script", ticks=0, moves=EVERY_MOVE, lossy=True, drops=True)


class Script:
    """The explorer's world under written moves."""

    def __init__(self) -> None:
        self._build(_BASE)
        self._broken = False

    def _build(self, family: Family) -> None:
        self.family = family
        self._moves = Moves(family, Cores((family.settings(0), family.settings(1)), links=family.links > 1))
        self._world = nothing(family)
        self._tick = 0

    def carry_out(self, word: str, arguments: Sequence[str]) -> list[str]:
        """Do one command; return what it did. Nothing more happens once a rule is broken. Raises ValueError if none."""
        if word == EXPLORE:
            self._build(replace(_BASE, **dict(_wish(wish) for wish in arguments)))
            return []
        move = None if (word, *arguments) == (SETTLE,) else _move(word, arguments)
        if self._broken:
            return []
        try:
            return self._settle() if move is None else self._make(move)
        except Violation as violation:
            self._broken = True
            return [f"{VIOLATION} {violation}"]

    def _make(self, move: Move) -> list[str]:
        if all(move != possible for possible, _budget in self._moves.moves(self._world, _PLENTY)):
            return [f"{self._tick:4}  {_words(move)} is not possible here"]
        before = [self._line(node) for node in self._world.nodes]
        self._world = self._moves.apply(self._world, move)
        if move == TICK_MOVE:
            self._tick += 1
        after = [self._line(node) for node in self._world.nodes]
        changed = [i for i in (0, 1) if before[i] != after[i]]
        words = [_words(move), ""]
        return [f"{self._tick:4}  {words[n]:22}  {NODES[i]:5}  {after[i]}" for n, i in enumerate(changed)]

    def _settle(self) -> list[str]:
        self._world = settle(self._moves, self._world, [])
        lines = enumerate(map(self._line, self._world.nodes))
        return [f"      {'fair from here on':22}  {NODES[i]:5}  {line}" for i, line in lines]

    def _line(self, node: Node) -> str:
        if node.core < 0:
            text = "no power" if not node.power else "no kernel" if not node.up else "no daemon"
        else:
            text = _state_line(self._moves.cores.states[node.core])
        pending = [op for op in (node.service, node.power_op, "on" if node.power_on else "") if op]
        for word, holds in (
            (f"asks: {' '.join(pending)}", pending),
            ("frozen", node.frozen >= 0),
            ("no carrier", not node.carrier),
            ("late off under way", node.late_off),
            ("runs", node.running),
        ):
            text += f"; {word}" if holds else ""
        return text


def written(family: Family, violation: str, moves: Sequence[Move]) -> str:
    """The commands of a scenario file that makes `moves`; one group a tick, nothing below the rules yet.

    What the scenario runner makes of it is the file itself (hblink.sim.scenario.perform).
    """
    usual = Family("", 0)
    values = ((name, getattr(family, name), getattr(usual, name)) for name in WISHES)
    wishes = [f"{name}={_value(value)}" for name, value, default in values if value != default]
    lines = [
        f"# {violation}",
        f"# Found by the explorer in the family {family.name}: the shortest way to it.",
        " ".join(["explore", *wishes]),
    ]
    for move in moves:
        lines.append(_words(move))
        if move == TICK_MOVE:
            lines += ["----", ""]
    if violation.startswith(LIVENESS):
        lines.append(SETTLE)
    return "\n".join([*lines, "----", ""] if lines[-1] else lines)


def _words(move: Move) -> str:
    words = [move.name]
    if move.node >= 0:
        words.append(NODES[move.node])
    if move.link >= 0:
        words.append(LINKS[move.link])
    return " ".join(words)


def _move(word: str, arguments: Sequence[str]) -> Move:
    if word not in EVERY_MOVE:
        raise ValueError(f"there is no move {word}")
    if len(arguments) > 2 or (word in ("tick", "cut", "heal") and arguments):
        raise ValueError("wrong number of words")
    if arguments and arguments[0] not in NODES:
        raise ValueError(f"there is no node {arguments[0]}")
    if len(arguments) > 1 and arguments[1] not in LINKS:
        raise ValueError(f"there is no link {arguments[1]}")
    node = NODES.index(arguments[0]) if arguments else -1
    return Move(word, node, LINKS.index(arguments[1]) if len(arguments) > 1 else -1)


def _wish(wish: str) -> tuple[str, Any]:
    key, _, value = wish.partition("=")
    defaults = {field.name: field.default for field in fields(Family) if field.name in WISHES}
    if key not in defaults:
        raise ValueError(f"{wish} is unknown")
    default = defaults[key]
    if isinstance(default, bool):
        if value not in ("yes", "no"):
            raise ValueError(f"{key} is yes or no")
        return key, value == "yes"
    if isinstance(default, tuple):
        first, second = value.split(",")
        return key, (int(first), int(second))
    return key, int(value)


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _state_line(state: State) -> str:
    text = state.role.value
    text += f" ({state.reason.value})" if state.reason.value != "none" else ""
    text += f", epoch {state.epoch}"
    for word, holds in (
        ("says YIELDED", state.yielded),
        ("inert", not state.heard),
        (f"grant {state.grant.value}" if state.grant else "", state.grant is not None),
        (f"OFF read {state.attempt.offs} times" if state.attempt else "", state.attempt is not None),
    ):
        text += f", {word}" if holds else ""
    return text
