"""The serial number of a BMC beside its GUID: learned and compared with a real ipmi_sim, slow or broken on our own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from hblink.core.event import PowerCommanded
from hblink.core.value import MS, SECOND, Power
from hblink.fencing.device import FenceReason, SerialNumber
from hblink.fencing.fence import Fence
from hblink.fencing.ipmi import IpmiDevice
from hblink.fencing.record import FenceWarning, Step
from hblink.loop import Loop
from tests.adapter.ladder import Ladder, Rung
from tests.adapter.loopback_bmc import GUID, Bmc, Settings, ipmitools, loopback_bmc
from tests.adapter.stage import Clock, run_until
from tests.rig.fru import inventory
from tests.rig.standin import StandIn, standin

SLOW_S = 0.25  # each part of the inventory; all of it takes eight


def poll(ladder: Ladder, fence: Fence) -> None:
    """Look at the levels once."""
    count = len(ladder.records)
    assert fence.poll()
    run_until(ladder.loop, lambda: len(ladder.records) > count, "a poll")


def serial(loop: Loop, settings: Settings) -> SerialNumber:
    answers: list[SerialNumber] = []
    IpmiDevice(loop, settings).read_serial(lambda answer, now: answers.append(answer) if now else None)
    assert answers == [], "answered within the request"
    run_until(loop, lambda: answers, "the serial number")
    return answers[0]


# --- a real ipmi_sim ---


@pytest.fixture(scope="module")
def boards(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Bmc]]:
    """Three boards to which their maker gave the same GUID; the third has no inventory."""
    with (
        loopback_bmc(tmp_path_factory.mktemp("one"), fru=inventory(product="BOX-1", board="BOARD-1")) as one,
        loopback_bmc(tmp_path_factory.mktemp("two"), fru=inventory(product="BOX-2", board="BOARD-2")) as two,
        loopback_bmc(tmp_path_factory.mktemp("bare")) as bare,
    ):
        yield {"one": one, "two": two, "bare": bare}


@pytest.fixture(autouse=True)
def switched_on(request: pytest.FixtureRequest) -> None:
    if "boards" in request.fixturenames:
        for bmc in request.getfixturevalue("boards").values():
            bmc.reset()


def of(loop: Loop, bmc: Bmc, rung: Rung | None = None, learned: bytes = b"") -> Ladder:
    return Ladder(loop, [(IpmiDevice(loop, bmc.settings), rung or Rung())], learned=learned)


def test_it_is_learned_with_the_guid_and_another_one_is_never_shot(loop: Loop, boards: dict[str, Bmc]) -> None:
    ladder = of(loop, boards["one"])
    fence = ladder.fence()
    poll(ladder, fence)
    assert (fence.readiness.guid, fence.readiness.serial, ladder.readiness) == (GUID, "BOX-1", [True])
    assert json.loads(ladder.saved[-1]) == {"guid": {"bmc": GUID}, "serial": {"bmc": "BOX-1"}}
    changed = of(loop, boards["two"], learned=ladder.saved[-1])
    fence = changed.fence()
    poll(changed, fence)
    assert (fence.readiness.reason, fence.readiness.serial) == (FenceReason.WRONG_DEVICE, "BOX-2")
    assert fence.readiness.detail == "serial number BOX-2, expected BOX-1"
    fence.off(1)
    changed.drive(1)
    assert changed.events == [PowerCommanded(1, False)]
    assert (changed.steps, changed.records[-1].reason) == ([(0, "poll"), (0, "look")], FenceReason.WRONG_DEVICE)
    assert (boards["two"].commands, changed.saved, changed.readiness) == ([], [], [False])
    assert fence.levels[0].forget()
    poll(changed, fence)
    assert (changed.readiness, json.loads(changed.saved[-1])["serial"]) == ([False, True], {"bmc": "BOX-2"})


def test_a_board_without_an_inventory_is_judged_by_its_guid(loop: Loop, boards: dict[str, Bmc]) -> None:
    assert serial(loop, boards["bare"].settings) == SerialNumber(None, FenceReason.OK, pytest.approx(0, abs=5 * SECOND))
    learned = json.dumps({"guid": {"bmc": GUID}, "serial": {"bmc": "BOX-1"}}).encode()
    ladder = of(loop, boards["bare"], learned=learned)
    fence = ladder.fence()
    poll(ladder, fence)
    assert (fence.readiness.reason, fence.readiness.serial) == (FenceReason.OK, None)
    assert FenceWarning.NO_IDENTITY not in fence.readiness.warnings
    fence.off(1)
    ladder.drive(1)
    assert ladder.events == [PowerCommanded(1, True)]


def test_a_configured_serial_number_needs_no_learning(loop: Loop, boards: dict[str, Bmc]) -> None:
    for name, reason, warned in (
        ("one", FenceReason.OK, False),
        ("two", FenceReason.WRONG_DEVICE, False),
        ("bare", FenceReason.OK, True),
    ):
        ladder = of(loop, boards[name], Rung(guid=GUID, serial="BOX-1"))
        fence = ladder.fence()
        poll(ladder, fence)
        assert (fence.readiness.reason, ladder.saved) == (reason, [])
        assert (FenceWarning.NO_IDENTITY in fence.readiness.warnings) is warned


def test_ones_own_board_is_not_the_one_of_the_peer_that_has_its_guid(loop: Loop, boards: dict[str, Bmc]) -> None:
    learned = json.dumps({"guid": {"own": GUID}, "serial": {"own": "BOX-1"}}).encode()
    for name, reason in (("one", FenceReason.OWN_DEVICE), ("two", FenceReason.OK), ("bare", FenceReason.OWN_DEVICE)):
        ladder = of(loop, boards[name], learned=learned)
        ladder.own_names = ("own",)
        fence = ladder.fence()
        fence.off(1)
        ladder.drive(1)
        assert (fence.readiness.reason is FenceReason.OWN_DEVICE) is (reason is FenceReason.OWN_DEVICE)
        assert ladder.events == [PowerCommanded(1, reason is FenceReason.OK)]
        assert boards[name].commands == (["set 0"] if reason is FenceReason.OK else [])


# --- the rig's own ---


@pytest.fixture
def bmc() -> Iterator[StandIn]:
    with standin("00112233445566778899aabbccddeeff") as bmc:
        bmc.fru = inventory(product="BOX-1", board="BOARD-1", chassis="CASE")
        yield bmc


@pytest.fixture
def settings(bmc: StandIn, tmp_path: Path) -> Settings:
    return Settings(bmc.port, bmc.password_file(tmp_path), cipher_suite=17)


@pytest.fixture
def ladder(loop: Loop, settings: Settings) -> Ladder:
    return Ladder(loop, [(IpmiDevice(loop, settings), Rung())])


def quick(loop: Loop, settings: Settings, timeout_ns: int) -> Ladder:
    """A ladder whose device has no more time than this for anything."""
    device = IpmiDevice(loop, replace(settings, command_timeout_ns=timeout_ns))
    return Ladder(loop, [(device, Rung(command_timeout_ns=timeout_ns))])


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow this machine is, an ipmitool that is interrupted closes its session before it is killed."""
    monkeypatch.setattr("hblink.process.INTERRUPT_GRACE_NS", 60 * SECOND)


