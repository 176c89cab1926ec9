"""Random runs: each enables a random subset of all faults, lets them happen, switches them off, and demands liveness.

A run that draws from all faults at once seldom gets far in any; subsets do (A. Groce and others, "Swarm Testing",
ISSTA 2012). One seed is one run. This module must never let a run depend on anything but its plan and its seed.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from random import Random

from hblink.core.liveness import SLOTS
from hblink.core.value import MS, SECOND, Role
from hblink.sim import fault
from hblink.sim.checker import Violation
from hblink.sim.daemon import Daemon
from hblink.sim.log import Line
from hblink.sim.plan import Plan
from hblink.sim.world import World

CHAOS_NS = 120 * SECOND
_STEADY_NS = 5 * SECOND


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one run; durations in nanoseconds. `violation` is empty if every rule held."""

    seed: int
    faults: tuple[str, ...]
    violation: str
    digest: str
    simulated_ns: int
    dual_vip_ns: int
    dual_service_ns: int
    gaps_ns: tuple[int, ...]
    moves_ns: tuple[int, ...]
    recovery_ns: int  # from the end of the last fault to a steady owner
    fences: int
    false_suspicions: int  # of these, of a node whose daemon spoke
    injected: int
    lines: tuple[Line, ...] = field(default=(), compare=False, repr=False)  # all that happened


def patience_of(plan: Plan) -> int:
    """How long it may take until all has come right, once nothing fails: two rounds of fencing slots and a minute."""
    return 2 * SLOTS * plan.settings[0].slot_ns + 65 * SECOND


def varied(plan: Plan, random: Random) -> Plan:
    """Return `plan` with surroundings as one seed has them: clocks, disks, boots, BMCs, who is preferred."""
    preferred = random.randrange(2)
    if not plan.preferred_varies:
        preferred = plan.settings[0].preferred
    first, second = (replace(each, preferred=preferred) for each in plan.settings)
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
    )


def prepare(plan: Plan, seed: int) -> tuple[World, tuple[str, ...]]:
    """Return the world of `seed`, its machines off, and the kinds of faults that it will see."""
    random = Random(seed)
    world = World(varied(plan, random), seed)
    kinds = tuple(name for name in fault.KINDS if random.random() < 0.3)
    return world, kinds or ("cut",)


def run_seed(plan: Plan, seed: int, chaos_ns: int = CHAOS_NS) -> Outcome:
    """Run one seed to its end, or to the first broken rule. Deterministic."""
    world, kinds = prepare(plan, seed)
    injected = 0
    recovery_ns = 0
    violation = ""
    try:
        injected = _suffer(world, kinds, chaos_ns)
        recovery_ns = _recover(world)
    except Violation as error:
        violation = str(error)
    fences = [alive for host in world.hosts for _, alive in host.fenced]
    return Outcome(
        seed=seed,
        faults=kinds,
        violation=violation,
        digest=world.log.digest,
        simulated_ns=world.timeline.now,
        dual_vip_ns=world.meter.dual_vip_ns,
        dual_service_ns=world.meter.dual_service_ns,
        gaps_ns=tuple(world.meter.gaps_ns),
        moves_ns=tuple(world.meter.moves_ns),
        recovery_ns=recovery_ns,
        fences=len(fences),
        false_suspicions=sum(fences),
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


def _recover(world: World) -> int:
    """End all faults and wait for one steady owner; Violation if none comes in time."""
    world.log.add("", "all faults end")
    fault.make_good(world)
    began = world.timeline.now
    patience_ns = patience_of(world.plan)
    steady_since = None
    while steady_since is None or world.timeline.now - steady_since < _STEADY_NS:
        if world.timeline.now - began > patience_ns:
            roles = ", ".join(f"{host.name} {_role(host.daemon)}" for host in world.hosts)
            raise Violation(f"liveness: {roles}, {patience_ns // SECOND} s after the last fault")
        if not is_settled(world):
            steady_since = None
        elif steady_since is None:
            steady_since = world.timeline.now
        fault.make_good(world)  # whatever ends late, or is switched off late, comes back
        world.run_for(500 * MS)
    world.checker.overdue(60 * SECOND)
    return steady_since - began


def is_settled(world: World) -> bool:
    """Whether exactly one node serves and the other stands by."""
    roles = sorted(_role(host.daemon) for host in world.hosts)
    answering = [host for host in world.hosts if host.answers]
    return roles == [Role.ACTIVE.value, Role.STANDBY.value] and len(answering) == 1


def _role(daemon: Daemon | None) -> str:
    return "no daemon" if daemon is None else daemon.state.role.value
