"""The simulator: random runs break no rule, come right again, and are the same on every machine."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path
from random import Random

import pytest

from hblink.core import step as step_module
from hblink.core.event import PeerBeat
from hblink.core.liveness import is_fresh
from hblink.core.peer import take_beat
from hblink.core.turn import Turn
from hblink.core.value import MS, OWNING, SECOND, Role
from hblink.daemon.daemon import STALL_SHARE
from hblink.sim import plan as plan_module
from hblink.sim.bmc import Truth
from hblink.sim.checker import Violation
from hblink.sim.fault import KINDS
from hblink.sim.host import Host
from hblink.sim.plan import default_plan
from hblink.sim.process import Process, Spot
from hblink.sim.swarm import Outcome, run_seed
from hblink.sim.trial import TRIALS
from hblink.sim.world import World

ROOT = Path(__file__).resolve().parents[2]
# The interpreter of the oldest libraries that the code must run with; `make test` sets it up.
OLDEST = os.environ.get("HBLINK_OLDEST_PYTHON", str(ROOT / ".venv-oldest/bin/python"))
SEEDS = range(82, 142)  # in which every kind of fault occurs
CHAOS_NS = 60 * SECOND


def settled(at_ns: int = 5 * SECOND) -> World:
    """A pair that has been up for a while: alpha active, beta standby."""
    world = World(default_plan(), seed=1)
    for host in world.hosts:
        host.boot()
    world.run_for(at_ns)
    return world


def seed_that_loses(world: World, name: str) -> int:
    """A seed with which the first choice among the machines is the one of that name."""
    return next(seed for seed in range(100) if Random(seed).choice(world.hosts).name == name)


def role(host: Host) -> Role | None:
    return None if host.daemon is None else host.daemon.state.role


@pytest.fixture(scope="module")
def outcomes() -> list[Outcome]:
    return [run_seed(default_plan(), seed, CHAOS_NS) for seed in SEEDS]


def test_no_rule_is_broken_and_one_owner_is_found_after_the_faults(outcomes: list[Outcome]) -> None:
    assert [(each.seed, each.violation) for each in outcomes if each.violation] == []


def test_the_service_never_ran_twice(outcomes: list[Outcome]) -> None:
    assert [each.seed for each in outcomes if each.dual_service_ns and not each.exempt] == []


def test_the_runs_were_worth_something(outcomes: list[Outcome]) -> None:
    """A swarm in which nothing happens proves nothing."""
    assert {name for each in outcomes for name in each.faults} == set(KINDS)
    assert {each.trial for each in outcomes} == set(TRIALS)
    assert sum(each.injected for each in outcomes) > 1000
    assert sum(each.fences for each in outcomes) > 50
    assert sum(len(each.moves_ns) for each in outcomes) > 50
    assert sum(bool(each.exempt) for each in outcomes) < len(outcomes) // 4


def test_one_seed_is_one_run() -> None:
    first, again, other = (run_seed(default_plan(), seed, CHAOS_NS) for seed in (3, 3, 4))
    assert first == again
    assert first.digest != other.digest


@pytest.mark.parametrize(("python", "hash_seed"), [(sys.executable, "4711"), (OLDEST, "0")], ids=["this", "oldest"])
def test_one_seed_is_one_run_in_another_process(outcomes: list[Outcome], python: str, hash_seed: str) -> None:
    """Nothing depends on the order of a set, an address in memory, the hash of a string, or a library's version."""
    script = (
        "import importlib.util, sys\n"
        f"spec = importlib.util.spec_from_file_location('hblink_wire', {str(ROOT / 'wire/__init__.py')!r},\n"
        f"    submodule_search_locations=[{str(ROOT / 'wire')!r}])\n"
        "sys.modules['hblink_wire'] = module = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(module)\n"
        "from hblink.sim.plan import default_plan\n"
        "from hblink.sim.swarm import run_seed\n"
        f"print([run_seed(default_plan(), seed, {CHAOS_NS}).digest for seed in {list(SEEDS[:4])}])"
    )
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
    printed = subprocess.run([python, "-c", script], env=environment, capture_output=True, check=True, text=True)
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


