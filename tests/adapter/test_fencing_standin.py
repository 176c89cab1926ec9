"""Fencing against the rig's own BMC, driven by the real ipmitool: suite 17, sessions, privilege, sloth, death, loss."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from hblink.core.event import PowerCommanded, PowerRead
from hblink.core.value import SECOND, Power
from hblink.fencing.device import FenceReason, Inspection
from hblink.fencing.ipmi import IpmiDevice
from hblink.fencing.record import FenceWarning
from hblink.loop import Loop
from tests.adapter.ladder import LONG_NS, Ladder, Rung
from tests.adapter.loopback_bmc import Settings, ipmitools
from tests.adapter.stage import Clock, run_until
from tests.rig.rmcp import USER
from tests.rig.standin import StandIn, standin

GUID = "00112233445566778899aabbccddeeff"


@pytest.fixture
def bmc() -> Iterator[StandIn]:
    with standin(GUID) as bmc:
        yield bmc


@pytest.fixture
def settings(bmc: StandIn, tmp_path: Path) -> Settings:
    return Settings(bmc.port, bmc.password_file(tmp_path), cipher_suite=17)


def look(loop: Loop, settings: Settings) -> Inspection:
    answers: list[Inspection] = []
    IpmiDevice(loop, settings).inspect(lambda answer, now: answers.append(answer) if now else None)
    run_until(loop, lambda: answers, "the look")
    return answers[0]


def ladder(loop: Loop, settings: Settings, rung: Rung | None = None) -> Ladder:
    return Ladder(loop, [(IpmiDevice(loop, settings), rung or Rung(command_timeout_ns=settings.command_timeout_ns))])


@pytest.mark.parametrize("suite", [17, 3])
def test_off_read_twice_and_on(loop: Loop, bmc: StandIn, settings: Settings, suite: int) -> None:
    stage = ladder(loop, replace(settings, cipher_suite=suite))
    fence = stage.fence()
    fence.off(1)
    stage.drive(1)
    for op_id in (2, 3):
        fence.read(op_id)
        stage.drive(op_id)
    assert stage.events == [PowerCommanded(1, True), PowerRead(2, Power.OFF), PowerRead(3, Power.OFF)]
    fence.on(4)
    stage.drive(4)
    assert bmc.on
    assert bmc.commands == ["off", "on"], "never cycle or reset"
    assert (bmc.sessions.opened, bmc.sessions.closed, bmc.sessions.open) == (5, 5, {}), "no slot is leaked"


def test_one_session_for_a_whole_look(loop: Loop, bmc: StandIn, settings: Settings) -> None:
    answer = look(loop, settings)
    assert (answer.power, answer.guid, answer.policy) == (Power.ON, GUID, "previous")
    assert (bmc.asked, bmc.sessions.opened, bmc.sessions.closed) == (["guid", "status"], 1, 1)


def test_a_board_without_an_identity_or_a_policy_is_an_answer_with_a_warning(
    loop: Loop, bmc: StandIn, settings: Settings
) -> None:
    bmc.no_guid, bmc.policy = True, "unknown"
    answer = look(loop, settings)
    assert (answer.reason, answer.power, answer.guid, answer.policy) == (FenceReason.OK, Power.ON, None, None)
    stage = ladder(loop, settings)
    fence = stage.fence()
    fence.start()
    run_until(loop, lambda: stage.records, "a poll")
    assert fence.readiness.warnings == (FenceWarning.NO_IDENTITY,)
    assert stage.saved == []
    bmc.no_guid = False
    bmc.busy = True
    assert look(loop, settings).reason is FenceReason.BAD_ANSWER, "busy is not: has none"
    bmc.busy = False
    for nobody in ("0" * 32, "f" * 32):
        bmc.guid = nobody
        assert look(loop, settings).guid is None


def test_every_session_taken(loop: Loop, bmc: StandIn, settings: Settings) -> None:
    bmc.sessions.limit = 0
    assert look(loop, settings).reason is FenceReason.NO_SESSION
    bmc.sessions.limit = 1
    assert look(loop, settings).reason is FenceReason.OK


def test_polls_leak_no_session_and_a_killed_one_costs_its_slot_until_it_times_out(
    loop: Loop, bmc: StandIn, settings: Settings
) -> None:
    bmc.sessions.limit = 1
    stage = ladder(loop, settings)
    fence = stage.fence()
    for count in range(1, 6):
        assert fence.poll()
        run_until(loop, partial(stage.said, count), "a poll")
    assert {record.reason for record in stage.records} == {FenceReason.OK}
    assert bmc.sessions.open == {}
    bmc.delay_s = 0.1
    running = IpmiDevice(loop, settings).inspect(lambda _answer, _now: None)
    run_until(loop, lambda: bmc.sessions.open, "a session")
    running.kill()
    bmc.delay_s = 0.0
    assert look(loop, settings).reason is FenceReason.NO_SESSION
    bmc.sessions.open.clear()  # as its timeout does
    assert look(loop, settings).reason is FenceReason.OK


def test_low_privilege_is_known_before_it_is_needed(loop: Loop, bmc: StandIn, settings: Settings) -> None:
    bmc.sessions.account.privilege = USER
    stage = ladder(loop, settings)
    fence = stage.fence()
    fence.start()
    run_until(loop, lambda: stage.records, "a poll")
    assert (stage.readiness, fence.readiness.reason) == ([False], FenceReason.LOW_PRIVILEGE)
    assert bmc.commands == []


def test_a_wrong_password_and_a_suite_that_is_refused(loop: Loop, bmc: StandIn, settings: Settings) -> None:
    bmc.sessions.account.password = b"another"
    assert look(loop, settings).reason is FenceReason.WRONG_PASSWORD
    bmc.sessions.account.password = bmc.password.encode()
    bmc.sessions.suites = (3,)
    assert look(loop, settings).reason is FenceReason.WRONG_CIPHER
    assert look(loop, replace(settings, cipher_suite=3)).reason is FenceReason.OK
    assert look(loop, replace(settings, cipher_suite=3, user="nobody")).reason is FenceReason.WRONG_USER
    assert bmc.commands == []


def test_a_slow_bmc_is_named_slow_and_then_too_slow(loop: Loop, clock: Clock, bmc: StandIn, settings: Settings) -> None:
    bmc.delay_s = 0.1  # an exchange; a look takes about ten
    stage = ladder(loop, settings, Rung(command_timeout_ns=SECOND))
    fence = stage.fence()
    fence.poll()
    run_until(loop, lambda: stage.records, "a poll")
    assert (fence.readiness.ready, fence.readiness.warnings) == (True, (FenceWarning.SLOW,))
    bmc.asked.clear()
    assert fence.poll()
    run_until(loop, lambda: bmc.asked, "a question in a session")
    clock.leap(settings.command_timeout_ns)
    run_until(loop, partial(stage.said, 2), "the end of the poll")
    assert stage.records[1].reason is FenceReason.TIMED_OUT


def test_a_bmc_that_dies_in_the_middle_of_off(loop: Loop, clock: Clock, bmc: StandIn, settings: Settings) -> None:
    bmc.dies_on = "off"
    stage = ladder(loop, settings)
    fence = stage.fence()
    fence.off(1)
    run_until(loop, lambda: "off" in bmc.asked, "off to have left")
    assert stage.events == []
    clock.leap(settings.command_timeout_ns)
    stage.drive(1)
    assert stage.events == [PowerCommanded(1, False)]
    assert stage.records[-1].reason is FenceReason.TIMED_OUT
    assert stage.records[-1].detail.startswith("killed after "), "it costs its deadline, not 60 s"
    run_until(loop, lambda: not ipmitools(bmc.port), "no orphan")
    assert set(bmc.commands) == {"off"}


@pytest.mark.parametrize(("fault", "told"), [("stuck", Power.ON), ("lies", Power.OFF)])
def test_power_is_told_as_the_device_tells_it(
    loop: Loop, bmc: StandIn, settings: Settings, fault: str, told: Power
) -> None:
    """A stuck machine reads ON, which grants nothing; a lie is told as it is: only the peer's next frame exposes it."""
    setattr(bmc, fault, True)
    stage = ladder(loop, settings)
    fence = stage.fence()
    fence.off(1)
    stage.drive(1)
    fence.read(2)
    stage.drive(2)
    assert stage.events == [PowerCommanded(1, True), PowerRead(2, told)]
    assert bmc.on


