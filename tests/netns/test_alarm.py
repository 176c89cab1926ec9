"""The alarm hook gets each fact once, and nothing that the daemon started outlives it."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.netns.situation import QUICK, Since, alarms, logged, programs, role, settle
from tests.rig.node import Node
from tests.rig.pair import Pair
from tests.rig.setting import Setting
from tests.rig.wait import wait_until


def with_hook(build_pair: Callable[[Setting], Pair], script: str) -> tuple[Pair, Path]:
    """Build a pair whose alarm command is `script`, with $OUT for the file that is returned."""
    pair = build_pair(QUICK)
    hook, output = pair.directory / "hook", pair.directory / "alarms"
    hook.write_text(f"#!/bin/sh\nOUT={output}\n{script}\n")
    hook.chmod(0o755)
    for node in pair.nodes.values():
        toml = (node.configuration / "hblink.toml").read_text()
        node.write("hblink.toml", f'alarm_command = ["{hook}"]\n{toml}', 0o644)
    pair.start()
    settle(pair, "alpha")
    return pair, output


def told(output: Path) -> list[dict[str, Any]]:
    """Return what the hook was given, each on a line of its own."""
    text = output.read_text() if output.exists() else ""
    return [json.loads(line) for line in text.rpartition("\n")[0].splitlines()]  # the last one may be on its way


def test_the_hook_is_told_of_degraded_blocked_and_takeover(build_pair: Callable[[Setting], Pair]) -> None:
    pair, output = with_hook(build_pair, 'cat >>"$OUT"')

    before = len(told(output))  # a cold start has its own alarms

    def heard(node: Node, **wanted: object) -> list[dict[str, Any]]:
        return [each for each in told(output)[before:] if each["node"] == node.name and wanted.items() <= each.items()]

    pair.cut_serial()
    for node in pair.nodes.values():
        for event, link in (("degraded", None), ("jeopardy", None), ("link_in_down", "serial")):
            pair.wait(
                lambda node=node, event=event, link=link: heard(node, event=event, state="raised", link=link),
                20,
                f"{node.name} to tell of {event}",
            )
    assert heard(pair.alpha, event="degraded")[0]["peer"] == "beta"
    assert heard(pair.alpha, event="degraded")[0]["role"] == "active"
    assert heard(pair.alpha, event="degraded")[0]["cluster"] == "rig"
    pair.heal()
    pair.wait(lambda: heard(pair.beta, event="degraded", state="cleared"), 20, "the end of it to be told")
    settle(pair, "alpha")

    pair.alpha.crash()
    pair.wait(lambda: heard(pair.beta, event="takeover", grant="fenced"), 60, "the takeover to be told")
    (takeover,) = heard(pair.beta, event="takeover", grant="fenced")
    assert takeover["role"] == "active"
    assert takeover["silence_ms"] > 0
    assert takeover["device_ms"] > 0
    settle(pair, "beta")

    before = len(told(output))
    pair.cut_bmc("beta")
    pair.cut_links()
    pair.wait(lambda: heard(pair.alpha, event="blocked", state="raised"), 60, "blocked to be told")
    assert heard(pair.alpha, event="blocked")[0]["reason"] == "fence_failed"


def test_a_fence_device_that_dies_is_told_once_it_stays_dead_and_until_it_answers(
    build_pair: Callable[[Setting], Pair],
) -> None:
    pair, output = with_hook(build_pair, 'cat >>"$OUT"')
    pair.wait(lambda: pair.alpha.hblink("status").returncode == 0, 30, "both to have looked at their device")

    def heard(what: str) -> list[str]:
        wanted = {"node": "beta", "event": "fence_not_ready", "state": what}
        return [each.get("detail", "") for each in told(output) if wanted.items() <= each.items()]

    assert not any(each["event"].startswith("fence_") for each in told(output)), "nobody is called at a start"
    pair.cut_bmc("alpha")
    assert pair.beta.hblink("fence", "test").returncode == 1
    pair.wait(lambda: pair.alpha.hblink("status").returncode == 1, 30, "alpha to know that beta could not fence it")
    assert "WEAK    the peer could not switch this node off" in pair.alpha.hblink("status").stdout
    assert [pair.nodes[name].hblink("why").returncode for name in pair.nodes] == [1, 1]
    assert pair.beta.hblink("status").returncode == 1
    assert alarms(pair.beta) == set(), "one reading is nobody's alarm"
    pair.wait(lambda: heard("raised"), 60, "beta to tell of it")
    assert heard("raised") == ["level 1 ipmi 10.10.0.11: unreachable"]
    assert alarms(pair.beta) == {("fence_not_ready", None)}
    codes = [each["code"] for each in json.loads(pair.beta.hblink("why", "--json").stdout)["causes"]]
    assert codes == ["peer_active", "unreachable"], "said once"
    assert "no fence device of it works" in pair.beta.hblink("status").stdout
    assert 'hblink_alarm{code="fence_not_ready"' in pair.beta.hblink("metrics").stdout
    assert "alarm raised: fence_not_ready" in pair.beta.hblink("events", "-n", "20").stdout
    pair.heal_bmc("alpha")
    assert pair.beta.hblink("fence", "test").returncode == 0
    pair.wait(lambda: heard("cleared"), 30, "the end of it to be told")
    assert len(heard("raised")) == 1
    pair.wait(lambda: pair.alpha.hblink("status").returncode == 0, 30, "alpha to know that too")
    for node in pair.nodes.values():
        why = node.hblink("why")
        assert (why.returncode, "WORTH KNOWING" in why.stdout) == (0, True), "the rig's BMCs warn of restore_policy"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_children_die_with_the_daemon(build_pair: Callable[[Setting], Pair], number: signal.Signals) -> None:
    """An ipmitool that waits for its BMC could power off a node long after its daemon is gone."""
    patience = {"command_timeout_ms": 20000, "latency_ms": 20000, "attempt_ms": 30000}
    pair = build_pair(replace(QUICK, fence_extra=patience))
    pair.start()
    settle(pair, "alpha")
    since = Since(pair)
    pair.cut_bmc("alpha")
    pair.cut_links()
    pair.wait(lambda: "ipmitool" in programs(pair.beta).values(), 20, "ipmitool to try")
    pair.beta.kill_daemon(number)
    pair.beta.wait_daemon()
    wait_until(lambda: "ipmitool" not in programs(pair.beta).values(), 10, "ipmitool to be gone")
    pair.heal_bmc("alpha")
    assert role(pair.alpha) == "active"
    assert since.fences() == {"alpha": 0, "beta": 0}


def test_a_hook_that_hangs_holds_nothing_up_and_is_killed(build_pair: Callable[[Setting], Pair]) -> None:
    pair, _ = with_hook(build_pair, "exec sleep 300")
    since = Since(pair)
    pair.alpha.crash()
    pair.wait_active("beta")
    pair.wait(lambda: "sleep" in programs(pair.beta).values(), 10, "the hook to run")
    since.assert_never_two_owners()
    pair.wait(lambda: logged(pair.beta, "the alarm command failed: killed after", since.at), 30, "it to be killed")
    pair.wait(lambda: "sleep" in programs(pair.beta).values(), 10, "the next alarm to be handed over")
    pair.beta.kill_daemon()
    pair.beta.wait_daemon()
    wait_until(lambda: "sleep" not in programs(pair.beta).values(), 10, "the hook to be gone")
