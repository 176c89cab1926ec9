"""The simulator: random runs break no rule, come right again, and are the same on every machine."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from itertools import product

import pytest

from hblink.core.value import MS, SECOND, Role
from hblink.daemon.daemon import STALL_SHARE
from hblink.sim import plan as plan_module
from hblink.sim.checker import Violation
from hblink.sim.host import Host
from hblink.sim.plan import default_plan
from hblink.sim.process import Process
from hblink.sim.swarm import Outcome, run_seed
from hblink.sim.world import World

SEEDS = range(30)
CHAOS_NS = 60 * SECOND


def settled(at_ns: int = 5 * SECOND) -> World:
    """A pair that has been up for a while: alpha active, beta standby."""
    world = World(default_plan(), seed=1)
    for host in world.hosts:
        host.boot()
    world.run_for(at_ns)
    return world


def role(host: Host) -> Role | None:
    return None if host.daemon is None else host.daemon.state.role


@pytest.fixture(scope="module")
def outcomes() -> list[Outcome]:
    return [run_seed(default_plan(), seed, CHAOS_NS) for seed in SEEDS]


def test_no_rule_is_broken_and_one_owner_is_found_after_the_faults(outcomes: list[Outcome]) -> None:
    assert [(each.seed, each.violation) for each in outcomes if each.violation] == []


def test_the_service_never_ran_twice(outcomes: list[Outcome]) -> None:
    assert [each.seed for each in outcomes if each.dual_service_ns] == []


def test_the_runs_were_worth_something(outcomes: list[Outcome]) -> None:
    """A swarm in which nothing happens proves nothing."""
    assert {name for each in outcomes for name in each.faults} >= {"cut", "pause", "crash", "attack", "bmc_slow"}
    assert sum(each.injected for each in outcomes) > 500
    assert sum(each.fences for each in outcomes) > 10
    assert sum(len(each.moves_ns) for each in outcomes) > 10


def test_one_seed_is_one_run() -> None:
    first, again, other = (run_seed(default_plan(), seed, CHAOS_NS) for seed in (3, 3, 4))
    assert first == again
    assert first.digest != other.digest


def test_one_seed_is_one_run_in_another_process(outcomes: list[Outcome]) -> None:
    """Nothing depends on the order of a set, on an address in memory, or on the hash of a string."""
    script = (
        "from hblink.sim.plan import default_plan\n"
        "from hblink.sim.swarm import run_seed\n"
        f"print([run_seed(default_plan(), seed, {CHAOS_NS}).digest for seed in range(4)])"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "4711"}
    printed = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, check=True, text=True
    )
    assert printed.stdout.strip() == str([each.digest for each in outcomes[:4]])


def test_the_simulated_loop_is_as_touchy_as_the_real_one() -> None:
    assert plan_module.STALL_SHARE == STALL_SHARE


@pytest.mark.parametrize(("index", "kind"), list(product(range(2), ("pause", "freeze"))))
def test_a_node_that_stood_still_accuses_nobody(index: int, kind: str) -> None:
    """Pauses about the edges of every rule: the checkers fail if a healthy peer is fenced (I6, I12)."""
    for offset_ms, lasts_ms in product((0, 40, 80), (180, 260, 540, 660, 820, 900, 960, 1020, 1100, 1300)):
        world = settled(3 * SECOND + offset_ms * MS)
        host = world.hosts[index]
        host.pause() if kind == "pause" else host.freeze_daemon()
        world.run_for(lasts_ms * MS)
        host.resume() if kind == "pause" else host.thaw_daemon()
        world.run_for(3 * SECOND)
        assert world.meter.dual_service_ns == 0
        if index == 1:
            assert host.peer.fenced == [], (offset_ms, lasts_ms)
            assert role(host.peer) is Role.ACTIVE


def test_a_pair_is_found_out_of_step_by_the_checkers() -> None:
    """A checker that cannot fail is worth nothing: make each of the two services run, and see."""
    world = settled()
    with pytest.raises(Violation, match="I1: both nodes run the service"):
        world.hosts[1].begin_service()


def test_a_pair_that_never_finds_together_is_reported() -> None:
    """With different keys nobody may ever serve: the demand for one owner in the end must notice."""
    plan = replace(default_plan(), secrets=(bytes(range(1, 33)), bytes(range(2, 34))))
    outcome = run_seed(plan, 1, SECOND)
    assert outcome.violation.startswith("liveness: alpha blocked, beta blocked, 240 s after the last fault")


def test_a_loop_that_does_not_tell_of_pauses_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pause sweep bites: without the loop's word of its lateness a standby accuses a healthy active node."""
    monkeypatch.setattr(Process, "_check", lambda _self: None)

    def sweep() -> None:
        for lasts_ms in range(1000, 14_000, 450):
            world = settled()
            world.hosts[1].pause()
            world.run_for(lasts_ms * MS)
            world.hosts[1].resume()
            world.run_for(3 * SECOND)

    with pytest.raises(Violation, match="I6: beta fences alpha although ethernet works both ways"):
        sweep()


def test_a_credited_frame_that_the_peer_never_sent_on_that_link_is_found_out() -> None:
    world = settled()
    alpha, beta = world.hosts
    assert alpha.daemon is not None
    frames = [frame for link, frame in beta.sent if link == 0]
    with pytest.raises(Violation, match="I4: alpha credits a frame that beta never sent on that link"):
        world.checker.credited(alpha, alpha.daemon, 1, frames[-1])