@pytest.mark.parametrize(("index", "spot"), list(product(range(2), (Spot.READING, Spot.ACTING))))
def test_a_node_that_stood_still_within_a_turn_accuses_nobody(index: int, spot: Spot) -> None:
    """Caught after it has read the clock, or between a decision and its consequence: as above (S7, I6)."""
    for offset_ms, lasts_ms in product((0, 40, 80), (180, 260, 540, 660, 820, 960, 1020, 1300, 5000)):
        world = settled(3 * SECOND + offset_ms * MS)
        host = world.hosts[index]
        host.freeze_daemon(spot)
        world.run_for(lasts_ms * MS)
        host.thaw_daemon()
        world.run_for(3 * SECOND)
        assert world.meter.dual_service_ns == 0
        if index == 1:
            assert host.peer.fenced == [], (offset_ms, lasts_ms)
            assert role(host.peer) is Role.ACTIVE


def test_what_was_judged_before_a_pause_credits_nothing_after_it() -> None:
    """A daemon that is caught with a fresh frame in its hands, and goes on when the peer is long dead (I5)."""
    for offset_ms in range(0, 200, 10):
        world = settled(3 * SECOND + offset_ms * MS)
        alpha, beta = world.hosts
        alpha.freeze_daemon(Spot.READING)
        world.run_for(120 * MS)
        beta.bmc.health.reachable = False
        beta.switch(False)
        world.run_for(10 * SECOND)
        alpha.thaw_daemon()
        assert alpha.daemon is not None
        assert not is_fresh(alpha.daemon.settings, alpha.daemon.state, alpha.daemon.process.now()), offset_ms


def test_a_pair_is_found_out_of_step_by_the_checkers() -> None:
    """A checker that cannot fail is worth nothing: make each of the two services run, and see."""
    world = settled()
    with pytest.raises(Violation, match="I1: both nodes run the service"):
        world.hosts[1].kernel.begin()


def test_a_pair_that_never_finds_together_is_reported() -> None:
    """With different keys nobody may ever serve: the demand for one owner in the end must notice."""
    plan = replace(default_plan(), secrets=(bytes(range(1, 33)), bytes(range(2, 34))))
    outcome = run_seed(plan, 1, SECOND)
    assert outcome.violation.startswith("liveness: alpha blocked, beta blocked, 240 s after the last fault")


def test_two_owners_that_hear_each_other_and_stay_so_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a lie of a BMC both serve; a node that does not listen to the other's word would go on like that (S9)."""

    def deaf(turn: Turn, beat: PeerBeat) -> None:
        take_beat(turn, replace(beat, advert=None) if turn.state.role in OWNING else beat)

    monkeypatch.setattr(step_module, "take_beat", deaf)
    world = settled()
    world.lie(world.hosts[0], Truth.SAYS_OFF)
    for sender, link in product(range(2), range(2)):
        world.network.path(sender, link).weather.cut = True
    world.run_for(5 * SECOND)
    assert all(host.answers for host in world.hosts)
    world.network.heal()
    with pytest.raises(Violation, match="I10: both nodes serve although ethernet works both ways"):
        world.run_for(5 * SECOND)


def test_a_survivor_that_never_takes_over_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """The demands of the end bite: a node that does not go on by the operator's word is found out."""
    world = settled()
    monkeypatch.setattr(World, "confirm", lambda _self, _host: True)
    world.random.seed(seed_that_loses(world, "alpha"))
    with pytest.raises(Violation, match="liveness: alpha no daemon, beta blocked, 240 s after alpha was lost for good"):
        TRIALS["lose_machine_and_bmc"](world)


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
        world.checker.proven(alpha, alpha.daemon, 1, frames[-1])
