"""The address is a lease: a daemon that dies or hangs loses it by itself, and asks before it takes it back."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.netns.situation import ALL_VIPS, QUICK, Since, logged, logged_at, role, settle, status, wait_logged
from tests.rig.node import Node
from tests.rig.pair import Pair
from tests.rig.setting import VIP, VIPS, Setting
from tests.rig.wait import boottime_ns

LEASE_NS = 4_000_000_000
DEADTIME_NS = QUICK.timing["deadtime_ms"] * 1_000_000


def end(node: Node, how: str) -> None:
    """Kill or freeze the daemon, and nothing else of the node."""
    node.kill_daemon(signal.SIGKILL if how == "killed" else signal.SIGSTOP)


@pytest.mark.parametrize("how", ["killed", "frozen"])
def test_the_kernel_drops_the_vips_of_a_daemon_that_is_gone(shared: Pair, how: str) -> None:
    """The peer cannot fence here, so only the lease is left."""
    pair, since = shared, Since(shared)
    pair.cut_bmc("alpha")
    pair.wait(lambda: pair.alpha.has(VIP), 10, "the VIP")
    end(pair.alpha, how)
    ended = boottime_ns()
    pair.wait(lambda: pair.alpha.has(*ALL_VIPS) == set(), 15, "the leases to end")
    gone = [change.at for change in pair.observer.held(since.at) if not change.present]
    assert len(gone) == len(VIPS)
    last = max(gone)
    print(f"{how}: gone after {(last - ended) / 1e9:.2f} s")
    assert last - ended < LEASE_NS + 2_000_000_000, "in the kernel's own time"
    assert pair.beta.has(*ALL_VIPS) == set()
    assert role(pair.beta) in ("fencing", "blocked")
    assert since.fences() == {"alpha": 0, "beta": 0}

    # Back again, and heard: it asks, is told that nobody took the service, and takes it.
    again = boottime_ns()
    if how == "killed":
        pair.alpha.start_daemon()
    else:
        pair.alpha.cont()
    pair.wait_active("alpha")
    assert status(pair.alpha)["grant"] == "not_taken"
    if how == "frozen":
        wait_logged(pair, pair.alpha, "-> claiming", again - 1_000_000)
        late, dropped, claimed = (
            logged_at(pair.alpha, text, again - 1_000_000)[0]
            for text in ("the loop was late", "active -> yielding reason=stall", "-> claiming")
        )
        assert late <= dropped < claimed <= since.appeared(pair.alpha)[0] + 1_000_000
    settle(pair, "alpha")
    assert since.fences() == {"alpha": 0, "beta": 0}
    since.assert_never_two_owners()


@pytest.mark.parametrize("how", ["killed", "frozen"])
def test_the_peer_fences_a_host_whose_daemon_is_gone(shared: Pair, how: str) -> None:
    pair, since = shared, Since(shared)
    end(pair.alpha, how)
    pair.wait_active("beta")
    assert since.fences() == {"alpha": 1, "beta": 0}
    assert since.commands("alpha")[0][0] < since.appeared(pair.beta)[0]
    settle(pair, "beta")
    since.assert_never_two_owners()


def test_a_short_pause_drops_the_vips_before_anything_else(shared: Pair) -> None:
    """Longer than deadtime, shorter than the lease: the kernel still had every address when the daemon went on."""
    pair, since = shared, Since(shared)
    pair.cut_bmc("alpha")
    pair.alpha.stop()
    frozen = boottime_ns()
    pair.wait(lambda: boottime_ns() - frozen > 1.5 * DEADTIME_NS, 10, "more than deadtime")
    pair.wait(lambda: role(pair.beta) == "fencing", 5, "beta to suspect it")
    assert pair.alpha.has(*ALL_VIPS) == ALL_VIPS
    again = boottime_ns()
    pair.alpha.cont()
    wait_logged(pair, pair.alpha, "claiming -> active", again)
    changes = [(change.node, change.present) for change in pair.observer.held(again)]
    assert changes == [("alpha", False)] * len(VIPS) + [("alpha", True)] * len(VIPS)
    assert status(pair.alpha)["grant"] == "not_taken"
    assert since.fences() == {"alpha": 0, "beta": 0}
    settle(pair, "alpha")
    since.assert_never_two_owners()


@pytest.mark.parametrize("beyond_ms", [0, 30, 60, 500])
def test_a_standby_that_was_frozen_accuses_nobody(shared: Pair, beyond_ms: int) -> None:
    """What the active sent meanwhile waits in the kernel: a pause about as long as deadtime is not its silence."""
    pair, since = shared, Since(shared)
    pair.beta.stop()
    frozen = boottime_ns()
    pair.wait(lambda: boottime_ns() - frozen >= DEADTIME_NS + beyond_ms * 1_000_000, 10, "deadtime to pass")
    pair.beta.cont()
    settle(pair, "alpha")
    assert logged(pair.beta, "sending power", since.at) == []
    since.assert_nothing_moved()


def test_both_frozen_together_end_with_one_owner_and_no_fence(shared: Pair) -> None:
    """A host that pauses both machines at once, as hypervisors do."""
    pair, since = shared, Since(shared)
    for node in pair.nodes.values():
        node.stop()
    pair.wait(lambda: pair.alpha.has(*ALL_VIPS) == set(), 15, "the leases to end")
    for node in pair.nodes.values():
        node.cont()
    settle(pair)
    assert since.fences() == {"alpha": 0, "beta": 0}
    since.assert_never_two_owners()


@pytest.fixture
def patient(build_pair: Callable[[Setting], Pair]) -> Pair:
    """Give a pair whose deadtime is longer than a daemon's start."""
    timing = {**QUICK.timing, "deadtime_ms": 5000, "initdead_ms": 10000, "handover_ms": 7000, "lease_ms": 10000}
    pair = build_pair(replace(QUICK, timing=timing))
    pair.start()
    settle(pair, "alpha")
    return pair


def test_a_restart_within_deadtime_costs_no_fence(patient: Pair) -> None:
    pair = patient
    for node, grant in ((pair.alpha, "not_taken"), (pair.beta, None)):
        since = Since(pair)
        node.kill_daemon()
        node.wait_daemon()
        node.start_daemon()
        settle(pair, "alpha")
        assert status(node)["grant"] == grant
        assert since.fences() == {"alpha": 0, "beta": 0}
        since.assert_never_two_owners()
    appeared = [change for change in pair.observer.held(since.at) if change.present]
    assert appeared == [], "the standby's restart moves nothing"


def test_a_removed_vip_is_put_back(shared: Pair) -> None:
    """By some network manager's restart, say."""
    pair, since = shared, Since(shared)
    pair.alpha.namespace.ip(*(f"address del {address} dev {interface}" for address, interface in VIPS))
    pair.wait(lambda: len(since.appeared(pair.alpha)) == len(VIPS), 10, "the VIPs to be back")
    wait_logged(pair, pair.alpha, "was removed from", since.at)
    dump = json.loads(pair.alpha.run("ip", "-json", "address", "show", "dev", "lan0").stdout)[0]["addr_info"]
    (entry,) = (entry for entry in dump if entry["local"] == VIP.split("/")[0])
    assert entry["valid_life_time"] <= LEASE_NS // 1_000_000_000, "a lease again"
    assert role(pair.alpha) == "active"
    assert since.fences() == {"alpha": 0, "beta": 0}
