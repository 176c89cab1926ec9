"""`python -m tests.bench.run`, which is `make bench`: measure hblink on this machine, and print a table for the README.

It needs root, as the rig does. Figures that miss their aim are marked; the exit status is 0 whenever all was measured.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Callable
from pathlib import Path

from tests.bench.coldstart import cold_start
from tests.bench.failover import OBSERVE_INTERVAL_MS, switchover, takeover
from tests.bench.figure import Figure, table
from tests.bench.idle import processor

NOTE = f"""\
A client asks for every VIP each {OBSERVE_INTERVAL_MS:g} ms; a gap is that of the worst VIP, counted from the crash. The
daemon counts from the last heartbeat before it, up to one keepalive older: so the client may be below zero."""
PARTS = ("takeover", "switchover", "coldstart", "idle")


def main() -> int:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(prog="bench", description="Measure hblink on this machine.")
    parser.add_argument("--runs", type=int, default=20, help="runs of each figure (default: 20)")
    parser.add_argument("--seconds", type=float, default=30, help="how long processor time is taken (default: 30)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every value to FILE")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"only these: {' '.join(PARTS)}")
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - set(PARTS):
        parser.error(f"no such part: {' '.join(sorted(unknown))}")
    if os.geteuid() != 0:
        parser.error("needs root: it makes network namespaces, cables and a BMC")
    measure: dict[str, Callable[[], list[Figure]]] = {
        "takeover": lambda: takeover(arguments.runs, say),
        "switchover": lambda: switchover(arguments.runs, say),
        "coldstart": lambda: cold_start(arguments.runs, say),
        "idle": lambda: processor(arguments.seconds, say),
    }
    loads = [_load()]
    figures: list[Figure] = []
    for part in arguments.parts or PARTS:
        figures += measure[part]()
        loads.append(_load())
    machine = (
        f"{os.cpu_count()} cores, {platform.machine()}, Linux {platform.release()}, Python {platform.python_version()};"
        f" load average {' '.join(loads)} before, between and after the parts."
    )
    print(f"\n{table(figures)}\n\n{machine}\n{NOTE}")
    if arguments.json is not None:
        document = {"machine": machine, "figures": [figure.document() for figure in figures]}
        arguments.json.write_text(json.dumps(document, indent=2) + "\n")
    return 0


def say(text: str) -> None:
    """Print a line of progress at once."""
    print(text, flush=True)


def _load() -> str:
    return f"{os.getloadavg()[0]:.1f}"


if __name__ == "__main__":
    raise SystemExit(main())
