"""`hblink metrics`: the whole text for a whole document, each value against it, and nothing that it does not know."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hblink.cli.exposition import render
from hblink.cli.measure import PEER_HEARD, ROLES, absent, families
from hblink.core.value import Role
from hblink.daemon.account import Account
from hblink.daemon.peer import PeerState
from tests.rig.scrape import Scrape
from tests.unit.test_cli_status import GOOD

GOLDEN = Path(__file__).with_name("metrics.prom")
LEVEL = {"level": 1, "name": "ipmi 10.0.0.12", "ready": True, "reason": "ok", "power": "on", "age_ms": 12_000,
         "took_ms": 31.2, "warnings": []}  # fmt: skip
PDU = {"level": 2, "name": "fence_apc_snmp", "ready": False, "reason": "unreachable", "power": "unknown",
       "age_ms": 41_007, "took_ms": 2000.0, "warnings": ["slow", "no_identity"]}  # fmt: skip


def lateness() -> dict[str, Any]:
    """What the daemon's own books say of six timers."""
    account = Account()
    for late_ns in (0, 100_000, 100_250, 4_999_000, 5_000_000, 2_000_000_000):
        account.note_lateness(late_ns)
    total = round(account.lateness_sum_ns / 1e6, 3)
    return {"max": 2000.0, "p99": 2000.0, "sum": total, "histogram": account.lateness_histogram()}


def document() -> dict[str, Any]:
    """The sample document of the status screen, with all that a daemon says besides."""
    status: dict[str, Any] = copy.deepcopy(GOOD)
    status.update(
        uptime_ms=300_000_001,
        standby_ordered=False,
        maintenance={"here": True, "peer": False, "ends_ms": 3_599_000},
        peer_state="running",
        health={"score": 50, "targets": [
            {"address": "192.0.2.1", "interface": "lan0", "answers": True},
            {"address": "2001:db8::1", "interface": "lan0", "answers": False},
        ]},
        guard={"armed": True, "device": "/dev/watchdog0", "timeout_ms": 2000, "reason": None, "self_reset_ms": None,
               "lease_mode": True, "promise_ms": 12_000, "peer_promise_ms": 11_500},
        alarms=[
            {"code": "maintenance", "link": None, "since_ms": 61_000},
            {"code": "link_in_down", "link": "serial", "since_ms": 900},
        ],
        memory=None,
        lateness_ms=lateness(),
    )  # fmt: skip
    status["links"][0].update(sent=1000, received=998)
    status["links"][1].update({"sent": 500, "received": 490, "in": "down", "rtt_ms": None})
    proof = {"kind": "drill", "unix_s": 1, "age_s": 86_400, "took_ms": 9_041, "steps": []}
    status["fence"].update(
        levels=[{**LEVEL, "proof": {"kind": "drill", "age_s": 86_400}}, PDU],
        proof=proof,
        fences_last_hour=1,
        fences_per_hour=6,
    )
    return status


def read(status: dict[str, Any]) -> Scrape:
    return Scrape(render(families(status)))


def test_the_whole_text() -> None:
    assert render(families(document())) == GOLDEN.read_text()


def test_every_value_is_that_of_the_document_in_base_units() -> None:
    got = read(document())
    assert got.value("hblink_up") == 1
    assert got.value("hblink_build_info", version="0.1.0") == 1
    assert got.value("hblink_pair_info", node="alpha", peer="beta", guarantee="at-most-one") == 1
    assert got.value("hblink_uptime_seconds") == 300_000.001
    assert got.value("hblink_role_age_seconds") == 273_600
    assert {role for (role,), value in got.labelled("hblink_role").items() if value} == {"active"}
    assert {role for (role,), value in got.labelled("hblink_peer_role").items() if value} == {"standby"}
    assert [got.value(f"hblink_{name}") for name in ("active", "blocked", "epoch", "peer_epoch")] == [1, 0, 8, 8]
    assert got.labelled("hblink_maintenance") == {("here",): 1, ("peer",): 0}
    assert got.value("hblink_maintenance_left_seconds") == 3599
    assert got.labelled("hblink_alarm") == {("maintenance", ""): 1, ("link_in_down", "serial"): 1}
    assert got.value("hblink_peer_heard") == 1
    assert got.value("hblink_peer_last_frame_age_seconds") == 0.085
    assert got.labelled("hblink_link_up") == {
        ("in", "direct"): 1, ("out", "direct"): 1, ("in", "serial"): 0, ("out", "serial"): 1,
    }  # fmt: skip
    assert got.labelled("hblink_link_round_trip_seconds") == {("direct",): 0.00041}, "that of serial is not known"
    assert got.labelled("hblink_link_loss_ratio") == {("direct",): 0, ("serial",): 0.01}
    assert got.labelled("hblink_link_frames_accepted_total") == {("direct",): 998, ("serial",): 490}
    assert got.labelled("hblink_link_frames_rejected_total") == {("serial", "bit_errors"): 3, ("serial", "noise"): 11}
    assert set(got.labelled("hblink_vip_present").values()) == {1}
    assert got.value("hblink_health_ratio") == 0.5
    assert got.value("hblink_fence_level_look_age_seconds", level="2", device="fence_apc_snmp") == 41.007
    assert got.value("hblink_fence_level_look_duration_seconds", level="1", device="ipmi 10.0.0.12") == 0.0312
    assert got.value("hblink_fence_proof_age_seconds", kind="drill") == 86_400
    assert got.value("hblink_fence_proof_duration_seconds", kind="drill") == 9.041
    assert got.labelled("hblink_fence_level_proof_age_seconds") == {("ipmi 10.0.0.12", "1"): 86_400}, "2: not known"
    assert got.labelled("hblink_lease_promise_seconds") == {("here",): 12, ("peer",): 11.5}
    assert got.labelled("hblink_link_signal") == {("direct",): 1}, "that of serial cannot be told"
    assert (got.value("hblink_fences_last_hour"), got.value("hblink_fences_last_hour_cap")) == (1, 6)
    assert got.value("hblink_watchdog_timeout_seconds") == 2
    assert got.value("hblink_stalls_total") == 0


