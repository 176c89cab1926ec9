"""The comparison: every contestant in every situation, in the same namespaces, seen by the same client.

One repetition takes each contestant in turn, so that whatever else the machine does falls on all of them alike. Each
run begins with two booted nodes that have settled. It must never judge: `tally` says what the samples show.
"""

from __future__ import annotations

import contextlib
import os
import platform
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.bed import NS_PER_MS
from tests.bench.coldstart import memory_mb
from tests.bench.commit import commit
from tests.bench.contestant import Contestant, contestants
from tests.bench.package import Shelf, fetch, upstream
from tests.bench.peer import ADDRESS
from tests.bench.reading import Reading, read, stretches
from tests.bench.situation import End, Situation, inhabitants, mend, situations
from tests.bench.tally import Cost, Sample, Tally, duration
from tests.rig.node import Node
from tests.rig.observer import Answer
from tests.rig.pair import Pair
from tests.rig.wait import boottime_ns, log_end, wait_until

NS_PER_S = 1_000_000_000
POLL_S = 0.05
BEFORE_NS = 60 * NS_PER_MS  # how far back the last answer before a fault is looked for
MOVED_NS = NS_PER_S // 2  # how long the new owner must have answered
SHARED_NS = 3 * NS_PER_S  # the same where two owners are to be feared, and how long two are looked at
QUIET_NS = 6 * NS_PER_S  # Heartbeat restarts itself some seconds after a partition has healed
QUIET_PATIENCE_S = 60.0
NOTHING_S = 6.0  # how long is looked at what should change nothing
SETTLE_S = 90.0
CALM_NS = 1500 * NS_PER_MS  # how long the same single owner must have answered before a fault
COST_S = 10.0
EXPLAIN_MS = 1000.0  # a run that is so much longer than another of its cell is shown with the logs of its pair


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be measured; names as in `contestants` and `situations`."""

    contestants: Sequence[str]
    situations: Sequence[str]
    repetitions: int
    cost_s: float = COST_S

    def rows(self, contestant: Contestant) -> list[Situation]:
        """Return the situations that concern a contestant, each one that follows another right behind that."""
        every = situations()
        wanted = set(self.situations) | {
            first for name in self.situations if (first := every[name].follows) is not None
        }
        return [
            row
            for row in every.values()
            if row.name in wanted
            and (contestant.has_cables or not row.needs_cables)
            and (contestant.move is not None or row.name != "planned")
        ]


class Progress:
    """Says after each run how many are done and how long the rest may take, by the mean so far."""

    def __init__(self, total: int, say: Callable[[str], None]) -> None:
        self._total, self._say = total, say
        self._done = 0
        self._began_at = time.monotonic()

    def step(self, text: str) -> None:
        self._done += 1
        spent = time.monotonic() - self._began_at
        rest = spent / self._done * (self._total - self._done)
        self._say(f"[{self._done}/{self._total}, {_clock(rest)} left] {text}")

    def note(self, text: str) -> None:
        self._say(text)


def compare(wish: Wish, say: Callable[[str], None], keep: Callable[[Tally], None] = lambda _tally: None) -> Tally:
    """Measure what is wished for; every value is in the Tally that is returned.

    `keep` is given what there is after each contestant's turn, so that an interrupted run has not been in vain.
    """
    every = contestants()
    chosen = [every[name] for name in wish.contestants]
    packages = sorted({one.package for one in every.values() if one.package is not None})
    shelf = fetch(packages) if any(one.package is not None for one in chosen) else Shelf(Path("/nonexistent"), {})
    tally = Tally(
        {name: one.title for name, one in every.items()},
        {name: row.what for name, row in situations().items()},
        {name: upstream(version) for name, version in shelf.versions.items()},
        machine(),
        commits=[each for each in (commit(),) if each],
    )
    total = wish.repetitions * sum(len(wish.rows(one)) + (wish.cost_s > 0) for one in chosen)
    progress = Progress(total, say)
    for repetition in range(1, wish.repetitions + 1):
        for contestant in chosen:
            with tempfile.TemporaryDirectory(prefix="hblink-bench-") as directory:
                pair = Pair(Path(directory) / "pair", contestant.setting)
                with pair:
                    contestant.prepare(pair, shelf)
                    _take_turn(pair, contestant, wish, tally, progress, repetition)
            keep(tally)
    return tally


def machine() -> str:
    """Return a sentence on this machine."""
    kernel = platform.release().partition("-")[0]
    return (
        f"{os.cpu_count()} cores, {platform.machine()}, Linux {kernel}, Python {platform.python_version()}, "
        f"load average {os.getloadavg()[0]:.1f} at the start."
    )


def _take_turn(
    pair: Pair, contestant: Contestant, wish: Wish, tally: Tally, progress: Progress, repetition: int
) -> None:
    """Run all situations of one contestant. One that fails is recorded as such, and the next begins anew."""
    arena = Arena(pair, contestant)
    owner: Node | None = None
    for row in wish.rows(contestant):
        words = f"{contestant.name}, {row.name}, run {repetition}"
        try:
            if row.follows is None:
                owner = None
                owner = None if row.name == "cold" else arena.settle()
            seen = arena.run(row, owner)
        except AssertionError as failure:
            tally.failures.append(f"{words}: {str(failure).splitlines()[0]}")
            progress.step(f"{words}: FAILED\n{failure}\n{pair.report()}")
            continue
        earlier = tally.cell(contestant.name, row.name)
        slow = seen.outage_ms > min((one.outage_ms for one in earlier), default=seen.outage_ms) + EXPLAIN_MS
        tally.add(contestant.name, row.name, seen)
        progress.step(f"{words}: {_words(seen)}")
        if contestant.package is None and (seen.dual_ms > 0 or slow):  # of hblink this needs an explanation
            progress.note(pair.report())
    if wish.cost_s > 0:
        _take_cost(arena, wish.cost_s, tally, progress)


def _take_cost(arena: Arena, seconds: float, tally: Tally, progress: Progress) -> None:
    name = arena.contestant.name
    try:
        cost = arena.cost(seconds)
    except AssertionError as failure:
        tally.failures.append(f"{name}, cost: {str(failure).splitlines()[0]}")
        progress.step(f"{name}, cost: FAILED\n{failure}")
        return
    tally.costs.setdefault(name, []).append(cost)
    progress.step(f"{name}: {cost.pss_mb:.1f} MB, {cost.active:.2f} and {cost.standby:.2f} % of a core")


class Arena:
    """A pair on which one contestant runs: brings it to rest, strikes, and looks."""

    def __init__(self, pair: Pair, contestant: Contestant) -> None:
        self.pair, self.contestant = pair, contestant

    def reset(self) -> None:
        """Switch both nodes off and mend everything."""
        for node in self.pair.nodes.values():
            node.power_off()
        mend(self.pair)

    def settle(self) -> Node:
        """Boot both nodes, wait until the pair is at rest, and return the owner.

        A random moment more is waited, so that faults fall anywhere between two heartbeats.
        """
        self.reset()
        self.pair.start()
        what = f"{self.contestant.name} to settle"
        owner = wait_until(self._at_rest, SETTLE_S, what, logs=self.pair.logs, interval_s=4 * POLL_S)
        time.sleep(random.uniform(0.3, 0.6))
        return owner

    def _at_rest(self) -> Node | None:
        for node in self.pair.nodes.values():
            assert node.daemon_pid is not None, f"{self.contestant.name} has ended on {node.name}\n{log_end(node.log)}"
        now = boottime_ns()
        found = [one for one in stretches(self._claims(now - 2 * CALM_NS)) if one.until >= now - CALM_NS]
        if len(found) != 1 or found[0].length < CALM_NS or not self.contestant.is_settled(self.pair):
            return None
        owner = self.pair.nodes[found[0].node]
        return owner if self.pair.active() is owner else None

    def run(self, row: Situation, owner: Node | None) -> Sample:
        """Do what the situation says, and look until its end."""
        fences, late = sum(self.pair.fences.values()), len(self.pair.observer.late_ms)
        struck_at = boottime_ns()
        if row.name == "cold":
            self.reset()
            struck_at = boottime_ns()
            self.pair.start()
        else:
            assert owner is not None, f"{row.name} needs a pair that was at rest before"
            row.strike(self.pair, self.contestant, owner)
            if row.follows is not None:  # the repair itself takes some commands, in which the fault goes on
                struck_at = boottime_ns()
        old = None if owner is None else owner.name
        patience = {End.QUIET: QUIET_PATIENCE_S, End.PATIENCE: NOTHING_S}.get(row.end, self.contestant.patience_s)
        until = struck_at + int(patience * NS_PER_S)
        while boottime_ns() < until and not self._is_over(row.end, old, struck_at):
            time.sleep(POLL_S)
        seen = self._read(struck_at, boottime_ns())
        return sample(seen, sum(self.pair.fences.values()) - fences, max(self.pair.observer.late_ms[late:], default=0))

    def cost(self, seconds: float) -> Cost:
        """Measure memory and processor time of a settled pair."""
        owner = self.settle()
        nodes = [owner, self.pair.other(owner)]
        daemons = [node.daemon_pid for node in nodes]
        before, began_at = [_used_s(node) for node in nodes], time.monotonic()
        time.sleep(seconds)
        spent_s = time.monotonic() - began_at
        shares = [100 * (_used_s(node) - used) / spent_s for node, used in zip(nodes, before, strict=True)]
        assert [node.daemon_pid for node in nodes] == daemons, "a daemon was restarted while its cost was taken"
        assert self.pair.active() is owner, "the service moved while its cost was taken"
        memory = [sum(memory_mb(rollup)[1] for rollup in _accounts(node, "smaps_rollup")) for node in nodes]
        return Cost(max(memory), shares[0], shares[1])

    def _is_over(self, end: End, old: str | None, since: int) -> bool:
        now = boottime_ns()
        found = stretches(self._claims(since))
        current = [one for one in found if one.until >= now - BEFORE_NS]
        moved_ns = current[0].length if len(current) == 1 and current[0].node != old else 0
        match end:
            case End.MOVED:
                return moved_ns >= MOVED_NS
            case End.SHARED:
                shared = self._read(since, now)
                return moved_ns >= SHARED_NS or (shared.is_dual and shared.dual >= SHARED_NS)
            case End.QUIET:
                others = [one.until for one in found if one not in current]
                return len(current) == 1 and now - max([current[0].since, since, *others]) >= QUIET_NS
            case End.PATIENCE:
                return False

    def _claims(self, since: int) -> list[Answer]:
        return self.pair.observer.seen(ADDRESS, "who", since)

    def _read(self, since: int, until: int) -> Reading:
        echoes = self.pair.observer.seen(ADDRESS, "echo", since - BEFORE_NS, until)
        return read(echoes, self._claims(since), since, until)


def sample(seen: Reading, fences: int, late_ms: float) -> Sample:
    """Return a reading in milliseconds."""
    outage, dual, window = (value / NS_PER_MS for value in (seen.outage, seen.dual, seen.until - seen.since))
    return Sample(outage, seen.is_served, dual, seen.is_dual, window, fences, late_ms)


def _words(one: Sample) -> str:
    without = duration(one.outage_ms) if one.is_served else f"not back in {duration(one.outage_ms)}"
    two = f"{duration(one.dual_ms)}{' and lasting' if one.is_dual else ''}"
    return f"without service {without}, two owners {two}" + (f", {one.fences} off" if one.fences else "")


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def _accounts(node: Node, name: str) -> Iterator[str]:
    """Give the file `name` of /proc of each process of the node; one that has just ended has none."""
    for pid in inhabitants(node):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            yield Path(f"/proc/{pid}/{name}").read_text()


def _used_s(node: Node) -> float:
    """Return the processor time of all processes of the node, and of the children that they have reaped, in seconds.

    Of what runs it is the scheduler's own account (schedstat of the first thread; none of the contestants has more), as
    ticks are too coarse for programs that run for some microseconds; of reaped children, cutime + cstime (proc(5),
    stat 16 and 17).
    """
    total = sum(int(account.split()[0]) / NS_PER_S for account in _accounts(node, "schedstat"))
    for account in _accounts(node, "stat"):
        fields = account.rpartition(")")[2].split()
        total += (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")
    return total
