"""Every joint state of two real cores within the bounds of each family: nothing is wrong in any of them."""

from __future__ import annotations

import time

import pytest

from hblink.sim.explorer.family import FAMILIES, Family
from hblink.sim.explorer.search import Explorer
from hblink.sim.scenario import perform

# So many states a family has at least: a family that shrinks has lost moves, and shows less than it says.
AT_LEAST = {
    "boot": 140_000,
    "yield": 45_000,
    "lossy": 22_000,
    "fence": 120_000,
    "revival": 24_000,
    "cut": 80_000,
    "slow-bmc": 65_000,
    "daemon": 26_000,
    "stall": 78_000,
    "late": 14_000,
    "pause": 76_000,
    "inert": 44_000,
    "by-fence": 150_000,
    "disk": 64_000,
    "no-disk": 64_000,
    "old-disk": 8_000,
    "service": 50_000,
    "operator": 50_000,
    "oath": 9_000,
    "orders": 62_000,
    "standby": 11_000,
    "drill": 22_000,
    "reset": 35_000,
    "maintenance": 54_000,
    "upgrade": 65_000,
    "health": 18_000,
    "failback": 8_000,
    "cap": 50_000,
    "lease": 50_000,
    "lease-restart": 60_000,
    "lease-bmc": 30_000,
    "crossed": 40_000,
    "links": 66_000,
    "two-boot": 32_000,
    "two-yield": 23_000,
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
    story = "" if report.found is None else perform(explorer.scenario(report.found))
    assert report.found is None, story
    assert report.complete
    assert report.states >= AT_LEAST[family.name]
    assert report.settled > 0


def test_every_family_has_a_floor() -> None:
    assert {family.name for family in FAMILIES} == set(AT_LEAST)
