"""The wiring of the peer's fence devices: the core's power effects to the ladder, its answers and readiness back.

Without a device every effect is answered at once by "unknown" or "not accepted". This module must never send a command
that the core did not ask for.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from hblink.config import FenceConfig, IpmiFenceConfig
from hblink.control.server import Request
from hblink.core.effect import Answer, Effect, PowerOff, PowerOn, ReadPower
from hblink.core.event import FenceReadinessChanged, PowerCommanded, PowerRead
from hblink.core.state import State
from hblink.core.value import SECOND, Grant, Power, Reason, Role
from hblink.daemon.account import Account
from hblink.daemon.context import Context
from hblink.daemon.journal import Kind, Priority
from hblink.daemon.notice import Notices
from hblink.daemon.readiness import ReadinessWatch
from hblink.daemon.writer import Writer
from hblink.fencing.device import FenceReason, Inspection, SerialNumber
from hblink.fencing.factory import device_of
from hblink.fencing.fence import Fence, MakeLevel
from hblink.fencing.identity import Identities, Identity, smbios_guids, smbios_serials
from hblink.fencing.ipmi import IpmiDevice
from hblink.fencing.level import POLL_INTERVAL_NS, Level
from hblink.fencing.proof import Proofs
from hblink.fencing.record import FenceRecord, OnStep, Step
from hblink.fencing.report import level_document

# This node's own BMC is asked who it is after the first look at the peer's, and then rarely: the answer stays.
OWN_FIRST_NS = 5 * SECOND
OWN_INTERVAL_NS = 3600 * SECOND


class FenceWiring:
    """Carry out ReadPower, PowerOff and PowerOn; `fence` is None where no device is configured.

    What was learned of the devices' identities, and the last proof, are kept where `beside(name)` says, by `writer`.
    """

    def __init__(
        self, context: Context, account: Account, notices: Notices, beside: Callable[[str], Path], writer: Writer
    ) -> None:
        self._context = context
        self._readiness = ReadinessWatch(notices)
        self._account = account
        own = [each for each in context.config.fences_of(context.me) if isinstance(each, IpmiFenceConfig)]
        self._own = [(each.name, IpmiDevice(context.loop, each)) for each in own]
        learned = beside("fence.json")
        self.identities = Identities(
            _read(learned), smbios_guids(), lambda content: writer.replace(learned, content), smbios_serials()
        )
        for name, _ in self._own:
            self.identities.own(self.identities.learned(name))
        self._told: dict[int, object] = {}
        self._tests: list[tuple[Request, set[int]]] = []
        kept = beside("fence_proof.json")
        self.proofs = Proofs(lambda content: writer.replace(kept, content))
        self.proofs.load(_read(kept))
        self._began_at = 0
        self._closed = False
        self.fence = self._make_fence()

    @property
    def device_ns(self) -> int:
        """Wall time that the core's requests have cost at the devices since the start."""
        return 0 if self.fence is None else self.fence.device_ns

    def start(self) -> None:
        """Look at the devices for the first time, and from now on about once a minute."""
        if self.fence is not None:
            self.fence.start()
            self._context.loop.call_at(self._context.loop.now() + OWN_FIRST_NS, self._ask_own)

    def close(self) -> None:
        """End what runs at the devices."""
        self._closed = True
        if self.fence is not None:
            self.fence.close()

    def carry_out(self, effect: ReadPower | PowerOff | PowerOn, now: int, cause: Reason | None) -> None:
        """Ask the ladder; the answer comes as PowerRead or PowerCommanded with the effect's op_id.

        `cause` is why the attempt was begun to which an `off` belongs, None for a drill.
        """
        if self.fence is None:
            answer = PowerRead(effect.op_id, Power.UNKNOWN)
            is_reading = isinstance(effect, ReadPower)
            self._context.feed(answer if is_reading else PowerCommanded(effect.op_id, accepted=False))
            return
        if isinstance(effect, ReadPower):
            self.fence.read(effect.op_id, effect.level)
            return
        word = type(effect).__name__[5:].lower()
        which = {} if effect.level is None else {"level": effect.level + 1}
        self._context.log(Priority.WARNING, f"sending power {word}", now, Kind.FENCE, peer=self._context.peer, **which)
        if isinstance(effect, PowerOff):
            if cause is not None:
                self._account.fencing(now, self.fence.device_ns)
            self.fence.off(effect.op_id, effect.level, alone=cause is Reason.START_ALONE)
        else:
            self.fence.on(effect.op_id, effect.level)

    def follow(self, before: State, after: State, effects: tuple[Effect, ...], now: int) -> None:
        """Take note of a step before its effects are carried out.

        When what wanted the peer off is over, an `off` that has not left yet must not leave any more.
        """
        if self.fence is None:
            return
        begun, began_at = _undertaking(after), _undertaking(before)
        if began_at is not None and begun != began_at:
            self.fence.end_attempt()
            self._conclude(before, after, effects, now)
        if begun is not None and begun != began_at:
            self.proofs.begin()
            self._began_at = now
        if after.fence_lied and not before.fence_lied:
            liar = self.fence.distrust(now)
            if liar is not None:
                self.proofs.withdraw(liar)
        elif before.fence_lied and not after.fence_lied:
            self.fence.trust()

    def _conclude(self, before: State, after: State, effects: tuple[Effect, ...], now: int) -> None:
        """Keep the proof, if it was one: the claim that a fence granted, or a drill that went to its end."""
        if before.drill is not None:
            kind = "drill"
            request = before.drill.request
            proven = any(isinstance(each, Answer) and each.request == request and each.ok for each in effects)
        else:
            kind = "takeover"
            proven = after.role is Role.CLAIMING and after.claimed_by is Grant.FENCED
        level = None if self.fence is None else self.fence.proven
        if proven and self.fence is not None and level is not None:
            device = self.fence.levels[level].settings.name
            self.proofs.succeed(kind, level, device, int(time.time()), now - self._began_at)

    def suspend(self) -> None:
        """The node has hiccuped: an `off` that has been decided and has not left yet is decided anew."""
        if self.fence is not None:
            self.fence.suspend()

    def documents(self, now: int) -> list[dict[str, object]]:
        """The levels, as `status` shows them."""
        levels = [] if self.fence is None else self.fence.levels
        return [
            level_document(index, level, now, _dated(self.proofs.of(index, level.settings.name), steps=False))
            for index, level in enumerate(levels)
        ]

    def level_ready(self, level: int) -> bool | None:
        """Whether the last look at `level` (from 0) found it usable; None if there is no such level."""
        levels = [] if self.fence is None else self.fence.levels
        return levels[level].readiness.ready is True if 0 <= level < len(levels) else None

    def weak_levels(self) -> list[tuple[str, str]]:
        """The levels that do not work although another one does: the reason, and which it is."""
        if self.fence is None or not self.fence.readiness.ready:
            return []
        return [
            (level.readiness.reason.value, f"level {index} {level.settings.name}: {level.readiness.detail}")
            for index, level in enumerate(self.fence.levels, 1)
            if level.readiness.ready is False and level.readiness.reason is not None
        ]

    def level_warnings(self) -> list[tuple[str, str]]:
        """What should be known of levels that work: the warning, and which level it is."""
        return [
            (warning.value, f"level {index} {level.settings.name}")
            for index, level in enumerate([] if self.fence is None else self.fence.levels, 1)
            for warning in level.readiness.warnings
        ]

    def complaint(self) -> FenceReason | None:
        """Why no level works; None if one does, if that is not known yet, and without a device."""
        readiness = None if self.fence is None else self.fence.readiness
        return None if readiness is None or readiness.ready is not False else readiness.reason

    def proof(self) -> dict[str, object] | None:
        """The last proof that a device really switches the peer off, the newest of all levels."""
        return _dated(self.proofs.last)

    def handle_test(self, request: Request, now: int) -> None:
        """Answer with the levels, once each has been looked at again."""
        if self.fence is None or not self.fence.levels:
            request.answer({"ok": False, "error": "no fence device is configured"})
            return
        self._tests.append((request, set(range(len(self.fence.levels)))))
        self._context.log(Priority.INFO, "operator tests the fence devices", now, Kind.OPERATOR)
        self.fence.poll()

    def handle_forget(self, request: Request, now: int) -> None:
        """Forget the identities that were learned of the peer's devices: an operator says that a board was changed."""
        if request.argument.get("node") != self._context.peer or self.fence is None:
            text = f"this is {self._context.node}; its peer is {self._context.peer}"
            request.answer({"ok": False, "reason": "wrong_node", "error": text})
            return
        names = [level.settings.name for level in self.fence.levels if level.forget()]
        uid = request.credentials.uid
        text = "operator lets the identity of the fence devices be learned anew"
        self._context.log(Priority.WARNING, text, now, Kind.OPERATOR, uid=uid, devices=", ".join(names) or "none")
        self.fence.poll()
        request.answer({"ok": True, "reason": None, "forgotten": names})

    def _make_fence(self) -> Fence | None:
        ladder = self._context.config.fences_of(1 - self._context.me)
        if not ladder:
            return None
        return Fence(
            self._context.loop,
            [self._make_level(config) for config in ladder],
            on_event=self._on_answer,
            on_readiness=lambda ready, _now: self._context.feed(FenceReadinessChanged(ready)),
            on_record=self._on_record,
        )

    def _on_answer(self, event: PowerRead | PowerCommanded, _now: int) -> None:
        if isinstance(event, PowerRead) and event.gone and self._context.config.power_loss_evidence:
            self._look_at_own_network(event)
        else:
            self._context.feed(event)

    def _look_at_own_network(self, event: PowerRead) -> None:
        """The silence of the peer's BMC is the peer's only if this node's own BMC answers over the same network."""

        def answer(own: Inspection, now: int) -> None:
            if self._closed:
                return
            works = own.reason is FenceReason.OK
            if not works:
                text = "the own BMC does not answer either: that of the peer may be out of reach only"
                self._context.log(Priority.WARNING, text, now, Kind.FENCE, detail=own.detail)
            self._context.feed(replace(event, gone=works))

        for _name, device in self._own[:1]:
            device.inspect(answer)
        if not self._own:
            self._context.feed(replace(event, gone=False))

    def _make_level(self, config: FenceConfig) -> MakeLevel:
        loop = self._context.loop

        def make(on_step: OnStep, on_ready: Callable[[int], None]) -> Level:
            return Level(
                loop,
                device_of(loop, config),
                config,
                self.identities,
                on_step=on_step,
                on_ready=on_ready,
                phase_ns=self._context.me * POLL_INTERVAL_NS // 2,
            )

        return make

    def _ask_own(self, now: int) -> None:
        """Ask this node's own BMC who it is: a command must never go there."""
        if self._closed:
            return
        for name, device in self._own:
            device.inspect(partial(self._on_own, name, device))
        self._context.loop.call_at(now + OWN_INTERVAL_NS, self._ask_own)

    def _on_own(self, name: str, device: IpmiDevice, answer: Inspection, _now: int) -> None:
        if answer.reason is FenceReason.OK and not self._closed:
            device.read_serial(partial(self._take_own, name, answer.guid))

    def _take_own(self, name: str, guid: str | None, answer: SerialNumber, _now: int) -> None:
        """Know who this node's own BMC is; what was taken for it because of its GUID alone may be the peer's."""
        if self._closed or self.fence is None:
            return
        told = Identity(guid, answer.serial)
        self.identities.own(told)
        self.identities.learn(name, told)
        if any(level.readiness.reason is FenceReason.OWN_DEVICE for level in self.fence.levels):
            self.fence.poll()

    def _on_record(self, record: FenceRecord, now: int) -> None:
        assert self.fence is not None
        self._tell_change(record.level, now)
        self._readiness.look(self.fence.levels, now)
        self.proofs.note(record)
        for request, waiting in list(self._tests):
            waiting.discard(record.level)
            if not waiting:
                self._tests.remove((request, waiting))
                request.answer({"ok": True, "levels": self.documents(now)})
        if record.step is Step.POLL:
            return
        outcome = (
            record.power.value if record.power is not None else ("accepted" if record.accepted else "not accepted")
        )
        self._context.log(
            Priority.NOTICE,
            f"fence {record.step.value}: {outcome}",
            now,
            Kind.FENCE,
            level=record.level + 1,
            ms=round(record.elapsed_ns / 1e6, 1),
            reason=record.reason.value,
            detail=record.detail,
        )

    def _tell_change(self, index: int, now: int) -> None:
        """Say once what a device is fit for, and again when that changes."""
        assert self.fence is not None
        level = self.fence.levels[index]
        readiness = level.readiness
        known = (readiness.ready, readiness.reason, readiness.warnings)
        if readiness.ready is None or self._told.get(index) == known:
            return
        self._told[index] = known
        self._context.log(
            Priority.INFO if readiness.ready and not readiness.warnings else Priority.WARNING,
            f"fence device is {'ready' if readiness.ready else 'not ready'}",
            now,
            Kind.FENCE,
            level=index + 1,
            device=level.settings.name,
            reason="none" if readiness.reason is None else readiness.reason.value,
            warnings=",".join(warning.value for warning in readiness.warnings) or "none",
            detail=readiness.detail,
        )


def _undertaking(state: State) -> tuple[str, int] | None:
    """What wants the peer off: an attempt or a drill, told from the one before it."""
    if state.attempt is not None:
        return "attempt", state.attempt.began_at
    return None if state.drill is None else ("drill", state.drill.request)


def _dated(proof: dict[str, object] | None, *, steps: bool = True) -> dict[str, object] | None:
    """A proof with its age by the wall clock, with or without its steps."""
    if proof is None:
        return None
    at = proof["unix_s"]
    dated = {**proof, "age_s": max(0, int(time.time()) - at) if isinstance(at, int) else None}
    return dated if steps else {key: value for key, value in dated.items() if key != "steps"}


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
