"""Random runs: each enables a random subset of all faults, and ends with the demands of hblink.sim.trial.

A run that draws from all faults at once seldom gets far in any; subsets do (A. Groce and others, "Swarm Testing",
ISSTA 2012). One seed is one run. This module must never let a run depend on anything but its plan and its seed.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from hblink.core.value import MS, SECOND, StartAlone
from hblink.sim import fault
from hblink.sim.checker import Violation
from hblink.sim.log import Line
from hblink.sim.plan import Plan
from hblink.sim.trial import TRIALS, recover
from hblink.sim.world import World

CHAOS_NS = 120 * SECOND
# What a configuration may allow, none of it in most runs.
_ALLOWANCES: tuple[dict[str, Any], ...] = (
    *({},) * 5,
    {"lease_mode": True},
    {"power_loss_evidence": True},
    {"start_alone": StartAlone.FENCE},
)
_SHARE, _RARE_SHARE = 0.25, 0.04  # of the runs in which each kind of fault occurs


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one run; durations in nanoseconds. `violation` is empty if every rule held."""

    seed: int
    faults: tuple[str, ...]
    trial: str  # what was demanded in the end
    violation: str
    exempt: str  # why I1 was not claimed, or empty
    digest: str
    simulated_ns: int
    dual_vip_ns: int
    dual_service_ns: int
    gaps_ns: tuple[int, ...]
    moves_ns: tuple[int, ...]
    recovery_ns: int  # from the end of the last fault to a steady owner
    fences: int
    fences_of_living: int  # of these, of a node whose daemon spoke
    false_suspicions: (
        int  # how often a node whose daemon spoke was held to be lost: all links were down, or a path each
    )
    injected: int
    lines: tuple[Line, ...] = field(default=(), compare=False, repr=False)  # all that happened


def varied(plan: Plan, random: Random) -> Plan:
    """Return `plan` with surroundings as one seed has them: clocks, disks, boots, BMCs, who is preferred."""
    preferred = random.randrange(2)
    if not plan.varies:
        preferred = plan.settings[0].preferred
    changes = _varied_settings(random) if plan.varies else {}
    first, second = (replace(each, preferred=preferred, **changes) for each in plan.settings)
    if first.start_alone is StartAlone.FENCE:  # which one node may do, the other not
        second = replace(second, start_alone=StartAlone.BMC_OFF)
    bmc_latency_ns = random.choice((50, 50, 300, 2000)) * MS
    off_takes_ns = random.choice((0, 0, 1, 4)) * SECOND
    if 3 * bmc_latency_ns + off_takes_ns + 2 * first.off_interval_ns > first.fence_attempt_ns:
        bmc_latency_ns, off_takes_ns = plan.bmc_latency_ns, plan.off_takes_ns  # nobody could fence with such a BMC
    return replace(
        plan,
        settings=(first, second),
        boot_ns=random.choice((1, 5, 40)) * SECOND,
        has_disk=(random.random() < 0.7, random.random() < 0.7),
        clock_base_ns=(random.randrange(500 * SECOND), random.randrange(500 * SECOND)),
        clock_ppm=(random.randrange(-200, 201), random.randrange(-200, 201)),
        bmc_latency_ns=bmc_latency_ns,
        off_takes_ns=off_takes_ns,
        has_pdu=random.random() < 0.2 if plan.varies else plan.has_pdu,
        watchdog_ns=random.choice((1, 10)) * SECOND if first.lease_mode else plan.watchdog_ns,
    )


def _varied_settings(random: Random) -> dict[str, Any]:
    """What a configuration may say beyond the timers; the same for both nodes."""
    return {
        "auto_failback": random.random() < 0.2,
        "failback_hold_ns": random.choice((20, 60)) * SECOND,
        "fence_cap": random.choice((0, 0, 2, 6)),
        "self_reset_ns": random.choice((None, 3 * SECOND, 12 * SECOND)),
        **random.choice(_ALLOWANCES),
    }


def prepare(plan: Plan, seed: int) -> tuple[World, tuple[str, ...]]:
    """Return the world of `seed`, its machines off, and the kinds of faults that it will see."""
    random = Random(seed)
    world = World(varied(plan, random), seed)
    kinds = tuple(name for name in fault.KINDS if random.random() < (_RARE_SHARE if name in fault.RARE else _SHARE))
    return world, kinds or ("cut",)


def run_seed(plan: Plan, seed: int, chaos_ns: int = CHAOS_NS) -> Outcome:
    """Run one seed to its end, or to the first broken rule. Deterministic."""
    world, kinds = prepare(plan, seed)
    injected = 0
    recovery_ns = 0
    violation = trial = ""
    try:
        injected = _suffer(world, kinds, chaos_ns)
        recovery_ns = recover(world)
        trial = world.random.choice(tuple(TRIALS))
        TRIALS[trial](world)
    except Violation as error:
        violation = str(error)
    fences = [alive for host in world.hosts for _, alive in host.fenced]
    return Outcome(
        seed=seed,
        faults=kinds,
        trial=trial,
        violation=violation,
        exempt=world.checker.exempt,
        digest=world.log.digest,
        simulated_ns=world.timeline.now,
        dual_vip_ns=world.meter.dual_vip_ns,
        dual_service_ns=world.meter.dual_service_ns,
        gaps_ns=tuple(world.meter.gaps_ns),
        moves_ns=tuple(world.meter.moves_ns),
        recovery_ns=recovery_ns,
        fences=len(fences),
        fences_of_living=sum(fences),
        false_suspicions=sum(len(host.suspected_at) for host in world.hosts),
        injected=injected,
        lines=tuple(world.log.lines),
    )


def _suffer(world: World, kinds: tuple[str, ...], chaos_ns: int) -> int:
    """Start both machines, together or not, and let faults happen; returns how many did."""
    random = world.random
    for host in world.hosts:
        world.timeline.call_after(random.choice((0, 0, 30, 5000, 40000)) * MS, host.boot)
    injected = 0
    while world.timeline.now < chaos_ns:
        world.run_for(random.choice((random.randrange(MS, 100 * MS), random.randrange(2 * SECOND), 6 * SECOND)))
        name = random.choice(kinds)
        world.log.add("", f"fault: {name}")
        fault.KINDS[name](world)
        injected += 1
    return injected
