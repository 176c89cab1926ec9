"""Fence agents of Debian's fence-agents package over their standard interface, and what other programs may answer."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from hblink.core.event import PowerCommanded, PowerRead
from hblink.core.value import SECOND, Power
from hblink.fencing.agent import AgentDevice, judge_status
from hblink.fencing.device import Commanded, FenceReason, Reading
from hblink.fencing.ipmi import IpmiDevice
from hblink.loop import Loop
from hblink.process import Finished
from tests.adapter.agent import Agent, dummy
from tests.adapter.ladder import Ladder, Rung
from tests.adapter.loopback_bmc import PASSWORD, Bmc, ipmitools, silent_port
from tests.adapter.stage import run_until


def ipmilan(bmc: Bmc, **more: str) -> Agent:
    parameters = {"ip": "127.0.0.1", "ipport": str(bmc.port), "username": "fence", "lanplus": "1", "cipher": "3"}
    return Agent("fence_ipmilan", {**parameters, "power_wait": "0", **more}, {"password": bmc.settings.password_file})


def reading(loop: Loop, agent: Agent) -> Reading:
    answers: list[Reading] = []
    AgentDevice(loop, agent).read_power(lambda answer, now: answers.append(answer) if now else None)
    run_until(loop, lambda: answers, "the reading")
    return answers[0]


def commanded(loop: Loop, agent: Agent, verb: str) -> Commanded:
    answers: list[Commanded] = []
    device = AgentDevice(loop, agent)
    request = device.power_off if verb == "off" else device.power_on
    request(lambda answer, now: answers.append(answer) if now else None)
    run_until(loop, lambda: answers, "the answer")
    return answers[0]


def test_fence_ipmilan_against_a_bmc(loop: Loop, bmc: Bmc) -> None:
    agent = ipmilan(bmc)
    assert reading(loop, agent).power is Power.ON
    assert commanded(loop, agent, "off").accepted
    assert bmc.power == "0"
    assert reading(loop, agent).power is Power.OFF
    assert commanded(loop, agent, "on").accepted
    assert bmc.power == "1"


def test_fence_dummy_with_a_file(loop: Loop, tmp_path: Path) -> None:
    agent = dummy(tmp_path, "on")
    assert reading(loop, agent).power is Power.ON
    assert commanded(loop, agent, "off").accepted
    assert reading(loop, agent).power is Power.OFF


def test_an_agent_is_the_second_level_of_a_bmc_that_is_gone(loop: Loop, bmc: Bmc, tmp_path: Path) -> None:
    with silent_port(bmc.settings) as silent:
        dead = IpmiDevice(loop, type(silent)(silent.port, silent.password_file, command_timeout_ns=SECOND // 2))
        outlet = AgentDevice(loop, dummy(tmp_path, "on"))
        ladder = Ladder(loop, [(dead, Rung("bmc")), (outlet, Rung("outlet", tells_identity=False))])
        fence = ladder.fence()
        for op_id in (1, 2):
            fence.off(op_id)
            ladder.drive(op_id)
        for op_id in (3, 4):
            fence.read(op_id)
            ladder.drive(op_id)
    assert ladder.events == [
        PowerCommanded(1, False),
        PowerCommanded(2, True),
        PowerRead(3, Power.OFF),
        PowerRead(4, Power.OFF),
    ]
    assert (tmp_path / "outlet").read_text() == "off"
    assert fence.levels[1].readiness.warnings == (), "an agent is not blamed for having no GUID"


def test_a_wrong_password_and_a_parameter_that_the_agent_passes_over(loop: Loop, bmc: Bmc, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("not-the-password")
    wrong.chmod(0o600)
    answer = reading(loop, Agent("fence_ipmilan", ipmilan(bmc).parameters, {"password": wrong}))
    assert (answer.power, answer.reason) == (Power.UNKNOWN, FenceReason.BAD_ANSWER)
    wrong.chmod(0o644)
    answer = reading(loop, Agent("fence_ipmilan", ipmilan(bmc).parameters, {"password": wrong}))
    assert (answer.power, answer.reason) == (Power.UNKNOWN, FenceReason.UNREADABLE_PASSWORD)
    misspelt = ipmilan(bmc, plugg="3")
    assert reading(loop, misspelt).reason is FenceReason.BAD_PARAMETER
    ladder = Ladder(loop, [(AgentDevice(loop, misspelt), Rung("outlet"))])
    fence = ladder.fence()
    fence.off(1)
    ladder.drive(1)
    assert ladder.events == [PowerCommanded(1, False)], "it might switch another outlet"
    assert bmc.commands == []
    assert reading(loop, Agent("fence_none", {})).reason is FenceReason.NO_PROGRAM


def children(pid: int) -> list[int]:
    """Every living process of the session that `pid` leads."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = path.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(words[3]) == pid and words[0] != "Z":
            found.append(int(path.parent.name))
    return found