def test_a_level_that_takes_its_time_is_waited_for(loop: Loop, bmc: StandIn, settings: Settings) -> None:
    bmc.stuck = True  # for the time being
    with standin("f" * 31 + "0") as second:
        other = Settings(second.port, settings.password_file, cipher_suite=17)
        one = (IpmiDevice(loop, settings), Rung("one", attempt_ns=LONG_NS))
        stage = Ladder(loop, [one, (IpmiDevice(loop, other), Rung("two"))])
        fence = stage.fence()
        fence.off(1)
        run_until(loop, lambda: stage.steps.count((0, "verify")) >= 2, "two readings of it")
        assert stage.events == []
        bmc.on = False
        stage.drive(1)
        assert stage.events == [PowerCommanded(1, True)]
        assert second.asked == []


def test_a_storm_with_three_of_ten_datagrams_lost(loop: Loop, tmp_path: Path) -> None:
    """Six ladders at once, each datagram lost with a chance of 0.3 in either direction.

    Hardly a session gets through. What is told stays true all the same, every request has one answer by its deadline,
    nothing stays behind, and when the storm is over each device obeys at once. How late the loop's timers are meanwhile
    is measured by tests/bench/storm.py.
    """
    with contextlib.ExitStack() as stack:
        machines = [stack.enter_context(standin(f"{index:032x}", seed=index)) for index in range(1, 7)]
        stages = []
        for bmc in machines:
            bmc.loss, bmc.sessions.limit = 0.3, 64
            quick = Settings(bmc.port, bmc.password_file(tmp_path), cipher_suite=17, command_timeout_ns=10 * SECOND)
            stages.append(ladder(loop, quick))
        fences = [stage.fence() for stage in stages]
        for fence in fences:
            fence.start()
            fence.off(1)
        run_until(loop, lambda: all(len(stage.events) == 1 for stage in stages), "an answer to each off")
        for fence in fences:
            fence.read(2)
        run_until(loop, lambda: all(len(stage.events) == 2 for stage in stages), "an answer to each reading")
        for bmc, stage in zip(machines, stages, strict=True):
            assert stage.events[1] != PowerRead(2, Power.OFF) or not bmc.on, "OFF was told of a machine that is on"
            assert stage.events[0] != PowerCommanded(1, True) or "off" in bmc.commands
            assert all(record.elapsed_ns < 11 * SECOND or "killed after" in record.detail for record in stage.records)
            assert bmc.dropped > 0
            bmc.loss = 0.0
        for fence in fences:
            fence.off(3)
        run_until(loop, lambda: all(len(stage.events) == 3 for stage in stages), "an answer to each off")
        assert {stage.events[2] for stage in stages} == {PowerCommanded(3, True)}
        assert not any(bmc.on for bmc in machines)
        assert {verb for bmc in machines for verb in bmc.commands} == {"off"}
        for fence in fences:
            fence.close()
        run_until(loop, lambda: not any(ipmitools(bmc.port) for bmc in machines), "no orphan")
