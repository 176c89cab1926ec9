"""The generated map of the decision is up to date, and the walk that drew it met every event in every role."""

from __future__ import annotations

import typing
from pathlib import Path

import pytest

from hblink.core.event import Event, Started
from hblink.core.value import Role
from hblink.sim.atlas import SEEDS, STEPS, Change, changes_of, document

STATES = Path(__file__).resolve().parents[2] / "hblink" / "core" / "STATES.md"


@pytest.fixture(scope="module")
def walked() -> tuple[set[Change], set[tuple[str, str]]]:
    return changes_of(SEEDS, STEPS)


def test_states_md_is_what_the_code_does(walked: tuple[set[Change], set[tuple[str, str]]]) -> None:
    assert STATES.read_text() == document(walked[0]), "python -m hblink.sim.atlas > hblink/core/STATES.md"


def test_every_event_came_up_in_every_role(walked: tuple[set[Change], set[tuple[str, str]]]) -> None:
    events = {event.__name__ for event in typing.get_args(Event)} - {Started.__name__}
    assert {(role.value, name) for role in Role for name in events} <= walked[1]


def test_the_service_is_reached_only_through_a_claim_and_left_only_through_a_stop(
    walked: tuple[set[Change], set[tuple[str, str]]],
) -> None:
    changes = walked[0]
    assert {change.before for change in changes if change.after == "active"} == {"claiming"}
    assert {change.after for change in changes if change.before == "active"} == {"yielding"}
    assert {change.before for change in changes if change.after == "starting"} == set()
