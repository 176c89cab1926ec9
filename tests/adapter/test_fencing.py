"""Fencing with real ipmitool processes against a real ipmi_sim on loopback, and against a port where nobody answers."""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hblink.core.value import Power
from hblink.fencing.device import Commanded, FenceReason, Reading
from hblink.fencing.ipmi import PASSWORD_LIMIT, IpmiDevice, judge
from hblink.fencing.password import PasswordError, read_password
from hblink.loop import Loop
from hblink.process import Finished
from tests.adapter.loopback_bmc import CHASSIS, PASSWORD, Bmc, Settings, ipmitools, silent_port
from tests.adapter.stage import Clock, run_until

SECOND = 1_000_000_000


@pytest.fixture
def silent(bmc: Bmc) -> Iterator[Settings]:
    with silent_port(bmc.settings) as settings:
        yield settings


def reading(loop: Loop, settings: Settings) -> Reading:
    answers: list[Reading] = []
    IpmiDevice(loop, settings).read_power(lambda answer, now: answers.append(answer) if now else None)
    assert answers == [], "answered within the request"
    run_until(loop, lambda: answers, "the answer")
    return answers[0]


def commanded(loop: Loop, settings: Settings, verb: str) -> Commanded:
    answers: list[Commanded] = []
    device = IpmiDevice(loop, settings)
    request = device.power_off if verb == "off" else device.power_on
    request(lambda answer, now: answers.append(answer) if now else None)
    run_until(loop, lambda: answers, "the answer")
    return answers[0]


# --- one BMC ---


def test_status_off_status_on(loop: Loop, bmc: Bmc) -> None:
    first = reading(loop, bmc.settings)
    assert (first.power, first.reason) == (Power.ON, FenceReason.OK)
    assert first.elapsed_ns > 0
    off = commanded(loop, bmc.settings, "off")
    assert (off.accepted, off.reason) == (True, FenceReason.OK)
    assert bmc.power == "0"
    assert reading(loop, bmc.settings).power is Power.OFF
    assert commanded(loop, bmc.settings, "on").accepted
    assert reading(loop, bmc.settings).power is Power.ON
    assert bmc.commands == ["set 0", "set 1"]


