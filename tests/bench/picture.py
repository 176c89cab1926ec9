"""The plot of the comparison, as SVG written by hand.

Two panels of bars on a logarithmic scale need some lines of text; a plotting library would be a dependency of 60 MB
and another picture with each of its versions, where this one differs only if a figure does. Pure: a Tally in, text
out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import median
from xml.sax.saxutils import escape

from tests.bench.tally import Sample, Tally, duration

LEFT, PANEL, BETWEEN, TOP, BAR, GAP, BOTTOM = 250, 330, 60, 116, 7, 12, 40
LEAST_MS, MOST_MS = 1.0, 60_000.0
TICKS_MS = (1, 10, 100, 1000, 10_000, 60_000)
COLOURS = {
    "hblink": "#0b4f9e", "hblink-quick": "#4a90d9", "hblink-bmc4": "#9cc4ec",
    "heartbeat": "#b3541e", "heartbeat-stonith": "#e0a070",
    "keepalived-1": "#2f6b2f", "keepalived-0.1": "#5fa55a", "keepalived-0.01": "#a6d49f", "ucarp": "#7b4a9b",
}  # fmt: skip
OTHER = "#777777"
INK, GRID = "#222222", "#dddddd"


def picture(tally: Tally) -> str:
    """Return the SVG document: for each situation a bar for each contestant, in both panels."""
    names = tally.present
    rows = [row for row in tally.situations if any(tally.cell(name, row) for name in names)]
    group = BAR * len(names) + GAP
    width, height = LEFT + 2 * PANEL + BETWEEN + 20, TOP + group * len(rows) + BOTTOM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'font-family="sans-serif" font-size="12" fill="{INK}">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        *_legend(names),
    ]
    panels = (
        ("time without service", LEFT, lambda one: (one.outage_ms, not one.is_served)),
        ("time with two owners", LEFT + PANEL + BETWEEN, lambda one: (one.dual_ms, one.is_dual)),
    )
    for title, left, pick in panels:
        parts += _axis(title, left, height)
        for index, row in enumerate(rows):
            top = TOP + index * group
            for place, name in enumerate(names):
                parts += _bar(tally.cell(name, row), pick, left, top + place * BAR, COLOURS.get(name, OTHER))
    for index, row in enumerate(rows):
        middle = TOP + index * group + (group - GAP) / 2 + 4
        parts.append(f'<text x="{LEFT - 10}" y="{middle:g}" text-anchor="end">{escape(_short(tally, row))}</text>')
    return "\n".join([*parts, "</svg>", ""])


def scale(ms: float) -> float:
    """Return where on a panel a duration lies, in its width: logarithmic, ends included."""
    share = math.log(max(min(ms, MOST_MS), LEAST_MS) / LEAST_MS) / math.log(MOST_MS / LEAST_MS)
    return PANEL * share


def _short(tally: Tally, row: str) -> str:
    return tally.situations[row].partition(":")[0]


def _legend(names: Sequence[str]) -> list[str]:
    parts = []
    for index, name in enumerate(names):
        x, y = 20 + index % 5 * 160, 14 + index // 5 * 18
        parts.append(f'<rect x="{x}" y="{y}" width="12" height="10" fill="{COLOURS.get(name, OTHER)}"/>')
        parts.append(f'<text x="{x + 18}" y="{y + 9}">{escape(name)}</text>')
    note = "bar: median; thin line: worst; arrow: not over when we stopped looking; dot: none"
    return [*parts, f'<text x="20" y="72" font-size="11">{note}</text>']


def _axis(title: str, left: float, height: float) -> list[str]:
    bottom = height - BOTTOM + 4
    parts = [f'<text x="{left}" y="{TOP - 12}" font-weight="bold">{title}</text>']
    for tick in TICKS_MS:
        x = left + scale(tick)
        parts.append(f'<line x1="{x:.1f}" y1="{TOP - 4}" x2="{x:.1f}" y2="{bottom}" stroke="{GRID}"/>')
        label = duration(tick).replace(".00", "").replace(".0", "")
        parts.append(f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle" font-size="11">{label}</text>')
    return parts


def _bar(
    runs: Sequence[Sample], pick: Callable[[Sample], tuple[float, bool]], left: float, top: float, colour: str
) -> list[str]:
    """Return one bar: to the median, a line to the worst, an arrow to the end where something was not over."""
    if not runs:
        return []
    values = [pick(one) for one in runs]
    middle, worst = median(ms for ms, _ in values), max(ms for ms, _ in values)
    y, thick = top + 1, BAR - 2
    centre = y + thick / 2
    if any(is_open for _, is_open in values):
        end = left + PANEL - 6
        points = f"{end:.1f},{y - 1:g} {end + 7:.1f},{centre:g} {end:.1f},{y + thick + 1:g}"
        return [
            f'<rect x="{left}" y="{y:g}" width="{PANEL - 6}" height="{thick}" fill="{colour}"/>',
            f'<polygon points="{points}" fill="{colour}"/>',
        ]
    if worst < LEAST_MS:
        return [f'<circle cx="{left}" cy="{centre:g}" r="2" fill="{colour}"/>']
    parts = [f'<rect x="{left}" y="{y:g}" width="{scale(middle):.1f}" height="{thick}" fill="{colour}"/>']
    if scale(worst) - scale(middle) >= 1:
        parts.append(
            f'<line x1="{left + scale(middle):.1f}" y1="{centre:g}" x2="{left + scale(worst):.1f}" y2="{centre:g}" '
            f'stroke="{colour}" stroke-width="1.5"/>'
        )
    return parts
