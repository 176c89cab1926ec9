"""The alarm of a fence device that does not work any more: not for one lost answer, over with the first good one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from hblink.core.value import SECOND
from hblink.daemon.notice import Complaint
from hblink.daemon.readiness import GRACE_NS, ReadinessWatch
from hblink.fencing.device import FenceReason
from hblink.fencing.record import Readiness

SILENT = FenceReason.UNREACHABLE


class Bench:
    """Levels that answer what the test says, and the complaints that stand; `told` is each time that one was raised."""

    def __init__(self, count: int) -> None:
        self.levels: list[Any] = [
            SimpleNamespace(settings=SimpleNamespace(name=f"bmc{index}"), readiness=Readiness(True, 0))
            for index in range(1, count + 1)
        ]
        self.stands: dict[Complaint, str] = {}
        self.told: list[Complaint] = []
        self.watch = ReadinessWatch(self)  # type: ignore[arg-type]

    def complain(self, complaint: Complaint, detail: str, _now: int) -> None:
        if self.stands.get(complaint) != detail:
            self.told.append(complaint)
        self.stands[complaint] = detail

    def settle(self, complaint: Complaint, _now: int) -> None:
        self.stands.pop(complaint, None)

    def answer(self, level: int, at: int, reason: FenceReason = FenceReason.OK) -> None:
        self.levels[level].readiness = Readiness(reason is FenceReason.OK, at, reason=reason)
        self.watch.look(self.levels, at)


def test_one_lost_answer_is_nobodys_alarm_and_two_in_a_hurry_are_one() -> None:
    bench = Bench(1)
    bench.answer(0, 0, SILENT)
    bench.answer(0, 2 * SECOND, SILENT)
    bench.watch.look(bench.levels, 60 * SECOND)  # something else was answered, of this level nothing
    bench.answer(0, 61 * SECOND)
    bench.answer(0, 90 * SECOND, SILENT)
    assert bench.told == []


def test_a_device_that_stays_away_is_an_alarm_that_is_told_once_and_ends_with_the_first_good_answer() -> None:
    bench = Bench(1)
    bench.answer(0, 0, SILENT)
    bench.answer(0, GRACE_NS, SILENT)
    assert bench.stands == {Complaint.FENCE_NOT_READY: "level 1 bmc1: unreachable"}
    bench.answer(0, 2 * GRACE_NS, FenceReason.TIMED_OUT)  # another word for it is no news
    assert bench.told == [Complaint.FENCE_NOT_READY]
    bench.answer(0, 3 * GRACE_NS)
    assert bench.stands == {}


def test_one_dead_level_of_two_is_an_alarm_of_its_own() -> None:
    bench = Bench(2)
    for at in (0, GRACE_NS):
        bench.answer(0, at, SILENT)
    assert bench.stands == {Complaint.FENCE_LEVEL_NOT_READY: "level 1 bmc1: unreachable"}
    for at in (GRACE_NS, 2 * GRACE_NS):
        bench.answer(1, at, FenceReason.WRONG_PASSWORD)
    assert bench.stands == {Complaint.FENCE_NOT_READY: "level 1 bmc1: unreachable; level 2 bmc2: wrong_password"}
    bench.answer(0, 3 * GRACE_NS)
    assert bench.stands == {Complaint.FENCE_LEVEL_NOT_READY: "level 2 bmc2: wrong_password"}


def test_of_a_device_that_lied_the_decision_s_own_alarm_tells() -> None:
    bench = Bench(2)
    for at in (0, GRACE_NS):
        bench.answer(0, at, FenceReason.LIED)
    assert bench.told == []
    for at in (0, GRACE_NS):
        bench.answer(1, at, SILENT)
    assert bench.stands == {Complaint.FENCE_NOT_READY: "level 2 bmc2: unreachable"}, "the other one does not count"