def test_lateness_is_a_histogram_in_which_no_bound_is_exceeded() -> None:
    got = read(document())
    buckets = {bound: count for (bound,), count in got.labelled("hblink_loop_lateness_seconds_bucket").items()}
    assert [buckets[bound] for bound in ("0.0001", "0.0002", "0.002", "0.005", "1", "+Inf")] == [2, 3, 3, 5, 5, 6]
    assert got.value("hblink_loop_lateness_seconds_count") == 6
    assert got.value("hblink_loop_lateness_seconds_sum") == 2.010199


@pytest.mark.parametrize(
    "name", ['a "quoted" name', "back\\slash", "line\nfeed", "\\n", 'all\\"of\n{them},=}', "trailing\\"]
)
def test_a_nasty_name_comes_back_as_it_was(name: str) -> None:
    status = document()
    status["links"][0]["name"] = name
    got = read(status)
    assert got.value("hblink_link_open", link=name) == 1
    assert got.value("hblink_link_up", link=name, direction="in") == 1


def test_foreign_bytes_do_not_reach_the_terminal() -> None:
    status = document()
    status["peer_version"] = "\x1b[2J\u2028\u00e9\ud800"
    assert read(status).value("hblink_peer_build_info", version="?[2J???") == 1


def unheard(status: dict[str, Any]) -> None:
    status.update(peer_state="unheard", peer_role=None, peer_epoch=None, peer_seen_ms=None, peer_version=None,
                  config_match=None)  # fmt: skip
    for link in status["links"]:
        link.update({"in": "unknown", "out": "unknown", "last_ms": None, "rtt_ms": None, "loss_percent": 0})


def without_fence(status: dict[str, Any]) -> None:
    status["fence"] = {"configured": False, "ready": None, "age_ms": None, "detail": "no fence device",
                       "outstanding": False, "levels": [], "proof": None, "fences_last_hour": None,
                       "fences_per_hour": None}  # fmt: skip


def without_alarms_and_targets(status: dict[str, Any]) -> None:
    status.update(alarms=[], health={"score": None, "targets": []})


def without_watchdog(status: dict[str, Any]) -> None:
    status["guard"] = {"armed": False, "device": None, "timeout_ms": None, "reason": None, "self_reset_ms": None}


@pytest.mark.parametrize(
    ("change", "gone"),
    [
        (unheard, {"peer_build_info", "peer_last_frame_age_seconds", "peer_role", "peer_epoch", "config_match",
                   "link_up", "link_last_frame_age_seconds", "link_round_trip_seconds", "link_loss_ratio"}),
        (without_fence, {"fence_ready", "fence_proof_age_seconds", "fence_proof_duration_seconds", "fences_last_hour",
                         "fences_last_hour_cap", "fence_level_ready", "fence_level_look_age_seconds",
                         "fence_level_look_duration_seconds", "fence_level_proof_age_seconds", "fence_level_warning"}),
        (without_alarms_and_targets, {"alarm", "health_ratio", "target_answers"}),
        (without_watchdog, {"watchdog_timeout_seconds", "lease_promise_seconds"}),
    ],
)  # fmt: skip
def test_what_is_not_known_is_left_out(change: Callable[[dict[str, Any]], None], gone: set[str]) -> None:
    status = document()
    whole = read(status).kinds.keys()
    change(status)
    assert whole - read(status).kinds.keys() == {f"hblink_{name}" for name in gone}


def test_a_document_with_less_in_it_can_be_told() -> None:
    """Such as that of an older daemon, which an upgrade has not restarted yet."""
    assert set(read({"role": "standby"}).kinds) == {"hblink_up", "hblink_role", "hblink_active", "hblink_blocked"}
    assert render(families({})).splitlines()[-1] == "hblink_up 1"


def test_a_role_of_another_version_is_told_too() -> None:
    status = document()
    status["peer_role"] = "resting"
    assert {role for (role,), value in read(status).labelled("hblink_peer_role").items() if value} == {"resting"}


def test_the_tables_are_complete() -> None:
    assert set(ROLES) == {role.value for role in Role}
    assert set(PEER_HEARD) == {state.value for state in PeerState}


def test_without_a_daemon_that_alone_is_told() -> None:
    got = Scrape(render(absent()))
    assert (got.kinds, got.value("hblink_up")) == ({"hblink_up": "gauge"}, 0)
