"""The unit: accepted by systemd, tight enough, and true to what the daemon needs."""

from __future__ import annotations

import re

import pytest

from tests.image.conftest import TREE, MakeRoot, Root

EXPOSURE_MAX = 3.0
UNIT = "/usr/lib/systemd/system/hblink.service"
TEXT = (TREE / "images/hblink.service").read_text()


def values(key: str) -> list[str]:
    """What a key of the unit is set to, each time."""
    return re.findall(rf"^{key}=(.*)$", TEXT, re.MULTILINE)


@pytest.fixture
def root(make_root: MakeRoot) -> Root:
    made = make_root("base")
    made.add(TREE / "images/hblink.service", UNIT)
    made.run("groupadd", "--system", "hblink")
    made.run("sh", "-c", "printf '#!/bin/sh\\n' >/usr/bin/hblink && chmod 755 /usr/bin/hblink")
    return made


def test_systemd_knows_every_line(root: Root) -> None:
    said = root.run("sh", "-c", f"systemd-analyze verify --man=no {UNIT} 2>&1")
    assert "hblink.service" not in said


def test_the_exposure_is_at_most_three(root: Root) -> None:
    said = root.run("systemd-analyze", "security", "--offline=true", "--no-pager", UNIT)
    match = re.search(r"Overall exposure level for hblink.service: ([0-9.]+)", said)
    assert match is not None, said
    print(f"exposure {match[1]}")
    assert float(match[1]) <= EXPOSURE_MAX, said


@pytest.mark.parametrize("capability", " ".join(values("CapabilityBoundingSet")).split())
def test_each_capability_is_explained(capability: str) -> None:
    assert re.search(rf"^#   {capability} ", TEXT, re.MULTILINE)


def test_it_watches_the_daemon_and_never_restarts_a_bad_configuration() -> None:
    assert values("Type") == ["notify"]
    assert values("NotifyAccess") == ["main"]
    assert values("WatchdogSec") != []
    assert values("Restart") == ["on-failure"]
    assert values("RestartPreventExitStatus") == ["78"]
    assert values("StartLimitBurst") == ["5"]
    assert values("StartLimitAction") == []


def test_what_must_outlive_the_daemon_does() -> None:
    assert values("RuntimeDirectory") == ["hblink"]
    assert values("RuntimeDirectoryPreserve") == ["yes"]


def test_children_are_not_real_time() -> None:
    assert values("CPUSchedulingPolicy") == ["rr"]
    assert values("CPUSchedulingResetOnFork") == ["yes"]
    assert values("CPUSchedulingPriority") == values("LimitRTPRIO")


def test_the_way_to_reset_oneself_stays_open() -> None:
    """S8: ProtectKernelTunables= would make /proc/sysrq-trigger read-only."""
    assert values("ProtectKernelTunables") == []
    assert "CAP_SYS_BOOT" in values("CapabilityBoundingSet")[0]


def test_a_console_can_be_told_from_a_free_port() -> None:
    assert values("ProcSubset") in ([], ["all"])
