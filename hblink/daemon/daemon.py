"""The daemon: what joins the decision to its adapters. One event at a time goes into `step`, its effects come out.

The order of a turn: the event is taken, what must be remembered is written, frames go out if what this node says has
changed, then the other effects are carried out. If an invariant breaks, the process ends at once without clean-up: the
kernel drops the leased addresses, and the peer fences. Nothing here decides anything.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import assert_never

from hblink_wire import Keyring, Reject, Rejected

from hblink.alarm import AlarmHook
from hblink.config import Config, settings_of
from hblink.control.server import ControlServer
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
    Event,
    FenceReadinessChanged,
    PowerCommanded,
    PowerRead,
    ServiceCarrierChanged,
    ShutdownRequested,
    Stalled,
    Started,
    Woke,
)
from hblink.core.invariant import InvariantViolated
from hblink.core.state import State, advertise, initial
from hblink.core.step import next_wakeup, step
from hblink.core.value import SECOND, Advert, Alarm, Power, Role
from hblink.daemon.account import Account
from hblink.daemon.flightlog import FlightLog
from hblink.daemon.heartbeat import Heartbeat
from hblink.daemon.journal import Journal, Priority
from hblink.daemon.memory import MemoryFile
from hblink.daemon.operator import OperatorDesk
from hblink.daemon.report import status_document
from hblink.daemon.service import Service
from hblink.fencing.fence import Fence, FenceRecord
from hblink.fencing.ipmi import IpmiDevice
from hblink.loop import Loop, Timer
from hblink.session import Identity, LinkTiming, Session
from hblink.vip.keeper import Vip

# A loop that is late by this share of deadtime is told to the core. Small, because a pause is seen short by up to a
# tick, and the silence that it adds to begins up to a tick before it.
STALL_SHARE = 4
MEMORY_RETRY_NS = SECOND


@dataclass(frozen=True, slots=True)
class Identification:
    """Who this daemon is: its index, this kernel boot, this life, its software."""

    me: int
    boot_id: str
    session_id: int
    version: str


class Daemon:
    """One node of the pair, running until `run` returns an exit status."""

    def __init__(
        self,
        loop: Loop,
        config: Config,
        who: Identification,
        ring: Keyring,
        *,
        memory: MemoryFile,
        journal: Journal,
        flight: FlightLog,
        on_ready: Callable[[str], None],
    ) -> None:
        self.loop = loop
        self.config = config
        self.who = who
        self.settings = settings_of(config, who.me)
        self.state: State = initial(self.settings)
        self.account = Account()
        self.memory = memory
        self._writer_error = ""
        self._journal = journal
        self._flight = flight
        self._on_ready = on_ready
        self._ready = False
        self._events: deque[Event] = deque()
        self._stepping = False
        self._wake: Timer | None = None
        self._exit_status: int | None = None
        now = loop.now()
        timing = config.timing
        self.session = Session(
            Identity(config.cluster_id, who.me, 1 - who.me),
            [LinkTiming(link.keepalive_ns, timing.deadtime_ns) for link in config.links],
            ring,
            session_id=who.session_id,
            started_at=now,
            echo_age_max_ns=timing.deadtime_ns,
            boot_id=bytes.fromhex(who.boot_id.replace("-", "")),
            config_digest=config.digest,
            software_version=who.version,
        )
        self.heartbeat = Heartbeat(
            loop,
            config.links,
            who.me,
            self.session,
            say=self._say,
            on_event=lambda event, _now: self.feed(event),
            on_rejected=self._on_rejected,
            on_complaint=self._on_link_complaint,
        )
        vips = tuple(Vip(vip.address, vip.interface) for vip in config.vips)
        self.service = Service(
            loop,
            vips,
            timing.lease_ns,
            on_event=self.feed,
            on_carrier=lambda up, _now: self.feed(ServiceCarrierChanged(up)),
            on_note=lambda text, at: self.log(Priority.WARNING, text, at),
        )
        self.fence = self._make_fence()
        names = (config.nodes[who.me], config.nodes[1 - who.me])
        self._desk = OperatorDesk(names, journal, feed=self.feed, status=lambda at: status_document(self, at))
        self.alarms = AlarmHook(
            loop,
            config.alarm_command,
            on_failure=lambda text, at: self.log(Priority.ERROR, f"the alarm command failed: {text}", at),
        )

    # Life

    def run(self, control_path: Path) -> int:
        """Serve until the service is handed over or an invariant breaks; return the exit status."""
        now = self.loop.now()
        # Before anything is touched: its lock keeps a second daemon from stopping the service of the first.
        control = ControlServer(self.loop, control_path, self.config.socket_group, self._desk.handle)
        name = self.config.nodes[self.who.me]
        self.log(Priority.NOTICE, f"hblink {self.who.version} starts", now, node=name, peer=self._peer_name())
        self.loop.stall_limit_ns = self.settings.deadtime_ns // STALL_SHARE
        self.loop.on_stall = self._on_stall
        self.loop.on_lateness = self.account.note_lateness
        memory = self.memory.load()
        if self.memory.complaint:
            self.log(Priority.WARNING, f"memory is in doubt: {self.memory.complaint}", now)
        self.service.watch.open()
        self.feed(Started(memory))
        self.feed(ServiceCarrierChanged(self.service.watch.carrier()))
        self.heartbeat.start()
        if self.fence is not None:
            self.fence.start()
        while self._exit_status is None:
            self.loop.run_once()
            if not self._ready:
                self._check_ready()
            self._check_writer()
        control.close()
        self.heartbeat.close()
        self.alarms.close()
        if self.fence is not None:
            self.fence.close()
        self.service.close()
        return self._exit_status

    def shut_down(self) -> None:
        """Hand over and end; called from the loop on SIGTERM."""
        self.log(Priority.NOTICE, "asked to end; handing over", self.loop.now())
        self.feed(ShutdownRequested())

    def log(self, priority: Priority, message: str, now: int, **fields: object) -> None:
        """Write one line to the log."""
        self._journal.log(priority, message, now, **fields)

    def _check_ready(self) -> None:
        """READY: each link is open or reported by name, at least one is open, the control socket answers."""
        if self.state.role is Role.STARTING or not self.heartbeat.any_open:
            return
        self._ready = True
        missing = [c.config.name for c in self.heartbeat.channels if not c.link.is_open]
        self._on_ready("links missing: " + ", ".join(missing) if missing else "all links open")

    def _check_writer(self) -> None:
        """Say what the writer thread could not write, each failure once: a full disk must not fill the log too."""
        if self.memory.writer.last_error != self._writer_error:
            self._writer_error = self.memory.writer.last_error
            self.log(Priority.ERROR, f"cannot be written: {self._writer_error}", self.loop.now())

    # Into the decision

    def feed(self, event: Event) -> None:
        """Take one event into the decision, and carry out what it wants, before anything else is taken."""
        self._events.append(event)
        self._drain()

    def _drain(self) -> None:
        if self._stepping:
            return
        self._stepping = True
        try:
            while self._events:
                self.loop.check()  # an effect of the turn before may have taken long; a stall goes first
                self._turn(self._events.popleft())
        finally:
            self._stepping = False

    def _turn(self, event: Event) -> None:
        now = self.loop.now()
        before = self.state
        try:
            after, effects = step(self.settings, before, event, now)
        except InvariantViolated as violated:
            self._flight.broken(now, event, before, str(violated))
            raise
        self.state = after
        self._flight.note(now, event, before, after, effects)
        if before.role is not after.role:
            self._on_role(before, after, now)
        for effect in effects:
            if isinstance(effect, Remember):
                self._remember(effect, now)
        if advertise(before, now) != advertise(after, now):
            self.heartbeat.send_now(now)
        if before.attempt is not None and after.attempt is None and self.fence is not None:
            self.fence.withdraw_off()
        for effect in effects:
            self._carry_out(effect, now)
        self._schedule_wake(now)

    def _schedule_wake(self, now: int) -> None:
        if self._wake is not None:
            self._wake.cancel()
        at = next_wakeup(self.settings, self.state, now)
        self._wake = None if at is None else self.loop.call_at(at, lambda _now: self.feed(Woke()))

    def _on_stall(self, late_ns: int, now: int) -> None:
        self.account.stalls += 1
        self.log(Priority.WARNING, "the loop was late", now, late_ms=late_ns // 1_000_000)
        self._events.appendleft(Stalled(late_ns))
        self._drain()

    # Out of the decision

    def _carry_out(self, effect: Effect, now: int) -> None:
        match effect:
            case Remember():
                pass  # done before the frames went out
            case Activate():
                self.account.activating(now)
                self.service.activate(effect.op_id)
                self.account.activated(self.loop.now())
            case Release():
                self.service.release(effect.op_id)
            case Reannounce():
                self.service.reannounce()
            case ReadPower() | PowerOff() | PowerOn():
                self._ask_fence(effect, now)
            case RaiseAlarm():
                self._on_alarm(effect.alarm, "raised", now)
            case ClearAlarm():
                self._on_alarm(effect.alarm, "cleared", now)
            case Answer():
                self._desk.answer(effect, now)
            case Exit():
                self._exit_status = 0
            case _:
                assert_never(effect)

    def _ask_fence(self, effect: ReadPower | PowerOff | PowerOn, now: int) -> None:
        if self.fence is None:
            answer = PowerRead(effect.op_id, Power.UNKNOWN)
            self.feed(answer if isinstance(effect, ReadPower) else PowerCommanded(effect.op_id, accepted=False))
            return
        if isinstance(effect, ReadPower):
            self.fence.read(effect.op_id)
            return
        self.log(Priority.WARNING, f"sending power {type(effect).__name__[5:].lower()}", now, peer=self._peer_name())
        if isinstance(effect, PowerOff):
            self.account.fencing(now, self.fence.device_ns)
            self.fence.off(effect.op_id)
        else:
            self.fence.on(effect.op_id)

    def _remember(self, effect: Remember, now: int) -> None:
        before = self.memory.complaint
        self.memory.store(effect.memory)
        if self.memory.complaint and self.memory.complaint != before:
            self.log(Priority.ERROR, f"memory cannot be written: {self.memory.complaint}", now)
        if self.memory.complaint:
            self.loop.call_at(now + MEMORY_RETRY_NS, lambda later: self._remember_again(effect, later))

    def _remember_again(self, effect: Remember, now: int) -> None:
        """Try again what could not be written, unless something newer was written meanwhile."""
        if self.memory.complaint and self.state.remembered == effect.memory:
            self._remember(effect, now)

    def _on_role(self, before: State, after: State, now: int) -> None:
        """Log the change; a takeover is told to the alarm hook, with where its milliseconds went."""
        fields: dict[str, object] = {"reason": after.reason.value, "epoch": after.epoch}
        if after.role is Role.CLAIMING and after.claimed_by is not None:
            fields["grant"] = after.claimed_by.value
        self.log(Priority.NOTICE, f"{before.role.value} -> {after.role.value}", now, **fields)
        if after.role is Role.BLOCKED:
            command = f"hblink fence confirm {self._peer_name()}"
            self.log(Priority.CRITICAL, f"blocked: make sure that {self._peer_name()} is off, then: {command}", now)
        if after.role is Role.ACTIVE and after.claimed_by is not None:
            device_ns = 0 if self.fence is None else self.fence.device_ns
            spent = self.account.takeover(after, now, device_ns)
            self.log(Priority.NOTICE, "service is up", now, grant=after.claimed_by.value, **spent)
            self._notify({"event": "takeover", "grant": after.claimed_by.value, **spent})

    def _on_alarm(self, alarm: Alarm, what: str, now: int) -> None:
        link = self.config.links[alarm.link].name if alarm.link >= 0 else None
        self.account.note_alarm(alarm, what, now)
        fields = {} if link is None else {"link": link}
        priority = Priority.WARNING if what == "raised" else Priority.NOTICE
        self.log(priority, f"alarm {what}: {alarm.code}", now, **fields)
        self._notify({"event": alarm.code, "state": what, "link": link, "reason": self.state.reason.value})

    def _notify(self, document: dict[str, object]) -> None:
        who = {"node": self.config.nodes[self.who.me], "peer": self._peer_name(), "cluster": self.config.cluster}
        state = {"role": self.state.role.value, "epoch": self.state.epoch}
        self.alarms.notify({**document, **who, **state})

    # Adapters

    def _say(self, now: int) -> Advert | None:
        return advertise(self.state, now)

    def _make_fence(self) -> Fence | None:
        device = self.config.fence_of(1 - self.who.me)
        if device is None:
            return None
        return Fence(
            self.loop,
            IpmiDevice(self.loop, device),
            node=self.who.me,
            on_event=lambda event, _now: self.feed(event),
            on_readiness=lambda ready, _now: self.feed(FenceReadinessChanged(ready)),
            on_record=self._on_fence_record,
        )

    def _on_fence_record(self, record: FenceRecord, now: int) -> None:
        if record.request.value == "poll":
            return
        outcome = (
            record.power.value if record.power is not None else ("accepted" if record.accepted else "not accepted")
        )
        self.log(
            Priority.NOTICE,
            f"fence {record.request.value}: {outcome}",
            now,
            ms=round(record.elapsed_ns / 1e6, 1),
            reason=record.reason.value,
            detail=record.detail,
        )

    def _on_rejected(self, link: str, rejected: Rejected, now: int) -> None:
        if rejected.reason is Reject.NOT_FRESH:
            return  # ordinary while two sessions meet; the alarm half_open tells when it lasts
        self.log(Priority.WARNING, f"frame rejected: {rejected.reason.value}", now, link=link, detail=rejected.detail)

    def _on_link_complaint(self, link: str, complaint: str, now: int) -> None:
        self.log(Priority.WARNING, f"link {link} is not open: {complaint}", now)

    def _peer_name(self) -> str:
        return self.config.nodes[1 - self.who.me]


def kernel_boot_id() -> str:
    """The id of this kernel boot (random(4), /proc/sys/kernel/random/boot_id). Raises OSError."""
    return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()


def end_without_cleanup(status: int) -> None:
    """End this process now: no handler, no release, no goodbye. What it held lapses or is fenced."""
    os._exit(status)
