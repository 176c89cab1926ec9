"""The far end of each link, felt by its hardware: modem lines of the null modem, carrier of the direct cable."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hblink import flight
from hblink.core.event import LinkSignalChanged
from tests.netns.situation import QUICK, Since, alarms, settle, status, wait_logged
from tests.rig.node import Node
from tests.rig.pair import Pair
from tests.rig.wait import boottime_ns

WIRED = replace(QUICK, direct=True, modem_lines=True)
DIRECT, SERIAL = 0, 1
LOST_DIRECT, LOST_SERIAL = LinkSignalChanged(DIRECT, False), LinkSignalChanged(SERIAL, False)
WHOLE = {"direct": True, "serial": True}
SECOND = 1_000_000_000
# The kernel tells of carrier at once, but not twice within a second, whatever the interface (net/core/link_watch.c).
CARRIER_S = 2


@pytest.fixture(scope="module")
def module_pair() -> Iterator[Pair]:
    """Give a pair all of whose cables can be felt, in place of the plain one; its daemons record their decisions."""
    with tempfile.TemporaryDirectory(prefix="hblink-") as directory, Pair(Path(directory) / "pair", WIRED) as built:
        for node in built.nodes.values():
            node.program = (*node.program, "--flight", str(node.state / "flight"))
        built.start()
        settle(built, "alpha")
        yield built


@pytest.fixture
def wired(shared: Pair) -> Pair:
    """Give the module's pair when both nodes feel both links."""
    shared.wait(lambda: all(signals(node) == WHOLE for node in shared.nodes.values()), 15, "every signal")
    return shared


def signals(node: Node) -> dict[str, bool | None]:
    """What a node's status says of the far end of each link."""
    return {each["name"]: each["signal"] for each in status(node).get("links", [])}


def told(node: Node, since: Since) -> list[tuple[int, LinkSignalChanged]]:
    """What the node's decision was told of them, each with its instant, from the flight record."""
    text = (node.state / "flight").read_text()
    record = flight.read(text.rpartition("\n")[0].splitlines())  # the last one may be on its way
    steps = [step for _, step in record if step.at >= since.at]
    return [(step.at, step.event) for step in steps if isinstance(step.event, LinkSignalChanged)]


def wait_told(pair: Pair, node: Node, since: Since, *events: LinkSignalChanged) -> list[int]:
    """Wait until the record, which is written behind the decision, has exactly these; return their instants."""

    def recorded() -> bool:
        return [event for _, event in told(node, since)] == list(events)

    pair.wait(recorded, 15, f"{node.name} to have been told {events}")
    return [at for at, _ in told(node, since)]


def miss_beta(pair: Pair) -> None:
    pair.wait(lambda: ("peer_lost", None) in alarms(pair.alpha), 20, "alpha to miss beta")


def test_a_power_cut_takes_both_signals(wired: Pair) -> None:
    pair, since = wired, Since(wired)
    pair.beta.power_off()
    gone_at = boottime_ns()
    pair.wait(lambda: signals(pair.alpha)["serial"] is False, 15, "the serial signal to be lost")
    pair.wait(lambda: signals(pair.alpha)["direct"] is False, 15, "the carrier to be lost")
    miss_beta(pair)
    pair.wait(lambda: len(told(pair.alpha, since)) >= 2, 15, "the record of it")
    lost = {event: at for at, event in told(pair.alpha, since)}
    assert lost.keys() == {LOST_DIRECT, LOST_SERIAL}
    assert lost[LOST_DIRECT] < gone_at + CARRIER_S * SECOND
    assert lost[LOST_SERIAL] < gone_at + SECOND
    said = wait_logged(pair, pair.alpha, "signal of the far end", since.at, 2)
    lines = sorted(line.split(" ", 2)[2] for line in said)
    assert lines == [f"link {name}: signal of the far end lost" for name in ("direct", "serial")]
    since.assert_nothing_moved()
    pair.beta.boot()
    pair.wait(lambda: signals(pair.alpha) == WHOLE, 30, "both signals again")


def test_a_daemon_that_dies_takes_its_modem_lines_and_leaves_the_carrier(wired: Pair) -> None:
    pair, since = wired, Since(wired)
    pair.beta.kill_daemon()
    pair.wait(lambda: signals(pair.alpha)["serial"] is False, 15, "the serial signal to be lost")
    miss_beta(pair)
    wait_told(pair, pair.alpha, since, LOST_SERIAL)
    assert signals(pair.alpha) == {"direct": True, "serial": False}


def test_a_daemon_that_is_frozen_is_still_felt(wired: Pair) -> None:
    pair, since = wired, Since(wired)
    pair.beta.stop()
    miss_beta(pair)
    assert signals(pair.alpha) == WHOLE
    assert told(pair.alpha, since) == []


def test_a_null_modem_that_is_pulled_out_is_lost_to_both(wired: Pair) -> None:
    pair, since = wired, Since(wired)
    pair.unplug_serial()
    pulled_at = boottime_ns()
    for node in pair.nodes.values():
        (lost_at,) = wait_told(pair, node, since, LOST_SERIAL)
        assert lost_at < pulled_at + SECOND
        assert signals(node) == {"direct": True, "serial": False}
    pair.heal()
    for node in pair.nodes.values():
        wait_told(pair, node, since, LOST_SERIAL, LinkSignalChanged(SERIAL, True))
        assert signals(node) == WHOLE
    since.assert_nothing_moved()


def test_a_direct_cable_that_is_pulled_out_is_lost_alone(wired: Pair) -> None:
    pair, since = wired, Since(wired)
    pair.unplug_ethernet()  # beta's end is set down: it cannot tell
    pulled_at = boottime_ns()
    wait_told(pair, pair.beta, since, LinkSignalChanged(DIRECT, None))
    (lost_at,) = wait_told(pair, pair.alpha, since, LOST_DIRECT)
    assert lost_at < pulled_at + CARRIER_S * SECOND
    assert [signals(node) for node in pair.nodes.values()] == [
        {"direct": False, "serial": True},
        {"direct": None, "serial": True},
    ]
    since.assert_nothing_moved()
