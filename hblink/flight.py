"""The flight record: what went into and came out of `step`, as JSON lines that can be fed through the same core again.

Values of the core are written as {"type": class name, field: value...}, enumerations by their value, and read back by
the annotations of their fields, so that a new event or effect needs no line here. This module must never do IO and
never guess: a line that does not fit raises FlightError.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Iterable, Iterator
from enum import Enum
from typing import Any

from hblink.core import effect as effects_module
from hblink.core import event as events_module
from hblink.core.effect import Effect
from hblink.core.event import Event
from hblink.core.state import State, initial
from hblink.core.step import step
from hblink.core.value import Settings


class FlightError(ValueError):
    """A line of a flight record cannot be read; the message says which and why."""


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """One call of `step`: the instant, the event, the roles around it, the effects.

    `state` is the whole state before it, where the record begins in mid-flight; else None.
    """

    at: int
    event: Event
    before: str
    after: str
    effects: tuple[Effect, ...]
    state: State | None = None


_CLASSES: dict[str, type] = {
    cls.__name__: cls
    for module, union in ((events_module, Event), (effects_module, Effect))
    for cls in typing.get_args(union)
    if cls.__module__ == module.__name__
}
# Field types are resolved once for each class: at 20 frames a second that is most of the cost.
_HINTS: dict[type, dict[str, Any]] = {}


def head_line(settings: Settings, node: str, version: str) -> str:
    """The first line of a record: whose it is, and the settings that its steps were taken with."""
    return json.dumps({"flight": 1, "node": node, "version": version, "settings": _plain(settings)})


def step_line(
    at: int, event: Event, before: State, after: State, effects: tuple[Effect, ...], *, whole: bool = False
) -> str:
    """One step as a line of JSON; `whole` adds the state before it, so that a record can begin here."""
    document = {
        "at": at,
        "event": _plain(event),
        "before": before.role.value,
        "after": after.role.value,
        "reason": after.reason.value,
        "epoch": after.epoch,
        "effects": [_plain(effect) for effect in effects],
    }
    if whole:
        document["state"] = _plain(before)
    return json.dumps(document, separators=(",", ":"))


def read(lines: Iterable[str]) -> Iterator[tuple[Settings, Step]]:
    """Read a record: each step with the settings that it was taken with; a file may hold several lives of a daemon.

    A last line that was torn in writing is passed over. Raises FlightError when it comes to any other bad line.
    """
    settings: Settings | None = None
    torn: FlightError | None = None
    for number, line in enumerate(lines, start=1):
        if torn is not None:
            raise torn
        try:
            document = json.loads(line)
            if "flight" in document:
                settings = _typed(Settings, document["settings"])
            elif settings is None:
                raise FlightError("a flight record begins with its head")
            else:
                yield settings, _step(document)
        except (ValueError, KeyError, TypeError) as error:
            problem = FlightError(f"line {number}: {error}")
            if not isinstance(error, json.JSONDecodeError) or settings is None:
                raise problem from error
            torn = problem


def replay(steps: Iterable[tuple[Settings, Step]]) -> Iterator[tuple[Step, State, tuple[Effect, ...]]]:
    """Feed the recorded events through `step`; yield each recorded step with what the core makes of it now.

    A `Started` begins a new life of the daemon, and a step with its state goes on from that one. Raises FlightError if
    the record begins with neither.
    """
    state: State | None = None
    for settings, recorded in steps:
        if isinstance(recorded.event, events_module.Started):
            state = initial(settings)
        elif recorded.state is not None:
            state = recorded.state
        if state is None:
            raise FlightError("the record begins in mid-flight: it can be read, not replayed")
        state, effects = step(settings, state, recorded.event, recorded.at)
        yield recorded, state, effects


def _step(document: dict[str, Any]) -> Step:
    return Step(
        at=int(document["at"]),
        event=_tagged(document["event"]),
        before=str(document["before"]),
        after=str(document["after"]),
        effects=tuple(_tagged(effect) for effect in document["effects"]),
        state=_typed(State, document["state"]) if "state" in document else None,
    )


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        plain: dict[str, Any] = {}
        if type(value).__name__ in _CLASSES:
            plain["type"] = type(value).__name__
        for field in dataclasses.fields(value):
            plain[field.name] = _plain(getattr(value, field.name))
        return plain
    if isinstance(value, (tuple, frozenset)):
        items = [_plain(item) for item in value]
        return sorted(items, key=str) if isinstance(value, frozenset) else items
    return value


def _tagged(document: dict[str, Any]) -> Any:
    fields = dict(document)
    name = fields.pop("type")
    if name not in _CLASSES:
        raise FlightError(f"there is no event or effect named {name}")
    return _typed(_CLASSES[name], fields)


def _typed(hint: Any, value: Any) -> Any:
    """Read `value` as the annotation `hint` says: a dataclass, an enumeration, an optional or a number of these."""
    if isinstance(hint, types.UnionType):
        members = [member for member in typing.get_args(hint) if member is not type(None)]
        return None if value is None else _typed(members[0], value)
    if (container := typing.get_origin(hint)) in (tuple, frozenset):
        return container(_typed(typing.get_args(hint)[0], item) for item in value)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint(value)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        hints = _HINTS.setdefault(hint, typing.get_type_hints(hint))
        return hint(**{name: _typed(hints[name], item) for name, item in value.items()})
    if hint is int and (isinstance(value, bool) or not isinstance(value, int)):
        raise FlightError(f"{value!r} is not a whole number")
    return value
