"""The moves of the joint world: what may happen next, and what it makes of a world.

The session between the nodes is a model of the receive rules R2 to R7 of the wire: adoption only by an echo of one's
own session, freshness by the age of the echoed sequence, INIT without an advert, newest by sequence. This module must
never touch a core's state except through Cores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple, TypeVar

from hblink.core.effect import Activate, Effect, Exit, PowerOff, PowerOn, ReadPower, Release
from hblink.core.event import (
    Activated,
    ActivationFailed,
    ConfirmRequested,
    Event,
    PeerBeat,
    PeerHalfOpen,
    PowerCommanded,
    PowerRead,
    Released,
    ReleaseFailed,
    ServiceCarrierChanged,
    ShutdownRequested,
    Stalled,
    Started,
    SwitchoverRequested,
    Woke,
)
from hblink.core.value import Advert, Memory, Power
from hblink.sim.family import DEADTIME, Family
from hblink.sim.joint import (
    CLEARED_AT,
    POWER_ON_OP,
    POWER_OP,
    SERVICE_OP,
    TICK,
    Cores,
    Frame,
    Node,
    Sequence,
    Witness,
    World,
)
from hblink.sim.rule import CONFIRM, SWITCHOVER, aged, judge, judge_conflict, judge_frame, judge_world, observe

NOW = Sequence(0, True)
T = TypeVar("T")


class Move(NamedTuple):
    """A move and the node that makes it; -1 where it is nobody's."""

    name: str
    node: int


class Budget(NamedTuple):
    """How many faults, orders of the operator and late frames are still to come."""

    faults: int
    orders: int
    late: int

    def covers(self, other: Budget) -> bool:
        """Whether everything that `other` allows is allowed by this too."""
        return self.faults >= other.faults and self.orders >= other.orders and self.late >= other.late


TICK_MOVE = Move("tick", -1)


