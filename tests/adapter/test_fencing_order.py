"""Whose turn it is at the fence device: polls give way, commands never wait, every request is answered once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import pytest

from hblink.core.event import PowerCommanded, PowerRead
from hblink.core.value import Power
from hblink.fencing.device import FenceReason, OnCommanded, OnReading, Running
from hblink.fencing.fence import Fence, FenceRecord, Readiness, Request
from hblink.fencing.ipmi import IpmiDevice
from hblink.loop import Loop
from tests.adapter.loopback_bmc import Bmc, Settings, ipmitools, loopback_bmc, silent_port
from tests.adapter.stage import run_until

SECOND = 1_000_000_000
LONG_NS = 1000 * SECOND


class Choice:
    """A device that is the real BMC, or a silent port while `absent`: for requests that stay under way."""

    def __init__(self, present: IpmiDevice, silent: IpmiDevice) -> None:
        self._present, self._silent = present, silent
        self.absent = False

    @property
    def _device(self) -> IpmiDevice:
        return self._silent if self.absent else self._present

    def read_power(self, on_answer: OnReading) -> Running:
        return self._device.read_power(on_answer)

    def power_off(self, on_answer: OnCommanded) -> Running:
        return self._device.power_off(on_answer)

    def power_on(self, on_answer: OnCommanded) -> Running:
        return self._device.power_on(on_answer)


@dataclass
class Stage:
    """A fence with everything that it says."""

    loop: Loop
    device: Choice
    silent: Settings
    events: list[PowerRead | PowerCommanded] = field(default_factory=list)
    readiness: list[bool] = field(default_factory=list)
    records: list[FenceRecord] = field(default_factory=list)

    def fence(self, node: int = 0, poll_interval_ns: int = LONG_NS) -> Fence:
        return Fence(
            self.loop,
            self.device,
            node=node,
            on_event=lambda event, now: self.events.append(event) if now else None,
            on_readiness=lambda ready, now: self.readiness.append(ready) if now else None,
            on_record=lambda record, now: self.records.append(record) if now else None,
            poll_interval_ns=poll_interval_ns,
        )

    def drive(self, count: int) -> None:
        """Run until there are `count` events."""
        run_until(self.loop, lambda: len(self.events) >= count, f"{count} events", timeout_s=20)
        assert len(self.events) == count

    def hang(self) -> None:
        """Wait until an ipmitool hangs at the silent port, and let the next request go to the BMC."""
        run_until(self.loop, lambda: len(ipmitools(self.silent.port)) == 1, "a hanging ipmitool")
        self.device.absent = False

    def assert_no_orphan(self) -> None:
        run_until(self.loop, lambda: not ipmitools(self.silent.port), "no ipmitool left")


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bmc]:
    with loopback_bmc(tmp_path_factory.mktemp("bmc")) as bmc:
        yield bmc


@pytest.fixture
def bmc(simulator: Bmc) -> Bmc:
    simulator.reset()
    return simulator


@pytest.fixture
def stage(bmc: Bmc) -> Iterator[Stage]:
    loop = Loop()
    with silent_port(replace(bmc.settings, command_timeout_ns=LONG_NS)) as silent:
        yield Stage(loop, Choice(IpmiDevice(loop, bmc.settings), IpmiDevice(loop, silent)), silent)
        run_until(loop, lambda: not loop._selector.get_map(), "every child reaped")


def test_off_then_off_read_twice_and_where_the_time_went(stage: Stage, bmc: Bmc) -> None:
    fence = stage.fence()
    fence.off(7)
    assert stage.events == []
    stage.drive(1)
    fence.read(8)
    stage.drive(2)
    fence.read(9)
    stage.drive(3)
    assert stage.events == [PowerCommanded(7, True), PowerRead(8, Power.OFF), PowerRead(9, Power.OFF)]
    assert [(record.request, record.op_id) for record in stage.records] == [
        (Request.OFF, 7),
        (Request.READ, 8),
        (Request.READ, 9),
    ]
    assert fence.device_ns == sum(record.elapsed_ns for record in stage.records) > 0
    assert bmc.power == "0"
    fence.on(10)
    stage.drive(4)
    assert stage.events[3] == PowerCommanded(10, True)
    assert bmc.power == "1"


def test_readiness_is_learnt_from_the_first_poll_and_told_when_it_changes(stage: Stage, bmc: Bmc) -> None:
    fence = stage.fence()
    assert fence.readiness == Readiness()
    fence.start()
    assert not fence.poll()
    run_until(stage.loop, lambda: stage.readiness, "readiness")
    assert stage.readiness == [True]
    assert (fence.readiness.ready, fence.readiness.power) == (True, Power.ON)
    assert fence.poll()
    run_until(stage.loop, lambda: len(stage.records) == 2, "a second poll")
    (bmc.directory / "broken").touch()
    fence.read(1)
    stage.drive(1)
    assert stage.events == [PowerRead(1, Power.UNKNOWN)]
    assert stage.readiness == [True, False]
    assert fence.readiness.reason is FenceReason.BAD_ANSWER
    assert fence.device_ns == stage.records[2].elapsed_ns, "polls are not the core's time"


def test_polls_go_on_by_themselves(stage: Stage, bmc: Bmc) -> None:
    fence = stage.fence(node=1, poll_interval_ns=SECOND // 50)
    fence.start()
    run_until(stage.loop, lambda: len(stage.records) == 3, "three polls")
    assert {record.request for record in stage.records} == {Request.POLL}
    assert stage.readiness == [True]
    assert bmc.commands == []
    fence.close()


@pytest.mark.parametrize("request_name", ["off", "read"])
def test_a_poll_gives_way_at_once(stage: Stage, bmc: Bmc, request_name: str) -> None:
    fence = stage.fence()
    stage.device.absent = True
    fence.start()
    stage.hang()
    getattr(fence, request_name)(1)
    stage.drive(1)
    assert stage.events == [PowerCommanded(1, True) if request_name == "off" else PowerRead(1, Power.ON)]
    assert bmc.power == ("0" if request_name == "off" else "1")
    stage.assert_no_orphan()
    assert {(record.request, record.reason) for record in stage.records} >= {(Request.POLL, FenceReason.CANCELLED)}
    assert stage.readiness == [True], "a poll that was killed says nothing of the device"


def test_off_ends_the_reading_under_way_and_the_one_that_waits(stage: Stage, bmc: Bmc) -> None:
    fence = stage.fence()
    stage.device.absent = True
    fence.read(1)
    stage.hang()
    fence.read(2)
    fence.off(3)
    stage.drive(3)
    assert set(stage.events) == {
        PowerRead(1, Power.UNKNOWN),
        PowerRead(2, Power.UNKNOWN),
        PowerCommanded(3, True),
    }
    assert bmc.commands == ["set 0"]
    stage.assert_no_orphan()


def test_a_command_never_waits_behind_another(stage: Stage, bmc: Bmc) -> None:
    fence = stage.fence()
    stage.device.absent = True
    fence.on(1)
    stage.hang()
    fence.off(2)
    stage.drive(1)
    assert stage.events == [PowerCommanded(2, False)]
    assert stage.records[0].reason is FenceReason.BUSY
    assert bmc.commands == []
    fence.close()
    stage.assert_no_orphan()


def test_a_reading_waits_for_the_command_and_the_newest_is_the_one_that_is_made(stage: Stage) -> None:
    fence = stage.fence()
    fence.off(1)
    fence.read(2)
    fence.read(3)
    stage.drive(3)
    assert stage.events == [PowerRead(2, Power.UNKNOWN), PowerCommanded(1, True), PowerRead(3, Power.OFF)]


def test_an_off_that_is_no_longer_wanted_is_withdrawn(stage: Stage, bmc: Bmc) -> None:
    fence = stage.fence()
    stage.device.absent = True
    fence.off(1)
    stage.hang()
    fence.withdraw_off()
    stage.drive(1)
    assert stage.events == [PowerCommanded(1, False)]
    stage.assert_no_orphan()
    assert bmc.commands == []
    fence.read(2)
    fence.withdraw_off()
    stage.drive(2)
    assert stage.events[1] == PowerRead(2, Power.ON), "a reading is not withdrawn"


def test_a_device_that_cannot_be_asked_answers_once_too(stage: Stage, bmc: Bmc) -> None:
    bmc.settings.password_file.chmod(0o644)
    try:
        fence = stage.fence()
        fence.start()
        fence.off(1)
        stage.drive(1)
        fence.read(2)
        stage.drive(2)
    finally:
        bmc.settings.password_file.chmod(0o600)
    assert stage.events == [PowerCommanded(1, False), PowerRead(2, Power.UNKNOWN)]
    assert fence.readiness.reason is FenceReason.UNREADABLE_PASSWORD
    assert stage.readiness == [False]


def test_close_kills_what_runs_and_says_no_more(stage: Stage) -> None:
    fence = stage.fence(poll_interval_ns=SECOND // 100)
    stage.device.absent = True
    fence.off(1)
    stage.hang()
    fence.read(2)
    fence.close()
    stage.assert_no_orphan()
    assert not fence.poll()
    run_until(stage.loop, lambda: stage.loop._next_deadline() is None, "no timer left")
    assert stage.events == []
    assert stage.readiness == []
