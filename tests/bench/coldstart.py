"""Cold starts, what a daemon needs until READY, and the memory that it has then."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.bench.bed import NS_PER_MS, answers, bed, lull, wait
from tests.bench.figure import Figure
from tests.rig.node import Node
from tests.rig.pair import Pair
from tests.rig.process import PYTHON, ROOT

OBSERVE_INTERVAL_MS = 5.0
START_S = 20
# What `hblink run` imports, without running anything of it. Both print what the kernel says of them, as in proc(5).
_SHOW = "; import gc; gc.collect(); print(open('/proc/self/smaps_rollup').read())"
_DAEMON = "import hblink.cli.main, hblink.cli.run, hblink.daemon" + _SHOW
_NOTHING = "pass" + _SHOW


def cold_start(runs: int, say: Callable[[str], None]) -> list[Figure]:
    """Power both nodes off, boot them, and start both daemons together, `runs` times."""
    served = Figure("cold start: joint start to one active answering for every VIP", "s", 2)
    ready = Figure("process start to READY=1", "ms")
    resident, proportional = Figure("memory of a daemon, RSS", "MB", 48), Figure("memory of a daemon, PSS", "MB")
    with bed(OBSERVE_INTERVAL_MS) as pair:
        for run in range(1, runs + 1):
            for node in pair.nodes.values():
                node.power_off()
            pair.start()
            started_at, answered_at, active = _first_service(pair)
            lull(pair)
            served.values.append((answered_at - started_at) / 1e9)
            for node in pair.nodes.values():
                ready_at = node.ready_at()
                assert ready_at is not None
                ready.values.append((ready_at - node.started_at) / NS_PER_MS)
                rss, pss = memory_mb(_smaps(node))
                resident.values.append(rss)
                proportional.values.append(pss)
            say(
                f"cold start {run}/{runs}: {active.name} answers after {served.values[-1]:.2f} s, READY after "
                f"{ready.values[-2]:.0f} and {ready.values[-1]:.0f} ms, RSS {resident.values[-1]:.1f} MB"
            )
        assert pair.fences == {"alpha": 0, "beta": 0}
    return [served, ready, resident, *_imports(runs), proportional]


def memory_mb(rollup: str) -> tuple[float, float]:
    """Return RSS and PSS in megabytes (10^6 bytes) out of a smaps_rollup (proc(5))."""
    found = {
        name: int(kilobytes) * 1024 / 1e6 for name, kilobytes in re.findall(r"^(Rss|Pss): +(\d+) kB", rollup, re.M)
    }
    return found["Rss"], found["Pss"]


def _imports(runs: int) -> list[Figure]:
    """Measure the part of the memory that is there before the daemon has done anything."""
    imports, bare = (
        Figure("- of it the interpreter and the imports", "MB"),
        Figure("- of it the bare interpreter", "MB"),
    )
    for figure, program in ((imports, _DAEMON), (bare, _NOTHING)):
        for _ in range(runs):
            done = subprocess.run([*PYTHON, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
            figure.values.append(memory_mb(done.stdout)[0])
    return [imports, bare]


def _smaps(node: Node) -> str:
    assert node.daemon_pid is not None
    return Path(f"/proc/{node.daemon_pid}/smaps_rollup").read_text()


def _first_service(pair: Pair) -> tuple[int, int, Node]:
    """Return when the first daemon was started, when the last VIP answered first, and by whom."""
    started_at = min(node.started_at for node in pair.nodes.values())

    def served() -> tuple[int, Node] | None:
        for node in pair.nodes.values():
            if all(echoes := answers(pair, node, started_at)):
                return max(each[0].at for each in echoes), node
        return None

    answered_at, active = wait(pair, served, START_S, "one node to answer for every VIP")
    assert pair.wait_active(active.name) is active
    return started_at, answered_at, active