def begin_reading(bmc: StandIn, ladder: Ladder, fence: Fence) -> None:
    """Begin a poll, and come so far that the inventory is being read."""
    bmc.fru_delay_s = SLOW_S
    assert fence.poll()
    run_until(ladder.loop, lambda: "fru" in bmc.asked, "the inventory to be read")


@pytest.mark.parametrize(
    ("fru", "told"),
    [
        (inventory(product="BOX-1", board="BOARD-1", chassis="CASE"), "BOX-1"),
        (inventory(product="Not Specified", board="BOARD-1", chassis="CASE"), "BOARD-1"),
        (inventory(product="          ", board="0123456789", chassis="CASE"), "CASE"),
        (inventory(product="0000000000", board="To be filled by O.E.M."), None),
        (inventory(), None),
        (b"\0" * 64, None),
        (b"\xff" * 64, None),
        (inventory(product="BOX-1")[:20], None),
        (b"", None),
    ],
)
def test_what_says_nothing_is_none(
    loop: Loop, bmc: StandIn, ladder: Ladder, settings: Settings, fru: bytes, told: str | None
) -> None:
    bmc.fru = fru
    answer = serial(loop, settings)
    assert (answer.serial, answer.reason) == (told, FenceReason.OK)
    fence = ladder.fence()
    poll(ladder, fence)
    assert (fence.readiness.ready, fence.readiness.serial) == (True, told)


