"""The daemon: what joins the decision to its adapters. One event at a time goes into `step`, its effects come out.

The order of a turn: the event is taken, what must be remembered is written, frames go out if what this node says has
changed, then the other effects are carried out. If an invariant breaks, the process ends at once without clean-up: the
kernel drops the leased addresses, and the peer fences. Nothing here decides anything, and nothing here knows what an
effect means: `dispatch` does, and each wiring (`context`) knows its own room.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hblink_wire import Keyring, Reject, Rejected

from hblink.config import Config, Problem, settings_of
from hblink.control.server import ControlServer, Request
from hblink.core.effect import Remember
from hblink.core.event import Event, PeerBeat, PeerHalfOpen, ShutdownRequested, Stalled, Started, Woke
from hblink.core.invariant import InvariantViolated
from hblink.core.liveness import is_fresh
from hblink.core.state import State, advertise, initial
from hblink.core.step import next_wakeup, step
from hblink.core.value import Advert, Role
from hblink.daemon.account import Account
from hblink.daemon.context import Context, Wiring
from hblink.daemon.dispatch import carry_out
from hblink.daemon.fence import FenceWiring
from hblink.daemon.flightlog import FlightLog
from hblink.daemon.guard import Guard
from hblink.daemon.health import Health
from hblink.daemon.heartbeat import Heartbeat
from hblink.daemon.history import History
from hblink.daemon.journal import Journal, Kind, Priority
from hblink.daemon.linksignal import LinkSignals
from hblink.daemon.memory import MemoryFile, Rememberer
from hblink.daemon.notice import Notices
from hblink.daemon.operator import OperatorDesk
from hblink.daemon.peer import PeerWatch
from hblink.daemon.realtime import ProcessorMeter, SleepMeter
from hblink.daemon.reload import Read, Reloader
from hblink.daemon.report import status_document
from hblink.daemon.service import Service, vips_of
from hblink.loop import Loop, Timer
from hblink.session import Identity, LinkTiming, Session
from hblink.vip.keeper import VipError

# A loop that is late by this share of deadtime is told to the core. Small, because a pause is seen short by up to a
# tick, and the silence that it adds to begins up to a tick before it.
STALL_SHARE = 4


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
        read_files: Read,
        on_ready: Callable[[str], None],
    ) -> None:
        self.loop = loop
        self.who = who
        self.started_at = loop.now()
        self.settings = settings_of(config, who.me)
        self.state: State = initial(self.settings)
        self.account = Account()
        self.timeliness: dict[str, object] = {}
        self._sleep = SleepMeter()
        self._processor = ProcessorMeter()
        self.memory = memory
        self._writer_errors: tuple[str, ...] = ()
        self._journal = journal
        self._flight = flight
        self._on_ready = on_ready
        self._ready = False
        self._events: deque[Event] = deque()
        self._stepping = False
        self._wake: Timer | None = None
        self._exit_status: int | None = None
        self.history = History(loop, flight, f"{who.session_id:016x}")
        self.context = Context(loop, config, who.me, self.feed, self.log)
        self.session = _make_session(config, who, ring, self.started_at)
        self.heartbeat = Heartbeat(
            loop,
            config.links,
            who.me,
            self.session,
            say=self._say,
            on_event=lambda event, _now: self.feed(event),
            on_rejected=self._on_rejected,
            on_complaint=self._on_link_complaint,
            on_signal=LinkSignals(self.context, lambda index: self.state.links[index].signal).take,
        )
        self._rememberer = Rememberer(self.context, memory)
        self.service = Service(self.context, peer_macs=self._peer_macs, say_macs=self.session.elements.set_service_macs)
        self.health = Health(self.context)
        self.guard = Guard(self.context, self.settings, lambda: self.state)
        self.notices = Notices(self.context, self.account, lambda: self.state)
        self.fence = FenceWiring(self.context, self.account, self.notices, memory.beside, memory.writer)
        self.peer = PeerWatch(self.context, self.session, self.notices, self.is_peer_fresh)
        self.reloader = Reloader(
            self.context,
            self.notices,
            read=read_files,
            ring=lambda: self.session.keyring,
            peer=lambda at: self.session.peer_report() if self.is_peer_fresh(at) else None,
            apply=self._reconfigure,
        )
        self.desk = OperatorDesk(
            self.context,
            {
                "status": self._handle_status,
                "events": self.history.handle_events,
                "flight": self.history.handle_flight,
                "reload": self.reloader.handle,
                "fence_test": self.fence.handle_test,
                "fence_forget": self.fence.handle_forget,
            },
            self.fence.level_ready,
        )
        # In the order of their start; closed in reverse. The service comes first: no frame before the clean start.
        self.wirings: tuple[Wiring, ...] = (
            self.service,
            self.heartbeat,
            self.health,
            self.guard,
            self.fence,
            self.notices,
            self.peer,
            self.reloader,
        )

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return self.context.config

    # Life

    def run(self, control_path: Path) -> int:
        """Serve until the service is handed over or an invariant breaks; return the exit status."""
        now = self.loop.now()
        # Before anything is touched: its lock keeps a second daemon from stopping the service of the first.
        control = ControlServer(self.loop, control_path, self.config.socket_group, self.desk.handle)
        text = f"hblink {self.who.version} starts"
        self.log(Priority.NOTICE, text, now, node=self.context.node, peer=self.context.peer)
        self.loop.stall_limit_ns = self.settings.deadtime_ns // STALL_SHARE
        self.loop.on_lateness = self.account.note_lateness
        memory = self.memory.load()
        if self.memory.complaint:
            self.log(Priority.WARNING, f"memory is in doubt: {self.memory.complaint}", now)
        self.service.open()
        self.loop.check()  # to come up may take long: no pause, as nothing has been judged or promised before Started
        self.loop.on_stall = self._on_stall
        self.feed(Started(memory))
        for wiring in self.wirings:
            wiring.start()
        while self._exit_status is None:
            self._processor.mark()
            self.loop.run_once()
            if not self._ready:
                self._check_ready()
            self._check_writer()
        control.close()
        for wiring in reversed(self.wirings):
            wiring.close()
        self._processor.close()
        return self._exit_status

    def shut_down(self) -> None:
        """Hand over and end; called from the loop on SIGTERM."""
        self.log(Priority.NOTICE, "asked to end; handing over", self.loop.now())
        self.feed(ShutdownRequested())

    def exit(self, status: int) -> None:
        """Let `run` return `status` after this turn."""
        self._exit_status = status

    def log(self, priority: Priority, message: str, now: int, kind: Kind = Kind.DAEMON, **fields: object) -> None:
        """Write one line to the log, and keep it in the history."""
        self._journal.log(priority, message, now, **fields)
        self.history.note(priority, message, now, kind, fields)

    def _check_ready(self) -> None:
        """READY: each link is open or reported by name, at least one is open, the control socket answers."""
        if self.state.role is Role.STARTING or not self.heartbeat.any_open:
            return
        self._ready = True
        missing = [c.config.name for c in self.heartbeat.channels if not c.link.is_open]
        self._on_ready("links missing: " + ", ".join(missing) if missing else "all links open")

    def _check_writer(self) -> None:
        """Say what the writer thread could not write, each failure once: a full disk must not fill the log too."""
        errors = self.memory.writer.errors
        for error in errors:
            if error not in self._writer_errors:
                self.log(Priority.ERROR, f"cannot be written: {error}", self.loop.now())
        self._writer_errors = errors

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
            self.notices.role_changed(before, after, now, self.fence.device_ns)
        for effect in effects:
            if isinstance(effect, Remember):
                self._rememberer.store(effect.memory, now)
        if advertise(before, now) != advertise(after, now):
            self.heartbeat.send_now(now)
        self.fence.follow(before, after, effects, now)
        for effect in effects:
            carry_out(self, effect, now)
        self.service.follow(after)
        self.guard.follow(after)
        self.peer.follow(before, after, now)
        self._schedule_wake(now)

    def _schedule_wake(self, now: int) -> None:
        if self._wake is not None:
            self._wake.cancel()
        at = next_wakeup(self.settings, self.state, now)
        self._wake = None if at is None else self.loop.call_at(at, lambda _now: self.feed(Woke()))

    def _on_stall(self, late_ns: int, now: int) -> None:
        self.account.stalls += 1
        slept_ms = self._sleep.slept_ns() // 1_000_000
        text = "the machine was suspended" if slept_ms * 2_000_000 > late_ns else "the loop was late"
        spent = self._processor.since_mark()
        held_by: dict[str, Any] = {}
        if spent is not None:  # a frozen process or a blocked one has done neither
            held_by = {"ran_ms": spent.ran_ns // 1_000_000, "queued_ms": spent.queued_ns // 1_000_000}
        self.log(Priority.WARNING, text, now, late_ms=late_ns // 1_000_000, slept_ms=slept_ms, **held_by)
        self.fence.suspend()
        # What was judged fresh before a stall is only authentic after it: the clock that judged it has stood still.
        aged = (PeerHalfOpen(each.link) if isinstance(each, PeerBeat) else each for each in self._events)
        self._events = deque((Stalled(late_ns), *aged))
        self._drain()

    def _handle_status(self, request: Request, now: int) -> None:
        request.answer({"ok": True, "status": status_document(self, now)})

    def _peer_macs(self) -> frozenset[bytes]:
        """The peer's service interfaces by hardware address: what it says in its frames, and the configuration."""
        report = self.session.peer_report()
        said = frozenset() if report is None else report.service_macs
        return said | self.config.service_macs[1 - self.who.me]

    def _reconfigure(self, config: Config, ring: Keyring, now: int) -> list[Problem]:
        """Put another configuration in force, of which `reload` has found that it can be; all of it or nothing."""
        try:
            self.service.change(vips_of(config))
        except VipError as error:
            return [Problem("vip", str(error), "nothing was changed; see: hblink events -n 40")]
        health_changed = (config.health, config.vips) != (self.config.health, self.config.vips)
        before, self.context.config = self.config, config
        self.session.keyring = ring
        self.session.elements.set_config(config.digest, config.sections)
        if health_changed:
            self.health.reload()
        if config.alarm_command != before.alarm_command:
            self.notices.reload()
        if (config.health, config.vips) != (before.health, before.vips):
            self.health.reload()
        self.heartbeat.send_now(now)
        return []

    def is_peer_fresh(self, now: int) -> bool:
        return is_fresh(self.settings, self.state, now)

    # Frames

    def _say(self, now: int) -> Advert | None:
        return advertise(self.state, now)

    def _on_rejected(self, link: str, rejected: Rejected, now: int) -> None:
        if rejected.reason is Reject.NOT_FRESH:
            return  # ordinary while two sessions meet; the alarm half_open tells when it lasts
        text = f"frame rejected: {rejected.reason.value}"
        self.log(Priority.WARNING, text, now, Kind.LINK, link=link, detail=rejected.detail)

    def _on_link_complaint(self, link: str, complaint: str, now: int) -> None:
        self.log(Priority.WARNING, f"link {link} is not open: {complaint}", now, Kind.LINK)


def _make_session(config: Config, who: Identification, ring: Keyring, now: int) -> Session:
    session = Session(
        Identity(config.cluster_id, who.me, 1 - who.me),
        [LinkTiming(link.keepalive_ns, config.timing.deadtime_ns) for link in config.links],
        ring,
        session_id=who.session_id,
        started_at=now,
        echo_age_max_ns=config.timing.deadtime_ns,
        boot_id=bytes.fromhex(who.boot_id.replace("-", "")),
        config_digest=config.digest,
        software_version=who.version,
    )
    session.elements.set_config(config.digest, config.sections)
    return session


def kernel_boot_id() -> str:
    """The id of this kernel boot (random(4), /proc/sys/kernel/random/boot_id). Raises OSError."""
    return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()


def end_without_cleanup(status: int) -> None:
    """End this process now: no handler, no release, no goodbye. What it held lapses or is fenced."""
    os._exit(status)
