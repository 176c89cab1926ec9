"""What was measured: values by name, their median, and the table that shows them.

It must never judge a run: a value that misses its aim is shown as such, and is not an error.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import median


@dataclass(frozen=True, slots=True)
class Figure:
    """One row: `values` has one entry for each run, all in `unit`; the aim, if any, is an upper bound of the median."""

    name: str
    unit: str
    aim: float | None = None
    values: list[float] = field(default_factory=list)

    @property
    def is_met(self) -> bool | None:
        """Whether the median keeps the aim; None where there is no aim or nothing was measured."""
        return median(self.values) < self.aim if self.aim is not None and self.values else None

    def document(self) -> dict[str, object]:
        """Return the figure as JSON takes it."""
        spread = (
            {"median": median(self.values), "min": min(self.values), "max": max(self.values)} if self.values else {}
        )
        return {"name": self.name, "unit": self.unit, "aim": self.aim, **spread, "values": self.values}


def table(figures: Iterable[Figure]) -> str:
    """Return the figures as a table that reads well both as Markdown and as plain text."""
    rows: list[tuple[str, ...]] = [("figure", "median", "min", "max", "runs", "aim")]
    rows += [_row(figure) for figure in figures if figure.values]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    rule = [f"{'-' * widths[0]}", *(f"{'-' * (width - 1)}:" for width in widths[1:])]
    lines = [_line(rows[0], widths), f"| {' | '.join(rule)} |", *(_line(row, widths) for row in rows[1:])]
    return "\n".join(lines)


def _row(figure: Figure) -> tuple[str, ...]:
    values = figure.values
    spread = [_number(value) for value in (median(values), min(values), max(values))]
    aim = "" if figure.aim is None else f"< {figure.aim:g}" + ("" if figure.is_met else " MISSED")
    return (f"{figure.name} [{figure.unit}]", *spread, str(len(values)), aim)


def _line(row: Iterable[str], widths: list[int]) -> str:
    first, *rest = (
        cell.ljust(width) if column == 0 else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(row, widths, strict=True))
    )
    return f"| {' | '.join([first, *rest])} |"


def _number(value: float) -> str:
    """Show about three digits; a duration that rounds to zero is not shown as negative."""
    digits = 2 if abs(value) < 10 else 1 if abs(value) < 100 else 0
    return f"{value:.{digits}f}".replace("-0.00", "0.00")
