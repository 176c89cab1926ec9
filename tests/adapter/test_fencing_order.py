"""Whose turn it is at the fence device: polls give way or serve, commands never wait, each request has one answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from hblink.core.event import PowerCommanded, PowerRead
from hblink.core.value import Power
from hblink.fencing.device import FenceReason
from hblink.fencing.ipmi import IpmiDevice
from hblink.fencing.record import Readiness, Step
from hblink.loop import Loop
from tests.adapter.ladder import LONG_NS, Choice, Hole, Ladder, Rung
from tests.adapter.loopback_bmc import Bmc, silent_port
from tests.adapter.stage import run_until

SECOND = 1_000_000_000


class Stage(Ladder):
    """A ladder of one level, whose device can be made absent."""

    def __init__(self, loop: Loop, bmc: Bmc, hole: Hole) -> None:
        self.device = Choice(IpmiDevice(loop, bmc.settings), hole.device)
        self.hole = hole
        super().__init__(loop, [(self.device, Rung())])

    def hang(self) -> None:
        """Wait until an ipmitool hangs at the silent port, and let the next request go to the BMC."""
        self.hole.await_hanging()
        self.device.absent = False


@pytest.fixture
def stage(bmc: Bmc) -> Iterator[Stage]:
    loop = Loop()
    with silent_port(replace(bmc.settings, command_timeout_ns=LONG_NS)) as silent:
        yield Stage(loop, bmc, Hole(loop, silent))
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
    assert [(record.step, record.op_id) for record in stage.records] == [
        (Step.LOOK, 7),
        (Step.OFF, 7),
        (Step.READ, 8),
        (Step.READ, 9),
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
    stage.poll_interval_ns = SECOND // 50
    fence = stage.fence()
    fence.start()
    run_until(stage.loop, lambda: len(stage.records) == 3, "three polls")
    assert {record.step for record in stage.records} == {Step.POLL}
    assert stage.readiness == [True]
    assert bmc.commands == []
    fence.close()


@pytest.mark.parametrize("request_name", ["on", "read"])
def test_a_poll_gives_way_at_once(stage: Stage, bmc: Bmc, request_name: str) -> None:
    fence = stage.fence()
    stage.device.absent = True
    fence.start()
    stage.hang()
    getattr(fence, request_name)(1)
    stage.drive(1)
    assert stage.events == [PowerCommanded(1, True) if request_name == "on" else PowerRead(1, Power.ON)]
    assert bmc.commands == (["set 1"] if request_name == "on" else [])
    stage.hole.assert_no_orphan()
    run_until(stage.loop, lambda: len(stage.records) == 2, "the end of the poll")
    assert {(record.step, record.reason) for record in stage.records} >= {(Step.POLL, FenceReason.CANCELLED)}
    assert stage.readiness == [True], "a poll that was killed says nothing of the device"


def test_a_poll_under_way_serves_as_the_look_before_the_shot(stage: Stage, bmc: Bmc) -> None:
    fence = stage.fence()
    fence.start()
    fence.off(1)
    stage.drive(1)
    assert stage.events == [PowerCommanded(1, True)]
    assert bmc.requests.count("get") == 1, "one look, not two"
    assert stage.steps == [(0, "look"), (0, "off")]


def test_a_look_that_fails_sends_no_command(stage: Stage, bmc: Bmc) -> None:
    fence = stage.fence()
    (bmc.directory / "broken").touch()
    fence.off(1)
    stage.drive(1)
    assert stage.events == [PowerCommanded(1, False)]
    assert (bmc.commands, stage.steps) == ([], [(0, "look")])


def test_a_node_that_hiccups_before_the_shot_decides_anew(stage: Stage, bmc: Bmc) -> None:
    """I6: the look has been sent, the `off` has not; after it has left, the hiccup changes nothing."""
    fence = stage.fence()
    fence.off(1)
    fence.suspend()
    stage.drive(1)
    run_until(stage.loop, lambda: stage.records, "the end of the look")
    assert stage.events == [PowerCommanded(1, False)]
    assert bmc.commands == []
    fence.off(2)
    run_until(stage.loop, lambda: (0, "look") in stage.steps[1:], "the look of the second")
    fence.suspend()
    stage.drive(2)
    assert stage.events[1] == PowerCommanded(2, True)


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
    stage.hole.assert_no_orphan()


def test_a_command_never_waits_behind_another(stage: Stage, bmc: Bmc) -> None:
    fence = stage.fence()
    stage.device.absent = True
    fence.on(1)
    stage.hang()
    fence.off(2)
    stage.drive(1)
    assert stage.events == [PowerCommanded(2, False)]
    assert (stage.records[0].step, stage.records[0].reason) == (Step.OFF, FenceReason.BUSY)
    assert bmc.commands == []
    fence.close()
    stage.hole.assert_no_orphan()


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
    fence.end_attempt()
    stage.drive(1)
    assert stage.events == [PowerCommanded(1, False)]
    stage.hole.assert_no_orphan()
    assert bmc.commands == []
    fence.read(2)
    fence.end_attempt()
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
    stage.poll_interval_ns = SECOND // 100
    fence = stage.fence()
    stage.device.absent = True
    fence.off(1)
    stage.hang()
    fence.read(2)
    fence.close()
    stage.hole.assert_no_orphan()
    assert not fence.poll()
    run_until(stage.loop, lambda: stage.loop._next_deadline() is None, "no timer left")
    assert stage.events == []
    assert stage.readiness == []
