"""A simulated daemon: the shipped core, session and frames, joined as `hblink run` joins them.

Remember first, then frames if what this node says has changed, then the other effects. Everything that the real
adapters answer is answered here by simulated ones. This module must never help the core: what the core does not ask
for does not happen.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, assert_never

from hblink_wire import Deframer, Keyring, Rejected, enframe

from hblink.core.effect import (
    Activate,
    Answer,
    ClearAlarm,
    Effect,
    Exit,
    LeaseService,
    PowerOff,
    PowerOn,
    RaiseAlarm,
    ReadPower,
    Reannounce,
    Release,
    Remember,
    ResetSelf,
)
from hblink.core.event import (
    Event,
    LinkOpened,
    PeerBeat,
    PeerHalfOpen,
    ShutdownRequested,
    Stalled,
    Started,
    Woke,
)
from hblink.core.invariant import InvariantViolated
from hblink.core.state import State, advertise, initial
from hblink.core.step import next_wakeup, step
from hblink.core.value import Advert, Alarm, AlarmCode, Memory, Reason, Role
from hblink.session import Identity, LinkTiming, Session
from hblink.sim.fence import Fence
from hblink.sim.keeper import Keeper
from hblink.sim.process import Process, Spot, Timer
from hblink.sim.sense import Senses

if TYPE_CHECKING:
    from hblink.sim.host import Host

_DATAGRAMS_WAITING = 200  # that a socket holds for a daemon that does not read
_BYTES_WAITING = 4096  # that a serial port holds


class Daemon:
    """One life of the daemon on `host`."""

    def __init__(self, host: Host) -> None:
        plan = host.plan
        me = host.identity
        self.host = host
        self.settings = plan.settings[me]
        self.state: State = initial(self.settings)
        self.process = Process(host.timeline, host.clock, plan.stall_limit_ns, self._on_stall)
        self.session = Session(
            Identity(plan.cluster_ids[host.index], me, 1 - me),
            [LinkTiming(link.interval_ns, self.settings.deadtime_ns) for link in plan.links],
            host.keyring,
            session_id=host.random.getrandbits(64) | 1,
            started_at=self.process.now(),
            echo_age_max_ns=plan.echo_age_max_ns,
            boot_id=host.boot_id,
            config_digest=plan.config_digests[host.index],
            software_version="sim",
        )
        self.spoken_at: int | None = None  # when the first frame went out, in the world's time
        self.beat_at: int | None = None  # when the last fresh frame came, by this node's clock
        self.credited: set[tuple[int, bytes]] = set()  # for the checker
        self._ops: set[int] = set()
        self._events: deque[Event] = deque()
        self._stepping = False
        target = host.peer if me == host.index else host
        devices = [("BMC", target.bmc), ("PDU", target.pdu)][: 1 + plan.has_pdu]
        self._fence = Fence(
            self.process, plan, devices, target.name, own=target is host, feed=self.feed, note=self._note
        )
        self._keeper = Keeper(
            self.process,
            host.timeline,
            host.kernel,
            lease_ns=self.settings.lease_ns,
            act_ns=plan.service_ns,
            feed=self.feed,
        )
        self.senses = Senses(self.process, host, self.settings, lambda: self.state, self.feed)
        self._deframers = tuple(Deframer() for _ in plan.links)
        self._waiting = [0] * len(plan.links)  # what has come in and was not read yet
        self._due_at = [0] * len(plan.links)
        self._resend: list[Timer | None] = [None] * len(plan.links)
        self._tick_ns = min(link.interval_ns for link in plan.links)
        self._said: Advert | None = None
        self._wake: Timer | None = None

    def start(self, memory: Memory) -> None:
        """Begin: the clean start, the links, the tick."""
        self.process.deliver(lambda now: self._start(memory, now))

    def kill(self) -> None:
        """End at once, without clean-up."""
        self.process.kill()

    def receive(self, link: int, data: bytes) -> None:
        """Bytes have come in; they wait if the daemon does not read, as far as the kernel holds them."""
        size, limit = (
            (1, _DATAGRAMS_WAITING) if self.host.plan.links[link].baud is None else (len(data), _BYTES_WAITING)
        )
        if self._waiting[link] + size > limit:
            return
        self._waiting[link] += size
        self.process.deliver(lambda now: self._on_bytes(link, data, size, now))

    def address_removed(self) -> None:
        """The kernel has told that the address was taken away."""
        self.process.deliver(lambda _now: self._keeper.address_removed())

    def turn_key(self, keyring: Keyring) -> None:
        """The keyring file has changed, and the daemon is told to read it again."""

        def turn(_now: int) -> None:
            self.session.keyring = keyring

        self.process.deliver(turn)

    def shut_down(self) -> None:
        """The daemon is asked to end (SIGTERM)."""
        self.process.deliver(lambda _now: self.feed(ShutdownRequested()))

    def ask(self, make: Callable[[int], Event], request: int) -> None:
        """Hand an operator's request to the core."""
        self.host.checker.requested(self.host, self, request)
        self.process.deliver(lambda _now: self.feed(make(request)))

    # Events

    def feed(self, event: Event) -> None:
        """Take one event through the core, and carry out what it wants, before anything else is taken."""
        self._events.append(event)
        self._drain()

    def _drain(self) -> None:
        if self._stepping:
            return
        self._stepping = True
        while self._events and not self.process.frozen:
            self.process.check()  # puts a stall before what is next
            self._turn(self._events.popleft())
        self._stepping = self.process.frozen

    def _turn(self, event: Event) -> None:
        now = self.process.now()
        before = self.state
        if isinstance(event, PeerBeat):
            self.host.checker.credited(self.host)
            self.host.heard_in_boot = True
            self.beat_at = now
        try:
            self.state, effects = step(self.settings, before, event, now)
        except InvariantViolated as error:
            self.host.checker.broken(self.host, str(error))
            return
        self._tell(before)
        for effect in effects:
            if isinstance(effect, Remember):
                self.host.store.remember(effect.memory)
            elif isinstance(effect, PowerOff):
                attempt = self.state.attempt
                self.host.checker.off_decided(self.host, self, None if attempt is None else attempt.cause)
            elif isinstance(effect, RaiseAlarm):
                self._check_accusation(effect.alarm)
        if advertise(self.state, now) != self._said:
            self._send(range(len(self._due_at)), now, urgent=True)
        self.process.pass_by(Spot.ACTING, lambda: self._act(before, effects, now))

    def _act(self, before: State, effects: Sequence[Effect], now: int) -> None:
        """Carry out what was decided at `now`, which may be a while ago, and go on with what has queued up."""
        if before.attempt is not None and self.state.attempt is None:
            self._fence.end_attempt()
        for effect in effects:
            self._carry_out(effect)
        self._arm(now)
        self._stepping = False
        self._drain()

    def _start(self, memory: Memory, now: int) -> None:
        self.feed(Started(memory))
        for link in range(len(self._due_at)):
            self.feed(LinkOpened(link))
        self.senses.start(now)
        if self.settings.has_fence:
            self._fence.start()
        self._on_tick(now)

    def _on_stall(self, late_ns: int, _now: int) -> None:
        self._note(f"loop {late_ns // 1_000_000} ms late")
        aged = (PeerHalfOpen(each.link) if isinstance(each, PeerBeat) else each for each in self._events)
        self._events = deque((Stalled(late_ns), *aged))  # as hblink.daemon does it
        self._drain()

    def _on_bytes(self, link: int, data: bytes, size: int, now: int) -> None:
        self._waiting[link] -= size
        blocks: Sequence[bytes | Rejected] = [data]
        if self.host.plan.links[link].baud is not None:
            blocks = self._deframers[link].feed(data)
        for block in blocks:
            if isinstance(block, Rejected):
                self.session.count(link, block)
            else:
                self._on_frame(link, block, now)

    def _on_frame(self, link: int, frame: bytes, now: int) -> None:
        received = self.session.receive(link, frame, now)
        for event in received.events:
            if isinstance(event, PeerBeat):
                self.host.checker.proven(self.host, self, link, frame)
            self.feed(event)
        if received.reply is not None:
            self._put(link, received.reply)

    def _arm(self, now: int) -> None:
        if self._wake is not None:
            self._wake.cancel()
        at = next_wakeup(self.settings, self.state, now)
        self._wake = None if at is None else self.process.call_at(at, lambda _now: self.feed(Woke()))

    # Frames

    def _on_tick(self, now: int) -> None:
        self.process.call_at(now + self._tick_ns, self._on_tick)
        horizon = now + self._tick_ns // 2
        self._send([link for link, due_at in enumerate(self._due_at) if due_at <= horizon], now, urgent=False)

    def _send(self, links: Sequence[int], now: int, *, urgent: bool) -> None:
        advert = advertise(self.state, now)
        if advert is None or not links:
            return
        self._said = advert
        self.host.checker.said(self.host, advert)
        every = (1 << len(self._due_at)) - 1
        frames = self.session.compose(advert, links, now, every)
        for link in links:
            self._due_at[link] = now + self.host.plan.links[link].interval_ns
            if not self._put(link, frames[link]) and urgent:
                self._send_when_free(link)

    def _put(self, link: int, frame: bytes) -> bool:
        self.host.log.frame(frame)
        self.host.sent.add((link, frame))
        self.host.said_at = self.host.timeline.now
        if self.spoken_at is None:
            self.spoken_at = self.host.timeline.now
        data = frame if self.host.plan.links[link].baud is None else enframe(frame)
        return self.host.network.send(self.host.index, link, data)

    def _send_when_free(self, link: int) -> None:
        """A serial line is still busy: say what is true then, as soon as it is free."""
        pending = self._resend[link]
        if pending is not None:
            pending.cancel()
        at = self.host.clock.read(self.host.network.path(self.host.index, link).free_at) + 1
        self._resend[link] = self.process.call_at(at, lambda now: self._send([link], now, urgent=True))

    # Effects

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Remember() | Reannounce():
                pass
            case Activate():
                self._new_op(effect.op_id)
                self._keeper.activate(effect.op_id)
            case LeaseService():
                self._keeper.lease(effect.leased)
            case ResetSelf():
                self.host.reset()
            case Release():
                self._new_op(effect.op_id)
                self._keeper.release(effect.op_id)
            case ReadPower():
                self._new_op(effect.op_id)
                self._fence.read(effect.op_id)
            case PowerOff():
                self._new_op(effect.op_id)
                self._fence.command(effect.op_id, on=False)
            case PowerOn():
                self._new_op(effect.op_id)
                self._fence.command(effect.op_id, on=True)
            case RaiseAlarm():
                self._note(f"alarm: {self.words(effect.alarm)}")
            case ClearAlarm():
                self._note(f"alarm over: {self.words(effect.alarm)}")
            case Answer():
                self.host.checker.answered(effect.request)
                why = "" if effect.reason is Reason.NONE else f", {effect.reason.value}"
                self._note(f"answer to the operator: {'done' if effect.ok else 'refused'}{why}")
            case Exit():
                self.kill()
                clean = self.state.role is not Role.HALTED
                self.host.daemon_ended(clean=clean, orderly=clean and self._beside_an_active_peer)
            case _:
                assert_never(effect)

    @property
    def _beside_an_active_peer(self) -> bool:
        advert = self.state.peer.advert
        return advert is not None and advert.role is Role.ACTIVE

    def _check_accusation(self, alarm: Alarm) -> None:
        if alarm.code == AlarmCode.PEER_LOST.value:
            self.host.checker.suspected(self.host, self)
        elif alarm.code == AlarmCode.FENCE_LIED.value:
            self.host.checker.called_a_liar(self.host)

    def _new_op(self, op_id: int) -> None:
        if op_id in self._ops:
            self.host.checker.reused(self.host, op_id)
        self._ops.add(op_id)

    # Telling

    def _tell(self, before: State) -> None:
        after = self.state
        why = "" if after.reason is Reason.NONE else f" ({after.reason.value})"
        if after.role is not before.role:
            if after.role is Role.CLAIMING:
                assert after.claimed_by is not None
                why = f" (epoch {after.epoch}, {after.claimed_by.value})"
                self.host.checker.claimed(self.host, after.claimed_by, after.epoch)
            self._note(f"{before.role.value} -> {after.role.value}{why}")
        elif after.reason is not before.reason:
            self._note(f"{after.role.value}{why}")
        if after.yielded != before.yielded:
            self._note("says YIELDED" if after.yielded else "says YIELDED no longer")

    def _note(self, text: str) -> None:
        self.host.log.add(self.host.name, text)

    def words(self, alarm: Alarm) -> str:
        """An alarm as the log says it."""
        return alarm.code if alarm.link < 0 else f"{alarm.code} {self.host.plan.links[alarm.link].name}"
