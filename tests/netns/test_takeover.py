"""The active host dies: fenced once, verified off, its addresses taken over, every millisecond accounted for."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import partial
from itertools import groupby
from pathlib import Path

import pytest

from hblink import flight
from hblink.core.event import Started
from tests.netns.situation import (
    ALL_VIPS,
    QUICK,
    Since,
    alarms,
    blocked,
    logged,
    logged_at,
    settle,
    status,
    wait_logged,
)
from tests.rig.pair import Pair
from tests.rig.setting import SERVICE, VIPS, Setting
from tests.rig.wait import boottime_ns

MS = 1_000_000
BETA_MAC = {"lan0": "02:00:00:00:01:02", "lan1": "02:00:00:00:02:02"}


def neighbours(pair: Pair) -> dict[str, str]:
    """Return the client's neighbour table: address to hardware address."""
    table = json.loads(pair.client.run("ip", "-json", "neighbour", "show"))
    return {entry["dst"]: entry["lladdr"] for entry in table if "lladdr" in entry}


def lives(record: Path) -> list[list[str]]:
    """Return the lines of each life of a daemon in a flight record, each beginning with its head."""
    lines = record.read_text().splitlines()
    numbers = [index for index, line in enumerate(lines) if line.startswith('{"flight"')]
    return [lines[first:last] for first, last in zip(numbers, [*numbers[1:], None], strict=True)]


def assert_replays(lines: list[str]) -> list[str]:
    """Feed a life through the core again: the same roles and effects come out. Return the roles in their order."""
    roles = ["starting"]
    count = 0
    for recorded, state, effects in flight.replay(flight.read(lines)):
        assert (state.role.value, effects) == (recorded.after, recorded.effects), recorded
        assert count > 0 or isinstance(recorded.event, Started)
        roles.append(recorded.after)
        count += 1
    assert count == len(lines) - 1
    return [each for each, _ in groupby(roles)]


def test_the_standby_fences_once_verifies_and_takes_over(build_pair: Callable[[Setting], Pair]) -> None:
    pair = build_pair(QUICK)
    for node in pair.nodes.values():
        node.program = (*node.program, "--flight", str(node.state / "flight"))
    pair.start()
    settle(pair, "alpha")
    # A step is recorded before the log tells of it; what is not written yet dies with the node.
    wait_logged(pair, pair.alpha, "claiming -> active")
    since = Since(pair)
    pair.alpha.crash()
    assert pair.wait_active("beta") is pair.beta
    settle(pair, "beta")  # the fenced node was powered on again and is the standby now

    # Who was told what, and in which order.
    assert since.commands("beta") == []
    (off_at, off), (on_at, on), *again = since.commands("alpha")
    assert (off, on) == (False, True)
    assert all(on for _, on in again), "sent once more if the answer does not come in time"
    first = since.appeared(pair.beta)[0]
    assert off_at < first
    assert len(since.appeared(pair.beta)) == len(VIPS), "each address once"
    (line,) = wait_logged(pair, pair.beta, "service is up grant=fenced", since.at)
    claimed = logged_at(pair.beta, "fencing -> claiming", since.at)
    offs = logged_at(pair.beta, "fence read: off", since.at)
    decided = logged_at(pair.beta, "sending power off", since.at)
    assert len(claimed) == len(decided) == 1
    assert len(offs) == 2
    assert decided[0] <= off_at <= offs[0] < offs[1] <= claimed[0] <= first + MS, "the log rounds"
    assert offs[1] - offs[0] >= QUICK.off_interval_ms * 1_000_000
    assert claimed[0] <= on_at
    since.assert_never_two_owners()

    # What the client sees, without asking.
    table = neighbours(pair)
    assert {address: table[address.split("/")[0]] for address, _ in VIPS} == {
        address: BETA_MAC[interface] for address, interface in VIPS
    }
    for address, _ in VIPS:
        announced = pair.observer.seen(address, "announce", off_at)
        assert announced, f"{address} was not announced"
        assert {answer.node for answer in announced} == {"beta"}
        print(f"{address}: gap {pair.observer.gap_ns(address, since.at) / 1e6:.0f} ms")

    # Where each millisecond went.
    spent = {name: float(value) for name, value in re.findall(r"(\w+_ms)=([\d.]+)", line)}
    assert spent.keys() == {"silence_ms", "fence_ms", "device_ms", "start_ms", "total_ms"}
    assert spent["silence_ms"] >= QUICK.timing["deadtime_ms"]
    assert 0 < spent["device_ms"] < spent["fence_ms"]
    assert spent["total_ms"] == pytest.approx(spent["silence_ms"] + spent["fence_ms"] + spent["start_ms"], abs=500)

    # And the record of it gives the same decisions once more.
    moved = Since(pair)
    assert pair.alpha.hblink("switchover").returncode == 0
    settle(pair, "alpha")
    wait_logged(pair, pair.alpha, "claiming -> active", moved.at)
    wait_logged(pair, pair.beta, "yielding -> standby", moved.at)
    for node in pair.nodes.values():
        node.crash()
    died, returned = lives(pair.alpha.state / "flight")
    (survived,) = lives(pair.beta.state / "flight")
    assert assert_replays(died) == ["starting", "standby", "claiming", "active"]
    assert assert_replays(returned) == ["starting", "standby", "claiming", "active"]
    roles = ["starting", "standby", "fencing", "claiming", "active", "yielding", "standby"]
    assert assert_replays(survived) == roles


