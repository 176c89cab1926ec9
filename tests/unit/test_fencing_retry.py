"""How soon a fence device is looked at again, under a clock that the test moves and answers that it chooses."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from hblink.core.value import MS, SECOND, Power
from hblink.fencing.device import FenceReason, Inspection, OnCommanded, OnInspection, OnReading, Refused
from hblink.fencing.identity import Identities
from hblink.fencing.level import Level
from hblink.loop import Loop
from tests.adapter.ladder import Rung

SILENT, OK = FenceReason.UNREACHABLE, FenceReason.OK


class Device:
    """Answers each look with the next reason, the last one for ever; notes when it was looked at."""

    def __init__(self, loop: Loop, reasons: Iterable[FenceReason]) -> None:
        self.loop, self.reasons = loop, list(reasons)
        self.looked: list[int] = []

    def inspect(self, on_answer: OnInspection) -> Refused:
        reason = self.reasons.pop(0) if len(self.reasons) > 1 else self.reasons[0]
        power = Power.ON if reason is OK else Power.UNKNOWN
        self.looked.append(self.loop.now() // SECOND)
        self.loop.call_at(self.loop.now(), lambda now: on_answer(Inspection(power, reason, "", 0), now))
        return Refused()

    def read_power(self, on_answer: OnReading) -> Refused:
        raise AssertionError(f"nobody wants a reading here: {on_answer}")

    def power_off(self, on_answer: OnCommanded) -> Refused:
        raise AssertionError(f"nobody wants it off: {on_answer}")

    def power_on(self, on_answer: OnCommanded) -> Refused:
        raise AssertionError(f"nobody wants it on: {on_answer}")


def looks(*reasons: FenceReason, phase_ns: int = 0, seconds: int = 200) -> list[int]:
    """Return the seconds at which the device was looked at, the first at 0."""
    clock = [0]
    loop = Loop(clock=lambda: clock[0], stall_limit_ns=1000 * SECOND)
    device = Device(loop, reasons)
    level = Level(
        loop,
        device,
        Rung(),
        Identities(b"", (), lambda _content: None),
        on_step=lambda _step, _answer, _now: None,
        on_ready=lambda _now: None,
        phase_ns=phase_ns,
    )
    level.poll()
    while clock[0] <= seconds * SECOND:
        loop.run_once(0)
        clock[0] += 500 * MS
    level.close()
    return device.looked


def test_a_device_that_is_out_of_reach_at_the_start_is_tried_sooner_and_then_at_ease() -> None:
    found = looks(SILENT)
    gaps = [late - soon for soon, late in itertools.pairwise(found)]
    assert [gap // 2 for gap in gaps[:4]] == [1, 2, 4, 8]
    assert all(30 <= gap <= 31 for gap in gaps[4:])
    assert len(gaps) > 6


def test_once_reached_it_is_never_hurried_again() -> None:
    found = looks(SILENT, OK, SILENT)
    assert found[1] - found[0] == 2
    gaps = [late - soon for soon, late in itertools.pairwise(found[1:])]
    assert 60 <= gaps[0] <= 61
    assert all(30 <= gap <= 31 for gap in gaps[1:])


def test_a_refusal_is_not_repeated_soon() -> None:
    for reason in (FenceReason.WRONG_PASSWORD, FenceReason.NO_SESSION, FenceReason.LOW_PRIVILEGE):
        found = looks(reason)
        assert 60 <= found[1] - found[0] <= 61
    found = looks(FenceReason.TIMED_OUT)
    assert 30 <= found[1] - found[0] <= 31


def test_the_phase_comes_once_after_the_quick_tries() -> None:
    found = looks(SILENT, OK, phase_ns=30 * SECOND)
    gaps = [late - soon for soon, late in itertools.pairwise(found)]
    assert gaps[0] == 2
    assert 90 <= gaps[1] <= 91
    assert 60 <= gaps[2] <= 61
