"""A service port that has carrier and leads nowhere: the service goes to a strictly better peer, and to nobody else."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.netns.situation import ALL_VIPS, QUICK, Since, logged, role, settle, status, wait_logged
from tests.rig.pair import Pair
from tests.rig.setting import HOST, SERVICE
from tests.rig.wait import boottime_ns

MS = 1_000_000
HOLD_MS = 1500
INTERVAL_MS, SAMPLES = 100, 3
GATEWAYS = tuple((prefix[0] + str(HOST["client"]), interface) for interface, prefix in SERVICE.items())
UPSTREAM = replace(
    QUICK,
    timing={**QUICK.timing, "health_hold_ms": HOLD_MS},
    targets=GATEWAYS,
    health={"interval_ms": INTERVAL_MS, "samples": SAMPLES},
)


def silence(pair: Pair, node: str, *interfaces: str) -> None:
    """Let the gateways behind `interfaces` answer `node` no more; everything else goes on."""
    pair.client.ip(*(f"route replace blackhole {SERVICE[name][0]}{HOST[node]}/32" for name in interfaces))


def speak(pair: Pair) -> None:
    """Let every gateway answer everybody again."""
    pair.client.ip("route flush type blackhole")


@pytest.fixture(scope="module")
def module_pair() -> Iterator[Pair]:
    """Give a pair that asks two gateways, for the tests of this module."""
    with tempfile.TemporaryDirectory(prefix="hblink-") as directory, Pair(Path(directory) / "pair", UPSTREAM) as built:
        built.start()
        settle(built, "alpha")
        yield built


@pytest.fixture
def measured(shared: Pair) -> Iterator[Pair]:
    """Give the module's pair with both nodes reaching every gateway; they do so again after the test."""
    speak(shared)
    shared.wait(lambda: scores(shared) == {"alpha": 100, "beta": 100}, 20, "both nodes to reach the gateways")
    yield shared
    speak(shared)
    shared.wait(lambda: set(scores(shared).values()) == {100}, 20, "both nodes to reach the gateways again")


def scores(pair: Pair) -> dict[str, Any]:
    """Return what each node says that it reaches."""
    return {name: status(node).get("health", {}).get("score") for name, node in pair.nodes.items()}


def pass_time(pair: Pair, duration_ms: int) -> None:
    """Let that much time go by."""
    began = boottime_ns()
    pair.wait(lambda: boottime_ns() - began > duration_ms * MS, duration_ms / 1000 + 5, "time to pass")


def test_the_service_goes_to_the_node_whose_gateway_answers(measured: Pair) -> None:
    pair, since = measured, Since(measured)
    silence(pair, "alpha", "lan0")
    pair.wait_active("beta")
    why = pair.alpha.hblink("why")
    assert (why.returncode, pair.alpha.hblink("status").returncode) == (1, 1)
    shown = " ".join(why.stdout.split())
    assert f"something upstream does not answer: {GATEWAYS[0][0]} on lan0 -> ping it from alpha" in shown
    moved = since.appeared(pair.beta)[0]
    assert moved - since.at > (HOLD_MS + (SAMPLES - 1) * INTERVAL_MS) * MS, "not for a moment's silence"
    wait_logged(pair, pair.alpha, "active -> yielding reason=peer_healthier", since.at)
    assert len(logged(pair.alpha, "target 192.0.2.1 on lan0: does not answer", since.at)) == 1
    assert status(pair.beta)["grant"] == "yielded"
    pair.wait(lambda: scores(pair) == {"alpha": 50, "beta": 100}, 20, "what each reaches")
    assert since.fences() == {"alpha": 0, "beta": 0}
    since.assert_never_two_owners()
    pass_time(pair, 2 * HOLD_MS)
    assert role(pair.beta) == "active", "no ping-pong"


def test_nobody_moves_when_both_are_equally_bad(measured: Pair) -> None:
    pair, since = measured, Since(measured)
    for node in ("beta", "alpha"):
        silence(pair, node, "lan0", "lan1")
    pair.wait(lambda: set(scores(pair).values()) == {0}, 20, "both to notice")
    pass_time(pair, 3 * HOLD_MS)
    assert (role(pair.alpha), role(pair.beta)) == ("active", "standby")
    since.assert_nothing_moved()


def test_a_worse_standby_moves_nothing(measured: Pair) -> None:
    pair, since = measured, Since(measured)
    silence(pair, "beta", "lan0")
    pair.wait(lambda: scores(pair) == {"alpha": 100, "beta": 50}, 20, "beta to notice")
    pass_time(pair, 2 * HOLD_MS)
    since.assert_nothing_moved()
    silence(pair, "alpha", "lan1")  # as bad as beta, in another way
    pair.wait(lambda: scores(pair) == {"alpha": 50, "beta": 50}, 20, "alpha to notice")
    pass_time(pair, 2 * HOLD_MS)
    since.assert_nothing_moved()


def test_a_silence_shorter_than_the_hold_moves_nothing(measured: Pair) -> None:
    pair, since = measured, Since(measured)
    for _ in range(3):
        silence(pair, "alpha", "lan0")
        pair.wait(lambda: scores(pair)["alpha"] == 50, 20, "alpha to notice")
        speak(pair)
        pair.wait(lambda: scores(pair)["alpha"] == 100, 20, "alpha to reach it again")
    since.assert_nothing_moved()


def test_a_good_score_grants_nothing(measured: Pair) -> None:
    """The peer is silent and its BMC gone: however well this node is connected, it has no proof."""
    pair, since = measured, Since(measured)
    pair.cut_bmc("alpha")
    pair.cut_links()
    pair.wait(lambda: role(pair.beta) == "blocked", 60, "beta to be blocked")
    silence(pair, "alpha", "lan0", "lan1")
    pair.wait(lambda: scores(pair) == {"alpha": 0, "beta": 100}, 20, "alpha to be worse")
    pass_time(pair, 2 * HOLD_MS)
    assert role(pair.beta) == "blocked"
    assert pair.beta.has(*ALL_VIPS) == set()
    assert role(pair.alpha) == "active"
    since.assert_nothing_moved()


def test_targets_are_changed_in_a_running_pair(measured: Pair) -> None:
    pair, since = measured, Since(measured)
    only = replace(pair.setting, targets=GATEWAYS[:1])
    for setting in (only, pair.setting):
        for node in pair.nodes.values():
            node.write("hblink.toml", setting.toml(pair.nullmodem.paths), 0o644)
            done = node.hblink("reload")
            assert done.returncode == 0, done.stdout + done.stderr
        pair.wait(lambda: set(scores(pair).values()) == {100}, 20, "both nodes to have asked them")
        for node in pair.nodes.values():
            asked = [target["address"] for target in status(node)["health"]["targets"]]
            assert asked == [address for address, _ in setting.targets]
    since.assert_nothing_moved()


def test_the_question_never_comes_from_a_virtual_address(measured: Pair) -> None:
    """Seen on the gateway's side, while alpha holds every virtual address."""
    pair = measured
    gateway = GATEWAYS[0][0]
    wanted = f"icmp[icmptype] == icmp-echo and dst host {gateway}"
    seen = pair.client.run("tcpdump", "-lnni", "lan0", "-c", "60", wanted)
    sources = {line.split()[2] for line in seen.splitlines() if "ICMP echo request" in line}
    assert sources == {SERVICE["lan0"][0] + str(HOST[node]) for node in ("alpha", "beta")}
