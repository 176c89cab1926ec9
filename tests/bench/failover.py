"""Takeovers, switchovers and unplugged service ports: what the client sees, and what the daemon says of it.

A takeover is measured beyond what nobody can save: the deadtime, the interval between the two OFF readings, and the
BMC's own time, which is the wall time of the ipmitool processes as the daemon adds it up (`device_ms`).
"""

from __future__ import annotations

import re
from collections.abc import Callable

from tests.bench.bed import bed, gap_ms, lull, wait, wait_served
from tests.bench.figure import Figure
from tests.netns.situation import logged
from tests.rig.node import Node
from tests.rig.pair import Pair
from tests.rig.wait import boottime_ns

OBSERVE_INTERVAL_MS = 2.0  # the resolution of a gap


def takeover(runs: int, say: Callable[[str], None]) -> list[Figure]:
    """Crash the active `runs` times; each time the other takes over, and the dead one comes back as standby."""
    client = Figure("takeover beyond deadtime, BMC and OFF interval, at the client", "ms", 150)
    daemon = Figure("the same from the last heartbeat on, in the daemon's account", "ms", 150)
    parts = {
        "late": Figure("- suspicion later than the deadtime", "ms"),
        "fence": Figure("- around the ipmitool processes", "ms"),
        "start": Figure("- addresses put, read back, announced", "ms"),
    }
    gap, device = Figure("takeover gap at the client, all included", "ms"), Figure("the BMC's own time", "ms")
    with bed(OBSERVE_INTERVAL_MS) as pair:
        pair.start()
        known_ms = pair.setting.timing["deadtime_ms"] + pair.setting.off_interval_ms
        for run in range(1, runs + 1):
            seen_ms, spent = _take_over(pair)
            gap.values.append(seen_ms)
            device.values.append(spent["device"])
            client.values.append(seen_ms - known_ms - spent["device"])
            daemon.values.append(spent["total"] - known_ms - spent["device"])
            parts["late"].values.append(spent["silence"] - pair.setting.timing["deadtime_ms"])
            parts["fence"].values.append(spent["fence"] - spent["device"] - pair.setting.off_interval_ms)
            parts["start"].values.append(spent["start"])
            account = ", ".join(f"{name} {value:.1f}" for name, value in spent.items())
            say(f"takeover {run}/{runs}: gap {seen_ms:.1f} ms, beyond {client.values[-1]:.1f} ms ({account})")
    return [client, daemon, *parts.values(), gap, device]


def switchover(runs: int, say: Callable[[str], None]) -> list[Figure]:
    """Move the service `runs` times by the operator's command, given on the active node."""
    gap = Figure("switchover gap at the client", "ms", 30)
    with bed(OBSERVE_INTERVAL_MS) as pair:
        pair.start()
        for run in range(1, runs + 1):
            active, standby = lull(pair)
            asked_at = boottime_ns()
            done = active.hblink("switchover")
            assert done.returncode == 0, done.stdout + done.stderr
            wait_served(pair, standby, asked_at, 10)
            gap.values.append(gap_ms(pair, active, standby, asked_at))
            say(f"switchover {run}/{runs}: gap {gap.values[-1]:.1f} ms")
        assert pair.fences == {"alpha": 0, "beta": 0}
    return [gap]


def unplug(runs: int, say: Callable[[str], None]) -> list[Figure]:
    """Unplug a service port of the active `runs` times; it yields, and the other owns every VIP without a fence."""
    gap = Figure("service port unplugged: gap at the client", "ms", 100)
    with bed(OBSERVE_INTERVAL_MS) as pair:
        pair.start()
        for run in range(1, runs + 1):
            active, standby = lull(pair)
            unplugged_at = boottime_ns()
            pair.cut_service(active.name)
            wait_served(pair, standby, unplugged_at, 10)
            gap.values.append(gap_ms(pair, active, standby, unplugged_at))
            say(f"service port {run}/{runs}: gap {gap.values[-1]:.1f} ms")
            pair.heal()
        assert pair.fences == {"alpha": 0, "beta": 0}
    return [gap]


def _take_over(pair: Pair) -> tuple[float, dict[str, float]]:
    """Crash the active; return the gap and the daemon's account, in milliseconds."""
    active, standby = lull(pair)
    crashed_at = boottime_ns()
    active.crash()
    wait_served(pair, standby, crashed_at, 20)
    (line,) = wait(pair, lambda: _account(standby, crashed_at), 5, f"the account of {standby.name}")
    spent = {name: float(value) for name, value in re.findall(r"(\w+)_ms=([\d.]+)", line)}
    return gap_ms(pair, active, standby, crashed_at), spent


def _account(node: Node, since: int) -> list[str]:
    return logged(node, "service is up grant=fenced", since)
