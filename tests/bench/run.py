"""`python -m tests.bench.run`, which is `make bench`: measure hblink on this machine, alone and beside its peers.

It needs root, as the rig does. Figures that miss their aim are marked; the exit status is 0 whenever all was measured.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from tests.bench.coldstart import cold_start
from tests.bench.commit import commit
from tests.bench.compare import COST_S, Wish, compare
from tests.bench.contestant import contestants
from tests.bench.failover import OBSERVE_INTERVAL_MS, switchover, takeover, unplug
from tests.bench.fence import fence
from tests.bench.figure import Figure, table
from tests.bench.idle import processor
from tests.bench.page import PICTURE, write
from tests.bench.situation import situations
from tests.bench.tally import Tally, measured, report

NOTE = f"""\
A client asks for every VIP each {OBSERVE_INTERVAL_MS:g} ms; a gap is that of the worst VIP, counted from the crash. The
daemon counts from the last heartbeat before it, up to one keepalive older: so the client may be below zero."""
PARTS = ("takeover", "switchover", "carrier", "coldstart", "idle", "fence", "compare")


def main() -> int:
    """Measure what was asked for."""
    parser = _parser()
    arguments = parser.parse_args()
    for given, known in (
        (arguments.parts, PARTS),
        (arguments.contestants, contestants()),
        (arguments.situations, situations()),
    ):
        if unknown := set(given) - set(known):
            parser.error(f"no such thing: {' '.join(sorted(unknown))}; there is {' '.join(known)}")
    if arguments.show is not None:
        first, *more = (Tally.of(json.loads(path.read_text())["comparison"]) for path in arguments.show)
        for other in more:
            first.take(other)
        _show(first, arguments.readme)
        return 0
    if os.geteuid() != 0:
        parser.error("needs root: it makes network namespaces, cables and a BMC")
    document = _measure(arguments, arguments.parts or PARTS)
    if arguments.json is not None:
        _write_json(arguments.json, document)
    return 0


def say(text: str) -> None:
    """Print a line of progress at once."""
    print(text, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bench",
        description="Measure hblink on this machine: alone (takeover, switchover, carrier, coldstart, idle), and "
        "beside Heartbeat, keepalived and ucarp (compare).",
        epilog='for a short run: make bench ARGS="compare --repeat 1 --contestants hblink,ucarp --situations crash"',
    )
    parser.add_argument("--runs", type=int, default=20, help="runs of each figure of hblink alone (default: 20)")
    parser.add_argument("--seconds", type=float, default=30, help="how long processor time is taken (default: 30)")
    parser.add_argument("--repeat", type=int, default=5, help="runs of each cell of the comparison (default: 5)")
    parser.add_argument("--contestants", type=_words, default=(), metavar="A,B", help=", ".join(contestants()))
    parser.add_argument("--situations", type=_words, default=(), metavar="A,B", help=", ".join(situations()))
    parser.add_argument(
        "--cost",
        type=float,
        default=COST_S,
        metavar="S",
        help=f"how long the processor time of each contestant is taken; 0: not at all (default: {COST_S:g})",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every value to FILE")
    parser.add_argument("--readme", action="store_true", help="put the comparison and its plot into README.md")
    parser.add_argument(
        "--show",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="measure nothing; show the comparison in FILE, or that in several files together",
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"only these: {' '.join(PARTS)}")
    return parser


def _words(text: str) -> Sequence[str]:
    return tuple(word for word in text.split(",") if word)


def _measure(arguments: argparse.Namespace, parts: Iterable[str]) -> dict[str, object]:
    """Measure the parts, print what they say, and return every value as JSON takes it."""
    measure: dict[str, Callable[[], list[Figure]]] = {
        "takeover": lambda: takeover(arguments.runs, say),
        "switchover": lambda: switchover(arguments.runs, say),
        "carrier": lambda: unplug(arguments.runs, say),
        "coldstart": lambda: cold_start(arguments.runs, say),
        "idle": lambda: processor(arguments.seconds, say),
        "fence": lambda: fence(arguments.runs, say),
    }
    document: dict[str, object] = {}
    loads = [_load()]
    figures: list[Figure] = []
    for part in [part for part in parts if part in measure]:
        figures += measure[part]()
        loads.append(_load())
    if figures:
        machine = (
            f"{os.cpu_count()} cores, {platform.machine()}, Linux {platform.release()},"
            f" Python {platform.python_version()}; load average {' '.join(loads)} before, between and after the parts."
        )
        code = commit()
        print(f"\n{table(figures)}\n\n{measured([code] if code else [])}{machine}\n{NOTE}")
        document |= {"commit": code, "machine": machine, "figures": [figure.document() for figure in figures]}
    if "compare" in parts:
        wish = Wish(
            arguments.contestants or tuple(contestants()),
            arguments.situations or tuple(situations()),
            arguments.repeat,
            arguments.cost,
        )

        def keep(so_far: Tally) -> None:
            if arguments.json is not None:
                _write_json(arguments.json, document | {"comparison": so_far.document()})

        tally = compare(wish, say, keep)
        document["comparison"] = tally.document()
        _show(tally, arguments.readme)
    return document


def _show(tally: Tally, into_readme: bool) -> None:
    print(f"\n{report(tally)}", flush=True)
    if into_readme:
        write(tally)
        say(f"\nREADME.md and {PICTURE} are rewritten")


def _write_json(path: Path, document: dict[str, object]) -> None:
    fresh = path.with_name(f"{path.name}.new")
    fresh.write_text(json.dumps(document, indent=1) + "\n")
    fresh.replace(path)


def _load() -> str:
    return f"{os.getloadavg()[0]:.1f}"


if __name__ == "__main__":
    raise SystemExit(main())