class Moves:
    """The moves of one family over one set of cores."""

    def __init__(self, family: Family, cores: Cores) -> None:
        self.family = family
        self.cores = cores
        self._allowed = family.moves

    # --- what may happen

    def moves(self, world: World, budget: Budget) -> Iterator[tuple[Move, Budget]]:
        """Every move from `world` that the family allows, with what is left of the budget."""
        for i in (0, 1):
            yield from ((Move(name, i), budget) for name in self._free(world, i))
            if budget.faults:
                left = budget._replace(faults=budget.faults - 1)
                yield from ((Move(name, i), left) for name in self._faults(world, i) if name in self._allowed)
            if budget.orders:
                left = budget._replace(orders=budget.orders - 1)
                yield from ((Move(name, i), left) for name in self._orders(world, i) if name in self._allowed)
            if budget.late and self.speaks(world, i):
                held = world.held[i]
                if held is None or held._replace(newest=True) != self._frame(world, i):
                    yield Move("hold", i), budget._replace(late=budget.late - 1)
        if "heal" in self._allowed and world.cut != (False, False):
            yield Move("heal", -1), budget
        if budget.faults and world.cut == (False, False) and "cut" in self._allowed:
            yield Move("cut", -1), budget._replace(faults=budget.faults - 1)
        if self.may_tick(world):
            yield TICK_MOVE, budget

    def speaks(self, world: World, i: int) -> bool:
        """Whether node i has a daemon that sends frames."""
        node = world.nodes[i]
        return node.core >= 0 and node.frozen < 0 and self.cores.advert(i, node.core) is not None

    def reaches(self, world: World, i: int) -> bool:
        """Whether a frame that node i sends now arrives."""
        peer = world.nodes[1 - i]
        return not world.cut[i] and peer.core >= 0 and peer.frozen < 0 and self.speaks(world, i)

    def may_tick(self, world: World) -> bool:
        """Whether all that happens within a tick has happened."""
        for i, node in enumerate(world.nodes):
            if node.core >= 0 and node.frozen < 0:
                if node.service and "slow" not in self._allowed:
                    return False
                if (node.power_op or node.power_on) and "slow_power" not in self._allowed:
                    return False
            if not self.family.lossy and node.unsent and self.reaches(world, i):
                return False
        return True

    def _free(self, world: World, i: int) -> Iterator[str]:  # noqa: C901 - one line for each move
        node = world.nodes[i]
        if self.reaches(world, i) and (node.unsent or self.family.lossy):
            yield "beat"
        if world.held[i] is not None and world.nodes[1 - i].core >= 0 and world.nodes[1 - i].frozen < 0:
            yield "late"
        if node.late_off:
            yield "execute"
        if not node.power and "press" in self._allowed:
            yield "press"
        if node.power and not node.up and "boot" in self._allowed:
            yield "boot"
        if node.up and node.core < 0:
            yield "start"
        if node.core < 0:
            return
        if node.frozen >= 0:
            yield "thaw"
            return
        if node.service:
            yield "done"
        if node.power_op == "read":
            yield "read"
            if node.sampled_off is world.nodes[1 - i].power:
                yield "read_early"
        if node.power_op == "off":
            yield "off"
        if node.power_on:
            yield "on"
        if not node.carrier:
            yield "carrier_back"

    def _faults(self, world: World, i: int) -> Iterator[str]:
        node = world.nodes[i]
        if node.up:
            yield from ("panic", "unplug")
        if not world.cut[i]:
            yield "cut_one"
        if node.up and node.core < 0:
            yield "forget"
        if node.core < 0:
            return
        yield "die"
        if node.frozen >= 0:
            return
        yield "freeze"
        if node.service == "activate":
            yield "fail_start"
        if node.service == "release":
            yield "fail_stop"
        if node.power_op == "off":
            yield from ("fail_off", "late_off", "slow_off")
        if node.power_op == "read":
            yield "read_unknown"
        if node.power_on:
            yield "fail_on"

    def _orders(self, world: World, i: int) -> Iterator[str]:
        node = world.nodes[i]
        if node.core < 0 or node.frozen >= 0:
            return
        yield "switchover"
        yield "shutdown"
        if node.carrier:
            yield "carrier"
        if not world.nodes[1 - i].up and not node.witness.confirmed:
            yield "confirm"  # the operator looked: nothing runs there

    # --- what it makes of the world

    def apply(self, world: World, move: Move) -> World:
        """The world after `move`; raises Violation."""
        name, i = move
        if name == "tick":
            return self._tidy(self._tick(world))
        if name in _HOST_MOVES:
            after = _HOST_MOVES[name](self, world, i)
        elif name in ("heal", "cut"):
            after = world._replace(cut=(False, False) if name == "heal" else (True, True))
        else:
            after = self._daemon_move(world, name, i)
        return self._tidy(after)

    def _daemon_move(self, world: World, name: str, i: int) -> World:  # noqa: C901 - one line for each move
        node = world.nodes[i]
        match name:
            case "beat":
                return self._beat(world, i)
            case "hold":
                frame = self._frame(world, i)
                return world._replace(held=_pair(world.held, i, frame))
            case "late":
                held = world.held[i]
                assert held is not None
                return self._deliver(world._replace(held=_pair(world.held, i, None)), i, held)
            case "cut_one":
                return world._replace(cut=_pair(world.cut, i, True))
            case "done" | "fail_start" | "fail_stop":
                return self._answer_service(world, i, name)
            case "read" | "read_early" | "read_unknown":
                return self._answer_read(world, i, name)
            case "off" | "fail_off" | "late_off" | "slow_off":
                return self._answer_off(world, i, name)
            case "on" | "fail_on":
                world = self._put(world, i, node._replace(power_on=False))
                if name == "on":
                    world = self._put(world, 1 - i, world.nodes[1 - i]._replace(power=True))
                return self.feed(world, i, PowerCommanded(POWER_ON_OP, name == "on"))
            case "freeze":
                return self._put(world, i, node._replace(frozen=0))
            case "thaw":
                late_ns = node.frozen * TICK
                world = self._put(world, i, node._replace(frozen=-1))
                return self.feed(world, i, Stalled(late_ns)) if late_ns else world
            case "carrier" | "carrier_back":
                up = name == "carrier_back"
                world = self._put(world, i, node._replace(carrier=up))
                return self.feed(world, i, ServiceCarrierChanged(up))
            case "switchover":
                return self.feed(world, i, SwitchoverRequested(SWITCHOVER))
            case "confirm":
                return self.feed(world, i, ConfirmRequested(CONFIRM))
            case "shutdown":
                return self.feed(world, i, ShutdownRequested())
        raise ValueError(name)

    def _answer_service(self, world: World, i: int, name: str) -> World:
        node = world.nodes[i]
        stop = node.service == "release"
        running = node.running if name != "done" else not stop
        world = self._put(world, i, node._replace(service="", running=running))
        if stop:
            return self.feed(world, i, Released(SERVICE_OP) if name == "done" else ReleaseFailed(SERVICE_OP))
        return self.feed(world, i, Activated(SERVICE_OP) if name == "done" else ActivationFailed(SERVICE_OP))

    def _answer_read(self, world: World, i: int, name: str) -> World:
        node = world.nodes[i]
        off = node.sampled_off if name == "read_early" else not world.nodes[1 - i].power
        power = Power.UNKNOWN if name == "read_unknown" else Power.OFF if off else Power.ON
        world = self._put(world, i, node._replace(power_op="", sampled_off=False))
        return self.feed(world, i, PowerRead(POWER_OP, power))

    def _answer_off(self, world: World, i: int, name: str) -> World:
        world = self._put(world, i, world.nodes[i]._replace(power_op=""))
        if name == "off":
            world = self.power_off(world, 1 - i)
        elif name != "fail_off":
            world = self._put(world, 1 - i, world.nodes[1 - i]._replace(late_off=True))
        return self.feed(world, i, PowerCommanded(POWER_OP, name in ("off", "slow_off")))

    def feed(self, world: World, i: int, event: Event, after: bool = False) -> World:
        """Let the core of node i take `event`, judge what it wants, and begin to do it."""
        cores, node = self.cores, world.nodes[i]
        settings = cores.settings[i]
        outcome = cores.step(i, node.core, event)
        witness = observe(settings, node.witness, event, after)
        before, state = cores.states[node.core], cores.states[outcome.core]
        witness = judge(settings, node._replace(witness=witness), before, state, event, outcome.effects)
        if isinstance(event, PeerBeat):
            judge_conflict(before, state, event.advert)
        if outcome.cleared:
            witness = witness._replace(after=False)
        node = node._replace(core=outcome.core, unsent=node.unsent or outcome.changed, witness=witness)
        world = self._put(world, i, node)
        if outcome.cleared:
            world = _cleared(world, i)
        for effect in outcome.effects:
            world = self._begin(world, i, effect)
        node = world.nodes[i]
        if node.core >= 0:
            world = self._give_up(world, i)
            advert = cores.advert(i, node.core)
            if advert is not None:
                judge_frame(node, advert)
        return world

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
                return self._end_daemon(world, i)
            case _:
                return world
        return self._put(world, i, node)

    def _give_up(self, world: World, i: int) -> World:
        """What the core no longer waits for: a stop is forgotten, an `off` on its way may still be executed."""
        node = world.nodes[i]
        state = self.cores.states[node.core]
        if node.service and state.service_op is None:
            node = node._replace(service="")
        waits = (state.attempt is not None and state.attempt.op_id is not None) or (
            state.check is not None and state.check.op_id is not None
        )
        if node.power_op and not waits:
            if node.power_op == "off":
                world = self._put(world, 1 - i, world.nodes[1 - i]._replace(late_off=True))
            node = node._replace(power_op="", sampled_off=False)
        return self._put(world, i, node)

    # --- frames

    def _frame(self, world: World, i: int) -> Frame:
        node = world.nodes[i]
        advert = self.cores.advert(i, node.core)
        assert advert is not None
        if node.candidate:
            return Frame(node.session, NOW, True, node.candidate, node.candidate_seq, False, advert)
        return Frame(node.session, NOW, True, node.adopted, node.newest, node.adopted != 0, advert)

    def _beat(self, world: World, i: int) -> World:
        frame, node = self._frame(world, i), world.nodes[i]
        world = self._put(
            world, i, node._replace(unsent=bool(node.candidate), candidate=0, candidate_seq=Sequence(0, False))
        )
        held = world.held[i]
        if held is not None and held.session == frame.session:
            world = world._replace(held=_pair(world.held, i, held._replace(newest=False)))
        return self._deliver(world, i, frame)

    def _deliver(self, world: World, i: int, frame: Frame) -> World:
        """Receive rules R2 to R7 at the other node."""
        j = 1 - i
        node = world.nodes[j]
        if node.core < 0 or node.retired >> frame.session & 1:
            return world
        fresh = frame.echo_session == node.session and frame.echo.age < DEADTIME
        known = frame.session == node.adopted
        newest = frame.newest or not known
        event: Event = PeerHalfOpen(0)
        if fresh:
            echo_sent_at = CLEARED_AT + 1 if frame.echo.after else CLEARED_AT
            advert: Advert | None = frame.advert if newest and frame.up else None
            event = PeerBeat(0, advert, echo_sent_at, newest=newest, adopted=not known)
        if known:
            node = node._replace(newest=frame.seq) if newest else node
        elif fresh:
            retired = node.retired | 1 << node.adopted if node.adopted else node.retired
            node = node._replace(adopted=frame.session, retired=retired, newest=frame.seq)
            node = node._replace(candidate=0, candidate_seq=Sequence(0, False), unsent=True)
        else:
            node = node._replace(candidate=frame.session, candidate_seq=frame.seq, unsent=True)
        return self.feed(self._put(world, j, node), j, event, frame.echo.after)

    # --- hosts, daemons, time

    def start(self, world: World, i: int) -> World:
        """A daemon starts, and remembers what there is."""
        node = world.nodes[i]
        memory = node.memory
        node = node._replace(
            core=self.cores.fresh(i), memory=Memory(), session=node.session + 1, unsent=True, frozen=-1,
            adopted=0, retired=0, newest=Sequence(0, False), candidate=0, candidate_seq=Sequence(0, False),
        )  # fmt: skip
        world = self._put(_cleared(world, i), i, node)
        world = self.feed(world, i, Started(memory))
        return world if node.carrier else self.feed(world, i, ServiceCarrierChanged(False))

    def forget(self, world: World, i: int) -> World:
        """A daemon starts and cannot read what there is (S17)."""
        return self.start(self._put(world, i, world.nodes[i]._replace(memory=Memory(ran=True))), i)

    def _end_daemon(self, world: World, i: int) -> World:
        node = world.nodes[i]
        memory = self.cores.states[node.core].remembered
        if node.power_op == "off":
            world = self._put(world, 1 - i, world.nodes[1 - i]._replace(late_off=True))
        return self._put(world, i, _without_daemon(node, memory))

    def die(self, world: World, i: int) -> World:
        """The daemon is killed; the kernel goes on with what runs."""
        return self._end_daemon(world, i)

    def crash(self, world: World, i: int) -> World:
        """The kernel ends, with all that ran; power stays."""
        node = world.nodes[i]
        memory = node.memory
        if node.core >= 0:
            world = self._end_daemon(world, i)
            node = world.nodes[i]
            memory = node.memory
        kept = Memory(epoch=memory.epoch if self.family.disk else 0)
        node = node._replace(up=False, running=False, memory=kept, carrier=True, witness=Witness())
        return self._put(world, i, node)

    def power_off(self, world: World, i: int) -> World:
        """The host loses its power."""
        world = self.crash(world, i)
        return self._put(world, i, world.nodes[i]._replace(power=False))

    def execute(self, world: World, i: int) -> World:
        """A late `off` comes true."""
        return self.power_off(self._put(world, i, world.nodes[i]._replace(late_off=False)), i)

    def press(self, world: World, i: int) -> World:
        """Somebody switches the host on."""
        return self._put(world, i, world.nodes[i]._replace(power=True))

    def boot(self, world: World, i: int) -> World:
        """The kernel boots and its daemon starts."""
        return self.start(self._put(world, i, world.nodes[i]._replace(up=True)), i)

    def _tick(self, world: World) -> World:
        held = tuple(
            None if frame is None else frame._replace(seq=_older(frame.seq), echo=_older(frame.echo))
            for frame in world.held
        )
        world = world._replace(held=(held[0], held[1]))
        due = [False, False]
        for i in (0, 1):
            node = world.nodes[i]
            core = node.core
            if core >= 0:
                core, due[i] = self.cores.later(i, core)
            memory = node.memory
            if memory.last_authentic_at is not None:
                memory = replace(memory, last_authentic_at=memory.last_authentic_at - TICK)
            node = node._replace(
                core=core,
                memory=memory,
                newest=_older(node.newest),
                candidate_seq=_older(node.candidate_seq),
                unsent=True,
                frozen=min(node.frozen + 1, DEADTIME) if node.frozen >= 0 else -1,
                witness=aged(node.witness, DEADTIME),
            )
            world = self._put(world, i, node)
        for i in (0, 1):
            if due[i] and world.nodes[i].frozen < 0:
                world = self.feed(world, i, Woke())
        return world

    # --- normal form

    def _put(self, world: World, i: int, node: Node) -> World:
        nodes = world.nodes
        return world._replace(nodes=(node, nodes[1]) if i == 0 else (nodes[0], node))

    def _tidy(self, world: World) -> World:
        """Judge the joint state, and renumber epochs that have grown."""
        states = self.cores.states
        first, second = world.nodes
        judge_world(
            world,
            (states[first.core] if first.core >= 0 else None, states[second.core] if second.core >= 0 else None),
            slots=self.family.slots_hold,
            one_link=self.family.one_link_alive,
        )
        epochs = {0}
        for node in world.nodes:
            epochs.update(self.cores.epochs(node.core))
            epochs.add(node.memory.epoch)
            if node.witness.advert is not None:
                epochs.add(node.witness.advert.epoch)
        epochs.update(frame.advert.epoch for frame in world.held if frame is not None)
        labels = _labels(epochs)
        return world if labels is None else self._relabelled(world, labels)

    def _relabelled(self, world: World, labels: dict[int, int]) -> World:
        for i in (0, 1):
            node = world.nodes[i]
            advert = node.witness.advert
            if advert is not None:
                advert = replace(advert, epoch=labels[advert.epoch])
            node = node._replace(
                core=self.cores.relabelled(node.core, labels),
                memory=replace(node.memory, epoch=labels[node.memory.epoch]),
                witness=node.witness._replace(advert=advert),
            )
            world = self._put(world, i, node)
        held = tuple(
            None if frame is None else frame._replace(advert=replace(frame.advert, epoch=labels[frame.advert.epoch]))
            for frame in world.held
        )
        return world._replace(held=(held[0], held[1]))


