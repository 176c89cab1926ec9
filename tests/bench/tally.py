"""What was measured of all contestants, and what it says: cells, statistics, tables, and where hblink is worse.

Pure, and the only source of every word that the comparison prints: nothing is said that the samples do not show. A
number that is missing was not measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

NEAR = 1.1  # a tenth apart is the same
NEAR_MS = 5.0  # and so is what the client's questions can hardly tell apart
TOLERANCE = (
    f"Where hblink is worse, by the same figures. Medians are compared; one that is at most {100 * (NEAR - 1):.0f} % "
    f"above another, or {NEAR_MS:g} ms where it is a time, counts as the same. Each time is again median / worst."
)
LEGEND = """\
Nobody repairs or restarts anything while we look. *not back*: no service when we stopped looking, after that time.
**lasting**: both nodes had answered for 3 s when we stopped looking, and still did. `-`: the program has no such cable
or no such command."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of one situation, in milliseconds, as the client saw it.

    `window_ms` is how long was looked; `is_served` and `is_dual` say how it was at the end. `fences` counts the
    commands to switch a node off that went to the BMCs. `late_ms` is how late the client itself asked, at worst, if
    that was over 50 ms: then the figures are partly its own.
    """

    outage_ms: float
    is_served: bool
    dual_ms: float
    is_dual: bool
    window_ms: float
    fences: int = 0
    late_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Cost:
    """What a settled pair costs: memory of one node's daemon (all its processes), processor in % of a core."""

    pss_mb: float
    active: float
    standby: float


@dataclass(frozen=True, slots=True)
class Tally:
    """Everything: samples by contestant and situation, costs by contestant; titles by name, in the tables' order.

    `failures` tell of each run that could not be made or finished, in words. `commits` are those of hblink that were
    measured, as `commit` names them; none if that is not known.
    """

    contestants: Mapping[str, str]
    situations: Mapping[str, str]
    versions: Mapping[str, str]
    machine: str
    samples: dict[str, dict[str, list[Sample]]] = field(default_factory=dict)
    costs: dict[str, list[Cost]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    commits: list[str] = field(default_factory=list)

    def add(self, contestant: str, situation: str, sample: Sample) -> None:
        """Record a run."""
        self.samples.setdefault(contestant, {}).setdefault(situation, []).append(sample)

    def cell(self, contestant: str, situation: str) -> Sequence[Sample]:
        """Return the runs of one cell; none where the situation does not concern the contestant."""
        return self.samples.get(contestant, {}).get(situation, ())

    @property
    def present(self) -> list[str]:
        """The contestants that were measured."""
        return [name for name in self.contestants if self.samples.get(name) or self.costs.get(name)]

    def document(self) -> dict[str, Any]:
        """Return everything as JSON takes it."""
        return asdict(self)

    def take(self, other: Tally) -> None:
        """Add all that another Tally has: an earlier part of the same comparison."""
        for name, rows in other.samples.items():
            for row, runs in rows.items():
                self.samples.setdefault(name, {}).setdefault(row, []).extend(runs)
        for name, costs in other.costs.items():
            self.costs.setdefault(name, []).extend(costs)
        self.failures.extend(other.failures)
        self.commits.extend(each for each in other.commits if each not in self.commits)

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Tally:
        """Return the Tally of a document."""
        samples = {
            name: {row: [Sample(**each) for each in runs] for row, runs in rows.items()}
            for name, rows in document["samples"].items()
        }
        costs = {name: [Cost(**each) for each in runs] for name, runs in document["costs"].items()}
        return cls(
            document["contestants"],
            document["situations"],
            document["versions"],
            document["machine"],
            samples,
            costs,
            list(document["failures"]),
            list(document.get("commits", ())),
        )


# ---- cells ----


def duration(ms: float) -> str:
    """Show a duration with about two or three digits and its unit."""
    if ms < 0.5:
        return "0"
    if ms < 999.5:
        return f"{ms:.0f} ms"
    return f"{ms / 1000:.2f} s" if ms < 9995 else f"{ms / 1000:.1f} s"


def outage(runs: Sequence[Sample]) -> str:
    """Show the time without service: median and worst. Where it did not come back while we looked, say so."""
    if not runs:
        return "-"
    lost = [one for one in runs if not one.is_served]
    if not lost:
        return _spread([one.outage_ms for one in runs])
    least = duration(min(one.outage_ms for one in lost))
    return f"not back in {least}{_share(len(lost), len(runs))}"


def dual(runs: Sequence[Sample]) -> str:
    """Show the time with two owners: median and worst; `lasting` where both still answered when we stopped."""
    if not runs:
        return "-"
    lasting = [one for one in runs if one.is_dual]
    if not lasting:
        return _spread([one.dual_ms for one in runs])
    return f"**lasting**{_share(len(lasting), len(runs))}"


def _share(some: int, of: int) -> str:
    return "" if some == of else f" ({some} of {of})"


def _spread(values: Sequence[float]) -> str:
    middle, worst = duration(median(values)), duration(max(values))
    return middle if middle == worst else f"{middle} / {worst}"


# ---- tables ----


def tables(tally: Tally) -> str:
    """Return the two tables of situations and the one of costs, as Markdown."""
    names = tally.present
    rows = [row for row in tally.situations if any(tally.cell(name, row) for name in names)]
    parts = []
    for title, show in (("time without service", outage), ("time with two owners", dual)):
        lines = [[title, *names]]
        lines += [[tally.situations[row], *(show(tally.cell(name, row)) for name in names)] for row in rows]
        parts.append(markdown(lines))
    costs = [["what it costs", *(name for name in names if tally.costs.get(name))]]
    for title, unit, pick in (
        ("memory of a node's daemon, PSS", "MB", lambda cost: cost.pss_mb),
        ("processor time, active", "% of a core", lambda cost: cost.active),
        ("processor time, standby", "% of a core", lambda cost: cost.standby),
    ):
        costs.append([f"{title} [{unit}]", *(_number(map(pick, tally.costs[name])) for name in costs[0][1:])])
    if len(costs[0]) > 1:
        parts.append(markdown(costs))
    return "\n\n".join(parts)


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table whose first row is its head; all columns but the first are numbers."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines = [[cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))]
             for row in (rows[0], rule, *rows[1:])]  # fmt: skip
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _number(values: Iterable[float]) -> str:
    return f"{median(values):.2f}"


