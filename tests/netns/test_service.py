"""A service that does not start or does not stop, and a line that carries what no node sent."""

from __future__ import annotations

import pytest

from tests.netns.situation import ALL_VIPS, Since, alarms, link, logged, role, settle, status, wait_logged
from tests.rig.nullmodem import Direction
from tests.rig.pair import Pair
from tests.rig.setting import VIP
from tests.rig.wait import boottime_ns


def forbid_ipv6(pair: Pair, forbidden: bool) -> None:
    """Make every IPv6 address on beta's lan1 impossible, as a careless sysctl would."""
    value = int(forbidden)
    done = pair.beta.run("sh", "-c", f"echo {value} > /proc/sys/net/ipv6/conf/lan1/disable_ipv6")
    assert done.returncode == 0, done.stderr


def test_a_node_that_cannot_start_the_service_gives_it_back(shared: Pair) -> None:
    pair, since = shared, Since(shared)
    forbid_ipv6(pair, True)
    moved = pair.alpha.hblink("switchover")
    assert moved.returncode == 1, moved.stdout
    pair.wait_active("alpha")
    assert len(wait_logged(pair, pair.beta, "the service did not start", since.at)) == 1, "it tried once"
    assert ("start_failed", None) in alarms(pair.beta)
    assert pair.beta.has(*ALL_VIPS) == set(), "nothing of it was left behind"
    refused = pair.alpha.hblink("switchover")
    assert refused.returncode == 1, "beta says that it is not able"
    assert role(pair.alpha) == "active"
    assert since.fences() == {"alpha": 0, "beta": 0}
    since.assert_never_two_owners()
    forbid_ipv6(pair, False)
    pair.beta.kill_daemon()  # what it holds against itself for a minute ends with the daemon
    pair.beta.wait_daemon()


def test_a_node_that_cannot_stop_the_service_is_fenced(shared: Pair) -> None:
    """Another program has the address on another interface: this machine goes on answering for it."""
    pair, since = shared, Since(shared)
    pair.alpha.namespace.ip(f"address add {VIP} dev mgmt0")
    moved = pair.alpha.hblink("switchover", timeout_s=60)
    pair.wait_active("beta", 60)
    (halted,) = wait_logged(pair, pair.alpha, "yielding -> halted", since.at)
    assert "stop_failed" in halted
    assert len(logged(pair.alpha, "the service did not stop", since.at)) == 1, "said once, tried each second"
    assert since.fences() == {"alpha": 1, "beta": 0}
    assert since.commands("alpha")[0][0] < since.appeared(pair.beta)[0]
    assert moved.returncode == 1


@pytest.mark.parametrize("what", ["text", "noise"])
def test_rubbish_on_the_serial_line_moves_nothing(shared: Pair, what: str) -> None:
    pair, since = shared, Since(shared)
    if what == "text":
        for _ in range(20):
            pair.nullmodem.inject(b"\r\nDebian GNU/Linux 13 alpha ttyS1\r\n\r\nalpha login: ", Direction.ALPHA_TO_BETA)
        name = "ascii"
    else:
        pair.nullmodem.noise(0.003)
        name = "bit_errors"
    pair.wait(lambda: link(status(pair.beta), "serial")["rejected"].get(name, 0) > 0, 20, f"{name} to be counted")
    wait_logged(pair, pair.beta, f"frame rejected: {name} link=serial", since.at)
    asked = boottime_ns()
    pair.wait(lambda: boottime_ns() - asked > 2_000_000_000, 5, "twice deadtime")
    assert (role(pair.alpha), role(pair.beta)) == ("active", "standby")
    pair.heal()
    settle(pair, "alpha")
    since.assert_nothing_moved()
