"""A whole key rotation on a live pair: no frame is rejected, no step that could cut the links is taken."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from tests.netns.situation import Since, role, settle, status
from tests.rig.node import HBLINK, Node
from tests.rig.pair import Pair
from tests.rig.wait import boottime_ns

FRAMES = 40  # after a step, on each link: more than a change of key could hide behind


def rejects(pair: Pair) -> dict[tuple[str, str], int]:
    """Return how many frames each node has rejected on each link."""
    return {
        (name, link["name"]): sum(link["rejected"].values())
        for name, node in pair.nodes.items()
        for link in status(node)["links"]
    }


def after_frames(pair: Pair) -> None:
    """Wait until each node has accepted many more frames on each link."""

    def received() -> list[int]:
        return [link["received"] for node in pair.nodes.values() for link in status(node)["links"]]

    before = received()
    pair.wait(
        lambda: min(now - then for now, then in zip(received(), before, strict=True)) >= FRAMES, 60, "more frames"
    )


def keys(node: Node) -> dict[str, Any]:
    found: dict[str, Any] = status(node)["keys"]
    return found


def add(node: Node, line: str) -> subprocess.CompletedProcess[str]:
    """Run `hblink key add` on the node with `line` on its standard input."""
    return subprocess.run(
        node.command([*HBLINK, "key", "add"]),
        input=line,
        capture_output=True,
        text=True,
        timeout=20,
        env=dict(node._environment()),
        check=False,
    )


def listed(node: Node) -> dict[str, Any]:
    done = node.hblink("key", "list", "--json")
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def agree(pair: Pair, here: str, accepted: list[int], active: int) -> None:
    """Wait until the peer of `here` knows which keys that node accepts and signs with."""
    other = pair.other(pair.nodes[here])
    pair.wait(
        lambda: (keys(other)["peer_accepted"], keys(other)["peer_active"]) == (accepted, active),
        30,
        f"{other.name} to know the keys of {here}",
    )


def test_a_rotation_on_a_live_pair_rejects_no_frame(shared: Pair) -> None:
    pair = shared
    alpha, beta = pair.alpha, pair.beta
    pair.wait(lambda: all(keys(node)["peer_accepted"] for node in pair.nodes.values()), 30, "both to know the keys")
    since, before = Since(pair), rejects(pair)
    assert listed(alpha)["next"].startswith("nothing:")

    line = alpha.hblink("key", "new", "--add").stdout
    for node in (alpha, beta):
        early = node.hblink("key", "activate", "2")
        assert early.returncode == 1, "it is not there yet"
    assert add(alpha, line).returncode == 0
    agree(pair, "alpha", [1, 2], 1)
    early = alpha.hblink("key", "activate", "2")
    assert early.returncode == 1
    assert "beta does not accept key 2" in early.stderr
    assert "hblink key add" in listed(alpha)["next"]
    assert add(beta, line).returncode == 0
    agree(pair, "beta", [1, 2], 1)
    assert listed(alpha)["next"] == "here: hblink key activate 2"

    assert alpha.hblink("key", "activate", "2").returncode == 0
    agree(pair, "alpha", [1, 2], 2)
    early = beta.hblink("key", "remove", "1")
    assert "active one" in early.stderr
    early = alpha.hblink("key", "remove", "1")
    assert early.returncode == 1
    assert "beta signs with key 1" in early.stderr
    assert listed(alpha)["next"] == "on beta: hblink key activate 2"
    assert beta.hblink("key", "activate", "2").returncode == 0
    agree(pair, "beta", [1, 2], 2)
    after_frames(pair)

    assert listed(beta)["next"] == "on both nodes: hblink key remove 1"
    for node in (alpha, beta):
        removed = node.hblink("key", "remove", "1")
        assert removed.returncode == 0, removed.stderr
    agree(pair, "alpha", [2], 2)
    agree(pair, "beta", [2], 2)
    after_frames(pair)
    assert listed(alpha)["next"].startswith("nothing:")
    assert rejects(pair) == before, "not one frame was rejected on the way"
    assert (role(alpha), role(beta)) == ("active", "standby")
    since.assert_nothing_moved()
    for node in (alpha, beta):
        shown = node.hblink("key", "list").stdout
        assert all(len(each) <= 79 for each in shown.splitlines())
        assert (node.configuration / "hblink.keys").stat().st_mode & 0o777 == 0o600


def test_a_reload_that_would_cut_the_links_is_refused_and_changes_nothing(shared: Pair) -> None:
    """The operator edits the file by hand, on one node alone, and makes a key active that the peer does not have."""
    pair, since = shared, Since(shared)
    path = pair.alpha.configuration / "hblink.keys"
    right = path.read_text()
    line = pair.alpha.hblink("key", "new", "--add").stdout.strip()
    pair.alpha.write("hblink.keys", right.replace("active", "") + f"{line}  active\n")
    refused = pair.alpha.hblink("reload", "--json")
    assert refused.returncode == 78
    assert "does not accept key" in json.loads(refused.stdout)["problems"][0]["message"]
    pair.alpha.write("hblink.keys", f"{line}\n")
    assert pair.alpha.hblink("reload").returncode == 78, "the key that beta signs with would be gone"
    pair.alpha.write("hblink.keys", "rubbish\n")
    assert pair.alpha.hblink("reload", "--keys").returncode == 78
    asked = boottime_ns()
    pair.wait(lambda: boottime_ns() - asked > 1_500_000_000, 5, "more than deadtime")
    pair.alpha.write("hblink.keys", right)
    assert pair.alpha.hblink("reload").returncode == 0
    settle(pair, "alpha")
    since.assert_nothing_moved()
