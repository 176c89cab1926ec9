"""What a running daemon takes over of a new configuration, which keyrings would cut it off, and how both compare."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import pytest
from hblink_wire import Keyring, new_key
from hblink_wire.tlv import Tlv, TlvType, unpack

from hblink.advert import DIAG_ENDING
from hblink.config import SECTIONS, Config, parse
from hblink.core.value import MS
from hblink.daemon.reload import RELOADABLE, changed, unchangeable, unsafe_keys
from hblink.session import PeerReport
from tests.unit.sample import GOOD, edited
from tests.unit.test_session import STANDBY, START, pair

ONE, TWO, THREE = (new_key(number, hashlib.sha256(bytes([number])).digest()) for number in (1, 2, 3))
OTHER_ONE = new_key(1, hashlib.sha256(b"other").digest())
NOT_COMPARED = {"digest", "sections", "warnings"}


def config(text: str = GOOD) -> Config:
    return parse(text, Path("/etc/hblink"))


def peer(accepted: tuple[int, ...], active: int) -> PeerReport:
    return PeerReport(1, None, None, None, active, accepted, frozenset(), {}, 0)


def test_every_field_of_the_configuration_is_either_taken_over_or_refused_by_name() -> None:
    before = config()
    for field in dataclasses.fields(Config):
        if field.name in NOT_COMPARED:
            continue
        after = dataclasses.replace(before, **{field.name: () if field.name == "vips" else object()})
        assert len(changed(before, after)) == 1, field.name
        problems = unchangeable(before, after)
        assert len(problems) == (0 if field.name in RELOADABLE else 1), field.name
        assert all("restart the daemon" in problem.hint for problem in problems)


@pytest.mark.parametrize(
    "edit",
    [
        ('"192.0.2.10/32"', '"192.0.2.10/24"\nallow_prefix = true'),
        ('"192.0.2.10/32"\ninterface = "eth0"', '"192.0.2.10/32"\ninterface = "eth2"'),
    ],
)
def test_an_address_does_not_move_in_one_go(edit: tuple[str, str]) -> None:
    [problem] = unchangeable(config(), config(edited(edit)))
    assert problem.path == "vip"
    assert "192.0.2.10 may not move" in problem.message


def test_addresses_may_come_and_go() -> None:
    assert unchangeable(config(), config(edited(("192.0.2.10/32", "192.0.2.11/32")))) == []


def test_the_same_configuration_is_no_change() -> None:
    assert changed(config(), config("# a comment\n" + GOOD)) == []


@pytest.mark.parametrize(
    ("ring", "accepted", "active", "word"),
    [
        (Keyring((ONE, TWO), 1), (1,), 1, None),
        (Keyring((ONE, TWO), 2), (1, 2), 1, None),
        (Keyring((TWO,), 2), (1, 2), 2, None),
        (Keyring((ONE, TWO), 2), (1,), 1, "does not accept key 2"),
        (Keyring((TWO,), 2), (1, 2), 1, "signs with key 1, which is to be removed"),
        (Keyring((TWO, THREE), 3), (1,), 1, "does not accept key 3"),
        (Keyring((OTHER_ONE,), 1), (1,), 1, "key 1 has another secret now"),
        (Keyring((ONE, TWO), 1), (), 1, None),
    ],
)
def test_a_keyring_that_would_cut_the_links_is_refused(
    ring: Keyring, accepted: tuple[int, ...], active: int, word: str | None
) -> None:
    problems = unsafe_keys(ring, Keyring((ONE,), 1), peer(accepted, active), "beta")
    assert [word in problem.message for problem in problems if word is not None] == ([] if word is None else [True])
    assert bool(problems) == (word is not None)


def test_with_no_peer_to_hear_a_wrong_key_can_be_mended() -> None:
    assert unsafe_keys(Keyring((THREE,), 3), Keyring((ONE,), 1), None, "beta") == []


@pytest.mark.parametrize(
    ("section", "edits"),
    [
        ("pair", ('preferred = "beta"', 'preferred = "alpha"')),
        ("timing", ("deadtime_ms = 1000", "deadtime_ms = 1100")),
        ("link", ("baud = 115200", "baud = 57600")),
        ("vip", ("192.0.2.10/32", "192.0.2.11/32")),
        ("fence", ("attempt_ms = 30000", "attempt_ms = 31000")),
        ("health", ("[[vip]]", '[[target]]\naddress = "192.0.2.1"\ninterface = "eth0"\n[[vip]]')),
    ],
)
def test_a_change_is_named_by_its_section_and_by_no_other(section: str, edits: tuple[str, str]) -> None:
    one, other = config().sections, config(edited(edits)).sections
    assert {SECTIONS[number] for number in SECTIONS if one[number] != other[number]} == {section}


def test_sections_and_the_end_of_a_daemon_come_to_the_peer() -> None:
    alpha, beta = pair()
    sections = config().sections
    alpha.elements.set_config(b"dddddddd", sections)
    now = START
    for _ in range(10):
        now += 100 * MS
        alpha.receive(0, beta.compose(STANDBY, (0,), now, 1)[0], now)
        beta.receive(0, alpha.compose(dataclasses.replace(STANDBY, ending=True), (0,), now, 1)[0], now)
    report = beta.peer_report()
    assert report is not None
    assert report.config_digest == b"dddddddd"
    assert report.config_sections == sections
    assert report.diag == DIAG_ENDING


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\x01aaa",
        b"\x01aaaab",
        b"\x02aaaa\x01bbbb",
        b"\x01aaaa\x01bbbb",
        b"".join(b"%caaaa" % n for n in range(9)),
    ],
)
def test_malformed_sections_are_named(value: bytes) -> None:
    assert unpack(bytes((TlvType.CONFIG_SECTIONS, len(value))) + value) == "TLV 6 malformed"


def test_sections_of_a_later_version_are_kept() -> None:
    value = b"\x01aaaa\x07bbbb"
    assert unpack(bytes((6, len(value))) + value) == (Tlv(6, value),)
