"""What operators do, in the middle of everything else. They tell the truth, unless the name says otherwise."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from hblink_wire import Key, Keyring

from hblink.core.liveness import is_fresh
from hblink.core.value import MS, SECOND, Reason
from hblink.sim.fault.chance import later, some_host
from hblink.sim.host import Host
from hblink.sim.world import World


def switchover(world: World) -> None:
    """An operator asks for a planned move."""
    world.switchover(some_host(world))


def confirm(world: World) -> None:
    """An operator swears that a machine is off, which is true."""
    host = some_host(world)
    if not host.peer.powered:
        world.confirm(host)


def stand_by(world: World) -> None:
    """An operator orders a node to run nothing, and lifts that later."""
    host = some_host(world)
    world.stand_by(host)
    later(world, lambda: world.go_online(host))


def go_online(world: World) -> None:
    """An operator lifts whatever holds a node back."""
    world.go_online(some_host(world))


def maintain(world: World) -> None:
    """An operator begins maintenance, for a time or until he ends it, perhaps at the other node."""
    ended_at = some_host(world)
    world.maintain(some_host(world), True, world.random.choice((None, SECOND, 20 * SECOND)))
    later(world, lambda: world.maintain(ended_at, False))


def drill(world: World) -> None:
    """An operator proves the fence device on the standby."""
    world.drill(some_host(world))


def confirm_wrongly(world: World) -> None:
    """An operator swears that a machine is off without having looked."""
    world.confirm(some_host(world))


def rotate_keys(world: World) -> None:
    """An operator leads both nodes to a new key, in the order in which it is safe, at any pace."""
    if any(len(host.keyring.keys) > 1 for host in world.hosts):
        return  # one rotation at a time
    old = world.hosts[0].keyring.active_id
    new = Key(3 - old, world.random.randbytes(32))
    acts: tuple[Callable[[Keyring], Keyring], ...] = (
        lambda ring: ring.with_key(new),
        lambda ring: ring.activated(new.id),
        lambda ring: ring.without(old),
    )
    at = 0
    for act in acts:
        for host in world.random.sample(world.hosts, 2):
            world.timeline.call_after(at, partial(_edit, host, act))
            at += world.random.choice((50 * MS, SECOND, 7 * SECOND))


def _edit(host: Host, act: Callable[[Keyring], Keyring]) -> None:
    host.turn_key(act(host.keyring))


def relieve(world: World, host: Host) -> None:
    """Lift what only a person may lift, where a node says that it waits for that: orders, caps, a device in doubt."""
    daemon = host.daemon
    if daemon is None or daemon.process.frozen:
        return
    state = daemon.state
    if state.maintenance or (state.peer.maintenance and not is_fresh(daemon.settings, state, daemon.process.now())):
        world.maintain(host, False)
    if state.standby_ordered or state.fence_lied or state.reason is Reason.FENCE_CAP:
        world.go_online(host)