def test_a_bmc_that_acts_late_is_waited_for(shared: Pair) -> None:
    """What a BMC accepted has not happened: nothing is claimed before OFF is read."""
    pair, since = shared, Since(shared)
    pair.bmc("alpha").off_delay_s = 0.8
    pair.alpha.crash()
    pair.wait_active("beta")
    wait_logged(pair, pair.beta, "fencing -> claiming", since.at)
    assert logged(pair.beta, "fence read: on", since.at), "it was read while still on"
    died_at = logged_at(pair.beta, "fence read: off", since.at)[0]
    assert died_at <= since.appeared(pair.beta)[0] + MS, "the log rounds"
    assert since.fences()["alpha"] == 1
    since.assert_never_two_owners()


def test_a_bmc_that_does_not_answer_blocks_and_is_asked_again(shared: Pair) -> None:
    pair, since = shared, Since(shared)
    pair.cut_bmc("alpha")
    pair.alpha.crash()
    document = pair.wait(lambda: blocked(pair.beta, "fence_failed"), 60, "beta to be blocked")
    assert document["fence"]["outstanding"]
    assert "blocked" in {alarm["code"] for alarm in document["alarms"]}
    assert pair.beta.has(*ALL_VIPS) == set()
    pair.heal_bmc("alpha")
    pair.wait_active("beta", 90)  # in its next slot
    assert since.fences()["alpha"] == 1
    since.assert_never_two_owners()


def test_a_crashed_standby_costs_the_service_nothing(shared: Pair) -> None:
    """An active node needs no fence to go on, and the standby comes back by itself."""
    pair, since = shared, Since(shared)
    pair.beta.crash()
    pair.wait(lambda: ("peer_lost", None) in alarms(pair.alpha), 10, "alpha to miss beta")
    asked = boottime_ns()
    pair.wait(lambda: len(pair.observer.seen(VIPS[0][0], "echo", asked)) > 100, 30, "a second of service")
    since.assert_nothing_moved()
    pair.beta.power_off()
    pair.beta.boot()
    settle(pair, "alpha")
    since.assert_nothing_moved()


@pytest.mark.parametrize("interface", SERVICE)
def test_lost_service_carrier_moves_the_service_without_a_fence(shared: Pair, interface: str) -> None:
    pair, since = shared, Since(shared)
    pair.cut_service("alpha", interface)
    pair.wait(lambda: pair.beta.has(*ALL_VIPS) == ALL_VIPS, 20, "beta to hold the VIPs")
    pair.wait(lambda: pair.alpha.has(*ALL_VIPS) == set(), 20, "alpha to hold none")
    assert since.fences() == {"alpha": 0, "beta": 0}
    assert ("no_service_carrier", None) in alarms(pair.alpha)
    since.assert_never_two_owners()


def test_lost_service_carrier_moves_the_service_over_the_serial_line_alone(shared: Pair) -> None:
    pair = shared
    pair.cut_ethernet()
    for node in pair.nodes.values():
        pair.wait(partial(lambda node: ("link_in_down", "direct") in alarms(node), node), 30, f"{node.name} to name it")
    since = Since(pair)
    pair.cut_service("alpha")
    pair.wait_active("beta")
    wait_logged(pair, pair.alpha, "active -> yielding reason=no_service_carrier", since.at)
    assert status(pair.beta)["grant"] == "yielded"
    assert since.fences() == {"alpha": 0, "beta": 0}
    since.assert_never_two_owners()
