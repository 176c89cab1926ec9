"""The status screen: everything on 80 by 24, what is wrong before what is right."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from hblink.cli.status import is_good, render
from hblink.cli.terminal import HEIGHT, WIDTH

GOOD: dict[str, Any] = {
    "node": "alpha",
    "peer": "beta",
    "role": "active",
    "reason": "none",
    "since_ms": 273_600_000,
    "epoch": 8,
    "version": "0.1.0",
    "guarantee": "at-most-one",
    "peer_role": "standby",
    "peer_epoch": 8,
    "peer_seen_ms": 85,
    "peer_version": "0.1.0",
    "config_match": True,
    "links": [
        {"name": "direct", "type": "udp", "open": True, "in": "up", "out": "up", "signal": True, "last_ms": 85,
         "rtt_ms": 0.41, "loss_percent": 0, "rejected": {}, "detail": ""},
        {"name": "serial", "type": "serial", "open": True, "in": "up", "out": "up", "signal": None, "last_ms": 140,
         "rtt_ms": 14.2, "loss_percent": 1, "rejected": {"bit_errors": 3, "noise": 11}, "detail": ""},
    ],
    "vips": [
        {"address": "192.0.2.10/32", "interface": "lan0", "present": True},
        {"address": "2001:db8::10/128", "interface": "lan0", "present": True},
    ],
    "fence": {"configured": True, "ready": True, "age_ms": 12_000, "detail": "power is on, 0.05 s",
              "outstanding": False},
    "alarms": [],
    "if_peer_died_now": {"code": "keep", "text": "would go on serving"},
    "operator": None,
    "confirm_hint": None,
    "stalls": 0,
    "lateness_ms": {"max": 4.1, "p99": 0.9},
}  # fmt: skip

SCREEN = """\
alpha        ACTIVE    for 3 d 4 h  epoch 8  at-most-one  hblink 0.1.0
beta         STANDBY   heard 85 ms ago  epoch 8  config equal  hblink 0.1.0
LINK   TYPE   IN      OUT         LAST      RTT  LOSS  NOTE
direct udp    up      up         85 ms   0.4 ms   0 %  signal
serial serial up      up        140 ms  14.2 ms   1 %  11 noise, 3 bit_errors
VIP     192.0.2.10/32                               lan0            here
        2001:db8::10/128                            lan0            here
