"""Fencing by itself: what it costs beyond the device's own time, what a dead device costs, and a storm on the loop.

The BMCs are the rig's own, in another process; the ladder, its loop and the ipmitool processes are the real ones.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from hblink.core.value import MS, SECOND
from hblink.daemon.account import Account
from hblink.fencing.fence import Fence
from hblink.fencing.ipmi import IpmiDevice
from hblink.loop import Loop
from tests.adapter.ladder import Ladder, Rung
from tests.adapter.loopback_bmc import Settings, silent_port
from tests.bench.figure import Figure

INTERVAL_NS = 300 * MS
DEADLINE_NS = 2 * SECOND
TICK_NS = 10 * MS  # as a heartbeat on a fast link
STORM_LADDERS = 8
GAP_NS = 50 * MS
STORM_ROUNDS = 3


@contextmanager
def standins(count: int, loss: float) -> Iterator[list[Settings]]:
    """BMCs in a process of their own."""
    with (
        tempfile.TemporaryDirectory(prefix="hblink-") as directory,
        subprocess.Popen(
            [sys.executable, "-m", "tests.rig.standin", str(count), str(loss)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        found = []
        for _ in range(count):
            port, _guid, password = process.stdout.readline().split()
            path = Path(directory) / f"{port}.pass"
            path.write_text(f"{password}\n")
            path.chmod(0o600)
            found.append(Settings(int(port), path, cipher_suite=17))
        yield found
        process.stdin.close()


def fence(runs: int, say: Callable[[str], None]) -> list[Figure]:
    """Measure all three."""
    overhead = Figure("fence, beyond the device's own time and the OFF interval", "ms", 100)
    dead = Figure("a dead device, beyond its configured deadline", "ms", 100)
    _measure_overhead(runs, overhead, say)
    _measure_dead(max(1, runs // 4), dead, say)
    return [overhead, dead, *_storm(say)]


def _measure_overhead(runs: int, figure: Figure, say: Callable[[str], None]) -> None:
    loop = Loop()
    with standins(1, 0.0) as (settings,):
        for run in range(1, runs + 1):
            ladder = Ladder(loop, [(IpmiDevice(loop, settings), Rung(off_interval_ns=INTERVAL_NS))])
            fence = ladder.fence()
            begun_at = loop.now()
            fence.off(1)
            ladder.drive(1)
            for op_id in (2, 3):
                fence.read(op_id)
                ladder.drive(op_id)
            spent_ns = loop.now() - begun_at - INTERVAL_NS - fence.device_ns
            figure.values.append(spent_ns / MS)
            say(f"fence {run}/{runs}: {spent_ns / MS:.1f} ms beyond {fence.device_ns / MS:.1f} ms of the device")
            fence.on(4)
            ladder.drive(4)
            fence.close()


def _measure_dead(runs: int, figure: Figure, say: Callable[[str], None]) -> None:
    loop = Loop()
    with standins(1, 0.0) as (settings,), silent_port(settings) as silent:
        for run in range(1, runs + 1):
            dead = IpmiDevice(loop, replace(silent, command_timeout_ns=DEADLINE_NS))
            ladder = Ladder(loop, [(dead, Rung())])
            fence = ladder.fence()
            begun_at = loop.now()
            fence.off(1)
            ladder.drive(1)
            figure.values.append((loop.now() - begun_at - DEADLINE_NS) / MS)
            say(f"dead device {run}/{runs}: {figure.values[-1]:.1f} ms beyond its {DEADLINE_NS // MS} ms")
            fence.close()


def _storm(say: Callable[[str], None]) -> list[Figure]:
    """Many ladders at once on a line that loses three of ten datagrams, beside a tick like a heartbeat's."""
    worst, most = Figure("loop lateness in a fence storm, longest", "ms"), Figure("the same, of 99 in 100", "ms")
    for storming, loss in ((False, 0.0), (True, 0.3)):
        account, loop = Account(), Loop()
        loop.on_lateness = account.note_lateness

        def tick(now: int, loop: Loop = loop) -> None:
            loop.call_at(now + TICK_NS, tick)

        with standins(STORM_LADDERS, loss) as all_settings:
            ladders = [
                Ladder(loop, [(IpmiDevice(loop, replace(each, command_timeout_ns=3 * SECOND)), Rung())])
                for each in all_settings
            ]
            fences = [ladder.fence() for ladder in ladders]
            tick(loop.now())
            for op_id in range(1, 1 + STORM_ROUNDS):
                if storming:
                    for index, each in enumerate(fences):  # as in life, not all in one turn of the loop
                        loop.call_at(loop.now() + index * GAP_NS, partial(_begin, each, op_id))
                until = loop.now() + 7 * SECOND
                while loop.now() < until and not all(len(ladder.events) == op_id for ladder in ladders):
                    loop.run_once(20 * MS)
            for each in fences:
                each.close()
        name = f"{STORM_LADDERS} ladders at once" if storming else "an idle loop"
        counts = [(bucket["up_to_us"], bucket["count"]) for bucket in account.lateness_histogram() if bucket["count"]]
        say(f"{name}: late by up to [us]: count  " + ", ".join(f"{bound}: {count}" for bound, count in counts))
        if storming:
            worst.values.append(account.lateness_max_ns / MS)
            most.values.append(account.lateness_ms(0.99))
    return [worst, most]


def _begin(fence: Fence, op_id: int, _now: int) -> None:
    fence.off(op_id)
