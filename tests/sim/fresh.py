"""A fresh copy of the code that decides, with places in its source replaced.

The modules that decide are executed anew from their own files; the vocabulary (values, events, effects, frames) stays
shared. A replacement whose text is not found exactly once, or that compiles to the same program, is an error: a
weakening can never silently not apply. This module must never change a module that others have imported.
"""

from __future__ import annotations

import ast
import functools
import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from hblink.core.effect import Effect
from hblink.core.event import Event
from hblink.core.state import State
from hblink.core.value import Advert, Settings

# Those that decide, in the order of their imports.
FRESH = (
    "hblink_wire.codec",
    "hblink_wire",
    "hblink.core.state",
    "hblink.core.invariant",
    "hblink.core.liveness",
    "hblink.core.lease",
    "hblink.core.turn",
    "hblink.core.evidence",
    "hblink.core.drill",
    "hblink.core.fence",
    "hblink.core.alone",
    "hblink.core.peer",
    "hblink.core.request",
    "hblink.core.policy",
    "hblink.core.wakeup",
    "hblink.core.step",
    "hblink.advert",
    "hblink.freshness",
    "hblink.session",
)


@dataclass(frozen=True, slots=True)
class Edit:
    """In the module named `place`, `old` becomes `new`; `old` stands there exactly once."""

    place: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Code:
    """One executed copy of the decision and of the session."""

    step: Callable[[Settings, State, Event, int], tuple[State, tuple[Effect, ...]]]
    next_wakeup: Callable[[Settings, State, int], int | None]
    advertise: Callable[[State, int], Advert | None]
    initial: Callable[[Settings], State]
    violated: type[AssertionError]
    session: Callable[..., Any]


class NotApplied(Exception):  # noqa: N818 - it says what happened
    """A weakening does not fit the code any more: its text is not there exactly once, or changes nothing."""


@functools.cache
def load(edits: tuple[Edit, ...] = ()) -> Code:
    """Execute the modules of FRESH with `edits`; NotApplied if one of these changes nothing.

    What is imported elsewhere stays as it is.
    """
    sources = {name: _source(name, [edit for edit in edits if edit.place == name]) for name in FRESH}
    if strange := {edit.place for edit in edits} - set(FRESH):
        raise NotApplied(f"not executed anew: {sorted(strange)}")
    before = {name: importlib.import_module(name) for name in FRESH}
    fresh: dict[str, ModuleType] = {}
    try:
        for name in FRESH:
            module = ModuleType(name)
            module.__file__ = before[name].__file__
            if hasattr(before[name], "__path__"):
                module.__path__ = before[name].__path__
            sys.modules[name] = fresh[name] = module
            exec(compile(sources[name], f"<{name}, weakened>", "exec"), module.__dict__)
    finally:
        sys.modules.update(before)
    core = fresh["hblink.core.step"]
    return Code(
        core.step,
        core.next_wakeup,
        fresh["hblink.core.state"].advertise,
        fresh["hblink.core.state"].initial,
        fresh["hblink.core.invariant"].InvariantViolated,
        fresh["hblink.session"].Session,
    )


def _source(name: str, edits: list[Edit]) -> str:
    path = importlib.import_module(name).__file__
    assert path is not None
    shipped = text = Path(path).read_text()
    for edit in edits:
        if text.count(edit.old) != 1:
            raise NotApplied(f"{name}: stands {text.count(edit.old)} times: {edit.old}")
        text = text.replace(edit.old, edit.new)
        if ast.dump(ast.parse(text)) == ast.dump(ast.parse(shipped)):
            raise NotApplied(f"{name}: the same program: {edit.new}")
    return text
