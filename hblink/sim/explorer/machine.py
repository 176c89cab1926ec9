"""Hosts, daemons and BMCs of the joint world: what an event, an effect, a crash or a tick makes of one node.

Everything that the adapters of a daemon do stands here in its shortest form. This module must never touch a core's
state except through Cores.
"""

from __future__ import annotations

from dataclasses import replace

from hblink.core.effect import Activate, Effect, Exit, PowerOff, PowerOn, ReadPower, Release, ResetSelf
from hblink.core.event import (
    Activated,
    ActivationFailed,
    Event,
    FenceReadinessChanged,
    GuardChanged,
    HealthMeasured,
    PeerBeat,
    PowerCommanded,
    PowerRead,
    Released,
    ReleaseFailed,
    ServiceCarrierChanged,
    Started,
    Woke,
)
from hblink.core.lease import pet_end
from hblink.core.value import Memory, Power, Role
from hblink.sim.explorer.decision import Cores
from hblink.sim.explorer.family import Family
from hblink.sim.explorer.form import moved_memory
from hblink.sim.explorer.joint import (
    POWER_OP,
    SERVICE_OP,
    TICK,
    Node,
    Sequence,
    Witness,
    World,
    ticks,
)
from hblink.sim.explorer.normal import cleared, older, put
from hblink.sim.explorer.rule import judge, judge_conflict, judge_frame, judge_links, judge_steady
from hblink.sim.explorer.watch import aged, must_clear, observe


def nothing(family: Family) -> World:
    """Two machines without daemons, the second one perhaps without power, and nothing on its way."""
    ages = (family.deadtime,) * family.links if family.links > 1 else ()
    first, second = (Node(memory=Memory(epoch=epoch), links=ages) for epoch in family.disks)
    second = second._replace(memory=replace(second.memory, orderly=family.by_fence))
    there = not family.absent
    places = 2 * family.links
    return World((first, second._replace(power=there, up=there)), (None,) * places, (False,) * places)


_UNCLEAN = frozenset({Role.STARTING, Role.HALTED})
WELL, ILL = 100, 50  # per cent