ALARM   none
FENCE   ready, seen 12 s ago
IF THE PEER DIED NOW  would go on serving
LOOP    stalls 0, late 0.9 ms (p99), 4.1 ms (longest)
"""


def worst() -> dict[str, Any]:
    """Everything there can be, and all of it long."""
    status = copy.deepcopy(GOOD)
    status.update(
        node="a" * 40,
        peer="b" * 63,
        role="blocked",
        reason="inert_peer_unknown",
        config_match=False,
        config_differs=["pair", "timing", "link", "vip", "fence", "health"],
        peer_state="ended",
        maintenance={"here": True, "peer": True, "ends_ms": 3_599_000},
        peer_version="9" * 60,
        operator="hblink fence confirm " + "b" * 63,
        confirm_hint="only if you know that it is off: " * 10,
        if_peer_died_now={"code": "blocked", "text": "would be blocked, because " * 10},
        alarms=[{"code": "link_in_down", "link": f"link-{number}", "since_ms": 61_000} for number in range(30)],
    )
    status["fence"].update(ready=False, outstanding=True, detail="Error: Unable to establish IPMI v2 session " * 4)
    status["links"] = [
        {"name": "a-link-of-16-let", "type": "serial", "open": number > 0, "in": "down", "out": "unknown",
         "signal": False, "last_ms": None, "rtt_ms": None, "loss_percent": 100, "rejected": {"bad_hmac": 123456},
         "detail": "x" * 99}
        for number in range(4)
    ]  # fmt: skip
    status["vips"] = [
        {
            "address": f"2001:db8:1234:5678:9abc:def0:1234:{number:04x}/128",
            "interface": "a-long-name.100",
            "present": False,
        }
        for number in range(30)
    ]
    return status


def test_a_good_pair_on_one_screen() -> None:
    assert render(GOOD) == SCREEN.splitlines()


def test_the_fullest_screen_fits() -> None:
    lines = render(worst())
    assert len(lines) < HEIGHT
    assert max(map(len, lines)) <= WIDTH
    assert all(line.isascii() and line.isprintable() for line in lines)
    text = "\n".join(lines)
    for words in (
        "CLOSED",
        "DOWN",
        "NOT READY",
        "NEXT COMMAND  hblink fence confirm",
        "BMC does not answer",
        "more (--json",
    ):
        assert words in text, words
    assert "b" * 63 in text[text.index("NEXT COMMAND") :]  # the exact command, never cut
    assert "ALARM   link-0: nothing acceptable comes in (1 min 1 s)" in text


@pytest.mark.parametrize(("vips", "alarms"), [(1, 30), (30, 1), (30, 0), (0, 0), (8, 3)])
def test_vips_and_alarms_share_the_room(vips: int, alarms: int) -> None:
    status = worst()
    status["vips"], status["alarms"] = status["vips"][:vips], status["alarms"][:alarms]
    lines = render(status)
    assert len(lines) < HEIGHT
    assert sum(line.startswith("VIP") for line in lines) == 1
    assert sum(line.startswith("ALARM") for line in lines) == 1


def test_an_address_that_is_not_where_it_belongs_comes_first() -> None:
    status = copy.deepcopy(GOOD)
    status["vips"][1]["present"] = False
    assert [line.split()[-1] for line in render(status) if "lan0" in line] == ["MISSING", "here"]
    status["vips"][1]["present"] = None
    assert [line.split()[-1] for line in render(status) if "lan0" in line] == ["unknown", "here"]
    status["role"] = "standby"
    assert next(line.split()[1] for line in render(status) if "lan0" in line) == "192.0.2.10/32"


def test_a_far_end_that_is_not_felt_comes_before_what_else_there_is_to_note() -> None:
    status = copy.deepcopy(GOOD)
    status["links"][1]["signal"] = False
    assert render(status)[4].endswith("   1 %  NO SIGNAL; 11 noise, 3..")
    assert is_good(status), "no beat is carried by that wire"
    status["links"][1].update(signal=True, rejected={"noise": 11})
    assert render(status)[4].endswith("   1 %  11 noise; signal")


def test_foreign_bytes_do_not_reach_the_terminal() -> None:
    status = copy.deepcopy(GOOD)
    status["peer_version"] = status["links"][0]["detail"] = status["fence"]["detail"] = "\x1b[2J\u2028\u00e9"
    assert all(line.isascii() and line.isprintable() for line in render(status))


def test_a_document_with_less_in_it_can_be_shown() -> None:
    assert any("none" in line for line in render({"node": "alpha", "peer": "beta"}))
    booting = {
        **GOOD,
        "peer_role": None,
        "peer_seen_ms": None,
        "peer_epoch": None,
        "peer_version": None,
        "config_match": None,
    }
    assert "beta         UNKNOWN   never heard" in render(booting)


@pytest.mark.parametrize(
    "change",
    [
        {"role": "blocked"},
        {"role": "starting"},
        {"peer_role": None},
        {"peer_role": "blocked"},
        {"config_match": False},
        {"alarms": [{"code": "peer_late", "link": None, "since_ms": 1}]},
        {"links": [{**GOOD["links"][0], "open": False}]},
        {"links": [{**GOOD["links"][0], "out": "down"}]},
        {"fence": {**GOOD["fence"], "ready": False}},
        {"fence": {**GOOD["fence"], "outstanding": True}},
        {"causes": [{"topic": "redundancy", "kind": "finding", "code": "peer_fence_not_ready"}]},
        {"causes": [{"topic": "no_takeover", "kind": "reason", "code": "fence_cap"}]},
    ],
)
def test_what_needs_a_person_is_not_good(change: dict[str, Any]) -> None:
    assert is_good(GOOD)
    assert not is_good({**GOOD, **change})


def test_what_is_ordinary_or_only_worth_knowing_is_good() -> None:
    ordinary = {"topic": "not_active", "kind": "reason", "code": "peer_active"}
    known = {"topic": "warning", "kind": "fence_warning", "code": "no_identity"}
    assert is_good({**GOOD, "causes": [ordinary, known]})


def test_what_no_other_line_shows_has_one_of_its_own() -> None:
    found = [
        {"topic": "redundancy", "kind": "finding", "code": "peer_fence_not_ready", "detail": ""},
        {"topic": "redundancy", "kind": "finding", "code": "target_silent", "detail": "192.0.2.1 on lan0"},
        {"topic": "redundancy", "kind": "alarm", "code": "jeopardy", "detail": ""},
    ]
    lines = render({**GOOD, "causes": found})
    assert [line for line in lines if line not in SCREEN.splitlines()] == [
        "WEAK    the peer could not switch this node off"
    ]
    status = worst()
    status["causes"] = [{**found[0], "detail": "x" * 99}] * 30
    assert len(render(status)) < HEIGHT


def test_a_reason_that_ends_by_itself_says_when() -> None:
    lines = render({**GOOD, "role": "standby", "reason": "waiting_for_slot", "reason_left_ms": 83_000})
    assert lines[2].startswith("because      for 1 min 23 s more: waiting for its turn to fence")


def test_the_fence_line_says_what_a_device_told_only_where_it_does_not_work() -> None:
    status = copy.deepcopy(GOOD)
    status["fence"]["levels"] = [{"level": 1, "ready": True, "warnings": ["restore_policy"]}]
    assert "FENCE   ready, seen 12 s ago; warning restore_policy" in render(status)
    status["fence"]["ready"] = False
    assert "FENCE   NOT READY, seen 12 s ago; warning restore_policy: power is on, 0.05 s" in render(status)


def test_nothing_is_known_of_the_loss_on_a_link_that_was_never_heard() -> None:
    status = copy.deepcopy(GOOD)
    status["links"][1].update(last_ms=None, loss_percent=0, rejected={})
    assert render(status)[4].endswith("    -")


def test_upstream_targets_have_a_line_of_their_own() -> None:
    targets = [
        {"address": "192.0.2.1", "interface": "eth0", "answers": True},
        {"address": "2001:db8::1", "interface": "eth0", "answers": True},
    ]
    status = {**GOOD, "health": {"score": 100, "targets": targets}}
    assert "HEALTH  2 of 2 targets answer" in render(status)
    assert is_good(status)
    silent = [targets[0], {**targets[1], "answers": False}]
    status = {**GOOD, "health": {"score": 50, "targets": silent}}
    assert "HEALTH  1 of 2 targets answer; SILENT: 2001:db8::1 on eth0" in render(status)
    assert not is_good(status)
    unknown = [targets[0], {**targets[1], "answers": None}]
    status = {**GOOD, "health": {"score": None, "targets": unknown}}
    assert "HEALTH  1 of 2 targets answer; SILENT: 2001:db8::1 on eth0 (not known)" in render(status)
    assert not any("HEALTH" in line for line in render(GOOD)), "nobody is asked"


def test_the_watchdog_and_what_was_promised_have_a_line_where_there_is_one() -> None:
    status = copy.deepcopy(GOOD)
    status["guard"] = {"device": "/dev/watchdog0", "armed": True, "timeout_ms": 2000, "reason": None}
    assert "GUARD   watchdog armed, 2.0 s" in render(status)
    status["guard"] |= {"lease_mode": True, "promise_ms": 12_000, "peer_promise_ms": None}
    [line] = [line for line in render(status) if line.startswith("GUARD")]
    assert line.endswith("; lease mode: stops within 12 s, peer NO PROMISE")
    status["guard"] |= {"armed": False, "reason": "watchdog_busy"}
    assert any("NOT ARMED (watchdog_busy)" in line for line in render(status))


def test_a_peer_that_was_sworn_to_be_off_is_named_where_people_look_for_the_fence() -> None:
    status = copy.deepcopy(GOOD)
    status["fence"]["sworn_off"] = True
    fence = " ".join(" ".join(render(status)).split())
    assert "FENCE ready, seen 12 s ago; the peer is SWORN OFF, and switched on by hand" in fence