def test_an_agent_that_is_killed_half_way_leaves_no_orphan(loop: Loop, bmc: Bmc) -> None:
    """fence_ipmilan waits for its ipmitool, which waits for nobody: both are of one group, and both must go."""
    with silent_port(bmc.settings) as silent:
        answers: list[Commanded] = []
        agent = ipmilan(bmc, ipport=str(silent.port))
        running = AgentDevice(loop, agent).power_off(lambda answer, now: answers.append(answer) if now else None)
        leader = getattr(running, "pid", None)
        assert leader is not None
        run_until(loop, lambda: ipmitools(silent.port), "the agent's ipmitool")  # for which the agent waits
        group = children(leader)
        assert len(group) >= 2
        assert {os.getpgid(pid) for pid in group} == {leader}
        running.kill()
        run_until(loop, lambda: answers, "the answer")
        assert (answers[0].accepted, answers[0].reason) == (False, FenceReason.CANCELLED)
        run_until(loop, lambda: not children(leader), "no orphan")


def test_an_agent_that_dies_takes_its_ipmitool_with_it(loop: Loop, bmc: Bmc) -> None:
    with silent_port(bmc.settings) as silent:
        answers: list[Commanded] = []
        agent = ipmilan(bmc, ipport=str(silent.port))
        running = AgentDevice(loop, agent).power_off(lambda answer, now: answers.append(answer) if now else None)
        leader = getattr(running, "pid", None)
        assert leader is not None
        run_until(loop, lambda: ipmitools(silent.port), "the agent's ipmitool")
        os.kill(leader, signal.SIGKILL)
        run_until(loop, lambda: answers, "the answer")
        assert (answers[0].accepted, answers[0].reason) == (False, FenceReason.BAD_ANSWER)
        run_until(loop, lambda: not ipmitools(silent.port), "no orphan")


def test_the_deadline_ends_the_whole_group(loop: Loop, bmc: Bmc) -> None:
    with silent_port(bmc.settings) as silent:
        agent = Agent(
            "fence_ipmilan",
            ipmilan(bmc, ipport=str(silent.port)).parameters,
            {"password": bmc.settings.password_file},
            command_timeout_ns=SECOND,
        )
        answer = commanded(loop, agent, "off")
        assert (answer.accepted, answer.reason) == (False, FenceReason.TIMED_OUT)
        assert answer.elapsed_ns >= SECOND
        assert answer.detail.startswith("killed after "), "not by the end of its own patience"
        assert PASSWORD not in answer.detail
        run_until(loop, lambda: not ipmitools(silent.port), "no orphan")


@pytest.mark.parametrize(
    ("finished", "power", "reason"),
    [
        (Finished(2, stdout=b"Status: OFF\n"), Power.OFF, FenceReason.OK),
        (Finished(0, stdout=b"Status: ON\n"), Power.ON, FenceReason.OK),
        # An interpreter without its script, and every program with a wrong option, exit with 2 as well.
        (Finished(2, stderr=b"python3: can't open file '/usr/sbin/fence_x'\n"), Power.UNKNOWN, FenceReason.BAD_ANSWER),
        (Finished(2, stdout=b"Status: ON\n"), Power.UNKNOWN, FenceReason.BAD_ANSWER),
        (Finished(0, stdout=b"Status: OFF\n"), Power.UNKNOWN, FenceReason.BAD_ANSWER),
        (Finished(2, stdout=b"Status: OFF\nStatus: ON\n"), Power.UNKNOWN, FenceReason.BAD_ANSWER),
        (Finished(1, stdout=b"Status: OFF\n"), Power.UNKNOWN, FenceReason.BAD_ANSWER),
        (Finished(3, stdout=b"Status: OFF\n"), Power.UNKNOWN, FenceReason.BAD_ANSWER),
        (Finished(signal=9, stdout=b"Status: OFF\n"), Power.UNKNOWN, FenceReason.BAD_ANSWER),
        (Finished(2, stdout=b"Status: OFF\n", killed=True), Power.UNKNOWN, FenceReason.CANCELLED),
        (Finished(2, stdout=b"Status: OFF\n", timed_out=True), Power.UNKNOWN, FenceReason.TIMED_OUT),
        (Finished(error="no such program"), Power.UNKNOWN, FenceReason.NO_PROGRAM),
        (
            Finished(2, stdout=b"Status: OFF\n", stderr=b"WARNING:root:Parse error: Ignoring unknown option 'x=1'\n"),
            Power.UNKNOWN,
            FenceReason.BAD_PARAMETER,
        ),
        (
            Finished(1, stderr=b"2026-01-01 ERROR: Unable to connect/login to fencing device\n"),
            Power.UNKNOWN,
            FenceReason.UNREACHABLE,
        ),
    ],
)
def test_off_needs_the_exit_status_and_the_words(finished: Finished, power: Power, reason: FenceReason) -> None:
    answer = judge_status(finished)
    assert (answer.power, answer.reason) == (power, reason)
