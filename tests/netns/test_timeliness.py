"""A daemon that is given real-time scheduling, as its unit gives it, holds it, its memory and no more than that."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

from tests.netns.situation import QUICK, logged, status
from tests.rig.pair import Pair
from tests.rig.process import REAL_TIME_PRIORITY
from tests.rig.setting import Setting
from tests.rig.wait import wait_until


def test_memory_is_locked_and_real_time_is_for_its_own_threads_alone(build_pair: Callable[[Setting], Pair]) -> None:
    alpha = build_pair(QUICK).alpha
    alpha.boot()
    wait_until(alpha.ready_at, 20, "READY", logs=[alpha.log])
    complaints = [line for line in logged(alpha, "") if "of the unit" in line]
    assert complaints == [], "nothing that the unit gives is missing"
    told = status(alpha)["timeliness"]
    frozen = told.pop("objects_frozen")
    assert told == {"memory_locked": True, "policy": "rr", "priority": REAL_TIME_PRIORITY}
    assert frozen > 10_000, "later collections look at all that was imported"
    process = Path(f"/proc/{alpha.daemon_pid}")
    locked = re.search(r"^VmLck:\s+(\d+) kB$", (process / "status").read_text(), re.MULTILINE)
    assert locked is not None
    assert int(locked[1]) > 0
    policies = {os.sched_getscheduler(int(thread.name)) for thread in (process / "task").iterdir()}
    assert policies == {os.SCHED_RR | os.SCHED_RESET_ON_FORK}, "all its threads, none of its children"
