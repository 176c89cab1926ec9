"""The history over the control socket: what happened and why, followed as it happens, and the flight ring replayed."""

from __future__ import annotations

import json
import signal
import subprocess
from typing import Any

from tests.netns.situation import Since, settle, status
from tests.rig.node import HBLINK, Node
from tests.rig.pair import Pair
from tests.rig.process import end
from tests.rig.wait import wait_until


def events(node: Node, *words: str) -> list[dict[str, Any]]:
    """Return what `hblink events --json` prints on the node."""
    done = node.hblink("events", "--json", "-n", "0", *words)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_takeover_can_be_read_afterwards_step_by_step_with_durations(shared: Pair) -> None:
    pair, since = shared, Since(shared)
    pair.alpha.crash()
    pair.wait_active("beta")
    told = [event for event in events(pair.beta) if event["at_ms"] >= since.at // 1_000_000]
    texts = [event["text"] for event in told]
    wanted = [
        "standby -> fencing",
        "sending power off",
        "fence off: accepted",
        "fence read: off",
        "fencing -> claiming",
        "service is up",
    ]
    assert [text for text in texts if text in wanted] == [*wanted[:4], "fence read: off", *wanted[4:]], texts
    assert "alarm raised: peer_lost" in texts
    by_text = {event["text"]: event for event in told}
    assert by_text["standby -> fencing"]["fields"]["reason"] == "peer_silent"
    assert by_text["fence off: accepted"]["kind"] == "fence"
    assert by_text["fence off: accepted"]["fields"]["ms"] > 0
    assert by_text["service is up"]["fields"]["grant"] == "fenced"
    assert by_text["service is up"]["fields"]["total_ms"] > by_text["service is up"]["fields"]["fence_ms"] > 0
    assert [event["seq"] for event in told] == sorted(event["seq"] for event in told)
    shown = pair.beta.hblink("events", "-n", "40").stdout.splitlines()
    assert all(len(line) <= 79 and line.isascii() for line in shown)
    assert any("standby -> fencing: nothing was heard of the peer" in line for line in shown), shown


def test_following_shows_an_operator_s_act_as_it_happens(shared: Pair) -> None:
    pair = shared
    command = pair.alpha.command([*HBLINK, "events", "--json", "-f", "-n", "1"])
    follower = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(pair.alpha._environment()))
    try:
        assert follower.stdout is not None
        first = json.loads(follower.stdout.readline())
        assert pair.alpha.hblink("switchover").returncode == 0
        seen: list[dict[str, Any]] = []
        while not any(event["text"] == "switchover: done" for event in seen):
            line = follower.stdout.readline()
            assert line, "the follower ended"
            seen.append(json.loads(line))
        assert [event["seq"] for event in seen] == list(range(first["seq"] + 1, first["seq"] + 1 + len(seen)))
        asked = next(event for event in seen if event["text"] == "operator asks for a switchover")
        assert asked["kind"] == "operator"
        assert asked["fields"]["uid"] == 0
        wait_until(lambda: pair.beta.has("192.0.2.10/32") or None, 15, "beta to own the service")
    finally:
        end(follower)
    settle(pair, "beta")


def test_the_flight_ring_replays_from_mid_flight(shared: Pair) -> None:
    pair = shared
    assert pair.alpha.hblink("switchover").returncode == 0
    settle(pair, "beta")
    for node in pair.nodes.values():
        dumped = node.hblink("events", "--flight")
        assert dumped.returncode == 0, dumped.stderr
        assert '"flight": 1' in dumped.stdout.partition("\n")[0]
        record = node.write("ring.flight", dumped.stdout)
        replayed = node.hblink("replay", str(record))
        assert replayed.returncode == 0, replayed.stdout + replayed.stderr
        steps = len(dumped.stdout.splitlines()) - 1
        assert f"the same in {steps} steps" in replayed.stdout
        print(f"{node.name}: {steps} steps, {len(dumped.stdout)} bytes")


def test_a_follower_stays_when_the_daemon_is_restarted(shared: Pair) -> None:
    pair = shared
    command = pair.beta.command([*HBLINK, "events", "--json", "-f", "-n", "1"])
    follower = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(pair.beta._environment()))
    try:
        assert follower.stdout is not None
        follower.stdout.readline()
        pair.wait(lambda: status(pair.beta)["followers"] == 1, 20, "the follower to wait for news")
        pair.beta.kill_daemon(signal.SIGTERM)
        assert pair.beta.wait_daemon() == 0
        pair.beta.start_daemon()
        seen: list[str] = []
        while "starting -> standby" not in seen:
            line = follower.stdout.readline()
            assert line, seen
            seen.append(json.loads(line)["text"])
        assert "asked to end; handing over" in seen
        assert seen.index("the daemon has been started anew") < seen.index("starting -> standby")
    finally:
        end(follower)
    settle(pair, "alpha")