def test_failures_are_told_apart(loop: Loop, bmc: Bmc, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("not-the-password")
    wrong.chmod(0o600)
    shared = tmp_path / "shared"
    shared.write_text(PASSWORD)
    shared.chmod(0o640)
    cases = {
        FenceReason.WRONG_PASSWORD: replace(bmc.settings, password_file=wrong),
        FenceReason.WRONG_USER: replace(bmc.settings, user="nobody"),
        FenceReason.WRONG_CIPHER: replace(bmc.settings, cipher_suite=17),
        FenceReason.UNREADABLE_PASSWORD: replace(bmc.settings, password_file=shared),
    }
    for reason, settings in cases.items():
        answer = reading(loop, settings)
        assert (answer.power, answer.reason) == (Power.UNKNOWN, reason), answer
        assert answer.detail
        assert PASSWORD not in answer.detail
    assert commanded(loop, cases[FenceReason.WRONG_PASSWORD], "off").reason is FenceReason.WRONG_PASSWORD
    assert bmc.commands == []


def test_low_privilege_reads_but_does_not_switch(loop: Loop, bmc: Bmc) -> None:
    user = replace(bmc.settings, privilege="USER")
    assert reading(loop, user).power is Power.ON
    answer = commanded(loop, user, "off")
    assert (answer.accepted, answer.reason) == (False, FenceReason.LOW_PRIVILEGE)
    assert bmc.power == "1"


def test_a_chassis_that_fails_is_unknown_and_not_accepted(loop: Loop, bmc: Bmc) -> None:
    (bmc.directory / "broken").touch()
    answer = reading(loop, bmc.settings)
    assert (answer.power, answer.reason) == (Power.UNKNOWN, FenceReason.BAD_ANSWER)
    assert not commanded(loop, bmc.settings, "off").accepted
    assert bmc.power == "1"


def test_nobody_there_is_unreachable_at_the_deadline_and_leaves_no_process(loop: Loop, silent: Settings) -> None:
    answer = reading(loop, replace(silent, command_timeout_ns=SECOND // 2))
    assert (answer.power, answer.reason) == (Power.UNKNOWN, FenceReason.UNREACHABLE)
    assert answer.elapsed_ns >= SECOND // 2
    run_until(loop, lambda: not ipmitools(silent.port), "the answer")


def test_a_bmc_that_stops_in_mid_session_times_out(loop: Loop, clock: Clock, bmc: Bmc) -> None:
    """Frozen while the chassis is asked: the session stands, the answer does not come."""
    (bmc.directory / "chassis").write_text(f"#!/bin/sh\nkill -STOP {bmc.process.pid}\n")
    answers: list[Reading] = []

    def stands_still() -> bool:
        return Path(f"/proc/{bmc.process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"

    try:
        IpmiDevice(loop, bmc.settings).read_power(lambda answer, now: answers.append(answer) if now else None)
        run_until(loop, stands_still, "the BMC to stand still")
        assert answers == []
        clock.leap(bmc.settings.command_timeout_ns)
        run_until(loop, lambda: answers, "the answer")
    finally:
        (bmc.directory / "chassis").write_text(CHASSIS.format(directory=bmc.directory))
        os.kill(bmc.process.pid, signal.SIGCONT)
    assert (answers[0].power, answers[0].reason) == (Power.UNKNOWN, FenceReason.TIMED_OUT), answers


def test_without_ipmitool(loop: Loop, bmc: Bmc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hblink.process.PATH", "/nonexistent")
    assert shutil.which("ipmitool") is not None
    assert reading(loop, bmc.settings).reason is FenceReason.NO_PROGRAM


def test_password_is_in_no_argument_and_no_environment(loop: Loop, silent: Settings) -> None:
    answers: list[Reading] = []
    running = IpmiDevice(loop, silent).read_power(lambda answer, now: answers.append(answer) if now else None)
    run_until(loop, lambda: ipmitools(silent.port), "the answer")
    (pid,) = ipmitools(silent.port)
    for name in ("cmdline", "environ"):
        content = Path(f"/proc/{pid}/{name}").read_bytes()
        assert content
        assert PASSWORD.encode() not in content
    assert os.getsid(pid) == pid
    running.kill()
    run_until(loop, lambda: answers, "the answer")
    assert answers[0].reason is FenceReason.CANCELLED
    run_until(loop, lambda: not ipmitools(silent.port), "the answer")


def test_password_file_is_read_afresh_and_its_mode_is_judged(tmp_path: Path) -> None:
    path = tmp_path / "password"
    with pytest.raises(PasswordError, match="No such file"):
        read_password(path, PASSWORD_LIMIT)
    for content, words in ((b"", "1 to 20 bytes"), (b"x" * 21, "1 to 20 bytes"), (b"a\0b", "NUL")):
        path.write_bytes(content)
        path.chmod(0o600)
        with pytest.raises(PasswordError, match=words):
            read_password(path, PASSWORD_LIMIT)
    path.write_bytes(b" with spaces \r\nsecond line\n")
    assert read_password(path, PASSWORD_LIMIT) == b" with spaces "
    path.chmod(0o400)
    assert read_password(path, PASSWORD_LIMIT) == b" with spaces "
    for mode in (0o640, 0o604, 0o620):
        path.chmod(mode)
        with pytest.raises(PasswordError, match="0600"):
            read_password(path, PASSWORD_LIMIT)
    with pytest.raises(PasswordError, match="not a regular file"):
        read_password(tmp_path, PASSWORD_LIMIT)


@pytest.mark.parametrize(
    ("finished", "reason"),
    [
        (Finished(0, stdout=b"Chassis Power is off\n"), FenceReason.OK),
        (Finished(1, stdout=b"Chassis Power is off\n"), FenceReason.BAD_ANSWER),
        (Finished(0, stdout=b"Chassis Power is off\n", timed_out=True), FenceReason.TIMED_OUT),
        (Finished(0, stdout=b"Chassis Power is off\n", killed=True), FenceReason.CANCELLED),
        (Finished(0, stdout=b"Chassis Power is off\nChassis Power is on\n"), FenceReason.BAD_ANSWER),
        (Finished(0, stdout=b"Chassis Power is offline\n"), FenceReason.BAD_ANSWER),
        (Finished(0), FenceReason.BAD_ANSWER),
        (Finished(signal=9), FenceReason.BAD_ANSWER),
        (Finished(error="its exit status was taken"), FenceReason.NO_PROGRAM),
        (Finished(timed_out=True, stderr=b"Loading IANA PEN Registry...\n"), FenceReason.UNREACHABLE),
        (Finished(1, stderr=b"Address lookup for nowhere failed\nCould not open socket!\n"), FenceReason.UNREACHABLE),
        (Finished(1, stderr=b"> Error: no response from RAKP 1 message\n"), FenceReason.UNREACHABLE),
        (
            Finished(1, stderr=b"RAKP 2 message indicates an error : unauthorized role requested\n"),
            FenceReason.LOW_PRIVILEGE,
        ),
        (Finished(1, stderr=b"Set Session Privilege Level to OPERATOR failed: Unknown\n"), FenceReason.LOW_PRIVILEGE),
        (Finished(1, stderr=b"Set Session Privilege Level to OPERATOR failed\n"), FenceReason.TIMED_OUT),
        (
            Finished(1, stderr=b"RAKP 2 message indicates an error : insufficient resources for session\n"),
            FenceReason.NO_SESSION,
        ),
        (
            Finished(1, stderr=b"RAKP 4 message indicates an error : invalid integrity check value\n"),
            FenceReason.WRONG_PASSWORD,
        ),
        (
            Finished(1, stderr=b"Error in open session response message : no matching cipher suite\n"),
            FenceReason.WRONG_CIPHER,
        ),
        (
            Finished(1, stderr=b"Invalid completion code received: Insufficient privilege level\n"),
            FenceReason.BAD_ANSWER,
        ),
    ],
)
def test_only_a_good_status_with_a_good_text_is_an_answer(finished: Finished, reason: FenceReason) -> None:
    outcome = judge(finished, re.compile(r"^Chassis Power is (on|off)$", re.MULTILINE))
    assert outcome.reason is reason
    assert (outcome.said == "off") is (reason is FenceReason.OK)
    assert not outcome.detail.startswith(">"), "the mark of ipmitool -v is nobody's word"
