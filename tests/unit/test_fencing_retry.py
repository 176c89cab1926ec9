"""How soon a fence device is looked at again, under a clock that the test moves and answers that it chooses."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from hblink.core.value import MS, SECOND, Power
from hblink.fencing.device import (
    FenceReason,
    Inspection,
    OnCommanded,
    OnInspection,
    OnReading,
    OnSerial,
    Refused,
    SerialNumber,
)
from hblink.fencing.identity import Identities
from hblink.fencing.level import Level
from hblink.loop import Loop
from tests.adapter.ladder import Rung

SILENT, OK = FenceReason.UNREACHABLE, FenceReason.OK


class Device:
    """Answers each look with the next reason, the last one for ever; notes when it was looked at.

    So it does with the serial numbers, if there are any.
    """

    def __init__(
        self, loop: Loop, reasons: Iterable[FenceReason], serials: Iterable[tuple[str | None, FenceReason]] = ()
    ) -> None:
        self.loop, self.reasons, self.serials = loop, list(reasons), list(serials)
        self.looked: list[int] = []
        self.asked: list[int] = []

    def inspect(self, on_answer: OnInspection) -> Refused:
        reason = self.reasons.pop(0) if len(self.reasons) > 1 else self.reasons[0]
        power = Power.ON if reason is OK else Power.UNKNOWN
        self.looked.append(self.loop.now() // SECOND)
        self.loop.call_at(self.loop.now(), lambda now: on_answer(Inspection(power, reason, "", 0), now))
        return Refused()

    def read_serial(self, on_answer: OnSerial) -> Refused:
        serial, reason = self.serials.pop(0) if len(self.serials) > 1 else self.serials[0]
        self.asked.append(self.loop.now() // SECOND)
        self.loop.call_at(self.loop.now(), lambda now: on_answer(SerialNumber(serial, reason, 0), now))
        return Refused()

    def read_power(self, on_answer: OnReading) -> Refused:
        raise AssertionError(f"nobody wants a reading here: {on_answer}")

    def power_off(self, on_answer: OnCommanded) -> Refused:
        raise AssertionError(f"nobody wants it off: {on_answer}")

    def power_on(self, on_answer: OnCommanded) -> Refused:
        raise AssertionError(f"nobody wants it on: {on_answer}")


def polled(
    *reasons: FenceReason,
    serials: Iterable[tuple[str | None, FenceReason]] = (),
    phase_ns: int = 0,
    seconds: int = 200,
) -> Device:
    """Return the device after so many seconds; it was looked at first at 0."""
    clock = [0]
    loop = Loop(clock=lambda: clock[0], stall_limit_ns=1000 * SECOND)
    device = Device(loop, reasons, serials)
    level = Level(
        loop,
        device,
        Rung(tells_identity=bool(device.serials)),
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
    return device


def looks(*reasons: FenceReason, phase_ns: int = 0) -> list[int]:
    """Return the seconds at which the device was looked at, the first at 0."""
    return polled(*reasons, phase_ns=phase_ns).looked


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


def test_a_serial_number_is_asked_for_at_each_look_and_after_one_that_came_to_no_end_an_hour_later() -> None:
    for reason in (FenceReason.TIMED_OUT, FenceReason.BAD_ANSWER):
        device = polled(OK, serials=((None, reason), ("S-1", OK)), seconds=3800)
        assert device.asked[0] == 0
        assert 3600 <= device.asked[1] <= 3700
        assert len(device.looked) > 60
    device = polled(OK, serials=((None, OK), (None, FenceReason.UNREACHABLE), ("S-1", OK)))
    assert device.asked == device.looked
    assert len(device.asked) > 3


def test_a_device_that_does_not_answer_is_not_asked_for_its_serial_number() -> None:
    device = polled(SILENT, serials=(("S-1", OK),))
    assert (device.asked, len(device.looked) > 3) == ([], True)
