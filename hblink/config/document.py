"""A TOML document read key by key: every problem is collected with its dotted path and a hint, none hides another.

It knows types, bounds and spelling, and nothing of what the keys mean. It must never raise for what a file says: a bad
value becomes a finding and a harmless stand-in, and the caller raises once, at the end, when all has been read.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

NS_PER_MS = 1_000_000

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: where (`link[1].endpoint.beta`, or a file), what, and what to do about it."""

    path: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" + (f" ({self.hint})" if self.hint else "")


class ConfigError(Exception):
    """A configuration that cannot be used: `problems` names every reason, `warnings` what else was noticed."""

    def __init__(self, problems: Iterable[Problem], warnings: Iterable[Problem] = ()) -> None:
        self.problems = tuple(problems)
        self.warnings = tuple(warnings)
        super().__init__("; ".join(str(problem) for problem in self.problems))


class Findings:
    """The problems and warnings found so far, in the order in which they were met."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []

    def problem(self, path: str, message: str, hint: str = "") -> None:
        self.problems.append(Problem(path, message, hint))

    def warn(self, path: str, message: str, hint: str = "") -> None:
        self.warnings.append(Problem(path, message, hint))

    def has(self, path: str) -> bool:
        """Tell whether something is wrong at `path` itself."""
        return any(problem.path == path for problem in self.problems)

    def sound(self, *paths: str) -> bool:
        """Tell whether nothing is wrong at or below any of `paths`, so that a relation between them may be judged."""
        return not any(
            problem.path == path or problem.path.startswith((f"{path}.", f"{path}["))
            for problem in self.problems
            for path in paths
        )


class Table:
    """A TOML table being read; each key is asked for once, and `end` reports those that nobody asked for."""

    def __init__(self, findings: Findings, path: str, content: Mapping[str, object]) -> None:
        self.findings = findings
        self.path = path
        self._content = content
        self._asked: set[str] = set()

    def at(self, key: str) -> str:
        """The dotted path of `key`."""
        return f"{self.path}.{key}" if self.path else key

    def has(self, key: str) -> bool:
        return key in self._content

    def keys(self) -> tuple[str, ...]:
        return tuple(self._content)

    def integer(self, key: str, low: int, high: int, default: int | None = None) -> int:
        """Read a whole number in `low..high`; without a `default` the key is required."""
        value = self._value(key, required=default is None)
        stand_in = low if default is None else default
        if value is None:
            return stand_in
        if type(value) is not int:  # a TOML boolean is an int to isinstance
            return self._bad(key, f"is {kind(value)}, not a whole number", f"write {key} = {stand_in}", stand_in)
        if not low <= value <= high:
            return self._bad(key, f"is {value}, outside {low}..{high}", "", stand_in)
        return value

    def duration(self, key: str, low_ms: int, high_ms: int, default_ms: int | None = None) -> int:
        """Read a whole number of milliseconds; return nanoseconds."""
        return self.integer(key, low_ms, high_ms, default_ms) * NS_PER_MS

    def text(self, key: str, default: str | None = None, rule: Callable[[str], str | None] | None = None) -> str:
        """Read a string that is not empty; `rule` returns what is wrong with it, or None."""
        value = self._value(key, required=default is None)
        stand_in = default or ""
        if value is None:
            return stand_in
        if not isinstance(value, str):
            return self._bad(key, f"is {kind(value)}, not a string", f'put it in quotes: {key} = "..."', stand_in)
        if not value or not value.isprintable():
            return self._bad(key, "is empty" if not value else "holds a character that cannot be printed", "", stand_in)
        wrong = rule(value) if rule is not None else None
        return value if wrong is None else self._bad(key, wrong, "", stand_in)

    def optional_text(self, key: str) -> str | None:
        """Read a string, or None if the key is absent."""
        return self.text(key, "") or None

    def choice(self, key: str, choices: Mapping[str, T], default: str | None = None) -> T:
        """Read one of the strings in `choices`; return what it stands for."""
        value = self._value(key, required=default is None)
        stand_in = choices[default] if default is not None else next(iter(choices.values()))
        if value is None:
            return stand_in
        if not isinstance(value, str) or value not in choices:
            offer = "one of " + ", ".join(f'"{word}"' for word in choices)
            return self._bad(key, f"is {shown(value)}, not {offer}", did_you_mean(value, choices), stand_in)
        return choices[value]

    def boolean(self, key: str, default: bool) -> bool:
        value = self._value(key, required=False)
        if value is None or isinstance(value, bool):
            return default if value is None else value
        return self._bad(key, f"is {kind(value)}, not true or false", f"write {key} = true", default)

    def texts(self, key: str) -> tuple[str, ...]:
        """Read an optional list of strings; nothing if the key is absent."""
        value = self._value(key, required=False)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
            return self._bad(key, "is not a list of strings", f'write {key} = ["/path/to/program", "argument"]', ())
        return tuple(value)

    def plain(self, key: str) -> object:
        """Read whatever is there, for the caller to judge."""
        return self._value(key, required=True)

    def table(self, key: str, required: bool = False) -> Table:
        """Read a sub-table; an empty one if it is absent and not required."""
        value = self._value(key, required=required)
        if value is None:
            value = {}
        elif not isinstance(value, dict):
            value = self._bad(key, f"is {kind(value)}, not a table", f"write [{self.at(key)}]", {})
        return Table(self.findings, self.at(key), value)

    def tables(self, key: str) -> list[Table]:
        """Read an array of tables; empty if it is absent."""
        value = self._value(key, required=False)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            return self._bad(key, f"is {kind(value)}, not a list of tables", f"write [[{self.at(key)}]]", [])
        return [Table(self.findings, f"{self.at(key)}[{index}]", item) for index, item in enumerate(value)]

    def ignore_rest(self) -> None:
        """Take every key as read, where an earlier problem makes them impossible to judge."""
        self._asked.update(self._content)

    def end(self) -> None:
        """Report the keys that are in the file and mean nothing."""
        for key in self._content:
            if key not in self._asked:
                unused = self._asked - set(self._content)
                self.findings.problem(self.at(key), "is not a known key", did_you_mean(key, unused or self._asked))

    def _value(self, key: str, required: bool) -> object:
        self._asked.add(key)
        value = self._content.get(key)
        if value is None and required:
            self.findings.problem(self.at(key), "is missing", f"add {key}")
        return value

    def _bad(self, key: str, message: str, hint: str, stand_in: T) -> T:
        self.findings.problem(self.at(key), message, hint)
        return stand_in


def did_you_mean(value: object, known: Iterable[str]) -> str:
    """Offer the known word that is nearest to `value`, or all of them if none is near and they are few."""
    words = sorted(known)
    near = difflib.get_close_matches(str(value), words, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]}?"
    return "known here: " + ", ".join(words) if 0 < len(words) <= 12 else ""


def kind(value: object) -> str:
    """The name that TOML gives to the type of `value`, with its article."""
    names = {
        bool: "a boolean",
        int: "a whole number",
        float: "a float",
        str: "a string",
        list: "a list",
        dict: "a table",
    }
    return names.get(type(value), "a date or time")


def shown(value: object) -> str:
    """`value` as it may stand in a message of one line."""
    return f'"{value}"' if isinstance(value, str) else kind(value) if isinstance(value, (list, dict)) else str(value)