class Machines:
    """The two machines of one family, over one set of cores."""

    def __init__(self, family: Family, cores: Cores) -> None:
        self.family = family
        self.cores = cores

    def feed(self, world: World, i: int, event: Event, after: bool = False) -> World:
        """Let the core of node i take `event`, judge what it wants, and begin to do it."""
        cores, node = self.cores, world.nodes[i]
        settings = cores.settings[i]
        outcome = cores.step(i, node.core, event)
        witness = observe(settings, node.witness, event, after)
        before, state = cores.states[node.core], cores.states[outcome.core]
        witness = judge(settings, node._replace(witness=witness), before, state, event, outcome.effects)
        if self.family.steady:
            judge_steady(before, state)
        if isinstance(event, PeerBeat):
            judge_conflict(before, state, event.advert)
            judge_links(node, event.hears, outcome.alarms, self.family.deadtime)
        clear = must_clear(settings, before, state, event) or (witness.sworn and not node.witness.sworn)
        if clear:
            witness = witness._replace(after=False)
        node = node._replace(core=outcome.core, unsent=node.unsent or outcome.changed, witness=witness)
        world = put(world, i, node)
        if outcome.cleared:
            world = cleared(world, i, "after")
        if outcome.ordered:
            world = cleared(world, i, "told")
        if clear:
            world = cleared(world, i, "proven")
        for effect in outcome.effects:
            if world.nodes[i].core >= 0:  # else the one before was the last
                world = self._begin(world, i, effect)
        node = world.nodes[i]
        if node.core >= 0:
            world = self._give_up(world, i)
            advert = cores.advert(i, node.core)
            if advert is not None:
                judge_frame(node, advert)
            world = self._arm(world, i)
        return world

    def _arm(self, world: World, i: int) -> World:
        """After the clean start the daemon opens its watchdog, which begins its time anew."""
        node = world.nodes[i]
        state = self.cores.states[node.core]
        if not self.family.lease or state.guard_armed or state.role in _UNCLEAN:
            return world
        world = put(world, i, node._replace(unpetted=0))
        return self.feed(world, i, GuardChanged(True, ticks(self.family.watchdog)))

    def _begin(self, world: World, i: int, effect: Effect) -> World:
        node = world.nodes[i]
        match effect:
            case Activate():
                node = node._replace(service="activate", running=True)
            case Release():
                node = node._replace(service="release")
            case ReadPower():
                node = node._replace(power_op="read", sampled_off=not world.nodes[1 - i].power)
            case PowerOff():
                node = node._replace(power_op="off")
            case PowerOn():
                node = node._replace(power_on=True)
            case Exit():
                halted = self.cores.states[node.core].role is Role.HALTED
                world = self.end_daemon(world, i)
                kept = world.nodes[i].unpetted if halted else -1  # a magic close after a clean stop only
                return put(world, i, world.nodes[i]._replace(unpetted=kept))
            case ResetSelf():
                return self.crash(world, i)
            case _:
                return world
        return put(world, i, node)

    def _give_up(self, world: World, i: int) -> World:
        """What the core no longer waits for: a stop is forgotten, an `off` on its way may still be executed."""
        node = world.nodes[i]
        state = self.cores.states[node.core]
        if node.service and state.service_op is None:
            node = node._replace(service="")
        parts = (state.attempt, state.check, None if state.drill is None or state.drill.is_off else state.drill)
        waits = any(part is not None and part.op_id is not None for part in parts)
        if node.power_op and not waits:
            if node.power_op == "off":
                world = put(world, 1 - i, world.nodes[1 - i]._replace(late_off=True))
            node = node._replace(power_op="", sampled_off=False)
        return put(world, i, node)

    # --- what was asked for is answered

    def answer_service(self, world: World, i: int, name: str) -> World:
        """A start or a stop has ended, as `name` says."""
        node = world.nodes[i]
        stop = node.service == "release"
        running = node.running if name != "done" else not stop
        world = put(world, i, node._replace(service="", running=running))
        if stop:
            return self.feed(world, i, Released(SERVICE_OP) if name == "done" else ReleaseFailed(SERVICE_OP))
        return self.feed(world, i, Activated(SERVICE_OP) if name == "done" else ActivationFailed(SERVICE_OP))

    def answer_read(self, world: World, i: int, name: str) -> World:
        """The BMC has told the power; `read_early`: as it was when it was asked."""
        node = world.nodes[i]
        off = node.sampled_off if name == "read_early" else not world.nodes[1 - i].power
        power = Power.UNKNOWN if name == "read_unknown" else Power.OFF if off else Power.ON
        world = put(world, i, node._replace(power_op="", sampled_off=False))
        return self.feed(world, i, PowerRead(POWER_OP, power))

    def answer_off(self, world: World, i: int, name: str) -> World:
        """An `off` is answered: done, refused, of unknown outcome (`late_off`), or accepted and slow."""
        world = put(world, i, world.nodes[i]._replace(power_op=""))
        if name == "off":
            world = self.power_off(world, 1 - i)
        elif name != "fail_off":
            world = put(world, 1 - i, world.nodes[1 - i]._replace(late_off=True))
        return self.feed(world, i, PowerCommanded(POWER_OP, name in ("off", "slow_off")))

    # --- hosts, daemons, time

    def start(self, world: World, i: int) -> World:
        """A daemon starts, and remembers what there is."""
        node = world.nodes[i]
        memory = node.memory
        node = node._replace(
            core=self.cores.fresh(i), memory=Memory(), session=node.session + 1, unsent=True, frozen=-1,
            adopted=0, retired=0, newest=Sequence(0, False), candidate=0, candidate_seq=Sequence(0, False),
            links=(self.family.deadtime,) * len(node.links), settled=0,
        )  # fmt: skip
        for flag in ("after", "proven", "told"):
            world = cleared(world, i, flag)
        world = put(world, i, node)
        world = self.feed(world, i, Started(memory))
        if "drill" in self.family.moves:
            world = self.feed(world, i, FenceReadinessChanged(True))
        if "sicken" in self.family.moves:
            world = self.feed(world, i, HealthMeasured(WELL))
        return world if node.carrier else self.feed(world, i, ServiceCarrierChanged(False))

    def forget(self, world: World, i: int) -> World:
        """A daemon starts and cannot read what there is (S17)."""
        return self.start(put(world, i, world.nodes[i]._replace(memory=Memory(ran=True))), i)

    def end_daemon(self, world: World, i: int) -> World:
        """The daemon is gone; what it wrote down stays."""
        node = world.nodes[i]
        memory = self.cores.states[node.core].remembered
        if node.power_op == "off":
            world = put(world, 1 - i, world.nodes[1 - i]._replace(late_off=True))
        return put(world, i, _without_daemon(node, memory, self.family.deadtime))

    def die(self, world: World, i: int) -> World:
        """The daemon is killed; the kernel goes on with what runs."""
        return self.end_daemon(world, i)

    def crash(self, world: World, i: int) -> World:
        """The kernel ends, with all that ran; power stays."""
        node = world.nodes[i]
        memory = node.memory
        if node.core >= 0:
            world = self.end_daemon(world, i)
            node = world.nodes[i]
            memory = node.memory
        kept = Memory(epoch=memory.epoch if self.family.disk else 0)
        node = node._replace(up=False, running=False, memory=kept, carrier=True, witness=Witness(), unpetted=-1)
        return put(world, i, node)

    def power_off(self, world: World, i: int) -> World:
        """The host loses its power."""
        world = self.crash(world, i)
        return put(world, i, world.nodes[i]._replace(power=False))

    def execute(self, world: World, i: int) -> World:
        """A late `off` comes true."""
        return self.power_off(put(world, i, world.nodes[i]._replace(late_off=False)), i)

    def press(self, world: World, i: int) -> World:
        """Somebody switches the host on."""
        return put(world, i, world.nodes[i]._replace(power=True))

    def boot(self, world: World, i: int) -> World:
        """The kernel boots and its daemon starts."""
        return self.start(put(world, i, world.nodes[i]._replace(up=True)), i)

    def tick(self, world: World) -> World:
        """A tick passes; who asked to be woken by then is woken."""
        deadtime = self.family.deadtime
        held = tuple(
            None if frame is None else frame._replace(seq=older(frame.seq, deadtime), echo=older(frame.echo, deadtime))
            for frame in world.held
        )
        world = world._replace(held=held)
        due = [False, False]
        for i in (0, 1):
            node = world.nodes[i]
            core = node.core
            if core >= 0:
                core, due[i] = self.cores.later(i, core)
            memory = node.memory
            if memory != Memory(epoch=memory.epoch):
                memory = moved_memory(memory, TICK)
            node = node._replace(
                core=core,
                memory=memory,
                unpetted=self._unpetted(node),
                newest=older(node.newest, deadtime),
                candidate_seq=older(node.candidate_seq, deadtime),
                unsent=True,
                frozen=min(node.frozen + 1, deadtime) if node.frozen >= 0 else -1,
                links=tuple(min(age + 1, deadtime) for age in node.links),
                settled=min(node.settled + 1, deadtime) if node.links else 0,
                witness=aged(node.witness, self.cores.settings[i]),
            )
            world = put(world, i, node)
        for i in (0, 1):
            if world.nodes[i].unpetted >= self.family.watchdog:
                world, due[i] = self.crash(world, i), False
            if due[i] and world.nodes[i].frozen < 0:
                world = self.feed(world, i, Woke())
        return world

    def _unpetted(self, node: Node) -> int:
        """A daemon pets while it runs and is not stuck in a stop; nobody pets for one that is gone (S11)."""
        if node.unpetted < 0:
            return -1
        return 0 if self._is_trusted(node) else node.unpetted + 1

    def _is_trusted(self, node: Node) -> bool:
        """As hblink.daemon.guard has it: petted until now, or until just before now."""
        if node.core < 0 or node.frozen >= 0:
            return False
        state = self.cores.states[node.core]
        end_at = pet_end(self.cores.settings[0], state)
        return state.guard_armed and state.role is not Role.HALTED and (end_at is None or end_at > 0)


def _without_daemon(node: Node, memory: Memory, deadtime: int) -> Node:
    return node._replace(
        core=-1, memory=memory, service="", power_op="", sampled_off=False, power_on=False, frozen=-1,
        adopted=0, retired=0, newest=Sequence(0, False), candidate=0, candidate_seq=Sequence(0, False), unsent=False,
        links=(deadtime,) * len(node.links), settled=0,
    )  # fmt: skip
