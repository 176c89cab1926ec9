"""The README's part on the comparison: between two marks, and the plot beside this file. Written by the run alone."""

from __future__ import annotations

from pathlib import Path

from tests.bench.picture import picture
from tests.bench.tally import Tally, report
from tests.rig.process import ROOT

PICTURE = "tests/bench/comparison.svg"
BEGIN, END = "<!-- comparison: begin, written by `make bench` -->", "<!-- comparison: end -->"


class PageError(AssertionError):
    """The README has no place for the comparison."""


def fill(page: str, text: str) -> str:
    """Return `page` with `text` between the marks; PageError where they are not there once each, in order."""
    head, begin, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (begin and end) or BEGIN in tail or END in tail:
        raise PageError(f"README.md must have `{BEGIN}` and `{END}` once each, in this order")
    return f"{head}{BEGIN}\n{text}\n{END}{tail}"


def write(tally: Tally, root: Path = ROOT) -> None:
    """Write the plot, and the comparison into the README of the tree at `root`."""
    readme = root / "README.md"
    text = fill(readme.read_text(), report(tally, PICTURE))
    (root / PICTURE).write_text(picture(tally))
    readme.write_text(text)
