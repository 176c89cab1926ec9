"""`hblink sim`: two whole simulated nodes under random faults, with the built-in example or the user's configuration.

Nothing is sent and no machine is touched. One seed is one run, the same on every machine; a soak takes one seed after
the other for as long as it is told to, and can be interrupted at any time without losing its report.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from hblink.cli.terminal import CONFIGURATION, GOOD, NOT_GOOD, clean, cut, duration, wrap
from hblink.config import Config, ConfigError, SerialLinkConfig, load, settings_of
from hblink.sim.plan import LinkPlan, Plan, default_plan
from hblink.sim.swarm import Outcome, run_seed

_PERCENTILES = (50, 90, 99, 100)
_NS_PER_MS = 1_000_000
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def declare(parser: argparse.ArgumentParser, _name: str) -> None:
    parser.add_argument("--seeds", metavar="N", type=_count, default=100, help="how many runs (default: 100)")
    parser.add_argument(
        "--soak", metavar="TIME", type=_duration_s, help="as many runs as TIME allows, such as 30m or 8h"
    )
    parser.add_argument("--seed", metavar="K", type=int, default=0, help="the first seed (default: 0)")
    parser.add_argument("-c", "--config", metavar="FILE", type=Path, help="simulate this hblink.toml")
    parser.add_argument("--log", action="store_true", help="print all that happens in each run")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Run the seeds and print the report; 1 if a rule was broken, 78 if the configuration cannot be used."""
    path: Path | None = arguments.config
    try:
        plan = default_plan() if path is None else plan_of(load(path))
    except ConfigError as error:
        from hblink.cli.check import print_problems

        print_problems(error.problems, (), sys.stderr)
        return CONFIGURATION
    tally = Tally()
    try:
        for number, (seed, of) in enumerate(_seeds(arguments), start=1):
            outcome = run_seed(plan, seed)
            tally.add(outcome)
            if arguments.log:
                print(*_story(outcome), sep="\n")
            _show_progress(tally, f"{number} of {of}")
    except KeyboardInterrupt:
        print("\ninterrupted: the runs so far", file=sys.stderr)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    if arguments.json:
        print(json.dumps(tally.document()))
    else:
        print(*report(tally, path), sep="\n")
    return NOT_GOOD if tally.broken else GOOD


def _seeds(arguments: argparse.Namespace) -> Iterator[tuple[int, str]]:
    """The seeds to run, each with what is said of how many there are."""
    first: int = arguments.seed
    if arguments.soak is None:
        for seed in range(first, first + arguments.seeds):
            yield seed, str(arguments.seeds)
        return
    until = time.monotonic() + arguments.soak
    for seed in itertools.count(first):
        yield seed, "as many as fit"
        if time.monotonic() >= until:
            return


def _story(outcome: Outcome) -> list[str]:
    return [
        f"seed {outcome.seed}: {', '.join(outcome.faults)}; in the end {outcome.trial or 'nothing'}",
        *map(str, outcome.lines),
        outcome.violation or "good",
    ]


def plan_of(config: Config) -> Plan:
    """The pair that `config` describes, in the surroundings of the built-in example."""
    links = tuple(
        LinkPlan(link.name, link.keepalive_ns, link.baud if isinstance(link, SerialLinkConfig) else None)
        for link in config.links
    )
    plan = Plan((settings_of(config, 0), settings_of(config, 1)), links, config.nodes)
    if not config.fences:
        return plan
    return Plan(
        plan.settings,
        links,
        config.nodes,
        command_timeout_ns=max(fence.command_timeout_ns for fence in config.fences),
        has_pdu=any(len(config.fences_of(node)) > 1 for node in range(len(config.nodes))),
    )


