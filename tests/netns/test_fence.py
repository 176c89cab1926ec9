"""The fence devices of a real pair: levels, identity, readiness before it counts, and the drill of the standby."""

from __future__ import annotations

import json
import signal
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.netns.situation import QUICK, Since, alarms, logged, role, settle, status, wait_logged
from tests.rig.node import Node
from tests.rig.outlet import Outlet, write_agent
from tests.rig.pair import Pair
from tests.rig.setting import Setting

# Who a board is, is read again only a minute later if a busy machine was late with the answer.
PATIENT = replace(QUICK, fence_extra={"command_timeout_ms": 3000, "attempt_ms": 7500, "latency_ms": 6000})


def levels(node: Node) -> list[dict[str, Any]]:
    """Return what the node says of each level."""
    found: list[dict[str, Any]] = status(node).get("fence", {}).get("levels", [])
    return found


def wait_ready(pair: Pair) -> None:
    """Wait until alpha has found out that its device works, without which it refuses a drill."""
    pair.wait(lambda: all(each["ready"] for each in levels(pair.alpha)), 30, "the devices to be ready")


def steps(node: Node, since: Since) -> list[str]:
    """Return the steps of the fence as the node logged them, with their levels."""
    lines = logged(node, " fence ", since.at)
    return [line.split(" fence ")[1].split(" ms=")[0] for line in lines if " ms=" in line]


def test_the_second_level_takes_over_where_the_first_is_gone(build_pair: Callable[[Setting], Pair]) -> None:
    with tempfile.TemporaryDirectory(prefix="hblink-outlet-") as outlets:
        for name in ("alpha", "beta"):
            (Path(outlets) / f"outlet-{name}").write_text("on")
        pair = build_pair(replace(QUICK, outlets=outlets))
        pair.start()
        settle(pair, "alpha")
        pair.wait(lambda: [each["ready"] for each in levels(pair.beta)] == [True, True], 30, "both levels ready")
        assert [each["name"] for each in levels(pair.beta)] == ["ipmi 10.10.0.11", "fence_dummy"]
        since = Since(pair)
        pair.bmc("alpha").stop()
        assert pair.beta.hblink("fence", "test").returncode == 1, "one of two works"
        assert "ready, but level 1 unreachable" in pair.beta.hblink("status").stdout
        assert "unreachable" in pair.beta.hblink("why").stdout
        assert status(pair.beta)["fence"]["ready"] is True
        pair.alpha.crash()
        pair.wait_active("beta")
        claimed = wait_logged(pair, pair.beta, "fencing -> claiming", since.at)
        told = steps(pair.beta, since)
        order = ["look: unknown level=1", "off: accepted level=2", "read: off level=2", "read: off level=2"]
        assert [each for each in told if each in order] == order, told
        assert len(claimed) == 1
        outlet = Path(outlets) / "outlet-alpha"
        pair.wait(lambda: outlet.read_text().strip() == "on", 20, "the outlet to be on again, after the claim")
        assert since.commands("alpha") == [], "the dead BMC has carried out nothing"
        since.assert_never_two_owners()
        proof = status(pair.beta)["fence"]["proof"]
        assert proof["kind"] == "takeover"
        assert [step["level"] for step in proof["steps"]][-1] == 2


@pytest.mark.parametrize("changed", ["guid", "serial"])
def test_another_board_at_the_peers_address_is_never_shot(build_pair: Callable[[Setting], Pair], changed: str) -> None:
    pair = build_pair(PATIENT)
    pair.start()
    settle(pair, "alpha")
    bmc = pair.bmc("alpha")
    learned = [(bmc.guid, bmc.serial)]
    pair.wait(lambda: [(each["guid"], each["serial"]) for each in levels(pair.beta)] == learned, 30, "who it is")
    bmc.stop()
    setattr(bmc, changed, "0" * 31 + "1")
    bmc.write_files()
    bmc.start()
    done = pair.beta.hblink("fence", "test", "--json")
    assert (done.returncode, json.loads(done.stdout)["levels"][0]["reason"]) == (1, "wrong_device")
    assert pair.beta.hblink("status").returncode == 1
    since = Since(pair)
    pair.alpha.crash()
    pair.wait(lambda: status(pair.beta).get("role") == "blocked", 60, "beta to be blocked")
    assert since.commands("alpha") == []
    assert pair.beta.hblink("fence", "forget", "alpha", "--yes").returncode == 0
    pair.wait(lambda: [each["ready"] for each in levels(pair.beta)] == [True], 30, "the new board accepted")


def test_boards_to_which_their_maker_gave_one_guid_are_told_apart(build_pair: Callable[[Setting], Pair]) -> None:
    pair = build_pair(PATIENT)
    for name in pair.nodes:
        pair.bmc(name).stop()
        pair.bmc(name).guid = "0" * 31 + "1"
        pair.bmc(name).write_files()
        pair.bmc(name).start()
    pair.start()
    settle(pair, "alpha")
    known = {pair.bmc(name).serial for name in pair.nodes}
    learned = pair.beta.state / "fence.json"
    pair.wait(
        lambda: learned.exists() and set(json.loads(learned.read_text())["serial"].values()) == known,
        40,
        "beta to know its own too",
    )
    assert pair.beta.hblink("fence", "test").returncode == 0
    since = Since(pair)
    pair.alpha.crash()
    pair.wait_active("beta")
    assert since.fences() == {"alpha": 1, "beta": 0}
    since.assert_never_two_owners()


