"""What a settled pair costs: the processor time of its daemons while nothing happens.

Nobody watches meanwhile, not even the client: the kernel would charge some of its packets to whoever runs.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.bench.bed import bed, lull
from tests.bench.figure import Figure
from tests.rig.node import Node

OBSERVE_INTERVAL_MS = 20.0
SLOW_MS = 200  # 5 frames a second on a link
ANNOUNCING_S = 6  # a new owner announces its addresses again for 5 s
WINDOWS = 2


def processor(seconds: float, say: Callable[[str], None]) -> list[Figure]:
    """Measure both daemons for WINDOWS times `seconds`, at 5 frames/s on both links and at the default intervals."""
    figures = []
    for what, keepalive_ms, aim in (("at 5 frames/s on both links", SLOW_MS, 1), ("at default intervals", None, None)):
        both = [Figure(f"processor time {what}, {role}", "% of a core", aim) for role in ("active", "standby")]
        with bed(OBSERVE_INTERVAL_MS, keepalive_ms) as pair:
            pair.start()
            nodes = lull(pair)
            pair.observer.close()
            time.sleep(ANNOUNCING_S)
            for window in range(1, WINDOWS + 1):
                for figure, share in zip(both, _shares(nodes, seconds), strict=True):
                    figure.values.append(share)
                    say(f"{figure.name}, {seconds:g} s, {window}/{WINDOWS}: {share:.2f} %")
        figures += both
    return figures


def _shares(nodes: Sequence[Node], seconds: float) -> list[float]:
    """Return the percentage of a core that each daemon used."""
    began_at, before = time.monotonic(), [_used_s(node) for node in nodes]
    time.sleep(seconds)
    elapsed_s, after = time.monotonic() - began_at, [_used_s(node) for node in nodes]
    return [100 * (late - early) / elapsed_s for early, late in zip(before, after, strict=True)]


def _used_s(node: Node) -> float:
    """Return utime + stime of the daemon, its children left out, in seconds (proc(5), /proc/PID/stat, 14 and 15)."""
    fields = Path(f"/proc/{node.daemon_pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
