"""What must survive a daemon and what a boot: and that a daemon without a disk runs and says so."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.netns.situation import ALL_VIPS, QUICK, Since, blocked, logged, settle, status, wait_logged
from tests.rig.node import Node
from tests.rig.pair import Pair
from tests.rig.setting import Setting


def spoil(node: Node, how: str) -> None:
    """Take the state directory away, as the daemon will see it; the mounts end with the boot."""
    state = str(node.state)
    if how == "missing":
        node.environment["STATE_DIRECTORY"] = f"{state}/none"
        return
    options = "ro" if how == "read-only" else "size=4k"
    assert node.run("mount", "-t", "tmpfs", "-o", options, "tmpfs", state).returncode == 0
    if how == "full":
        filled = node.run("dd", "if=/dev/zero", f"of={state}/fill", "bs=4k", "count=2")
        assert "No space left" in filled.stderr


@pytest.mark.parametrize("how", ["missing", "read-only", "full"])
def test_a_state_directory_that_cannot_be_written_is_said(build_pair: Callable[[Setting], Pair], how: str) -> None:
    pair = build_pair(QUICK)
    for node in pair.nodes.values():
        node.boot(daemon=False)
    spoil(pair.alpha, how)
    for node in pair.nodes.values():
        node.start_daemon()
    settle(pair, "alpha")
    said = lambda: [line for line in logged(pair.alpha, "cannot be written") if "/epoch: " in line]  # noqa: E731
    pair.wait(said, 20, "alpha to complain of its epoch")
    assert "/epoch: " in status(pair.alpha)["memory"]
    assert status(pair.beta)["memory"] is None


def test_an_unwritable_memory_is_said_and_counts_as_not_heard(shared: Pair) -> None:
    """The old file must not stay, or a grant that is used up would come back with the next daemon."""
    pair = shared
    beta = pair.beta
    blocking = beta.runtime / ".memory.json.new"
    blocking.mkdir()  # what the daemon writes first cannot be opened, for root neither
    wait_logged(pair, beta, "memory cannot be written")
    assert not (beta.runtime / "memory.json").exists()
    since = Since(pair)
    pair.cut_links()
    beta.kill_daemon()
    beta.wait_daemon()
    beta.start_daemon()
    # It cannot know whether it ever heard its peer.
    pair.wait(lambda: blocked(beta, "inert_peer_on"), 60, "beta to be blocked")
    since.assert_nothing_moved()
    blocking.rmdir()
    pair.heal()
    settle(pair, "alpha")
    assert (beta.runtime / "memory.json").exists()


def test_a_memory_that_cannot_be_read_is_in_doubt(shared: Pair) -> None:
    pair, since = shared, Since(shared)
    pair.cut_links()
    pair.beta.kill_daemon()
    pair.beta.wait_daemon()
    (pair.beta.runtime / "memory.json").write_text('{"version": 1, "peer_heard": tr')
    pair.beta.start_daemon()
    pair.wait(lambda: blocked(pair.beta, "inert_peer_on"), 60, "beta to be blocked")
    wait_logged(pair, pair.beta, "memory is in doubt", since.at)
    since.assert_nothing_moved()


def test_a_daemon_restart_remembers_that_the_peer_was_heard(shared: Pair) -> None:
    """The same, with its memory: it suspects its silent peer, and waits for its turn to fence it."""
    pair, since = shared, Since(shared)
    pair.cut_links()
    pair.beta.kill_daemon()
    pair.beta.wait_daemon()
    pair.beta.start_daemon()
    pair.wait(lambda: status(pair.beta).get("reason") == "waiting_for_slot", 20, "beta to wait for its turn")
    pair.heal()
    settle(pair, "alpha")
    since.assert_nothing_moved()


@pytest.mark.parametrize("lost", [False, True])
def test_the_last_owner_starts_after_both_were_off(shared: Pair, lost: bool) -> None:
    """The epoch is on the disk; where the disk of the owner was exchanged, its peer still knows."""
    pair = shared
    assert pair.alpha.hblink("switchover").returncode == 0
    settle(pair, "beta")
    epoch = status(pair.beta)["epoch"]
    for node in pair.nodes.values():
        kept = node.state / "epoch"
        pair.wait(lambda kept=kept: kept.exists() and kept.read_text() == f"{epoch}\n", 15, "the epoch on both disks")
    for node in pair.nodes.values():
        node.power_off()
    if lost:
        (pair.beta.state / "epoch").unlink()
    since = Since(pair)
    pair.start()
    settle(pair, "beta")
    assert status(pair.beta)["epoch"] > epoch
    assert pair.alpha.has(*ALL_VIPS) == set()
    assert since.fences() == {"alpha": 0, "beta": 0}
    since.assert_never_two_owners()