def test_an_inventory_of_which_an_area_cannot_be_read(loop: Loop, bmc: StandIn, settings: Settings) -> None:
    """The board's serial number is not taken for the machine's."""
    bmc.fru = inventory(product="BOX-1" * 4, board="BOARD-1")
    bmc.fru_bad_at = 8 * bmc.fru[4]  # where the area of the product begins
    assert serial(loop, settings).serial is None
    bmc.fru_bad_at = None
    assert serial(loop, settings).serial == "BOX-1" * 4


def test_a_shot_reads_no_inventory_and_does_not_clear_what_a_poll_has_found(bmc: StandIn, ladder: Ladder) -> None:
    fence = ladder.fence()
    poll(ladder, fence)
    bmc.fru = inventory(product="BOX-2")
    bmc.asked.clear()
    fence.off(1)
    ladder.drive(1)
    assert (ladder.events, bmc.asked) == ([PowerCommanded(1, True)], ["guid", "status", "off"])
    fence.on(2)
    ladder.drive(2)
    poll(ladder, fence)
    assert fence.readiness.reason is FenceReason.WRONG_DEVICE
    bmc.asked.clear()
    fence.off(3)
    ladder.drive(3)
    assert ladder.events[2] == PowerCommanded(3, False)
    assert bmc.asked == ["guid", "status"], "looked at by its GUID, and refused by the serial number known"
    bmc.fru = b""
    poll(ladder, fence)
    assert fence.readiness.reason is FenceReason.WRONG_DEVICE, "nor does a look that finds none"
    bmc.fru = inventory(product="BOX-1")
    poll(ladder, fence)
    assert fence.readiness.ready


@pytest.mark.usefixtures("patience")
def test_a_shot_ends_the_reading_of_an_inventory_and_keeps_no_slot(bmc: StandIn, ladder: Ladder) -> None:
    bmc.sessions.limit = 1
    fence = ladder.fence()
    begin_reading(bmc, ladder, fence)
    fence.off(1)
    ladder.drive(1)
    assert ladder.events == [PowerCommanded(1, True)]
    assert ladder.steps == [(0, "look"), (0, "off")]
    assert bmc.asked.count("status") == 1, "one look, not two"
    assert bmc.sessions.open == {}
    assert fence.readiness.serial is None, "the reading has not come to its end"


@pytest.mark.usefixtures("patience")
@pytest.mark.parametrize("request_name", ["on", "read"])
def test_so_does_a_reading_of_the_core_and_its_on(loop: Loop, bmc: StandIn, ladder: Ladder, request_name: str) -> None:
    fence = ladder.fence()
    begin_reading(bmc, ladder, fence)
    getattr(fence, request_name)(1)
    ladder.drive(1)
    run_until(loop, lambda: len(ladder.records) == 2, "the end of the poll")
    assert {(record.step, record.reason) for record in ladder.records} >= {(Step.POLL, FenceReason.CANCELLED)}
    run_until(loop, lambda: not bmc.sessions.open, "no slot kept")
    assert bmc.commands == (["on"] if request_name == "on" else [])


def test_close_ends_it(loop: Loop, bmc: StandIn, ladder: Ladder) -> None:
    fence = ladder.fence()
    begin_reading(bmc, ladder, fence)
    fence.close()
    run_until(loop, lambda: not ipmitools(bmc.port), "no orphan")
    assert (ladder.records, ladder.saved) == ([], [])


