"""A simulated daemon: the shipped core, session and frames, joined as `hblink run` joins them.

Remember first, then frames if what this node says has changed, then the other effects. Everything that the real
adapters answer is answered here by simulated ones. This module must never help the core: what the core does not ask
for does not happen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, assert_never

from hblink_wire import Deframer, Key, Keyring, Rejected, enframe

from hblink.core.effect import (
    Activate,
    Answer,
    ClearAlarm,
    Effect,
    Exit,
    PowerOff,
    PowerOn,
    RaiseAlarm,
    ReadPower,
    Reannounce,
    Release,
    Remember,
)
from hblink.core.event import (
    Activated,
    ActivationFailed,
    Event,
    LinkOpened,
    PeerBeat,
    Released,
    ReleaseFailed,
    ServiceCarrierChanged,
    Stalled,
    Started,
    Woke,
)
from hblink.core.invariant import InvariantViolated
from hblink.core.state import State, advertise, initial
from hblink.core.step import next_wakeup, step
from hblink.core.value import Advert, Alarm, Memory, Reason, Role
from hblink.session import Identity, LinkTiming, Session
from hblink.sim.fence import Fence
from hblink.sim.process import Process, Timer

if TYPE_CHECKING:
    from hblink.sim.host import Host

_RENEWALS = 4  # in each lease
_DATAGRAMS_WAITING = 200  # that a socket holds for a daemon that does not read
_BYTES_WAITING = 4096  # that a serial port holds


class Daemon:
    """One life of the daemon on `host`."""

    def __init__(self, host: Host) -> None:
        plan = host.plan
        self.host = host
        self.settings = plan.settings[host.index]
        self.state: State = initial(self.settings)
        self.process = Process(host.timeline, host.clock, plan.stall_limit_ns, self._on_stall)
        self.session = Session(
            Identity(plan.cluster_ids[host.index], host.index, 1 - host.index),
            [LinkTiming(link.interval_ns, self.settings.deadtime_ns) for link in plan.links],
            Keyring((Key(1, plan.secrets[host.index]),), 1),
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
        self._fence = Fence(self.process, plan, host.peer.bmc, host.peer.name, self.feed, self._note)
        self._deframers = tuple(Deframer() for _ in plan.links)
        self._waiting = [0] * len(plan.links)  # what has come in and was not read yet
        self._due_at = [0] * len(plan.links)
        self._resend: list[Timer | None] = [None] * len(plan.links)
        self._tick_ns = min(link.interval_ns for link in plan.links)
        self._said: Advert | None = None
        self._wake: Timer | None = None
        self._renewal: Timer | None = None
        self._service_op: int | None = None

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

    def carrier_changed(self) -> None:
        """The kernel has told of a change of carrier."""
        self.process.deliver(lambda now: self.feed(ServiceCarrierChanged(self.host.carrier), now))

    def ask(self, make: Callable[[int], Event], request: int) -> None:
        """Hand an operator's request to the core."""
        self.host.checker.requested(self.host, self, request)
        self.process.deliver(lambda now: self.feed(make(request), now))

    # Events

    def feed(self, event: Event, now: int) -> None:
        """Take one event through the core, and carry out what it wants."""
        before = self.state
        try:
            self.state, effects = step(self.settings, before, event, now)
        except InvariantViolated as error:
            self.host.checker.broken(self.host, str(error))
            return
        self._tell(before)
        for effect in effects:
            if isinstance(effect, Remember):
                self.host.remember(effect.memory)
        if advertise(self.state, now) != self._said:
            self._send(range(len(self._due_at)), now, urgent=True)
        if before.attempt is not None and self.state.attempt is None:
            self._fence.withdraw_off()
        for effect in effects:
            self._carry_out(effect)
        self._arm(now)

    def _start(self, memory: Memory, now: int) -> None:
        self.feed(Started(memory), now)
        for link in range(len(self._due_at)):
            self.feed(LinkOpened(link), now)
        if not self.host.carrier:
            self.feed(ServiceCarrierChanged(False), now)
        if self.settings.has_fence:
            self._fence.poll()
        self._on_tick(now)

    def _on_stall(self, late_ns: int, now: int) -> None:
        self._note(f"loop {late_ns // 1_000_000} ms late")
        self.feed(Stalled(late_ns), now)

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
                self.host.checker.credited(self.host, self, link, frame)
                self.host.heard_in_boot = True
                self.beat_at = now
            self.feed(event, now)
        if received.reply is not None:
            self._put(link, received.reply)

    def _arm(self, now: int) -> None:
        if self._wake is not None:
            self._wake.cancel()
        at = next_wakeup(self.settings, self.state, now)
        self._wake = None if at is None else self.process.call_at(at, lambda now: self.feed(Woke(), now))

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
                self._activate(effect.op_id)
            case Release():
                self._new_op(effect.op_id)
                self._release(effect.op_id)
            case ReadPower():
                self._new_op(effect.op_id)
                self._fence.read(effect.op_id)
            case PowerOff():
                self._new_op(effect.op_id)
                cause = Reason.NONE if self.state.attempt is None else self.state.attempt.cause
                self.host.checker.off_decided(self.host, self, cause)
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
                outcome = "done" if effect.ok else f"refused, {effect.reason.value}"
                self._note(f"answer to the operator: {outcome}")
            case Exit():
                self.kill()
                self.host.daemon_ended()
            case _:
                assert_never(effect)

    def _new_op(self, op_id: int) -> None:
        if op_id in self._ops:
            self.host.checker.reused(self.host, op_id)
        self._ops.add(op_id)

    def _activate(self, op_id: int) -> None:
        self._service_op = op_id
        self.host.begin_service()
        self._after_service(op_id, self._finish_start)

    def _finish_start(self, op_id: int, now: int) -> None:
        outcome = self.host.service_started()
        if outcome is outcome.GOOD:
            self._renew(now)
            self.feed(Activated(op_id), now)
        elif outcome is outcome.FAILS:
            self.feed(ActivationFailed(op_id), now)

    def _release(self, op_id: int) -> None:
        self._service_op = op_id
        if self._renewal is not None:
            self._renewal.cancel()
        self._after_service(op_id, self._finish_stop)

    def _finish_stop(self, op_id: int, now: int) -> None:
        outcome = self.host.service_stopped()
        if outcome is outcome.GOOD:
            self.feed(Released(op_id), now)
        elif outcome is outcome.FAILS:
            self.feed(ReleaseFailed(op_id), now)

    def _after_service(self, op_id: int, finish: Callable[[int, int], None]) -> None:
        """Give the service its time; a later start or stop supersedes this one."""

        def answer(now: int) -> None:
            if self._service_op == op_id:
                finish(op_id, now)

        self.host.timeline.call_after(self.host.plan.service_ns, lambda: self.process.deliver(answer))

    def _renew(self, now: int) -> None:
        self.host.renew_vip(self.settings.lease_ns)
        self._renewal = self.process.call_at(now + self.settings.lease_ns // _RENEWALS, self._renew)

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
