"""`hblink metrics` on both nodes of a living pair, read as a scraper reads it, and beside the status documents."""

from __future__ import annotations

from pathlib import Path

from tests.netns.situation import ALL_VIPS, status
from tests.rig.node import Node
from tests.rig.pair import Pair
from tests.rig.scrape import Scrape

# What a pair in which all is well has no value for: the other families of the whole text are all told.
NOTHING_TO_TELL = {
    "hblink_alarm",
    "hblink_fence_level_proof_age_seconds",
    "hblink_fence_level_warning",
    "hblink_fence_proof_age_seconds",
    "hblink_fence_proof_duration_seconds",
    "hblink_health_ratio",
    "hblink_lease_promise_seconds",
    "hblink_link_frames_rejected_total",
    "hblink_link_signal",
    "hblink_maintenance_left_seconds",
    "hblink_target_answers",
    "hblink_watchdog_timeout_seconds",
}
WHOLE = Path(__file__).parents[1] / "unit" / "metrics.prom"


def scrape(node: Node) -> Scrape:
    done = node.hblink("metrics")
    assert (done.returncode, done.stderr) == (0, "")
    return Scrape(done.stdout)


def test_exactly_one_node_is_active_and_all_is_told(shared: Pair) -> None:
    def knows(node: Node) -> bool:
        document = status(node)
        return bool(document.get("peer_version") and document.get("config_match") and document["fence"]["ready"])

    shared.wait(lambda: all(knows(node) for node in shared.nodes.values()), 30, "the nodes to know of each other")
    got = {name: scrape(node) for name, node in shared.nodes.items()}
    assert {name: each.value("hblink_active") for name, each in got.items()} == {"alpha": 1, "beta": 0}
    for name, each in got.items():
        document = status(shared.nodes[name])
        missing = Scrape(WHOLE.read_text()).kinds.keys() - each.kinds.keys()
        assert missing <= NOTHING_TO_TELL
        assert each.labelled("hblink_role")[document["role"],] == 1
        assert each.value("hblink_epoch") == document["epoch"] == each.value("hblink_peer_epoch")
        assert set(each.labelled("hblink_link_up").values()) == {1}
        assert set(each.labelled("hblink_link_open")) == {(link["name"],) for link in document["links"]}
        present = each.labelled("hblink_vip_present")
        assert {address for address, _ in present} == ALL_VIPS
        assert present == each.labelled("hblink_vip_wanted")
        assert set(present.values()) == {name == "alpha"}
        assert each.value("hblink_fence_ready") == 1
        assert each.value("hblink_fences_last_hour") == 0
        uptime = each.value("hblink_uptime_seconds")
        assert uptime is not None
        assert 0 < each.labelled("hblink_role_age_seconds")[()] < uptime < document["uptime_ms"] / 1000
        count, total = each.value("hblink_loop_lateness_seconds_count"), each.value("hblink_loop_lateness_seconds_sum")
        longest = each.value("hblink_loop_lateness_max_seconds")
        assert None not in (count, total, longest)
        assert 0 < longest <= total <= longest * count


def test_a_fence_leaves_its_proof_and_a_daemon_that_died_is_told(shared: Pair) -> None:
    pair = shared
    file = pair.beta.state / "hblink.prom"
    pair.alpha.crash()
    pair.wait_active("beta")
    assert pair.beta.hblink("metrics", "--textfile", str(file)).returncode == 0
    got = Scrape(file.read_text())
    proof = status(pair.beta)["fence"]["proof"]
    assert got.value("hblink_fence_proof_duration_seconds", kind="takeover") == proof["took_ms"] / 1000
    age = got.value("hblink_fence_proof_age_seconds", kind="takeover")
    assert age is not None
    assert 0 <= age <= proof["age_s"]
    assert set(got.labelled("hblink_fence_level_proof_age_seconds").values()) == {age}
    pair.beta.kill_daemon()
    pair.beta.wait_daemon()
    assert pair.beta.hblink("metrics", "--textfile", str(file)).returncode == 1
    assert Scrape(file.read_text()).samples == {("hblink_up", frozenset()): 0}
