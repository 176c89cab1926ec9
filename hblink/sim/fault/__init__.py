"""What can befall a simulated pair: each kind of fault once, as a function that picks its details by chance.

A fault begins at once and ends by itself, or at the latest when everything is made good. The list is that of
SAFETY.md, "Faults to model". This package must never let a fault depend on anything but the world's own chance.
"""

from __future__ import annotations

from collections.abc import Callable

from hblink.core.value import Holder
from hblink.sim.fault import bmc, link, node, operator, service
from hblink.sim.host import Host
from hblink.sim.world import World

Fault = Callable[[World], None]

KINDS: dict[str, Fault] = {
    each.__name__: each
    for each in (
        link.cut,
        link.burst,
        link.disturb,
        link.attack,
        link.make_noise,
        node.crash,
        node.lose_power,
        node.black_out,
        node.reboot,
        node.freeze,
        node.pause,
        node.jump,
        node.step_wall_clock,
        node.guard,
        node.kill,
        node.stop,
        node.spoil_memory,
        node.spoil_disk,
        node.mistake,
        bmc.bmc_gone,
        bmc.bmc_slow,
        bmc.bmc_polite,
        bmc.bmc_says_on,
        bmc.bmc_deceives,
        service.lose_carrier,
        service.lose_upstream,
        service.intrude,
        service.fail_start,
        service.fail_stop,
        service.fail_address,
        service.take_address,
        service.die,
        service.mislead_monitor,
        operator.switchover,
        operator.confirm,
        operator.confirm_wrongly,
        operator.stand_by,
        operator.go_online,
        operator.maintain,
        operator.drill,
        operator.rotate_keys,
    )
}
# After these the first rule of all is not claimed any more, so most runs must do without them.
RARE = frozenset({"bmc_deceives", "confirm_wrongly"})


def make_good(world: World, after_ns: int = 0) -> None:
    """End every fault: links, BMCs, clocks, services; machines that have been off for `after_ns` come back."""
    world.at_peace = True
    world.network.heal()
    for host in world.hosts:
        make_host_good(world, host, after_ns)


def make_host_good(world: World, host: Host, after_ns: int = 0) -> None:
    """End every fault of one machine; if it has been off for `after_ns` it comes back."""
    bmc.restore(host, world)
    host.kernel.make_good()
    host.store.runtime_works = True
    host.set_carrier(True)
    if host.health is not None and host.health < 100:
        host.measure_health(100)
    if host.holder is not Holder.NONE:
        host.sight(Holder.NONE)
    host.mistake(host.index)
    host.resume()
    host.thaw_daemon()
    if host.crashed:
        host.reboot()
    if world.timeline.now - host.switched_at >= after_ns:
        host.feed(True)
    host.start_daemon()
    operator.relieve(world, host)
