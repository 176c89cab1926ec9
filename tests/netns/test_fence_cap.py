"""A peer that fails again and again: once it was fenced as often as the cap allows, only a person goes on (S15)."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

from tests.netns.situation import ALL_VIPS, QUICK, Since, role, settle, status
from tests.rig.pair import Pair
from tests.rig.setting import Setting
from tests.rig.wait import boottime_ns

CAPPED = replace(QUICK, top={"fences_per_hour": 1})


def test_a_peer_that_was_fenced_up_to_the_cap_is_not_shot_again_while_it_is_on(
    build_pair: Callable[[Setting], Pair],
) -> None:
    pair = build_pair(CAPPED)
    pair.start()
    failing = settle(pair)
    other = pair.other(failing)
    since = Since(pair)
    failing.crash()
    settle(pair, other.name)
    assert other.hblink("switchover").returncode == 0
    settle(pair, failing.name)
    failing.crash()
    pair.wait(lambda: role(other) == "blocked", 20, "the other to be blocked")
    document = status(other)
    assert document["reason"] == "fence_cap"
    assert (document["fence"]["fences_last_hour"], document["fence"]["fences_per_hour"]) == (1, 1)
    why = json.loads(other.hblink("why", "--json").stdout)
    assert "hblink online" in {cause["code"]: cause["next"] for cause in why["causes"]}["fence_cap"]
    asked = boottime_ns()
    pair.wait(lambda: boottime_ns() - asked > 2_000_000_000, 5, "twice deadtime")
    assert since.fences() == {failing.name: 1, other.name: 0}
    assert other.has(*ALL_VIPS) == set()

    failing.power_off()
    sworn = other.hblink("fence", "confirm", failing.name, "--yes")
    assert sworn.returncode == 0, sworn.stdout + sworn.stderr
    pair.wait_active(other.name)
    assert since.fences() == {failing.name: 1, other.name: 0}
    since.assert_never_two_owners()