def test_what_is_wrong_with_a_device_is_known_before_it_is_needed(shared: Pair) -> None:
    pair = shared
    secret = pair.beta.configuration / "ipmi-alpha.pass"
    good = secret.read_text()
    try:
        secret.write_text("another\n")
        done = pair.beta.hblink("doctor", "fence")
        assert done.returncode == 1
        assert "wrong_password: RAKP" in done.stdout
        assert all(len(line) < 80 for line in done.stdout.splitlines())
        assert status(pair.beta)["fence"]["ready"] is False
        pair.wait(lambda: "wrong_password" in pair.beta.hblink("why").stdout, 20, "why to name it")
    finally:
        secret.write_text(good)
    assert pair.beta.hblink("fence", "test").returncode == 0
    assert pair.beta.hblink("doctor", "fence").returncode == 0
    assert "restore_policy" in pair.beta.hblink("fence", "status").stdout


def test_a_drill_switches_the_standby_off_and_on_and_says_what_each_step_took(shared: Pair) -> None:
    pair, since = shared, Since(shared)
    wait_ready(pair)
    assert "PROOF   none" in pair.alpha.hblink("fence", "status").stdout or status(pair.alpha)["fence"]["proof"]
    done = pair.alpha.hblink("fence", "drill", "beta", "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "drill of beta: done" in done.stdout
    (off, is_on), (on, is_on_again) = since.commands("beta")
    assert (is_on, is_on_again) == (False, True)
    assert off < on
    shown = pair.alpha.hblink("fence", "status").stdout
    assert "power not read since a command" in shown
    assert "Chassis Power" not in shown
    told = [line.split()[2:4] for line in done.stdout.splitlines() if line.startswith("        level")]
    assert [step for step, _ in told] == ["look", "off", "read", "read", "on"], done.stdout
    proof = status(pair.alpha)["fence"]["proof"]
    assert proof["kind"] == "drill"
    assert proof["age_s"] < 60
    assert all(step["ms"] > 0 for step in proof["steps"])
    settle(pair, "alpha")
    assert since.fences() == {"alpha": 0, "beta": 1}
    since.assert_never_two_owners()


def test_a_drill_of_each_level_proves_that_one_and_what_it_left_off_another_switches_on(
    build_pair: Callable[[Setting], Pair],
) -> None:
    with tempfile.TemporaryDirectory(prefix="hblink-outlet-") as directory:
        agent = write_agent(Path(directory))
        pair = build_pair(replace(QUICK, outlets=directory, outlet=str(agent)))
        outlets = {
            name: Outlet(Path(directory) / f"outlet-{name}", pair.bmc(name).directory / "chassis")
            for name in pair.nodes
        }
        pair.start()
        for level in (2, 1):
            settle(pair, "alpha")
            pair.wait(lambda: [each["ready"] for each in levels(pair.alpha)] == [True, True], 30, "both levels ready")
            since = Since(pair)
            done = pair.alpha.hblink("fence", "drill", "beta", "--level", str(level), "--yes")
            assert done.returncode == 0, done.stdout + done.stderr
            assert [is_on for _, is_on in since.commands("beta")] == [False, True]
            told = [line.split()[1:3] for line in done.stdout.splitlines() if line.startswith("        level")]
            assert told == [[str(level), step] for step in ("look", "off", "read", "read", "on")], done.stdout
            proof = status(pair.alpha)["fence"]["proof"]
            assert (proof["kind"], proof["level"]) == ("drill", level)
            since.assert_never_two_owners()
        settle(pair, "alpha")
        ages = [each["proof"]["age_s"] for each in levels(pair.alpha)]
        assert ages[0] <= ages[1] < 60
        since = Since(pair)
        outlets["beta"].fail("dead")
        assert pair.alpha.hblink("fence", "test").returncode == 1
        for level, reason in ((2, "level_not_ready"), (3, "no_such_level")):
            done = pair.alpha.hblink("fence", "drill", "beta", "--level", str(level), "--yes", "--json")
            assert (done.returncode, json.loads(done.stdout)["reason"]) == (1, reason)
        assert since.commands("beta") == []
        outlets["beta"].mend()
        assert pair.alpha.hblink("fence", "test").returncode == 0
        outlets["beta"].fail("dies")
        done = pair.alpha.hblink("fence", "drill", "beta", "--level", "2", "--yes")
        assert (done.returncode, "failed" in done.stdout) == (1, True), done.stdout
        pair.wait(lambda: pair.bmc("beta").power, 30, "beta to be switched on by the first level")
        settle(pair, "alpha", 60)
        (_, is_on), *later = since.commands("beta")
        assert not is_on
        assert later
        assert all(is_on for _, is_on in later), "once more, if it is not heard in time"
        assert status(pair.alpha)["fence"]["proof"]["level"] == 1
        since.assert_never_two_owners()


def test_a_drill_is_refused_where_it_could_hurt(shared: Pair) -> None:
    pair, since = shared, Since(shared)
    assert "refused" in pair.beta.hblink("fence", "drill", "alpha", "--yes").stdout, "beta does not serve"
    assert pair.alpha.hblink("fence", "drill", "alpha", "--yes").returncode == 1, "never oneself"
    pair.cut_ethernet()
    pair.wait(lambda: ("degraded", None) in alarms(pair.alpha), 20, "one link to be missed")
    done = pair.alpha.hblink("fence", "drill", "beta", "--yes")
    assert (done.returncode, "refused" in done.stdout) == (1, True)
    assert "->  mend first what this names: hblink why" in done.stdout
    assert since.commands("beta") == since.commands("alpha") == []


def test_a_device_that_lies_is_caught_by_the_drill_and_not_used_before_an_operator_says_so(shared: Pair) -> None:
    """S14: it says OFF, and the peer goes on in the same kernel boot."""
    pair, since = shared, Since(shared)
    wait_ready(pair)
    pair.bmc("beta").lies = True
    done = pair.alpha.hblink("fence", "drill", "beta", "--yes")
    assert (done.returncode, "drill of beta: failed" in done.stdout) == (1, True), done.stdout
    assert ("fence_lied", None) in alarms(pair.alpha)
    assert [(each["reason"], each["proof"]) for each in levels(pair.alpha)] == [("lied", None)]
    assert status(pair.alpha)["fence"]["proof"] is None
    assert pair.alpha.hblink("fence", "test").returncode == 1
    said = pair.alpha.hblink("fence", "status").stdout
    assert "lied" in said
    assert "PROOF   none yet" in said
    pair.bmc("beta").lies = False
    assert pair.alpha.hblink("online").returncode == 0
    pair.wait(lambda: [each["reason"] for each in levels(pair.alpha)] == ["ok"], 30, "trust again")
    assert role(pair.beta) == "standby"
    since.assert_never_two_owners()


def test_a_quick_device_that_lies_proves_nothing_and_the_other_level_keeps_its_proof(
    build_pair: Callable[[Setting], Pair],
) -> None:
    """All of its answers are there before a beat refutes them: what the outlet switches is not the peer."""
    with tempfile.TemporaryDirectory(prefix="hblink-outlet-") as directory:
        agent = write_agent(Path(directory))
        slow = {"ethernet_keepalive_ms": 330, "serial_keepalive_ms": 330}
        pair = build_pair(replace(QUICK, outlets=directory, outlet=str(agent), **slow))
        other = Path(directory) / "other"
        other.write_text('#!/bin/sh\nif test "$2" = get; then echo "power:$(cat power)"; else echo "$4" >power; fi\n')
        other.chmod(0o700)
        for name in pair.nodes:
            outlet = Outlet(Path(directory) / f"outlet-{name}", other)
            (outlet.directory / "power").write_text("1\n")
        pair.start()
        settle(pair, "alpha")
        pair.wait(lambda: [each["ready"] for each in levels(pair.alpha)] == [True, True], 10, "both levels ready")
        assert pair.alpha.hblink("fence", "drill", "beta", "--level", "1", "--yes").returncode == 0
        settle(pair, "alpha")
        since = Since(pair)
        assert pair.alpha.hblink("fence", "drill", "beta", "--level", "2", "--yes").returncode == 1
        assert ("fence_lied", None) in alarms(pair.alpha)
        assert since.commands("beta") == []
        assert [each["reason"] for each in levels(pair.alpha)] == ["ok", "lied"]
        assert_proven(pair.alpha, 1)
        pair.alpha.kill_daemon(signal.SIGTERM)  # in order: it hands over, and is not fenced meanwhile
        pair.wait(lambda: pair.alpha.daemon_pid is None, 10, "alpha's daemon to be gone")
        pair.alpha.start_daemon()
        pair.wait(lambda: role(pair.alpha) is not None, 20, "alpha's daemon again")
        assert_proven(pair.alpha, 1)
        assert [each["reason"] for each in levels(pair.alpha)] == ["lied", "lied"], "it knows that one did, not which"
        assert pair.alpha.hblink("fence", "status").returncode == 1
        assert pair.alpha.hblink("online").returncode == 0
        pair.wait(lambda: [each["reason"] for each in levels(pair.alpha)] == ["ok", "ok"], 30, "trust again")


def assert_proven(node: Node, level: int) -> None:
    """Assert that a drill proves this one of two levels, and that nothing tells of a proof of the other."""
    other = 3 - level
    assert [each["level"] for each in levels(node) if each["proof"] is not None] == [level]
    assert status(node)["fence"]["proof"]["level"] == level
    told = node.hblink("metrics").stdout
    assert f'hblink_fence_level_proof_age_seconds{{level="{level}"' in told
    assert f'hblink_fence_level_proof_age_seconds{{level="{other}"' not in told
