"""The preferred node comes back: with auto_failback the service returns to it after the hold time, without a fence."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import replace

from tests.netns.situation import QUICK, Since, is_well, logged_at, settle, status, wait_logged
from tests.rig.pair import Pair
from tests.rig.setting import Setting

HOLD_MS = 2000
FAILBACK = replace(QUICK, top={"auto_failback": "on"}, timing={**QUICK.timing, "failback_hold_ms": HOLD_MS})


def test_the_service_returns_once_the_preferred_node_was_ready_for_the_hold_time(
    build_pair: Callable[[Setting], Pair],
) -> None:
    pair = build_pair(FAILBACK)
    pair.start()
    settle(pair, "alpha")
    since = Since(pair)
    pair.alpha.kill_daemon(signal.SIGTERM)
    pair.wait_active("beta")
    assert pair.alpha.wait_daemon() == 0
    pair.alpha.start_daemon()
    pair.wait_active("alpha")
    ready = logged_at(pair.alpha, "-> standby", pair.alpha.started_at)[0]
    wait_logged(pair, pair.beta, "active -> yielding reason=failback", since.at)
    (moved,) = logged_at(pair.beta, "active -> yielding reason=failback", since.at)
    assert moved - ready >= (HOLD_MS - 1) * 1_000_000, "the log knows milliseconds"
    pair.wait(lambda: all(is_well(node) for node in pair.nodes.values()), 20, "both to be well")
    assert status(pair.alpha)["grant"] == "yielded"
    assert logged_at(pair.alpha, "active -> yielding", since.at)[1:] == [], "it stays"
    assert since.fences() == {"alpha": 0, "beta": 0}
    since.assert_never_two_owners()
