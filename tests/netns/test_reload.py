"""A new configuration in a running pair: by command and by SIGHUP, half of a pair at a time, and when it is no good."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator

import pytest

from tests.netns.situation import ALL_VIPS, Since, alarms, is_well, logged, role, status, wait_logged
from tests.rig.node import Node
from tests.rig.pair import Pair
from tests.rig.setting import VIP

EXTRA = "192.0.2.77/32"
EXTRA_TABLE = f'\n[[vip]]\naddress = "{EXTRA}"\ninterface = "lan0"\n'


@pytest.fixture
def mended(shared: Pair) -> Iterator[Pair]:
    """Give the module's pair, and put the first configuration in force again after the test."""
    texts = {name: toml(node) for name, node in shared.nodes.items()}
    yield shared
    for name, node in shared.nodes.items():
        node.write("hblink.toml", texts[name])
        if node.daemon_pid is not None:
            assert node.hblink("reload").returncode == 0


def toml(node: Node) -> str:
    return (node.configuration / "hblink.toml").read_text()


def without(text: str, address: str) -> str:
    """Return the configuration without the [[vip]] of this address."""
    tables = text.split("[[vip]]")
    return "[[vip]]".join(table for table in tables if f'"{address}"' not in table)


def test_addresses_come_and_go_on_the_node_that_serves_without_a_change_of_role(mended: Pair) -> None:
    pair, since = mended, Since(mended)
    for node in pair.nodes.values():
        node.write("hblink.toml", without(toml(node), VIP) + EXTRA_TABLE)
    done = pair.alpha.hblink("reload")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "reloaded: vip" in done.stdout
    assert pair.alpha.has(EXTRA, VIP) == {EXTRA}
    pair.wait(lambda: status(pair.beta).get("config_differs") == ["vip"], 30, "beta to name the difference")
    pair.wait(lambda: ("config_differs", None) in alarms(pair.alpha), 30, "alpha to raise it")
    shown = pair.beta.hblink("status")
    assert "CONFIG DIFFERS: vip" in shown.stdout
    assert shown.returncode == 1
    assert pair.beta.hblink("reload").returncode == 0
    pair.wait(lambda: all(is_well(node) for node in pair.nodes.values()), 30, "both to agree again")
    assert (role(pair.alpha), role(pair.beta)) == ("active", "standby")
    assert pair.alpha.hblink("switchover").returncode == 0
    pair.wait(lambda: pair.beta.has(EXTRA) and not pair.alpha.has(EXTRA), 20, "the new address to move too")
    assert since.fences() == {"alpha": 0, "beta": 0}


def test_addresses_that_stay_are_not_touched_and_answer_all_the_time(mended: Pair) -> None:
    pair, since = mended, Since(mended)
    pair.alpha.write("hblink.toml", toml(pair.alpha) + EXTRA_TABLE)
    pair.alpha.kill_daemon(signal.SIGHUP)
    wait_logged(pair, pair.alpha, "reloaded: vip", since.at)
    assert logged(pair.alpha, "SIGHUP: reloading", since.at)
    assert pair.alpha.has(EXTRA) == {EXTRA}
    since.assert_nothing_moved()
    assert pair.observer.gap_ns(VIP, since.at, own=False) < 200_000_000


def test_upstream_targets_are_asked_from_the_next_moment_on(mended: Pair) -> None:
    pair, since = mended, Since(mended)
    assert status(pair.alpha)["health"] == {"score": None, "targets": []}
    target = '\n[[target]]\naddress = "192.0.2.1"\ninterface = "lan0"\n'
    for node in pair.nodes.values():
        node.write("hblink.toml", toml(node) + target)
        assert "reloaded: health" in node.hblink("reload").stdout
    for node in pair.nodes.values():
        pair.wait(lambda node=node: status(node)["health"]["score"] == 100, 30, f"{node.name} to reach it")
    since.assert_nothing_moved()


def test_a_bad_file_keeps_the_old_configuration_and_names_every_problem(mended: Pair) -> None:
    pair, since = mended, Since(mended)
    good = toml(pair.alpha)
    pair.alpha.write(
        "hblink.toml", good.replace("baud", "bauds") + '\n[[vip]]\naddress = "nonsense"\ninterface = "lan0"\n'
    )
    refused = pair.alpha.hblink("reload")
    assert refused.returncode == 78
    assert "bauds" in refused.stdout
    assert "nonsense" in refused.stdout
    assert "still in force" in refused.stdout
    assert all(len(line) <= 79 for line in refused.stdout.splitlines())
    assert ("reload_refused", None) in alarms(pair.alpha)
    wait_logged(pair, pair.alpha, "not reloaded:", since.at, 2)
    why = json.loads(pair.alpha.hblink("why", "--json").stdout)
    assert [cause["next"] for cause in why["causes"] if cause["code"] == "reload_refused"] == [
        "hblink check; then: hblink reload"
    ]
    pair.alpha.write("hblink.toml", good)
    assert pair.alpha.hblink("reload").returncode == 0
    assert ("reload_refused", None) not in alarms(pair.alpha)
    since.assert_nothing_moved()


def test_what_a_running_daemon_cannot_change_is_named_and_refused(mended: Pair) -> None:
    pair, since = mended, Since(mended)
    good = toml(pair.alpha)
    changed = good.replace("deadtime_ms = 1000", "deadtime_ms = 1200").replace(
        'preferred = "alpha"', 'preferred = "beta"'
    )
    pair.alpha.write("hblink.toml", changed + EXTRA_TABLE)
    refused = json.loads(pair.alpha.hblink("reload", "--json").stdout)
    assert refused["ok"] is False
    assert {problem["path"] for problem in refused["problems"]} == {"timing", "preferred"}
    assert all("restart the daemon" in problem["hint"] for problem in refused["problems"])
    assert pair.alpha.has(EXTRA) == set(), "nothing of it was applied"
    since.assert_nothing_moved()


def test_an_address_that_cannot_be_added_leaves_everything_as_it_was(mended: Pair) -> None:
    pair, since = mended, Since(mended)
    pair.alpha.write("hblink.toml", without(toml(pair.alpha), VIP) + EXTRA_TABLE.replace("lan0", "nowhere"))
    refused = pair.alpha.hblink("reload")
    assert refused.returncode == 78, refused.stdout
    assert "nowhere" in refused.stdout
    assert pair.alpha.has(*ALL_VIPS) == ALL_VIPS
    assert status(pair.alpha)["config_match"] is True
    since.assert_nothing_moved()