@pytest.mark.parametrize("fault", ["slow", "silent"])
def test_a_device_that_comes_to_no_end_of_it_is_ready_and_not_asked_for_it_again(
    loop: Loop, clock: Clock, bmc: StandIn, settings: Settings, fault: str
) -> None:
    timeout_ns = 60 * SECOND
    ladder = quick(loop, settings, timeout_ns)
    fence = ladder.fence()
    bmc.fru_delay_s, bmc.fru_silent = SLOW_S if fault == "slow" else 0.0, fault == "silent"
    assert fence.poll()
    run_until(loop, lambda: "fru" in bmc.asked, "the inventory to be read")
    assert ladder.records == []
    clock.leap(timeout_ns // 2)  # the look and the inventory together take no longer than the look may
    run_until(loop, lambda: ladder.records, "the end of the poll")
    assert (fence.readiness.ready, fence.readiness.serial, fence.readiness.warnings) == (True, None, ())
    assert fence.readiness.elapsed_ns < timeout_ns // 2, "it is not the time that a shot takes"
    bmc.asked.clear()
    poll(ladder, fence)
    assert (bmc.asked, fence.readiness.ready) == (["guid", "status"], True)
    bmc.fru_delay_s, bmc.fru_silent = 0.0, False
    fence.levels[0].forget()
    poll(ladder, fence)
    assert fence.readiness.serial == "BOX-1"


@pytest.mark.parametrize("fru", [bytes(range(1, 250)), b"\1" * 200])
def test_an_inventory_that_ipmitool_cannot_cope_with_keeps_no_device_from_being_ready(
    loop: Loop, bmc: StandIn, settings: Settings, fru: bytes
) -> None:
    """Some versions read such a thing without end, or die of it."""
    bmc.fru = fru
    ladder = quick(loop, settings, 20 * SECOND)
    fence = ladder.fence()
    poll(ladder, fence)
    assert fence.readiness.ready
    run_until(loop, lambda: not ipmitools(bmc.port), "no orphan")


def test_a_board_without_a_guid_is_known_by_its_serial_number_which_is_read_before_the_shot(
    bmc: StandIn, ladder: Ladder
) -> None:
    bmc.no_guid = True
    fence = ladder.fence()
    poll(ladder, fence)
    assert (fence.readiness.guid, fence.readiness.serial, fence.readiness.warnings) == (None, "BOX-1", ())
    fence.off(1)
    ladder.drive(1)
    assert (ladder.events, "fru" in bmc.asked) == ([PowerCommanded(1, True)], True)
    fence.on(2)
    ladder.drive(2)
    bmc.fru = inventory(product="BOX-2")
    fence.off(3)
    ladder.drive(3)
    assert ladder.events[2] == PowerCommanded(3, False)
    assert (fence.readiness.reason, bmc.commands) == (FenceReason.WRONG_DEVICE, ["off", "on"])
    assert fence.readiness.detail == "serial number BOX-2, expected BOX-1"


def test_neither_guid_nor_serial_number_costs_a_shot_nothing(bmc: StandIn, ladder: Ladder) -> None:
    bmc.no_guid, bmc.fru = True, inventory()
    fence = ladder.fence()
    poll(ladder, fence)
    assert fence.readiness.warnings == (FenceWarning.NO_IDENTITY,)
    bmc.asked.clear()
    fence.off(1)
    ladder.drive(1)
    assert (ladder.events, bmc.asked) == ([PowerCommanded(1, True)], ["guid", "status", "off"])


@pytest.mark.usefixtures("patience")
def test_a_look_that_is_given_up_while_the_inventory_is_read_sends_no_command(
    loop: Loop, bmc: StandIn, ladder: Ladder
) -> None:
    """I6: the node has hiccuped, or the attempt is over; what was found by then allows no shot."""
    bmc.no_guid, bmc.fru_delay_s = True, SLOW_S
    fence = ladder.fence()
    for op_id, give_up in ((1, fence.suspend), (2, fence.end_attempt)):
        bmc.asked.clear()
        fence.off(op_id)
        run_until(loop, lambda: "fru" in bmc.asked, "the inventory to be read")
        give_up()
        ladder.drive(op_id)
        run_until(loop, partial(ladder.said, op_id), "the end of the look")
    assert ladder.events == [PowerCommanded(1, False), PowerCommanded(2, False)]
    assert {record.reason for record in ladder.records} == {FenceReason.CANCELLED}
    assert bmc.commands == []
    assert bmc.sessions.open == {}


def test_a_device_that_takes_long_for_its_power_state_is_not_asked_for_more(
    loop: Loop, bmc: StandIn, settings: Settings
) -> None:
    bmc.delay_s = 0.1  # an exchange; a look takes about ten
    ladder = Ladder(loop, [(IpmiDevice(loop, settings), Rung(command_timeout_ns=SECOND))])
    fence = ladder.fence()
    poll(ladder, fence)
    assert (fence.readiness.power, fence.readiness.warnings) == (Power.ON, (FenceWarning.SLOW,))
    assert "fru" not in bmc.asked
    assert fence.readiness.elapsed_ns > 500 * MS