@dataclass(slots=True)
class Tally:
    """The runs so far, added up; durations in nanoseconds."""

    runs: int = 0
    simulated_ns: int = 0
    injected: int = 0
    fences: int = 0
    fences_of_living: int = 0
    false_suspicions: int = 0
    exempt: int = 0  # runs in which a BMC or an operator lied, or two owners were asked for in writing
    dual_vip_ns: int = 0  # of the worst run, these aside
    dual_service_ns: int = 0  # of the worst run, these aside
    overlap_ns: int = 0  # of the worst of these
    gap_ns: int = 0  # the longest
    recovery_ns: int = 0  # the longest
    moves_ns: list[int] = field(default_factory=list)
    broken: list[tuple[int, str]] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        """Take in one run."""
        self.runs += 1
        self.simulated_ns += outcome.simulated_ns
        self.injected += outcome.injected
        self.fences += outcome.fences
        self.fences_of_living += outcome.fences_of_living
        self.false_suspicions += outcome.false_suspicions
        if outcome.exempt:
            self.exempt += 1
            self.overlap_ns = max(self.overlap_ns, outcome.dual_service_ns)
        else:
            self.dual_vip_ns = max(self.dual_vip_ns, outcome.dual_vip_ns)
            self.dual_service_ns = max(self.dual_service_ns, outcome.dual_service_ns)
        self.gap_ns = max(self.gap_ns, *outcome.gaps_ns, 0)
        self.recovery_ns = max(self.recovery_ns, outcome.recovery_ns)
        self.moves_ns += outcome.moves_ns
        if outcome.violation:
            self.broken.append((outcome.seed, outcome.violation))

    def takeover_ns(self) -> dict[int, int]:
        """Percentiles of the time from the last answer of one node to the first of the other; empty without any."""
        ordered = sorted(self.moves_ns)
        return {share: ordered[-(-len(ordered) * share // 100) - 1] for share in _PERCENTILES if ordered}

    def document(self) -> dict[str, object]:
        """The report as JSON has it; durations in milliseconds."""
        return {
            "ok": not self.broken,
            "runs": self.runs,
            "simulated_hours": round(self.simulated_ns / 3.6e12, 3),
            "faults": self.injected,
            "longest_without_owner_ms": self.gap_ns / _NS_PER_MS,
            "longest_recovery_ms": self.recovery_ns / _NS_PER_MS,
            "dual_service_ms": self.dual_service_ns / _NS_PER_MS,
            "dual_address_ms": self.dual_vip_ns / _NS_PER_MS,
            "runs_with_a_lie": self.exempt,
            "dual_service_with_a_lie_ms": self.overlap_ns / _NS_PER_MS,
            "fences": self.fences,
            "fences_of_living": self.fences_of_living,
            "false_suspicions": self.false_suspicions,
            "takeovers": len(self.moves_ns),
            "takeover_ms": {_share(share): ns / _NS_PER_MS for share, ns in self.takeover_ns().items()},
            "broken": [{"seed": seed, "violation": violation} for seed, violation in self.broken],
        }


def report(tally: Tally, path: Path | None) -> list[str]:
    """The report in lines that fit the screen, failing seeds last, each with the command that shows it again."""
    takeover = ", ".join(f"{_share(share)} {_time(ns)}" for share, ns in tally.takeover_ns().items())
    rows = (
        ("simulated", f"{tally.runs} runs, {tally.simulated_ns / 3.6e12:.1f} hours, {tally.injected} faults"),
        ("without an owner", f"{_time(tally.gap_ns)} at worst, while faults went on"),
        ("recovery", f"{_time(tally.recovery_ns)} at worst, after the last fault, to one steady owner"),
        ("two owners", f"service {_time(tally.dual_service_ns)}, address {_time(tally.dual_vip_ns)} in the worst run"),
        ("after a lie", f"service {_time(tally.overlap_ns)} in the worst of {tally.exempt} runs (BMC or operator)"),
        ("fences", f"{tally.fences}, of these {tally.fences_of_living} of a node that still spoke"),
        ("false suspicions", f"{tally.false_suspicions}, none of them while a link worked both ways"),
        ("takeover", f"{len(tally.moves_ns)}: {takeover or 'none'}"),
        ("rules broken", f"{len(tally.broken)}" if tally.broken else "none"),
    )
    lines = [cut(f"{name:17} {text}") for name, text in rows]
    again = "" if path is None else f" -c {path}"
    for seed, violation in tally.broken:
        lines += ["", *wrap(f"seed {seed}: {violation}"), clean(f"  hblink sim --seed {seed} --seeds 1 --log{again}")]
    return lines


def _share(share: int) -> str:
    return "max" if share == 100 else f"p{share}"


def _time(nanoseconds: int) -> str:
    return duration(nanoseconds / _NS_PER_MS)


def _show_progress(tally: Tally, done: str) -> None:
    """Keep one line up to date for whoever waits at a terminal."""
    if sys.stderr.isatty():
        text = f"{done} runs, {tally.simulated_ns / 3.6e12:.1f} hours, {len(tally.broken)} broken"
        print(f"\r{text:78}", end="", file=sys.stderr, flush=True)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number of runs")
    return int(text)


def _duration_s(text: str) -> int:
    number, unit = text[:-1], text[-1:]
    if not number.isdecimal() or int(number) < 1 or unit not in _UNITS_S:
        raise argparse.ArgumentTypeError(f"{text} is no time such as 90s, 30m or 8h")
    return int(number) * _UNITS_S[unit]
