"""What is demanded once no fault goes on: one steady owner; and then again, after one more loss or act on a calm pair.

A peer that stays dead is taken over from; where its BMC is dead too, the survivor says so, and goes on after the
operator's word. Every demand has a bound, after which Violation is raised. This module must never help the pair other
than as a person would: by repair, and by a word that is true.
"""

from __future__ import annotations

from collections.abc import Callable

from hblink.core.liveness import SLOTS, is_fresh
from hblink.core.value import MS, SECOND, AlarmCode, Guarantee, Role, StartAlone
from hblink.sim import fault
from hblink.sim.host import Host
from hblink.sim.plan import Plan
from hblink.sim.world import World

_STEADY_NS = 5 * SECOND
_GLANCE_NS = 500 * MS
_ANSWER_NS = 60 * SECOND
# After so long somebody comes to switch a machine on: later than the peer that has switched it off would have done it.
_CARE_NS = 25 * SECOND


def patience_of(plan: Plan) -> int:
    """How long it may take until all has come right, once nothing fails: two rounds of fencing slots and a minute."""
    return 2 * SLOTS * plan.settings[0].slot_ns + 65 * SECOND


def recover(world: World) -> int:
    """End all faults and wait for one steady owner; returns how long that took. Violation if none comes in time."""
    world.log.add("", "all faults end")
    began = world.timeline.now
    steady_since = began
    fault.make_good(world)
    while world.timeline.now - steady_since < _STEADY_NS or not is_settled(world):
        fault.make_good(world, _CARE_NS)  # whatever ends late, or is switched off late, comes back
        if not is_settled(world):
            steady_since = world.timeline.now
        _wait(world, began, "the last fault")
    world.checker.overdue(_ANSWER_NS)
    return steady_since - began


def is_settled(world: World) -> bool:
    """Whether one node serves, the other stands by, both hear each other, and no command is on its way."""
    roles = sorted(_role(host) for host in world.hosts)
    answering = [host for host in world.hosts if host.answers]
    calm = all(host.bmc.pending == 0 and _hears(host) for host in world.hosts)
    return calm and roles == [Role.ACTIVE.value, Role.STANDBY.value] and len(answering) == 1


def nothing_more(_world: World) -> None:
    """It is enough that the pair has come right."""


def crash_for_good(world: World) -> None:
    """A kernel stops and nobody comes: the other node fences it and serves. Then it is repaired."""
    lost = world.random.choice(world.hosts)
    lost.crash()
    _survive(world, lost.peer)


def lose_power_for_good(world: World) -> None:
    """A machine stays off: the other node serves. Then it is repaired."""
    lost = world.random.choice(world.hosts)
    lost.switch(False)
    _survive(world, lost.peer)


def lose_machine_and_bmc(world: World) -> None:
    """A machine and its BMC stay off: the other node serves, or is blocked, says so, and serves on a person's word."""
    lost = world.random.choice(world.hosts)
    lost.bmc.health.reachable = False
    lost.switch(False)
    _survive(world, lost.peer)


def reboot_both(world: World) -> None:
    """Both machines start again, together: one owner."""
    for host in world.hosts:
        host.reboot()
    recover(world)


def cut_all(world: World) -> None:
    """All links fail and stay so for a while: one owner, and one after they heal."""
    for sender in range(2):
        for link in range(len(world.plan.links)):
            path = world.network.path(sender, link)
            path.weather.cut = True
            path.disturb()
    world.log.add("", "all links: cut")
    world.run_for(patience_of(world.plan) // 2)
    owners = [host.name for host in world.hosts if host.answers]
    if not owners or (len(owners) > 1 and not world.checker.exempt):
        world.checker.fail("liveness", f"{len(owners)} owners while the pair is cut in two")
    recover(world)


def hand_over(world: World) -> None:
    """A planned move on a calm pair: done, in bounded time."""
    mover = world.random.choice(world.hosts)
    before = next(host for host in world.hosts if host.answers)
    calm = all(host.daemon is not None and not host.daemon.state.alarms for host in world.hosts)
    world.switchover(mover)
    world.run_for(2 * world.plan.settings[0].handover_ns + SECOND)
    if not is_settled(world):
        world.checker.fail("liveness", "a planned move has not ended")
    if before.answers and calm:
        world.checker.fail("liveness", f"a planned move on a calm pair has left the service on {before.name}")
    recover(world)


TRIALS: dict[str, Callable[[World], None]] = {
    each.__name__: each
    for each in (
        nothing_more,
        crash_for_good,
        lose_power_for_good,
        lose_machine_and_bmc,
        reboot_both,
        cut_all,
        hand_over,
    )
}


def _survive(world: World, host: Host) -> None:
    """Wait until `host` serves alone; where it may not, it must say that it is blocked, and then the operator helps."""
    began = world.timeline.now
    sworn_at = -_ANSWER_NS
    while not (_role(host) == Role.ACTIVE.value and host.answers):
        fault.make_host_good(world, host, _CARE_NS)  # a late `off` may have hit it
        if _is_blocked_for_good(world, host) and world.timeline.now - sworn_at >= _ANSWER_NS:
            sworn_at = world.timeline.now
            world.confirm(host)
        _wait(world, began, f"{host.peer.name} was lost for good")
    recover(world)


def _is_blocked_for_good(world: World, host: Host) -> bool:
    """Whether the node says, by its role and an alarm, that it needs a word, and nothing else can help it."""
    if host.daemon is None or host.daemon.state.role is not Role.BLOCKED:
        return False
    if all(alarm.code != AlarmCode.BLOCKED.value for alarm in host.daemon.state.alarms):
        world.checker.fail("liveness", f"{host.name} is blocked without an alarm")
    settings = host.daemon.settings
    by_itself = settings.has_fence and settings.start_alone is not StartAlone.WAIT and host.peer.bmc.health.reachable
    return not by_itself and settings.guarantee is Guarantee.AT_MOST_ONE


def _wait(world: World, began: int, since: str) -> None:
    patience_ns = patience_of(world.plan)
    if world.timeline.now - began > patience_ns:
        roles = ", ".join(f"{host.name} {_role(host)}" for host in world.hosts)
        world.checker.fail("liveness", f"{roles}, {patience_ns // SECOND} s after {since}")
    world.run_for(_GLANCE_NS)


def _hears(host: Host) -> bool:
    daemon = host.daemon
    return daemon is not None and is_fresh(daemon.settings, daemon.state, daemon.process.now())


def _role(host: Host) -> str:
    return "no daemon" if host.daemon is None else host.daemon.state.role.value