# ---- what it says ----


def worse(tally: Tally, subject: str = "hblink") -> list[str]:
    """Return a sentence for everything in which `subject` has the worse median; times are shown as in the tables."""
    others = [name for name in tally.present if not name.startswith("hblink")]
    found = [line for row in tally.situations if (line := _worse_in(tally, subject, row, others))]
    found += _dearer(tally, subject, others)
    shot = [line for name in (subject, *others) if (line := _shot(tally, name))]
    if shot and shot[0].startswith(f"{subject} "):
        found.append(f"A node is switched off by its BMC, whether it was dead or alive: {'; '.join(shot)}.")
    return found


def _shot(tally: Tally, name: str) -> str | None:
    """Return in which situations, and in how many runs of them, somebody was switched off."""
    told = []
    for row in tally.situations:
        runs = tally.cell(name, row)
        if some := sum(one.fences > 0 for one in runs):
            told.append(f"{row} ({some} of {len(runs)} runs)")
    return f"{name} in {', '.join(told)}" if told else None


def _worse_in(tally: Tally, subject: str, row: str, others: Sequence[str]) -> str | None:
    mine = tally.cell(subject, row)
    if not mine:
        return None
    own = median(one.outage_ms for one in mine)
    quicker: dict[str, list[str]] = {}  # names by what is said of them
    for name in others:
        runs = tally.cell(name, row)
        if not runs or any(not one.is_served for one in runs):
            continue
        theirs = median(one.outage_ms for one in runs)
        if own > theirs * NEAR and own > theirs + NEAR_MS:
            price = max(one.dual_ms for one in runs)
            bought = f", with two owners for {duration(price)}" if price >= 1 else ""
            bought = ", with two owners for as long as we looked" if any(one.is_dual for one in runs) else bought
            quicker.setdefault(f"{outage(runs)}{bought}", []).append(name)
    if not quicker:
        return None
    variants = [
        f"{name} {outage(runs)}"
        for name in tally.present
        if name.startswith(f"{subject}-") and (runs := tally.cell(name, row))
    ]
    aside = f" ({', '.join(variants)})" if variants else ""
    listed = "; ".join(f"{', '.join(names)} {words}" for words, names in quicker.items())
    return f"{tally.situations[row].partition(':')[0]}: {subject} {outage(mine)} without service{aside}; {listed}."


