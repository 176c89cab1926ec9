"""Links that fail without being dead: loss, bursts, noise, a cable plugged in and out. Nobody moves, all is counted."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.netns.situation import QUICK, Since, alarms, link, role, settle, status
from tests.rig.node import Node
from tests.rig.pair import Pair
from tests.rig.relay import Relay
from tests.rig.wait import boottime_ns, wait_until

SECOND = 1_000_000_000
LOSS = 0.3
# A frame is about 100 bytes of line: the probability per byte that spoils three frames in ten.
NOISE = 1 - (1 - LOSS) ** (1 / 100)
LONG_S = 12  # more than the 64 frames over which loss is shown, on the slower link


@pytest.fixture(scope="module")
def module_pair() -> Iterator[Pair]:
    """Give a pair whose direct cable can lose frames, for the tests of this module."""
    setting = replace(QUICK, relay=True)
    with tempfile.TemporaryDirectory(prefix="hblink-") as directory, Pair(Path(directory) / "pair", setting) as built:
        built.start()
        settle(built, "alpha")
        yield built


@pytest.fixture
def relay(shared: Pair) -> Iterator[Relay]:
    """Give the relay in the direct cable; it carries everything again after the test."""
    yield shared.relay
    shared.relay.heal()


def hold(pair: Pair, seconds: float) -> None:
    """Let the faults work, and see all the time that both nodes stay what they are."""
    end = boottime_ns() + int(seconds * SECOND)

    def is_over() -> bool:
        assert (role(pair.alpha), role(pair.beta)) == ("active", "standby")
        return boottime_ns() >= end

    wait_until(is_over, seconds + 30, f"{seconds} s", logs=pair.logs, interval_s=0.25)


def well_again(pair: Pair, since: Since) -> None:
    """With the faults gone all alarms clear, and nothing has moved meanwhile."""
    pair.relay.heal()
    pair.heal()
    settle(pair, "alpha")
    since.assert_nothing_moved()


def test_thirty_per_cent_loss_on_both_links(shared: Pair, relay: Relay) -> None:
    pair, since = shared, Since(shared)
    relay.lose(LOSS)
    pair.nullmodem.noise(NOISE)
    hold(pair, LONG_S)
    taken, lost = (sum(getattr(way, what) for way in relay.statistic()) for what in ("taken", "lost"))
    assert 0.15 < lost / taken < 0.45, "the fault was there"
    for node in pair.nodes.values():
        document = status(node)
        for name in ("direct", "serial"):
            assert 5 <= link(document, name)["loss_percent"] <= 60, f"{node.name} counts what {name} loses"
        spoilt = link(document, "serial")["rejected"]
        assert sum(spoilt.get(reason, 0) for reason in ("bit_errors", "noise", "ascii", "bad_length")) > 3
        assert "bad_hmac" not in spoilt, "a bit error is no attack"
        assert link(document, "direct")["rejected"].get("bad_hmac", 0) == 0
    well_again(pair, since)


def test_bursts_of_loss_shorter_than_deadtime(shared: Pair, relay: Relay) -> None:
    """Nothing at all by Ethernet for 0.8 s of each second and a half, and nothing by serial either meanwhile."""
    pair, since = shared, Since(shared)
    relay.lose_bursts(800, 1500)
    for _ in range(5):
        pair.cut_serial()
        hold(pair, 0.4)
        pair.nullmodem.heal()
        hold(pair, 0.8)
    assert sum(way.lost for way in relay.statistic()) > 10
    well_again(pair, since)


@pytest.mark.usefixtures("relay")
def test_a_cable_that_is_plugged_in_and_out(shared: Pair) -> None:
    """One end of the direct cable loses its carrier three times a second, and the serial line carries all."""
    pair, since = shared, Since(shared)
    serial = link(status(pair.beta), "serial")["received"]
    for _ in range(15):
        pair.alpha.namespace.ip("link set hb0 down")
        hold(pair, 0.2)
        pair.alpha.namespace.ip("link set hb0 up")
        hold(pair, 0.1)
    assert link(status(pair.beta), "serial")["received"] - serial > 15
    pair.alpha.namespace.ip("address replace 10.9.0.1/24 dev hb0")
    well_again(pair, since)


def test_both_links_fail_in_turn(shared: Pair, relay: Relay) -> None:
    """Both links in turn, each dead while the other lives: the pair never loses sight of itself."""
    pair, since = shared, Since(shared)
    for _ in range(6):
        relay.lose(1.0)
        hold(pair, 0.7)
        relay.lose(0.0)
        hold(pair, 0.4)
        pair.cut_serial()
        hold(pair, 0.7)
        pair.nullmodem.heal()
        hold(pair, 0.4)
    well_again(pair, since)


@pytest.mark.usefixtures("relay")
def test_noise_on_the_serial_line_is_named_and_the_other_link_carries(shared: Pair) -> None:
    """So much that hardly a frame gets through: the link is down by name, and that is all."""
    pair, since = shared, Since(shared)
    pair.nullmodem.noise(0.2)
    named = ("link_in_down", "serial")
    pair.wait(lambda: all(named in alarms(node) for node in pair.nodes.values()), 30, "both to name it")

    def spoilt(node: Node) -> int:
        rejected: dict[str, int] = link(status(node), "serial")["rejected"]
        return rejected.get("bit_errors", 0) + rejected.get("noise", 0)

    for node in pair.nodes.values():
        pair.wait(lambda node=node: spoilt(node) > 3, 20, f"{node.name} to count them")
        assert link(status(node), "direct")["in"] == "up"
    hold(pair, 2)
    well_again(pair, since)
