"""What an operator has allowed in writing: loss of power as evidence, and the start by a fence of one named node."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.netns.situation import FENCE, TIMING, Since, blocked, logged, settle, status, wait_logged
from tests.rig.node import Node
from tests.rig.pair import Pair
from tests.rig.setting import Setting
from tests.rig.wait import boottime_ns

WAIT_MS = 2000
EVIDENCE = Setting(
    timing=TIMING,
    fence_extra=FENCE,
    top={"power_loss_evidence": True, "power_loss_wait_ms": WAIT_MS, "profile": "stateless"},
    direct=True,
    modem_lines=True,
)
BY_FENCE = Setting(timing=TIMING, fence_extra=FENCE, top={"start_alone": "fence", "start_alone_node": "beta"})


@pytest.fixture
def evident(build_pair: Callable[[Setting], Pair]) -> Pair:
    """Give a pair that feels each other's hardware on both cables, and whose devices work."""
    pair = build_pair(EVIDENCE)
    pair.start()
    settle(pair, "alpha")
    pair.wait(lambda: all(_feels(pair, name) for name in pair.nodes), 30, "both nodes to feel each other")
    pair.wait(lambda: status(pair.beta)["fence"]["ready"], 30, "the fence device to be ready")
    return pair


def _feels(pair: Pair, name: str) -> bool:
    return all(link["signal"] is True for link in status(pair.nodes[name])["links"])


def _let_pass(pair: Pair, duration_ms: int) -> None:
    began = boottime_ns()
    pair.wait(lambda: boottime_ns() - began > duration_ms * 1_000_000, 30, f"{duration_ms} ms")


def _note_orderly_end(node: Node) -> None:
    """Leave what the daemon leaves when systemd takes the machine down; there is no systemd in the rig."""
    (node.state / "orderly").write_text(node.boots[-1])


def test_a_node_and_its_bmc_that_lose_power_together_are_taken_over_from(evident: Pair) -> None:
    pair, since = evident, Since(evident)
    pair.lose_power("alpha")
    pair.wait_active("beta", 60)
    assert status(pair.beta)["grant"] == "power_loss"
    assert since.fences() == {"alpha": 0, "beta": 0}, "nothing answered"
    wait_logged(pair, pair.beta, "-> claiming", since.at)
    said = [line for line in logged(pair.beta, "fence read", since.at) if "unreachable" in line]
    assert said, "the devices were asked once more, and were silent"
    since.assert_never_two_owners()


def test_cables_that_are_pulled_one_after_the_other_are_no_loss_of_power(evident: Pair) -> None:
    pair, since = evident, Since(evident)
    pair.cut_bmc("alpha")
    pair.unplug_serial()
    pair.wait(lambda: not _feels(pair, "beta"), 20, "beta to miss the modem lines")
    _let_pass(pair, 3000)  # more than the window
    pair.unplug_ethernet()
    pair.wait(lambda: blocked(pair.beta, "fence_failed"), 60, "beta to be blocked")
    _let_pass(pair, WAIT_MS + 3000)
    assert status(pair.beta)["role"] == "blocked"
    since.assert_nothing_moved()


def test_the_named_node_starts_by_a_fence_after_an_orderly_end_and_only_once(
    build_pair: Callable[[Setting], Pair],
) -> None:
    pair = build_pair(BY_FENCE)
    pair.start()
    settle(pair, "alpha")
    pair.beta.power_off()
    _note_orderly_end(pair.beta)
    pair.cut_links()
    since = Since(pair)
    pair.beta.switch(True)
    pair.wait_active("beta", 60)
    assert since.fences() == {"alpha": 1, "beta": 0}
    wait_logged(pair, pair.beta, "start_by_fence", since.at)
    assert not (pair.beta.state / "orderly").exists(), "the note is used up"
    pair.wait(lambda: status(pair.alpha).get("reason") == "inert_peer_on", 40, "alpha to come back, and be inert")
    since.assert_never_two_owners()
    again = Since(pair)
    pair.beta.power_off()
    pair.wait(lambda: not pair.beta.alive, 10, "beta to be off")
    pair.beta.switch(True)
    pair.wait(lambda: status(pair.beta).get("reason") == "inert_peer_on", 40, "beta to be inert: this end was none")
    assert again.fences()["alpha"] == 0


def test_the_other_node_does_not(build_pair: Callable[[Setting], Pair]) -> None:
    pair = build_pair(replace(BY_FENCE, top={"start_alone": "fence", "start_alone_node": "alpha"}))
    pair.start()
    settle(pair, "alpha")
    pair.beta.power_off()
    _note_orderly_end(pair.beta)
    pair.cut_links()
    since = Since(pair)
    pair.beta.switch(True)
    pair.wait(lambda: status(pair.beta).get("reason") == "inert_peer_on", 40, "beta to be inert")
    assert since.fences() == {"alpha": 0, "beta": 0}
