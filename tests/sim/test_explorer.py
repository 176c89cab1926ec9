"""Every joint state of two real cores within the bounds of each family: nothing is wrong in any of them."""

from __future__ import annotations

import time

import pytest

from hblink.sim.explorer import Explorer
from hblink.sim.family import FAMILIES, Family

# So many states a family has at least: a family that shrinks has lost moves, and shows less than it says.
AT_LEAST = {
    "boot": 140_000,
    "yield": 50_000,
    "lossy": 25_000,
    "fence": 120_000,
    "revival": 25_000,
    "cut": 10_000,
    "daemon": 28_000,
    "stall": 8_000,
    "late": 15_000,
    "inert": 45_000,
    "service": 45_000,
    "operator": 35_000,
    "one-link": 50_000,
}
# Of every so many states, one is given a fair world, and must come to exactly one owner.
SETTLE_EVERY = 80


@pytest.mark.usefixtures("no_gc")
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_family_of_faults_is_explored_completely(family: Family, explored: list[str]) -> None:
    began = time.process_time()
    explorer = Explorer(family)
    report = explorer.run(settle_every=SETTLE_EVERY)
    seconds = time.process_time() - began
    summary = (
        f"{report.family:9} {report.states:7} states {report.transitions:7} transitions {report.steps:6} steps "
        f"{report.settled:5} settled {seconds:5.1f} s"
    )
    print(summary)
    explored.append(summary)
    story = "" if report.found is None else f"{report.found.text}\n{explorer.story(report.found.moves)}"
    assert report.found is None, story
    assert report.complete
    assert report.states >= AT_LEAST[family.name]
    assert report.settled > 0


def test_every_family_has_a_floor() -> None:
    assert {family.name for family in FAMILIES} == set(AT_LEAST)