def _dearer(tally: Tally, subject: str, others: Sequence[str]) -> list[str]:
    mine = tally.costs.get(subject)
    if not mine:
        return []
    found = []
    for title, unit, pick in (
        ("memory of a node's daemon", "MB", lambda cost: cost.pss_mb),
        ("processor time of the active node", "% of a core", lambda cost: cost.active),
        ("processor time of the standby", "% of a core", lambda cost: cost.standby),
    ):
        own = median(map(pick, mine))
        less = {name: median(map(pick, tally.costs[name])) for name in others if tally.costs.get(name)}
        less = {name: value for name, value in less.items() if own > value * NEAR}
        if less:
            listed = ", ".join(f"{name} {value:.2f}" for name, value in less.items())
            found.append(f"{title}: {subject} {own:.2f} {unit}; {listed}.")
    return found


def better(tally: Tally, subject: str = "hblink") -> str:
    """Return the sentence on two owners, the one thing that a pair must never have; `subject` in all its settings."""
    dual_in = {
        name: rows
        for name in tally.present
        if (rows := [row for row in tally.situations if any(one.dual_ms >= 1 for one in tally.cell(name, row))])
    }
    own = [name for name in tally.present if name.startswith(subject)]
    runs = sum(len(tally.cell(name, row)) for name in own for row in tally.situations)
    guilty = [f"{name} in {', '.join(dual_in[name])}" for name in own if name in dual_in]
    rest = [f"{name} in {', '.join(rows)}" for name, rows in dual_in.items() if name not in own]
    first = f"{subject} HAD TWO OWNERS: {'; '.join(guilty)}" if guilty else f"{subject} never, in {runs} runs"
    return f"{first}; {'; '.join(rest) if rest else 'nor had anybody else'}."


def noise(tally: Tally) -> str:
    """Return the sentence on how much the machine itself disturbed the measurement."""
    every = [one for rows in tally.samples.values() for runs in rows.values() for one in runs]
    late = [one.late_ms for one in every if one.late_ms > 0]
    if not late:
        return f"The client was never more than 50 ms late in {len(every)} runs."
    return (
        f"The client itself was more than 50 ms late in {len(late)} of {len(every)} runs, {max(late):.0f} ms at worst: "
        f"the machine was not idle."
    )


def measured(commits: Sequence[str]) -> str:
    """Return the sentence on which hblink was measured, and how to see what has changed since; empty if not known."""
    if not commits:
        return ""
    since = commits[0].partition(" ")[0]
    return f"hblink of commit {', '.join(commits)}; what has changed since: `git diff {since} -- hblink wire`. "


def report(tally: Tally, picture: str | None = None) -> str:
    """Return all that is to be said: conditions, tables, `picture` (a path) and findings, as Markdown."""
    counts = sorted({len(runs) for rows in tally.samples.values() for runs in rows.values()})
    runs = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}" if counts else "no"
    versions = ", ".join(f"{name} {version}" for name, version in tally.versions.items())
    who = "\n".join(f"- `{name}`: {tally.contestants[name]}." for name in tally.present)
    head = (
        f"Made by `make bench`, runs of each cell: {runs}, median / worst where they differ; a client asks for the "
        f"address each 2 ms. {measured(tally.commits)}{versions + '. ' if versions else ''}{tally.machine} "
        f"{noise(tally)}"
    )
    parts = [head, who, tables(tally), LEGEND]
    if picture is not None:
        parts.append(f"![time without service and time with two owners, by situation]({picture})")
    parts.append(f"Two owners: {better(tally)}")
    if lines := worse(tally):
        parts.append(f"{TOLERANCE}\n\n" + "\n".join(f"- {line}" for line in lines))
    if tally.failures:
        parts.append("Runs that failed:\n\n" + "\n".join(f"- {line}" for line in tally.failures))
    return "\n\n".join(parts)
