"""Two real cores and their real sessions under a written schedule, watched by somebody who sees both kernels.

One link, two machines that can be paused, powered and cut apart, and a device for each that does as the schedule says.
The checks know what is true and not only what a node believes; none of them asks the code under test. Violation names
the rule. A core that finds its own invariant broken counts as caught too, under the rule that it names.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from hblink_wire import Keyring, new_key

from hblink.core.effect import (
    Activate,
    Answer,
    Effect,
    LeaseService,
    PowerOff,
    PowerOn,
    ReadPower,
    Reannounce,
    Release,
    Remember,
)
from hblink.core.event import (
    Activated,
    ActivationFailed,
    ConfirmRequested,
    Event,
    LinkOpened,
    MaintenanceRequested,
    PeerBeat,
    PeerHalfOpen,
    PowerCommanded,
    PowerRead,
    Released,
    ReleaseFailed,
    ServiceCarrierChanged,
    Stalled,
    Started,
    Woke,
)
from hblink.core.state import State
from hblink.core.value import (
    FENCE_CAP_PERIOD_NS,
    MS,
    OWNING,
    SECOND,
    Advert,
    Grant,
    Memory,
    Power,
    Reason,
    Role,
    Settings,
    owner,
)
from hblink.session import Identity, LinkTiming
from tests.sim.fresh import Code

TICK_NS = 100 * MS
FLIGHT_NS = 1 * MS
SERVICE_NS = 20 * MS
ECHO_AGE_NS = 1000 * MS
STOPPING = (Role.STARTING, Role.YIELDING, Role.HALTED)
RING = Keyring((new_key(1, hashlib.sha256(b"duel").digest()),), 1)


class Violation(AssertionError):  # noqa: N818 - it says what happened
    """A rule is broken; `rule` is its name in SAFETY.md."""

    def __init__(self, rule: str, message: str) -> None:
        super().__init__(f"{rule}: {message}")
        self.rule = rule


@dataclass
class Witness:
    """What an observer has seen of one node in this kernel boot, apart from what the node says of itself."""

    heard: bool = False  # a frame of the peer was applied
    fresh_at: int | None = None
    stalled_at: int | None = None
    applied: Advert | None = None  # the newest frame that was applied, if nothing newer came that was not
    offs: int = 0  # OFF readings in a row since the last command and the last authentic frame
    reading: Power = Power.UNKNOWN
    confirmed_until: int = 0  # until when the operator's word counts
    grant_stands: bool = False  # no authentic frame since the last claim
    clean: bool = False  # a stop was confirmed in this life of the daemon
    halted_at: int | None = None
    cleared_at: int = 0  # since when it runs nothing, says no YIELDED and has not been paused (S2c)
    echo_sent_at: int = 0  # when it sent what the frame in `applied` echoes
    stuck_at: int | None = None  # since when the peer has been saying STOP_FAILED
    refuted: bool = False  # a reading since the `off` of this attempt was not OFF
    latched: bool = False  # S18: what the last applied frame said of maintenance
    was_off: bool = False  # OFF was read twice before the first `off` of this attempt
    fences: list[int] = field(default_factory=list)  # S15: when an `off` for a peer that was on was accepted


@dataclass
class Machine:
    """One appliance: its kernel, its daemon, and the device by which the peer can switch it."""

    index: int
    settings: Settings
    state: State
    session: Any = None
    asked_at: int = 0  # when the core was last asked: what came due since is still to be told
    lives: int = 0
    boots: int = 0
    powered: bool = True
    daemon: bool = False
    paused: bool = False
    runs: bool = False  # the service, in the kernel
    memory: Memory = field(default_factory=Memory)
    witness: Witness = field(default_factory=Witness)
    start_works: bool = True
    stop_works: bool = True
    stop_takes_ns: int = SERVICE_NS
    # The device that powers this machine.
    off_takes_ns: int = 50 * MS  # after the command; its answer comes then too, if it is yes
    off_works: bool = True  # False: says yes, and nothing happens
    blinks_until: int = 0  # until then it says OFF
    accepts: bool = True
    takes_on: bool = True
    reads: list[Power | None] = field(default_factory=list)  # the next answers; None: the truth
    answers_truth: bool = True  # else UNKNOWN, once `reads` is used up

    @property
    def name(self) -> str:
        return ("alpha", "beta")[self.index]


class Duel:
    """The world of one schedule; `now` is CLOCK_BOOTTIME of both machines."""

    def __init__(self, code: Code, **changes: Any) -> None:
        self.code = code
        self.now = 100 * SECOND
        self.exempt = False  # I1 is not claimed: the operator's word was taken
        self.lies = False  # ... nor I14: the devices say what they like
        self.cut = [False, False]  # by sender
        self.announced = [0, 0]  # how often each was told to announce again
        self.lost: tuple[list[bytes], list[bytes]] = ([], [])  # by sender: they may come late
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._order = 0
        self._claims: dict[tuple[int, int], int] = {}
        self._bases: dict[int, int] = {}  # the epoch from which a yield was used, and by whom
        self._outstanding: list[set[int]] = [set(), set()]
        each = [replace(Settings(me=me, preferred=0, links=1), **changes) for me in (0, 1)]
        self.alpha, self.beta = self.machines = tuple(
            Machine(settings.me, settings, code.initial(settings)) for settings in each
        )

    # What a schedule can do

    def boot(self, node: Machine, memory: Memory | None = None) -> None:
        """Power a machine on: a new kernel boot, of which only the epoch on the disk is left, or `memory`."""
        node.powered, node.runs = True, False
        node.boots += 1
        node.memory = Memory(epoch=node.memory.epoch) if memory is None else memory
        node.witness = Witness()
        self.restart(node)

    def restart(self, node: Machine) -> None:
        """Start the daemon, or kill it and start another; what runs in the kernel goes on running."""
        node.lives += 1
        node.daemon = True
        node.witness.applied, node.witness.fresh_at, node.witness.clean = None, None, False
        node.witness.confirmed_until = 0
        node.state = self.code.initial(node.settings)
        node.session = self.code.session(
            Identity(4711, node.index, 1 - node.index),
            (LinkTiming(TICK_NS, SECOND),),
            RING,
            session_id=1000 * (node.index + 1) + node.lives,
            started_at=self.now,
            echo_age_max_ns=ECHO_AGE_NS,
            boot_id=bytes([16 * (node.index + 1) + node.boots]) * 16,
            config_digest=bytes(8),
            software_version="0.1.0",
        )
        self.tell(node, Started(node.memory))
        self.tell(node, LinkOpened(0))
        self._tick(node, node.lives)

    def settle(self, ns: int = 3 * SECOND) -> None:
        """Boot both and let alpha take the service."""
        for node in self.machines:
            self.boot(node)
        self.run(ns)
        assert (self.alpha.runs, self.beta.runs) == (True, False)

    def pause(self, node: Machine, ns: int) -> None:
        """Stop a machine's processes for `ns`; what comes in meanwhile is lost. The schedule goes on at once."""
        node.paused = True

        def resume() -> None:
            node.paused = False
            self.tell(node, Stalled(ns))
            self._tick(node, node.lives)

        self._after(ns, resume)

    def cut_links(self, cut: bool = True) -> None:
        self.cut = [cut, cut]

    def run(self, ns: int) -> None:
        """Let time pass."""
        end = self.now + ns
        while True:
            due = [(at, node) for node in self.machines if (at := self._wakeup(node)) is not None]
            at = min([at for at, _node in due] + [entry[0] for entry in self._queue[:1]], default=end + 1)
            if at > end:
                break
            self.now = at
            if self._queue and self._queue[0][0] <= at:
                heapq.heappop(self._queue)[2]()
                continue
            for wake_at, node in due:
                if wake_at <= at:
                    self.tell(node, Woke())
        self.now = end

    def carrier(self, node: Machine, up: bool) -> None:
        self.tell(node, ServiceCarrierChanged(up))

    def tell(self, node: Machine, event: Event) -> None:
        """Take one event through the core of a node, check the outcome, and carry it out."""
        if not (node.powered and node.daemon):
            return
        before = node.state
        node.asked_at = self.now
        said = self.code.advertise(before, self.now)
        self._witness(node, event)
        try:
            node.state, effects = self.code.step(node.settings, before, event, self.now)
        except self.code.violated as violated:
            raise Violation(str(violated).partition(":")[0], str(violated)) from None
        self._check_turn(node, before, event, effects)
        for effect in effects:
            if isinstance(effect, Remember):
                node.memory = effect.memory
        if self.code.advertise(node.state, self.now) != said:
            self._send(node)
        for effect in effects:
            self._carry_out(node, effect)

    def confirm(self, node: Machine) -> None:
        """The operator swears that the peer is off."""
        self.tell(node, ConfirmRequested(1))

    # The machinery

    def _after(self, ns: int, call: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._queue, (self.now + ns, self._order, call))

    def _answer(self, node: Machine, ns: int, event: Event) -> None:
        life = node.lives
        self._after(ns, lambda: self.tell(node, event) if node.lives == life and not node.paused else None)

    def _wakeup(self, node: Machine) -> int | None:
        if not (node.powered and node.daemon) or node.paused:
            return None
        return self.code.next_wakeup(node.settings, node.state, node.asked_at)

    def _tick(self, node: Machine, life: int) -> None:
        if node.powered and node.daemon and not node.paused and node.lives == life:
            self._send(node)
            self._after(TICK_NS, lambda: self._tick(node, life))

    def _send(self, node: Machine) -> None:
        advert = self.code.advertise(node.state, self.now)
        if advert is None:
            return
        if not node.witness.clean and not advert.stop_failed:
            raise Violation("S8", f"{node.name} speaks before anything was stopped")
        if advert.yielded and node.runs:
            raise Violation("I7", f"{node.name} says YIELDED, and the service runs")
        for data in node.session.compose(advert, (0,), self.now, 1).values():
            self._fly(node, data)

    def _fly(self, sender: Machine, data: bytes) -> None:
        if self.cut[sender.index]:
            self.lost[sender.index].append(data)
        else:
            self._after(FLIGHT_NS, lambda: self.deliver(self.machines[1 - sender.index], data))

    def deliver(self, node: Machine, data: bytes) -> None:
        """Bring a frame to a node."""
        if not (node.powered and node.daemon) or node.paused:
            return
        received = node.session.receive(0, data, self.now)
        for event in received.events:
            self.tell(node, event)
        if received.reply is not None:
            self._fly(node, received.reply)

    def _carry_out(self, node: Machine, effect: Effect) -> None:
        peer = self.machines[1 - node.index]
        life = node.lives
        match effect:
            case Activate(op_id) if node.start_works:
                self._after(SERVICE_NS, lambda: self._begin(node, life, op_id))
            case Activate(op_id):
                self._answer(node, SERVICE_NS, ActivationFailed(op_id))
            case Release(op_id):
                self._after(node.stop_takes_ns, lambda: self._end(node, life, op_id))
            case ReadPower(op_id):
                truth = Power.ON if peer.powered and self.now >= peer.blinks_until else Power.OFF
                scripted = peer.reads.pop(0) if peer.reads else None
                reading = scripted or (truth if peer.answers_truth else Power.UNKNOWN)
                self._answer(node, SERVICE_NS, PowerRead(op_id, reading))
            case PowerOff(op_id):
                self._outstanding[node.index].add(op_id)
                if peer.off_works:
                    self._after(peer.off_takes_ns, lambda: self._power_off(peer, node, op_id))
                self._answer(
                    node, peer.off_takes_ns if peer.accepts else SERVICE_NS, PowerCommanded(op_id, peer.accepts)
                )
            case PowerOn(op_id):
                self._answer(node, SERVICE_NS, PowerCommanded(op_id, peer.takes_on))
                if peer.takes_on and not peer.powered:
                    self._after(3 * SECOND, lambda: self.boot(peer) if not peer.powered else None)
            case LeaseService(leased) if not leased:
                if not (peer.state.maintenance or peer.state.peer.maintenance):
                    raise Violation(
                        "S18", f"{node.name} leaves its addresses without a lease, {peer.name} knowing nothing"
                    )
            case Reannounce():
                self.announced[node.index] += 1
            case _:
                pass

    def _begin(self, node: Machine, life: int, op_id: int) -> None:
        if node.lives != life or not node.powered or node.state.service_op != op_id:
            return
        node.runs = True
        self._check_services()
        self.tell(node, Activated(op_id))

    def _end(self, node: Machine, life: int, op_id: int) -> None:
        if node.lives != life or not node.powered:
            return
        if node.stop_works:
            node.runs = False
            node.witness.clean = True
        self.tell(node, Released(op_id) if node.stop_works else ReleaseFailed(op_id))

    def _power_off(self, victim: Machine, fencer: Machine, op_id: int) -> None:
        self._outstanding[fencer.index].discard(op_id)
        victim.powered = victim.daemon = victim.runs = False
        if not fencer.powered:
            raise Violation("S4", "each node powered the other off")

    # What is true

    def _witness(self, node: Machine, event: Event) -> None:
        witness = node.witness
        match event:
            case PeerBeat():
                witness.heard |= event.newest and event.advert is not None
                witness.fresh_at, witness.stalled_at = self.now, None
                if event.newest:
                    witness.applied, witness.echo_sent_at = event.advert, event.echo_sent_at
                if event.newest and event.advert is not None:
                    since = self.now if witness.stuck_at is None else witness.stuck_at
                    witness.stuck_at = since if event.advert.stop_failed else None
                    witness.latched = event.advert.maintenance
            case PeerHalfOpen():
                witness.applied = None
            case Stalled():
                witness.stalled_at = self.now
                witness.confirmed_until = 0
                if event.late_ns >= self.alpha.settings.release_late_ns:
                    witness.applied, witness.cleared_at = None, self.now
            case Started():
                witness.cleared_at = self.now
            case Released():
                witness.stalled_at = self.now
            case MaintenanceRequested(on=False):
                witness.stalled_at = self.now  # the silence before it was none of its business
            case PowerCommanded(accepted=True) if node.state.attempt is not None and not witness.was_off:
                witness.fences.append(self.now)
            case PowerRead():
                witness.reading = event.power
                witness.offs = witness.offs + 1 if event.power is Power.OFF else 0
                witness.refuted |= event.power is not Power.OFF
            case _:
                pass
        if isinstance(event, PeerBeat | PeerHalfOpen):
            witness.offs = 0
            witness.confirmed_until, witness.grant_stands = 0, False

    def _check_services(self) -> None:
        if all(node.runs for node in self.machines) and not (self.exempt or self.lies):
            raise Violation("I1", "both nodes run the service")

    def _check_turn(self, node: Machine, before: State, event: Event, effects: tuple[Effect, ...]) -> None:
        state, peer = node.state, self.machines[1 - node.index]
        for effect in effects:
            if isinstance(effect, Answer) and effect.ok and not isinstance(event, PeerBeat | PeerHalfOpen):
                self._check_answer(node, event)
        if state.role is Role.CLAIMING and before.role is not Role.CLAIMING:
            self._check_claim(node, before, event)
        if (before.yielded and not state.yielded) or (before.role in STOPPING and state.role not in STOPPING):
            node.witness.cleared_at = self.now
        if state.role is Role.YIELDING and before.role in OWNING:
            if state.reason is Reason.DUAL_ACTIVE and peer.state.role not in OWNING:
                raise Violation("S9", f"{node.name} lets go for a node that owns nothing")
            if state.reason is Reason.DUAL_ACTIVE and peer.state.epoch < before.epoch:
                raise Violation("S9", f"{node.name} has the higher epoch and lets go")
            if state.reason is Reason.SWITCHOVER and self._outstanding[node.index]:
                raise Violation("S3", f"{node.name} hands over to a node that its own off may still kill")
        if state.epoch < before.epoch:
            raise Violation("I3", f"{node.name} goes back from epoch {before.epoch} to {state.epoch}")
        long = isinstance(event, Stalled) and event.late_ns >= node.settings.deadtime_ns
        if long and before.role in OWNING and state.role in OWNING:
            raise Violation("S7", f"{node.name} was paused and goes on with the service")
        node.witness.halted_at = None if state.role is not Role.HALTED else node.witness.halted_at or self.now
        if any(isinstance(effect, PowerOff) for effect in effects):
            self._check_off(node, peer)

    def _check_answer(self, node: Machine, event: Event) -> None:
        if isinstance(event, PowerRead) and event.power is Power.ON:
            raise Violation("S16", f"{node.name} takes the operator's word, and the device says ON")
        if isinstance(event, PowerRead | ConfirmRequested):
            fresh_at = node.witness.fresh_at
            if fresh_at is not None and self.now < fresh_at + node.settings.deadtime_ns:
                raise Violation("S16", f"{node.name} takes the operator's word, and hears the peer")
            node.witness.confirmed_until = self.now + node.settings.confirm_ttl_ns

    def _check_off(self, node: Machine, peer: Machine) -> None:
        witness, now, deadtime_ns = node.witness, self.now, node.settings.deadtime_ns
        attempt = node.state.attempt
        if witness.latched or node.state.maintenance:
            raise Violation("S18", f"{node.name} fences in maintenance")
        if attempt is not None and attempt.began_at == now:
            witness.was_off = witness.offs >= 2
            lately = [at for at in witness.fences if now < at + FENCE_CAP_PERIOD_NS]
            if 0 < node.settings.fence_cap <= len(lately) and not witness.was_off:
                raise Violation("S15", f"{node.name} fences a node that is on for the {len(lately) + 1}th time")
        witness.offs, witness.refuted = 0, False
        if node.runs:
            raise Violation("S4", f"{node.name} runs the service and fences")
        if not witness.heard and peer.powered:
            raise Violation("I11", f"{node.name} is inert and commands a node that is on")
        if not node.state.carrier:
            raise Violation("S6", f"{node.name} has no service carrier and fences")
        if attempt is not None and attempt.cause is Reason.PEER_STOP_FAILED:
            if peer.witness.halted_at is None:
                raise Violation("S4", f"{node.name} fences a node that has stopped since")
            if witness.stuck_at is None or now < witness.stuck_at + node.settings.stop_failed_fence_ns:
                raise Violation("I8", f"{node.name} fences a node that may yet stop what it runs")
            return
        if witness.stalled_at is not None and now < witness.stalled_at + deadtime_ns:
            raise Violation("I6", f"{node.name} was paused or stopping, and accuses")
        if witness.fresh_at is not None and now < witness.fresh_at + deadtime_ns:
            raise Violation("I8", f"{node.name} fences a node that it hears")

    def _check_claim(self, node: Machine, before: State, event: Event) -> None:
        state, witness, peer = node.state, node.witness, self.machines[1 - node.index]
        said = event.advert if isinstance(event, PeerBeat) else None
        base = max(before.epoch, said.epoch if said is not None else 0)
        holder = owner(base)
        token = (node.settings.preferred if holder is None else holder) == node.index
        grounds = {
            Grant.YIELDED: not token and self._stands_by(witness, base, yielded=True),
            Grant.NOT_TAKEN: token
            and self._stands_by(witness, base, yielded=False)
            and witness.echo_sent_at > witness.cleared_at,
            Grant.FENCED: isinstance(event, PowerRead) and witness.offs >= 2,
            Grant.OPERATOR: self.now < witness.confirmed_until,
            Grant.KEPT: witness.grant_stands,
            Grant.WRITTEN_WISH: witness.heard,
        }
        if not state.carrier:
            raise Violation("S6", f"{node.name} has no service carrier and claims")
        if not witness.heard and witness.refuted and state.claimed_by is Grant.FENCED:
            raise Violation("I11", f"{node.name} is inert and goes on after a reading that was not OFF")
        if state.claimed_by is None or not grounds[state.claimed_by]:
            raise Violation("I2", f"{node.name} claims by {state.claimed_by}, and it is not so")
        taken = state.claimed_by not in (Grant.NOT_TAKEN, Grant.KEPT)
        if (witness.latched or state.maintenance) and taken:
            raise Violation("S18", f"{node.name} takes over in maintenance")
        if state.claimed_by is Grant.FENCED and peer.powered and not self.lies:
            raise Violation("I14", f"{node.name} claims by a fence, and {peer.name} is on")
        if (
            state.claimed_by in (Grant.YIELDED, Grant.NOT_TAKEN)
            and self._bases.setdefault(base, node.index) != node.index
        ):
            raise Violation("I16", f"both nodes claim on what was said of epoch {base}")
        if (node.index, state.epoch) in self._claims:
            raise Violation("I3", f"{node.name} claims epoch {state.epoch} twice")
        self._claims[node.index, state.epoch] = self.now
        self.exempt |= state.claimed_by in (Grant.OPERATOR, Grant.WRITTEN_WISH)
        witness.confirmed_until = 0
        witness.grant_stands = True

    def _stands_by(self, witness: Witness, base: int, *, yielded: bool) -> bool:
        advert = witness.applied
        return (
            advert is not None
            and witness.fresh_at is not None
            and self.now < witness.fresh_at + self.alpha.settings.deadtime_ns
            and (advert.role, advert.yielded) == (Role.STANDBY, yielded)
            and (advert.epoch == base if yielded else advert.epoch <= base)
        )

    def demand_one_owner(self) -> None:
        """I10, and S9's promise: exactly one node runs the service."""
        if [node.runs for node in self.machines].count(True) != 1:
            raise Violation("I10", f"runs the service: {[node.name for node in self.machines if node.runs]}")

    def demand_power(self) -> None:
        """S3: whoever was powered off for a claim is powered on again."""
        if not all(node.powered for node in self.machines):
            raise Violation("S3", "a node was left powered off")

    def demand_distrust(self, node: Machine) -> None:
        """S14: a device that said OFF of a node that never went down is not asked again."""
        if not node.state.fence_lied:
            raise Violation("S14", f"{node.name} trusts a device that has lied")

    def demand_announcement(self, node: Machine) -> None:
        """S9: the neighbours must hear the winner of a conflict last."""
        if not self.announced[node.index]:
            raise Violation("S9", f"{node.name} has won a conflict and does not announce itself again")
