"""Whom a BMC is taken for: serial numbers out of inventories, what is learned, and which one is this node's own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hblink.fencing.device import FenceReason
from hblink.fencing.identity import Identities, Identity, smbios_guids, smbios_serials
from hblink.fencing.inventory import serial_of
from hblink.fencing.ipmi import serial_number
from hblink.process import Finished

ONE, TWO = "1" * 31 + "a", "2" * 31 + "b"
NOTHING = Identity()
OK, WRONG, OWN = FenceReason.OK, FenceReason.WRONG_DEVICE, FenceReason.OWN_DEVICE


def printed(**areas: str) -> str:
    """What ipmitool prints of an inventory with these serial numbers."""
    lines = {
        "chassis": [" Chassis Type          : Rack Mount Chassis", " Chassis Serial        : {}"],
        "board": [" Board Mfg Date        : Unspecified", " Board Serial          : {}", " Board Extra           : x"],
        "product": [" Product Name          : Box", " Product Serial        : {}", " Product Asset Tag     : 9"],
    }
    return "".join(f"{line}\n".format(serial) for area, serial in areas.items() for line in lines[area])


@pytest.mark.parametrize(
    ("stdout", "serial"),
    [
        (printed(chassis="C-1", board="B-1", product="P-1"), "P-1"),
        (printed(chassis="C-1", board="B-1"), "B-1"),
        (printed(chassis="C-1"), "C-1"),
        (printed(chassis="C-1", board="B-1", product="Not Specified"), "B-1"),
        (printed(board="  S42  X100  ", product="   "), "S42 X100"),
        (printed(board="0123456789", product="To be filled by O.E.M."), None),
        (printed(board="00000000", product="................"), None),
        (printed(product="XXXXXXXX"), None),
        (printed(product="P-\x1b[2J1"), None),
        (printed(product="P-\N{REPLACEMENT CHARACTER}1"), None),
        (printed(board="B-1") + printed(product="P-1") + printed(product="P-2"), "B-1"),
        (" Device not present (Requested sensor, data, or record not found)\n", None),
        ("", None),
    ],
)
def test_the_serial_number_of_the_machine_else_of_its_board_else_of_its_case(stdout: str, serial: str | None) -> None:
    assert serial_of(stdout, "Loading IANA PEN Registry...\n") == serial


@pytest.mark.parametrize("complaint", ["FRU Read failed", "FRU Read failed: Timeout"])
def test_half_an_inventory_tells_no_other_serial_number_than_the_whole(complaint: str) -> None:
    assert serial_of(printed(chassis="C-1", board="B-1"), f"{complaint}\n") is None
    assert serial_of(printed(chassis="C-1", product="P-1"), f"{complaint}\n") == "P-1"


READ = printed(product="P-1").encode()


@pytest.mark.parametrize(
    ("finished", "serial", "reason"),
    [
        (Finished(0, stdout=READ), "P-1", FenceReason.OK),
        (Finished(1, stdout=b" Device not present (Invalid command)\n"), None, FenceReason.OK),
        (Finished(1, stderr=b" Unknown FRU header version 0xff\n"), None, FenceReason.OK),
        (Finished(1, stdout=READ), None, FenceReason.OK),
        (Finished(0), None, FenceReason.OK),
        (Finished(1, stdout=b" Device not present (No Response)\n"), None, FenceReason.TIMED_OUT),
        (Finished(0, stdout=READ, stderr=b"FRU Read failed\n"), "P-1", FenceReason.TIMED_OUT),
        (Finished(0, stdout=READ, stderr=b"FRU Read failed: Timeout\n"), "P-1", FenceReason.OK),
        (Finished(signal=9, stdout=READ, timed_out=True), None, FenceReason.TIMED_OUT),
        (Finished(signal=9, timed_out=True), None, FenceReason.UNREACHABLE),
        (Finished(signal=11, stdout=READ), None, FenceReason.BAD_ANSWER),
        (Finished(255, stdout=READ, killed=True), None, FenceReason.CANCELLED),
        (Finished(1, stderr=b"insufficient resources for session\n"), None, FenceReason.NO_SESSION),
        (Finished(error="ipmitool: no such program"), None, FenceReason.NO_PROGRAM),
    ],
)
def test_only_what_has_come_to_its_end_is_believed(finished: Finished, serial: str | None, reason: FenceReason) -> None:
    answer = serial_number(finished)
    assert (answer.serial, answer.reason) == (serial, reason)


def identities(*own: str, learned: bytes = b"", serials: tuple[str, ...] = ()) -> tuple[Identities, list[bytes]]:
    saved: list[bytes] = []
    return Identities(learned, own, saved.append, serials), saved


def test_both_are_learned_and_compared_and_forgotten() -> None:
    known, saved = identities()
    assert known.judge("bmc", NOTHING, Identity(ONE, "A-1")) == (OK, "")
    assert json.loads(saved[-1]) == {"guid": {"bmc": ONE}, "serial": {"bmc": "A-1"}}
    reason, why = known.judge("bmc", NOTHING, Identity(ONE, "A-2"))
    assert (reason, why) == (WRONG, "serial number A-2, expected A-1")
    assert known.judge("bmc", NOTHING, Identity(TWO, "A-1"))[0] is WRONG
    assert known.judge("bmc", NOTHING, Identity(None, "A-1"))[0] is WRONG, "it told a GUID, and tells none any more"
    assert known.judge("bmc", NOTHING, Identity(ONE, None)) == (OK, ""), "that is no failure"
    assert known.judge("other", NOTHING, Identity(TWO, None)) == (OK, "")
    assert len(saved) == 2
    assert known.forget("bmc")
    assert not known.forget("bmc")
    assert json.loads(saved[-1]) == {"guid": {"other": TWO}, "serial": {}}
    assert known.judge("bmc", NOTHING, Identity(TWO, "A-2")) == (OK, "")


def test_what_an_earlier_version_saved_is_taken_and_the_serial_number_learned_beside_it() -> None:
    known, saved = identities(learned=json.dumps({"guid": {"bmc": ONE}}).encode())
    assert known.learned("bmc") == Identity(ONE)
    assert known.judge("bmc", NOTHING, Identity(TWO, "A-1"))[0] is WRONG
    assert saved == []
    assert known.judge("bmc", NOTHING, Identity(ONE, "A-1")) == (OK, "")
    again, _ = identities(learned=saved[-1])
    assert again.learned("bmc") == Identity(ONE, "A-1")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'{"guid": {"bmc": 7}, "serial": ["A"]}'])
def test_what_cannot_be_understood_is_learned_anew(content: bytes) -> None:
    known, _ = identities(learned=content)
    assert known.judge("bmc", NOTHING, Identity(ONE, "A-1")) == (OK, "")


def test_what_is_configured_outweighs_what_was_learned() -> None:
    known, saved = identities(learned=json.dumps({"guid": {"bmc": ONE}, "serial": {"bmc": "A-1"}}).encode())
    assert known.judge("bmc", Identity(serial="A-2"), Identity(ONE, "A-2")) == (OK, "")
    assert known.judge("bmc", Identity(serial="A-2"), Identity(ONE, "A-1"))[0] is WRONG
    assert known.judge("bmc", Identity(TWO, "A-2"), Identity(TWO, "A-2")) == (OK, "")
    assert saved == []


def test_boards_with_one_guid_are_told_apart_by_two_serial_numbers_and_by_nothing_less() -> None:
    known, _ = identities(ONE)
    assert known.has_guid_of_own(ONE)
    peer = Identity(ONE, "PEER")
    assert known.judge("bmc", NOTHING, peer)[0] is OWN, "this node's own is not known yet"
    known.own(Identity(ONE))
    assert known.judge("bmc", NOTHING, peer)[0] is OWN
    known.own(Identity(ONE, "MINE"))
    assert known.judge("bmc", NOTHING, Identity(ONE, "MINE"))[0] is OWN
    assert known.judge("bmc", NOTHING, Identity(ONE))[0] is OWN
    assert known.learned("bmc") == NOTHING
    assert known.judge("bmc", NOTHING, peer) == (OK, "")
    assert known.judge("bmc", NOTHING, Identity(ONE, "THIRD"))[0] is WRONG


def test_two_nodes_in_one_case_may_share_its_serial_number() -> None:
    known, _ = identities()
    known.own(Identity(ONE, "CASE"))
    assert known.judge("bmc", NOTHING, Identity(TWO, "CASE")) == (OK, "")


def test_boards_without_a_guid_are_told_apart_by_their_serial_numbers() -> None:
    known, _ = identities(TWO)
    assert known.judge("bmc", NOTHING, NOTHING) == (OK, ""), "nothing to go by"
    known.own(NOTHING)
    known.own(Identity(None, "MINE"))
    assert known.judge("bmc", NOTHING, NOTHING) == (OK, "")
    assert known.judge("bmc", NOTHING, Identity(None, "MINE")) == (
        OWN,
        "serial number MINE is that of this node's own BMC",
    )
    assert known.judge("bmc", NOTHING, Identity(None, "PEER")) == (OK, "")
    assert known.judge("bmc", NOTHING, Identity(None, "THIRD"))[0] is WRONG


def test_what_the_kernel_says_makes_a_device_ones_own_and_never_the_peers() -> None:
    """The address of this node's own BMC may be a wrong one in the configuration."""
    known, _ = identities(ONE, serials=("MINE",))
    assert known.judge("bmc", NOTHING, Identity(ONE, "PEER"))[0] is OWN
    known.own(Identity(ONE, "PEER"))
    assert known.judge("bmc", NOTHING, Identity(ONE, "MINE"))[0] is OWN


def test_the_kernel_is_asked_for_what_it_knows(tmp_path: Path) -> None:
    assert (smbios_guids(tmp_path), smbios_serials(tmp_path)) == (frozenset(), frozenset())
    (tmp_path / "product_uuid").write_text("00112233-4455-6677-8899-aabbccddeeff\n")
    (tmp_path / "product_serial").write_text("S42  X100 \n")
    (tmp_path / "board_serial").write_text("\n")
    (tmp_path / "chassis_serial").write_bytes(b"\xff\n")
    assert "00112233445566778899aabbccddeeff" in smbios_guids(tmp_path)
    assert "33221100554477668899aabbccddeeff" in smbios_guids(tmp_path)
    assert smbios_serials(tmp_path) == {"S42 X100"}
