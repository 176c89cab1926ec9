"""The watchdog against the driver's side of its interface, and when it is petted: never the machine's own."""

from __future__ import annotations

import errno
import os
import struct
from dataclasses import replace
from pathlib import Path

import pytest

from hblink.config import ConfigError, parse
from hblink.core.event import Event, GuardChanged
from hblink.core.state import initial
from hblink.core.value import Role, Settings
from hblink.daemon.context import Context
from hblink.daemon.guard import Guard
from hblink.guard.reset import reset_machine
from hblink.guard.watchdog import (
    WDIOC_GETSUPPORT,
    WDIOC_GETTIMEOUT,
    WDIOC_KEEPALIVE,
    WDIOC_SETTIMEOUT,
    Watchdog,
    WatchdogError,
)
from hblink.loop import Loop
from tests.unit.sample import GOOD

SECOND = 1_000_000_000


class Driver:
    """The driver's side: it counts in steps of `grain` seconds, and may refuse."""

    def __init__(self, options: int = 0x8180, grain: int = 1) -> None:
        self.options = options
        self.grain = grain
        self.timeout = 60
        self.pets = 0
        self.refuses: set[int] = set()
        self.identity = b"a rig's watchdog"

    def ioctl(self, _fd: int, request: int, argument: bytearray) -> int:
        if request in self.refuses:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        if request == WDIOC_GETSUPPORT:
            argument[:] = struct.pack("=II32s", self.options, 0, self.identity)
        elif request == WDIOC_SETTIMEOUT:
            (asked,) = struct.unpack("=i", argument)
            self.timeout = -(-asked // self.grain) * self.grain
        elif request == WDIOC_GETTIMEOUT:
            argument[:] = struct.pack("=i", self.timeout)
        elif request == WDIOC_KEEPALIVE:
            self.pets += 1
        else:
            raise OSError(errno.ENOTTY, os.strerror(errno.ENOTTY))
        return 0


@pytest.fixture
def device(tmp_path: Path) -> Path:
    path = tmp_path / "watchdog0"
    path.touch()
    (tmp_path / "sys/class/watchdog/watchdog0").mkdir(parents=True)
    (tmp_path / "sys/class/watchdog/watchdog0/nowayout").write_text("0\n")
    return path


def arm(device: Path, driver: Driver, timeout_ns: int = 10 * SECOND) -> Watchdog:
    return Watchdog(device, timeout_ns, driver.ioctl, device.parent / "sys")


def test_the_timeout_is_what_the_driver_says_and_not_what_was_asked_for(device: Path) -> None:
    report = arm(device, Driver(grain=16)).report
    assert (report.identity, report.timeout_ns, report.can_stop) == ("a rig's watchdog", 16 * SECOND, True)


def test_a_driver_without_a_settable_timeout_keeps_its_own(device: Path) -> None:
    assert arm(device, Driver(options=0x8100)).report.timeout_ns == 60 * SECOND


def test_the_magic_character_is_written_on_a_clean_stop_only(device: Path) -> None:
    watchdog = arm(device, Driver())
    watchdog.pet()
    assert device.read_bytes() == b""
    assert watchdog.disarm()
    assert device.read_bytes() == b"V"


def test_a_watchdog_that_is_left_stays_armed(device: Path) -> None:
    arm(device, Driver()).abandon()
    assert device.read_bytes() == b""


@pytest.mark.parametrize("nowayout", ["1\n", None])
def test_nowayout_is_respected_and_unknown_counts_as_yes(device: Path, nowayout: str | None) -> None:
    path = device.parent / "sys/class/watchdog/watchdog0/nowayout"
    path.unlink() if nowayout is None else path.write_text(nowayout)
    assert not arm(device, Driver()).report.can_stop


def test_a_device_that_is_not_there_is_a_coded_reason(tmp_path: Path) -> None:
    with pytest.raises(WatchdogError, match="load the driver") as caught:
        Watchdog(tmp_path / "watchdog9", 10 * SECOND)
    assert caught.value.reason == "watchdog_missing"


def test_a_driver_that_refuses_is_a_coded_reason_and_is_let_go(device: Path) -> None:
    driver = Driver()
    driver.refuses.add(WDIOC_SETTIMEOUT)
    with pytest.raises(WatchdogError) as caught:
        arm(device, driver)
    assert caught.value.reason == "watchdog_refused"
    assert device.read_bytes() == b"V", "what could not be set up is stopped again"


def test_a_pet_that_is_refused_is_said(device: Path) -> None:
    driver = Driver()
    watchdog = arm(device, driver)
    driver.refuses.add(WDIOC_KEEPALIVE)
    with pytest.raises(WatchdogError):
        watchdog.pet()


def test_the_machine_is_reset_by_sysrq_and_by_reboot_if_that_returns(tmp_path: Path) -> None:
    trigger = tmp_path / "sysrq-trigger"
    trigger.touch()
    calls: list[bool] = []
    assert reset_machine(trigger, lambda: calls.append(True)) == ""
    assert trigger.read_bytes() == b"b"
    assert calls == [True]


def test_a_reset_that_fails_says_why(tmp_path: Path) -> None:
    def refuse() -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    complaint = reset_machine(tmp_path / "none" / "trigger", refuse)
    assert "No such file" in complaint
    assert "reboot(2): Operation not permitted" in complaint


# Configuration


def test_a_watchdog_slower_than_the_fence_is_named(tmp_path: Path) -> None:
    config = parse(GOOD + '\n[guard]\nwatchdog = "/dev/watchdog0"\ntimeout_ms = 30000\n', tmp_path)
    assert any(warning.path == "guard.timeout_ms" for warning in config.warnings)
    assert config.guard.timeout_ns == 30 * SECOND


@pytest.mark.parametrize("watchdog", ["", 'watchdog = "/dev/watchdog0"\ntimeout_ms = 2000\n'])
def test_a_reset_slower_than_the_fence_is_named_with_a_watchdog_or_without(tmp_path: Path, watchdog: str) -> None:
    for reset_ms, warned in ((60_000, ["guard.self_reset_ms"]), (10_000, [])):
        config = parse(f"{GOOD}\n[guard]\n{watchdog}self_reset_ms = {reset_ms}\n", tmp_path)
        assert [warning.path for warning in config.warnings] == warned


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ('watchdog = "watchdog0"', "guard.watchdog"),
        ('watchdog = "/dev/watchdog0"\ntimeout_ms = 1500', "guard.timeout_ms"),
        ("self_reset_ms = 10", "guard.self_reset_ms"),
        ("petting = 1", "guard.petting"),
    ],
)
def test_a_guard_that_cannot_be_is_named(tmp_path: Path, text: str, path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(f"{GOOD}\n[guard]\n{text}\n", tmp_path)
    assert path in {problem.path for problem in caught.value.problems}


# When it is petted


class Board:
    """A guard at work on a loop whose clock `run` moves, the driver's side of its watchdog, and the log it writes."""

    def __init__(self, device: Path) -> None:
        self.at = 1000 * SECOND
        self.loop = Loop(lambda: self.at)
        self.driver = Driver()
        self.events: list[Event] = []
        self.lines: list[str] = []
        self.state = initial(Settings(me=0, preferred=0))
        text = GOOD + '\n[guard]\nwatchdog = "/dev/watchdog0"\ntimeout_ms = 1000\n'
        context = Context(self.loop, parse(text, device.parent), 0, self.events.append, self._log)
        self.settings = Settings(me=0, preferred=0, lease_mode=True)
        self.guard = Guard(
            context, self.settings, lambda: self.state, open_watchdog=lambda _path, ns: arm(device, self.driver, ns)
        )

    def _log(self, _priority: object, message: str, _now: int, _kind: object = None, **_fields: object) -> None:
        self.lines.append(message)

    def run(self, duration_ns: int) -> None:
        end = self.at + duration_ns
        while self.at < end:
            self.at = min(end, self.at + SECOND // 100)
            self.loop.run_once(0)

    def become(self, role: Role) -> None:
        self.state = replace(self.state, role=role)
        self.guard.follow(self.state)

    def start(self) -> None:
        """Let the daemon start, and its clean start succeed."""
        self.guard.start()
        self.guard.follow(self.state)
        self.run(SECOND // 100)
        assert self.driver.pets == 0, "the device has been opened before the clean start"
        assert self.events == []
        self.become(Role.STANDBY)
        self.run(SECOND // 100)


def test_it_is_armed_told_and_petted_until_a_stop_fails(device: Path) -> None:
    board = Board(device)
    board.start()
    assert board.events == [GuardChanged(True, SECOND)]
    board.run(SECOND)
    petted = board.driver.pets
    assert petted >= 1
    board.become(Role.HALTED)
    board.run(SECOND)
    assert board.driver.pets == petted
    assert "a stop has failed: the watchdog is no longer petted" in board.lines
    board.guard.close()
    assert device.read_bytes() == b"", "the reset is wanted, also when the daemon is asked to end"


def test_what_a_killed_daemon_left_armed_is_not_begun_anew_by_one_whose_clean_start_fails(device: Path) -> None:
    board = Board(device)
    board.become(Role.HALTED)
    board.run(SECOND // 10)
    assert board.events == []
    board.become(Role.STANDBY)
    board.run(SECOND // 10)
    assert board.events == [GuardChanged(True, SECOND)], "as soon as nothing runs any more"


def test_a_stop_that_outlives_the_lease_and_its_bound_is_not_petted_for(device: Path) -> None:
    board = Board(device)
    board.start()
    now = board.loop.now()
    ended_at = now - board.settings.stop_bound_ns + SECOND // 2  # a pause has used it up before the stop began
    board.state = replace(board.state, role=Role.YIELDING, lease_ended_at=ended_at)
    board.run(3 * SECOND // 2)
    petted = board.driver.pets
    board.run(SECOND)
    assert board.driver.pets == petted
    board.state = replace(board.state, lease_ended_at=None)
    board.run(SECOND)
    assert board.driver.pets > petted, "a stop without a lease has its whole bound"


def test_a_service_that_runs_past_its_lease_is_not_petted_for(device: Path) -> None:
    board = Board(device)
    board.start()
    now = board.loop.now()
    heard = replace(board.state.peer, fresh_at=now)
    board.state = replace(board.state, role=Role.ACTIVE, promise_ns=12 * SECOND, peer=heard)
    board.run(SECOND)
    petted = board.driver.pets
    assert petted >= 1, "the lease has not ended"
    board.state = replace(board.state, peer=replace(heard, fresh_at=now - board.settings.lease_ns))
    board.run(SECOND)
    assert board.driver.pets == petted
    assert "the service runs past its lease: the watchdog is no longer petted" in board.lines
    board.state = replace(board.state, peer_spent=True)
    board.run(SECOND)
    assert board.driver.pets > petted, "a peer that was read OFF ends the lease"


def test_a_watchdog_that_cannot_be_petted_is_not_said_to_be_armed(device: Path) -> None:
    board = Board(device)
    board.start()
    board.driver.refuses.add(WDIOC_KEEPALIVE)
    board.run(SECOND // 2)
    assert board.events[1:2] == [GuardChanged(armed=False)]
    board.driver.refuses.clear()
    board.run(SECOND // 2)
    assert board.events[-1] == GuardChanged(True, SECOND)


def test_a_timer_of_the_kernel_itself_is_none_to_rely_on(device: Path) -> None:
    board = Board(device)
    board.driver.identity = b"Software Watchdog"
    board.start()
    assert board.events == [GuardChanged(armed=True, timeout_ns=None)]


def test_a_clean_end_stops_it(device: Path) -> None:
    board = Board(device)
    board.start()
    board.guard.close()
    assert device.read_bytes() == b"V"


def test_a_device_that_is_busy_is_said_once_and_tried_again(device: Path) -> None:
    board = Board(device)

    def busy(_path: Path, _timeout_ns: int) -> Watchdog:
        raise WatchdogError("watchdog_busy", "held by another program")

    board.guard = Guard(board.guard._context, board.settings, lambda: board.state, open_watchdog=busy)
    board.start()
    board.guard._arm()  # as its timer does after a while
    assert [line for line in board.lines if "no watchdog" in line] == ["no watchdog: held by another program"]
    assert board.guard.document()["reason"] == "watchdog_busy"
    assert board.events == []
