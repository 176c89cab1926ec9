"""A ladder of fence levels on a loop that is run by hand, with everything that it says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from hblink.core.event import PowerCommanded, PowerRead
from hblink.core.value import MS, SECOND
from hblink.fencing.device import FenceDevice, OnCommanded, OnInspection, OnReading, OnSerial, Running
from hblink.fencing.fence import Fence, MakeLevel
from hblink.fencing.identity import Identities
from hblink.fencing.ipmi import IpmiDevice
from hblink.fencing.level import Level
from hblink.fencing.record import FenceRecord, OnStep
from hblink.loop import Loop
from tests.adapter.loopback_bmc import Settings, ipmitools
from tests.adapter.stage import run_until

LONG_NS = 1000 * SECOND


@dataclass(frozen=True)
class Rung:
    """What a level wants to know besides its device."""

    name: str = "bmc"
    guid: str | None = None
    serial: str | None = None
    restore_policy: str | None = None
    tells_identity: bool = True
    command_timeout_ns: int = 10 * SECOND
    off_interval_ns: int = 100 * MS
    attempt_ns: int = 10 * SECOND
    retries: int = 0


class Choice:
    """A device that is the real one, or a silent port while `absent`: for requests that stay under way."""

    def __init__(self, present: FenceDevice, silent: FenceDevice) -> None:
        self._present, self._silent = present, silent
        self.absent = False

    @property
    def _device(self) -> FenceDevice:
        return self._silent if self.absent else self._present

    def inspect(self, on_answer: OnInspection) -> Running:
        return self._device.inspect(on_answer)

    def read_serial(self, on_answer: OnSerial) -> Running:
        return self._device.read_serial(on_answer)

    def read_power(self, on_answer: OnReading) -> Running:
        return self._device.read_power(on_answer)

    def power_off(self, on_answer: OnCommanded) -> Running:
        return self._device.power_off(on_answer)

    def power_on(self, on_answer: OnCommanded) -> Running:
        return self._device.power_on(on_answer)


@dataclass
class Ladder:
    """The fence that is tested, built by `fence`, and what it has said."""

    loop: Loop
    rungs: list[tuple[FenceDevice, Rung]]
    own: frozenset[str] = frozenset()
    own_names: tuple[str, ...] = ()  # devices whose learned identity is this node's own
    learned: bytes = b""
    saved: list[bytes] = field(default_factory=list)
    events: list[PowerRead | PowerCommanded] = field(default_factory=list)
    readiness: list[bool] = field(default_factory=list)
    records: list[FenceRecord] = field(default_factory=list)
    poll_interval_ns: int = LONG_NS

    def fence(self) -> Fence:
        identities = Identities(self.learned, self.own, self.saved.append)
        for name in self.own_names:
            identities.own(identities.learned(name))
        return Fence(
            self.loop,
            [self._make(device, rung, identities) for device, rung in self.rungs],
            on_event=lambda event, now: self.events.append(event) if now else None,
            on_readiness=lambda ready, now: self.readiness.append(ready) if now else None,
            on_record=lambda record, now: self.records.append(record) if now else None,
        )

    def _make(self, device: FenceDevice, rung: Rung, identities: Identities) -> MakeLevel:
        def make(on_step: OnStep, on_ready: Callable[[int], None]) -> Level:
            return Level(
                self.loop,
                device,
                rung,
                identities,
                on_step=on_step,
                on_ready=on_ready,
                poll_interval_ns=self.poll_interval_ns,
            )

        return make

    def drive(self, count: int, timeout_s: float = 60) -> None:
        """Run until there are `count` events."""
        run_until(self.loop, lambda: len(self.events) >= count, f"{count} events", timeout_s)
        assert len(self.events) == count

    def said(self, count: int) -> bool:
        """Whether there are so many records."""
        return len(self.records) >= count

    @property
    def steps(self) -> list[tuple[int, str]]:
        """What was asked of which level, in the order of the answers."""
        return [(record.level, record.step.value) for record in self.records]

    @property
    def asked(self) -> list[tuple[int, str]]:
        """The steps without polls: a level that is out of reach is looked at again after two seconds."""
        return [(level, step) for level, step in self.steps if step != "poll"]


class Hole:
    """The silent port as a device, and the ipmitools that hang at it."""

    def __init__(self, loop: Loop, settings: Settings) -> None:
        self._loop = loop
        self.port = settings.port
        self.device = IpmiDevice(loop, settings)

    def await_hanging(self) -> None:
        """Wait until an ipmitool hangs there."""
        run_until(self._loop, lambda: len(ipmitools(self.port)) == 1, "a hanging ipmitool")

    def assert_no_orphan(self) -> None:
        """Nothing hangs there any more; by itself an ipmitool would give up after six seconds."""
        run_until(self._loop, lambda: not ipmitools(self.port), "no ipmitool left", timeout_s=3)