_HOST_MOVES: dict[str, Callable[[Moves, World, int], World]] = {
    "panic": Moves.crash,
    "unplug": Moves.power_off,
    "execute": Moves.execute,
    "press": Moves.press,
    "boot": Moves.boot,
    "start": Moves.start,
    "forget": Moves.forget,
    "die": Moves.die,
}


def _labels(epochs: set[int]) -> dict[int, int] | None:
    """Smaller numbers of the same order and parity, gaps of up to four kept; None if there is nothing to gain."""
    labels = {0: 0}
    last = new = 0
    for epoch in sorted(epochs - {0}):
        gap = epoch - last
        while gap > (4 if last else 2):
            gap -= 2
        last, new = epoch, new + gap
        labels[epoch] = new
    return None if last == new else labels


def _without_daemon(node: Node, memory: Memory) -> Node:
    return node._replace(
        core=-1, memory=memory, service="", power_op="", sampled_off=False, power_on=False, frozen=-1,
        adopted=0, retired=0, newest=Sequence(0, False), candidate=0, candidate_seq=Sequence(0, False), unsent=False,
    )  # fmt: skip


def _older(seq: Sequence) -> Sequence:
    return seq if seq.age >= DEADTIME else Sequence(seq.age + 1, seq.after)


def _cleared(world: World, i: int) -> World:
    """Node i cleared: what it sent before comes before."""
    j = 1 - i
    peer = world.nodes[j]
    if peer.newest.after or peer.candidate_seq.after:
        peer = peer._replace(newest=peer.newest._replace(after=False))
        peer = peer._replace(candidate_seq=peer.candidate_seq._replace(after=False))
        nodes = (world.nodes[0], peer) if i == 0 else (peer, world.nodes[1])
        world = world._replace(nodes=nodes)
    mine, theirs = world.held[i], world.held[j]
    if mine is not None and mine.seq.after:
        world = world._replace(held=_pair(world.held, i, mine._replace(seq=mine.seq._replace(after=False))))
    if theirs is not None and theirs.echo.after:
        world = world._replace(held=_pair(world.held, j, theirs._replace(echo=theirs.echo._replace(after=False))))
    return world


def _pair(pair: tuple[T, T], i: int, value: T) -> tuple[T, T]:
    return (value, pair[1]) if i == 0 else (pair[0], value)
