"""How the peers are configured, fetched and chosen; nothing here starts one of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench import peer
from tests.bench.compare import Wish
from tests.bench.contestant import TITLES, contestants
from tests.bench.package import merge, upstream
from tests.bench.picture import COLOURS
from tests.bench.situation import situations


def test_keepalived_speaks_the_version_that_knows_parts_of_a_second() -> None:
    text = peer.keepalived_conf("beta", 0.01)
    assert "vrrp_version 3" in text
    assert "advert_int 0.01\n" in text
    assert "priority 100\n" in text
    assert "192.0.2.10/32 dev lan0" in text


def test_heartbeat_gets_its_speed_before_its_port_and_the_other_nodes_address() -> None:
    lines = peer.ha_cf("alpha", "/dev/pts/7", 100, 300).splitlines()
    assert lines.index("baud 115200") < lines.index("serial /dev/pts/7")  # later lines only
    assert "ucast hb0 10.9.0.2" in lines
    assert {"keepalive 100ms", "warntime 200ms", "deadtime 300ms"} <= set(lines)
    assert "ucast hb0 10.9.0.1" in peer.ha_cf("beta", "/dev/pts/8", 100, 300)


def test_heartbeat_fences_the_other_node_only_if_it_is_given_its_bmc() -> None:
    assert "stonith" not in peer.ha_cf("alpha", "/dev/pts/7", 100, 300)
    text = peer.ha_cf("alpha", "/dev/pts/7", 100, 300, Path("/node/beta.pass"))
    assert "stonith_host alpha external/bmc beta 10.10.0.12 fence /node/beta.pass\n" in text


def test_heartbeat_keeps_its_defaults_where_no_times_are_given() -> None:
    assert "time" not in peer.ha_cf("alpha", "/dev/pts/7", None, None)


def test_ucarp_has_an_order_and_its_own_scripts() -> None:
    alpha, beta = (peer.ucarp(node, Path("/x/up"), Path("/x/down")) for node in ("alpha", "beta"))
    assert "--srcip=192.0.2.101" in alpha
    assert "--addr=192.0.2.10" in alpha
    assert "--advskew=0" in alpha
    assert "--advskew=50" in beta
    assert peer.address_script("del") == "#!/bin/sh\nexec ip address del 192.0.2.10/32 dev lan0\n"


def test_a_program_is_laid_over_the_nodes_own_root_only() -> None:
    text = peer.start_script("alpha", Path("/store/root"), Path("/node/own"), "/usr/sbin/ucarp --x")
    assert "lowerdir=/node/own/usr:/store/root/usr:/usr overlay /usr" in text
    assert "lowerdir=/node/own/etc:/store/root/etc:/etc overlay /etc" in text
    assert text.endswith("exec /usr/sbin/ucarp --x\n")


@pytest.mark.parametrize(
    ("debian", "plain"),
    [("1:2.2.7-1+b2", "2.2.7"), ("1.5.2+git20192404.1a9aaf7-1", "1.5.2"), ("1:3.0.6-13+b2", "3.0.6"), ("4.0", "4.0")],
)
def test_a_version_is_shown_as_its_makers_call_it(debian: str, plain: str) -> None:
    assert upstream(debian) == plain


def test_old_directories_are_moved_below_usr(tmp_path: Path) -> None:
    (tmp_path / "lib/x").mkdir(parents=True)
    (tmp_path / "lib/x/libnl.so.2").write_text("code")
    (tmp_path / "lib/x/libnl.so").symlink_to("libnl.so.2")
    (tmp_path / "usr/lib/x").mkdir(parents=True)
    merge(tmp_path)
    assert not (tmp_path / "lib").exists()
    assert (tmp_path / "usr/lib/x/libnl.so").is_symlink()
    assert (tmp_path / "usr/lib/x/libnl.so").read_text() == "code"


def test_every_contestant_has_a_title_and_a_colour() -> None:
    assert set(contestants()) == set(TITLES) == set(COLOURS)


def test_a_wish_leaves_out_what_does_not_concern_a_contestant() -> None:
    wish = Wish(tuple(contestants()), tuple(situations()), 1)
    cables = {"ethernet", "serial", "both"}
    assert {row.name for row in wish.rows(contestants()["hblink"])} == set(situations())
    assert {row.name for row in wish.rows(contestants()["ucarp"])} == set(situations()) - cables


def test_a_healed_partition_brings_its_partition_with_it() -> None:
    wish = Wish(("ucarp",), ("heal",), 1)
    assert [row.name for row in wish.rows(contestants()["ucarp"])] == ["split", "heal"]
