"""Whom a shot reaches: the board that answers at that moment, whatever was told at that address before (I9)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from hblink.core.value import MS, SECOND, Power
from hblink.fencing.device import (
    Commanded,
    FenceReason,
    Inspection,
    OnCommanded,
    OnInspection,
    OnReading,
    OnSerial,
    Refused,
    SerialNumber,
)
from hblink.fencing.identity import Identities, Identity
from hblink.fencing.level import Level
from hblink.loop import Loop
from tests.adapter.ladder import Rung

GUID, OTHER_GUID = "12" * 16, "34" * 16
OK = FenceReason.OK


@dataclass
class Address:
    """An address at which one board answers now and another later; an inventory may tell nothing, or have no end."""

    clock: int = 0
    guid: str | None = GUID
    serial: str | None = "PEER"
    inventory: FenceReason = OK
    look_ns: int = 100 * MS
    shots: list[str | None] = field(default_factory=list)  # the serial numbers of the boards that carried out `off`

    def __post_init__(self) -> None:
        self.loop = Loop(clock=lambda: self.clock, stall_limit_ns=1000 * SECOND)

    def inspect(self, on_answer: OnInspection) -> Refused:
        found = Inspection(Power.ON, OK, "", self.look_ns, self.guid)
        self.loop.call_at(self.clock + self.look_ns, lambda now: on_answer(found, now))
        return Refused()

    def read_serial(self, on_answer: OnSerial) -> Refused:
        told = SerialNumber(self.serial if self.inventory is OK else None, self.inventory, SECOND)
        self.loop.call_at(self.clock + SECOND, lambda now: on_answer(told, now))
        return Refused()

    def power_off(self, on_answer: OnCommanded) -> Refused:
        self.shots.append(self.serial)
        self.loop.call_at(self.clock, lambda now: on_answer(Commanded(True, OK, "", 0), now))
        return Refused()

    def read_power(self, on_answer: OnReading) -> Refused:
        raise AssertionError(f"nobody wants a reading here: {on_answer}")

    def power_on(self, on_answer: OnCommanded) -> Refused:
        raise AssertionError(f"nobody wants it on: {on_answer}")


class Range:
    """A level at that address, beside this node's own board, which has told who it is."""

    def __init__(self, own: Identity, serial: str | None = None) -> None:
        self.address = Address(guid=own.guid)
        self.answers: list[Commanded] = []
        identities = Identities(b"", (), lambda _content: None)
        identities.own(own)
        self.level = Level(
            self.address.loop,
            self.address,
            Rung(serial=serial),
            identities,
            on_step=lambda _step, _answer, _now: None,
            on_ready=lambda _now: None,
        )

    def run(self, seconds: int) -> None:
        end = self.address.clock + seconds * SECOND
        while self.address.clock < end:
            self.address.loop.run_once(0)
            self.address.clock += 50 * MS

    def shoot(self) -> Commanded:
        self.level.shoot(lambda answer, _now: self.answers.append(answer))
        self.run(30)
        (answer,) = self.answers
        return answer


@pytest.fixture(params=[GUID, None], ids=["one GUID for both boards", "boards without a GUID"])
def known(request: pytest.FixtureRequest) -> Iterator[Range]:
    """Give a level whose board has been looked at once and is known by its serial number alone."""
    known = Range(Identity(request.param, "MINE"))
    known.level.poll()
    known.run(10)
    assert (known.level.readiness.ready, known.level.readiness.serial) == (True, "PEER")
    yield known
    known.level.close()


@pytest.mark.parametrize("inventory", [OK, FenceReason.TIMED_OUT, FenceReason.BAD_ANSWER], ids=lambda each: each.value)
@pytest.mark.parametrize("look_ns", [100 * MS, 8 * SECOND])
def test_the_board_that_answers_now_is_asked_who_it_is(known: Range, inventory: FenceReason, look_ns: int) -> None:
    known.address.inventory = inventory  # once, which is no reason to go without it
    known.run(70)
    known.address.inventory, known.address.look_ns = OK, look_ns
    assert known.shoot().accepted
    assert known.address.shots == ["PEER"]


@pytest.mark.parametrize("inventory", [OK, FenceReason.TIMED_OUT, FenceReason.BAD_ANSWER], ids=lambda each: each.value)
@pytest.mark.parametrize("look_ns", [100 * MS, 8 * SECOND])
def test_an_address_that_has_come_to_be_ones_own_is_not_shot_for_what_it_told_before(
    known: Range, inventory: FenceReason, look_ns: int
) -> None:
    known.address.inventory = inventory
    known.run(70)
    known.address.serial, known.address.look_ns = "MINE", look_ns
    refused = known.shoot()
    assert (refused.accepted, refused.reason) in {(False, FenceReason.OWN_DEVICE), (False, FenceReason.WRONG_DEVICE)}
    assert known.address.shots == []


def test_an_inventory_that_tells_none_now_lets_nothing_be_shot_for_what_it_told_before(known: Range) -> None:
    known.address.serial = None
    known.run(70)
    refused = known.shoot()
    assert refused.reason in {FenceReason.OWN_DEVICE, FenceReason.WRONG_DEVICE}
    assert known.address.shots == []


def test_a_guid_of_its_own_is_enough() -> None:
    known = Range(Identity(GUID, "MINE"))
    known.address.guid, known.address.inventory = OTHER_GUID, FenceReason.TIMED_OUT
    assert known.shoot().accepted
    known.level.close()


def test_a_board_that_never_told_who_it_is_can_be_shot() -> None:
    known = Range(Identity(None, "MINE"))
    known.address.serial = None
    known.level.poll()
    known.run(10)
    assert known.shoot().accepted
    known.level.close()
