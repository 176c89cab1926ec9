"""`hblink why`: the tables of words and next commands are complete, and whatever is wrong fits the screen."""

from __future__ import annotations

import re
from enum import Enum
from typing import Any

import pytest

from hblink.cli import advice
from hblink.cli.advice import following, following_in, text
from hblink.cli.fence import level_lines
from hblink.cli.main import COMMANDS, main
from hblink.cli.why import TOPIC, explain, render
from hblink.cli.word import ALARM, REASON
from hblink.core.value import AlarmCode, Reason, Role
from hblink.daemon.notice import Complaint
from hblink.daemon.outlook import Finding
from hblink.fencing.device import FenceReason
from hblink.fencing.record import FenceWarning

TABLES: list[tuple[str, type[Enum], dict[str, str]]] = [
    ("reason", Reason, advice.REASON_NEXT),
    ("role", Role, advice.ROLE_NEXT),
    ("alarm", AlarmCode, advice.ALARM_NEXT),
    ("fence", FenceReason, advice.FENCE_NEXT),
    ("fence_warning", FenceWarning, advice.FENCE_WARNING_NEXT),
    ("finding", Finding, advice.FINDING_NEXT),
    ("complaint", Complaint, advice.COMPLAINT_NEXT),
]
PROGRAMS = {"ip", "journalctl", "systemctl", "apt", "ping", "df", "ls", "hblink"}


WITH_ACTIONS = {"fence", "doctor", "key", "maintenance"}


def cause(kind: str, code: str, topic: str = "redundancy", link: str | None = None) -> dict[str, Any]:
    return {"topic": topic, "kind": kind, "code": code, "link": link, "detail": ""}


def status(*causes: dict[str, Any]) -> dict[str, Any]:
    return {
        "node": "alpha",
        "peer": "beta",
        "role": "standby",
        "peer_role": None,
        "causes": list(causes),
        "if_peer_died_now": {"code": "takeover", "text": "would fence beta and take over in about 2.3 s"},
    }


@pytest.mark.parametrize(("kind", "codes", "table"), TABLES, ids=lambda each: each if isinstance(each, str) else "")
def test_every_code_has_a_next_command_and_no_command_is_for_no_code(
    kind: str, codes: type[Enum], table: dict[str, str]
) -> None:
    assert set(table) == {each.value for each in codes}
    for each in codes:
        assert text(kind, each.value) != each.value, "a code is not words"
        next_command = following(kind, each.value, "alpha", "beta", "serial")
        assert "{" not in next_command
        for command, action in re.findall(r"hblink ([a-z]+)(?: ([a-z]+))?", next_command):
            assert command in COMMANDS, f"{each.value}: there is no command {command}"
            with pytest.raises(SystemExit) as caught:
                main([command, *([action] if action and command in WITH_ACTIONS else []), "--help"])
            assert caught.value.code == 0, f"{each.value}: there is no command {command} {action}"


def test_the_words_know_every_reason_and_alarm() -> None:
    assert set(REASON) == {each.value for each in Reason}
    assert set(ALARM) == {each.value for each in AlarmCode}
    assert set(advice.FINDING) == {each.value for each in Finding}
    assert set(advice.FENCE_WARNING) == {each.value for each in FenceWarning}
    assert set(advice.COMPLAINT) == {each.value for each in Complaint}


def test_every_cause_is_shown_with_its_code_its_words_and_its_next_command() -> None:
    lines = render(explain(status(cause("reason", "no_service_carrier", "no_takeover"))))
    assert lines == [
        "alpha STANDBY, beta is not heard",
        "WOULD NOT TAKE OVER, BECAUSE",
        "  no_service_carrier     no carrier on its service interfaces",
        "                     ->  ip -brief link; plug in the cable, check the switch",
        "IF THE PEER DIED NOW  would fence beta and take over in about 2.3 s",
    ]


def test_a_healthy_node_has_nothing_to_complain_about() -> None:
    assert "nothing stands in the way" in render(explain(status()))[1]


@pytest.mark.parametrize("count", [1, 5, 8, 12, 40])
def test_however_much_is_wrong_it_fits_a_screen(count: int) -> None:
    kinds = [("alarm", code.value) for code in AlarmCode] + [("fence", code.value) for code in FenceReason]
    causes = [
        cause(*kinds[index % len(kinds)], list(TOPIC)[index % 3], "a-link-with-a-long-name") for index in range(count)
    ]
    lines = render(explain(status(*causes)))
    assert len(lines) <= 23
    assert all(len(line) <= 79 and line.isascii() for line in lines)
    if count <= 12:
        assert all(any(each["code"] in line for line in lines) for each in causes), "none may be left out"


@pytest.mark.parametrize(
    ("here", "peer", "peer_role", "wanted"),
    [
        (True, False, "standby", "hblink maintenance off"),
        (True, False, None, "hblink maintenance off"),
        (False, True, "active", "on beta: hblink maintenance off"),
        (True, True, "active", "hblink maintenance off, on both nodes"),
        (False, True, None, "make sure that beta is dead, then here: hblink maintenance off"),
        (True, True, None, "make sure that beta is dead, then here: hblink maintenance off"),
    ],
)
def test_maintenance_is_taken_back_where_it_can_be(here: bool, peer: bool, peer_role: str | None, wanted: str) -> None:
    document = {**status(), "peer_role": peer_role, "maintenance": {"here": here, "peer": peer, "ends_ms": None}}
    for kind in ("reason", "alarm"):
        assert following_in(document, kind, "maintenance") == wanted


def test_a_cause_that_ends_by_itself_says_when() -> None:
    waiting = {**cause("reason", "waiting_for_slot", "not_active"), "left_ms": 83_000}
    assert "not fence each other: 1 min 23 s more" in "\n".join(render(explain(status(waiting))))


def test_what_is_worth_knowing_comes_last_and_is_nothing_to_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    document = status(cause("fence_warning", "restore_policy", "warning"))
    lines = render(explain(document))
    assert lines[1] == "WORTH KNOWING"
    assert lines[-2].endswith("->  set it on the BMC, or in [[fence]]")
    monkeypatch.setattr("hblink.cli.why.fetch", lambda: document)
    assert main(["why"]) == 0
    monkeypatch.setattr("hblink.cli.why.fetch", lambda: status(cause("finding", "peer_fence_not_ready")))
    assert main(["why"]) == 1


@pytest.mark.parametrize("warning", [each.value for each in FenceWarning])
def test_a_warning_of_a_device_is_never_cut(warning: str) -> None:
    line = level_lines({"level": 1, "name": "bmc", "ready": True, "power": "on", "warnings": [warning]})[-1]
    assert line.endswith(f"warning {warning}: {advice.FENCE_WARNING_NEXT[warning]}")


@pytest.mark.parametrize(
    ("sworn_off", "next_step"),
    [
        (True, "when the work on beta is done, switch it on by hand"),
        (False, "is beta up? On beta: systemctl status hblink"),
    ],
)
def test_who_swore_that_the_peer_is_off_is_told_to_switch_it_on(sworn_off: bool, next_step: str) -> None:
    told = {**status(), "fence": {"configured": True, "sworn_off": sworn_off}}
    assert following_in(told, "alarm", "peer_lost") == next_step
