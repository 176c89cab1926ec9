"""What is refused before the first frame, with every reason, and what a node makes of a peer with another key."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest
from hblink_wire import Keyring, format_keyring, new_key

from tests.netns.situation import ALL_VIPS, QUICK, Since, blocked, link, role, settle, wait_logged
from tests.rig.node import Node
from tests.rig.pair import Pair
from tests.rig.setting import NODES, Setting

CONFIGURATION = 78  # EX_CONFIG in sysexits.h


def words(text: str) -> str:
    """Join what was wrapped for an 80-column console."""
    return " ".join(text.split())


def refusal(node: Node) -> str:
    """Start the daemon by hand, which must end at once with a configuration error; return its words."""
    done = node.hblink("run")
    assert done.returncode == CONFIGURATION, done.stdout + done.stderr
    assert node.status() is None
    return words(done.stderr)


def alone(build_pair: Callable[[Setting], Pair], setting: Setting = QUICK) -> Node:
    node = build_pair(setting).alpha
    node.boot(daemon=False)
    return node


def test_secrets_that_others_can_read_are_refused_all_at_once(build_pair: Callable[[Setting], Pair]) -> None:
    node = alone(build_pair)
    names = ("hblink.keys", "ipmi-alpha.pass", "ipmi-beta.pass")
    for name in names:
        (node.configuration / name).chmod(0o644)
        assert f"chmod 600 {node.configuration / name}" in refusal(node).replace(" ", " ")
    for name in names:
        assert name in refusal(node)
    for name in names:
        (node.configuration / name).chmod(0o640)
        assert name in refusal(node)
        (node.configuration / name).chmod(0o600)
    node.start_daemon()


def test_no_fence_and_no_guarantee_does_not_start(build_pair: Callable[[Setting], Pair]) -> None:
    said = refusal(alone(build_pair, Setting(fence=False)))
    assert "no device can switch off alpha and beta" in said
    assert 'guarantee = "at-most-one"' in said


def test_a_node_that_is_none_of_the_two_does_not_start(build_pair: Callable[[Setting], Pair]) -> None:
    node = alone(build_pair)
    node.write("node", "gamma\n", 0o644)
    assert '"gamma" is not a node of rig' in refusal(node)


def test_every_problem_of_the_file_is_told(build_pair: Callable[[Setting], Pair]) -> None:
    node = alone(build_pair)
    toml = (node.configuration / "hblink.toml").read_text()
    node.write("hblink.toml", toml.replace('preferred = "alpha"', 'preferred = "gamma"').replace("baud", "bauds"))
    said = refusal(node)
    assert "preferred" in said
    assert "bauds" in said


def test_a_second_daemon_is_refused_and_the_first_goes_on(shared: Pair) -> None:
    since = Since(shared)
    second = shared.alpha.hblink("run")
    assert second.returncode == 1
    assert str(shared.alpha.runtime) in second.stderr
    assert role(shared.alpha) == "active"
    since.assert_nothing_moved()


def test_a_python_without_assertions_is_refused(build_pair: Callable[[Setting], Pair]) -> None:
    node = alone(build_pair)
    node.environment["PYTHONOPTIMIZE"] = "1"
    done = node.hblink("run")
    assert done.returncode == 1
    assert "python -O" in done.stderr


def give_another_key(node: Node) -> str:
    """Replace the node's keyring by a new one under the same number; return the right one."""
    path = node.configuration / "hblink.keys"
    right = path.read_text()
    node.write("hblink.keys", format_keyring(Keyring((new_key(1, os.urandom(32)),), 1)))
    return right


def test_nodes_with_different_keys_both_stay_inert_and_say_why(build_pair: Callable[[Setting], Pair]) -> None:
    pair = build_pair(QUICK)
    right = give_another_key(pair.beta)
    since = Since(pair)
    pair.start()
    for node in pair.nodes.values():
        document = pair.wait(lambda node=node: blocked(node, "inert_peer_on"), 60, f"{node.name} to be blocked")
        assert [link(document, name)["rejected"]["bad_hmac"] > 0 for name in ("direct", "serial")] == [True, True]
        wait_logged(pair, node, "frame rejected: bad_hmac")
        assert node.hblink("status").returncode == 1
    since.assert_nothing_moved()
    pair.beta.write("hblink.keys", right)
    pair.beta.kill_daemon(signal.SIGTERM)
    assert pair.beta.wait_daemon() == 0
    pair.beta.start_daemon()
    settle(pair, "alpha")
    assert since.fences() == {"alpha": 0, "beta": 0}


@pytest.mark.parametrize("name", NODES)
def test_a_wrong_key_given_to_a_running_pair_never_makes_two_owners(shared: Pair, name: str) -> None:
    """The node that restarts with it hears nobody and is heard by nobody: a partition, and treated as one."""
    pair, since = shared, Since(shared)
    node = pair.nodes[name]
    right = give_another_key(node)
    node.kill_daemon(signal.SIGTERM)
    node.wait_daemon()
    node.start_daemon()
    wait_logged(pair, node, "frame rejected: bad_hmac", since.at)
    pair.wait(lambda: sum(bool(vips) for vips in pair.held().values()) == 1, 20, "one owner")
    owner = pair.wait(pair.active, 20, "one owner of all")
    assert pair.other(owner).has(*ALL_VIPS) == set()
    node.write("hblink.keys", right)
    if node.daemon_pid is not None:
        node.kill_daemon(signal.SIGKILL)
        node.wait_daemon()
        node.start_daemon()
    settle(pair)
    since.assert_never_two_owners()
