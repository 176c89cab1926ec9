"""The fault model, line by line: each kind exists, does something to a calm pair, and ends when all is made good."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hblink.core.value import MS, SECOND
from hblink.sim.fault import KINDS, RARE, make_good
from hblink.sim.plan import default_plan
from hblink.sim.trial import is_settled, recover
from hblink.sim.world import World

MODEL: dict[str, tuple[str, ...]] = {
    "loss, duplication, reordering, delay up to 30 s, bit and byte errors, truncation": ("disturb",),
    "bursts": ("burst",),
    "cut, also one way": ("cut",),
    "replay of anything ever sent, reflected, moved": ("attack",),
    "text noise": ("make_noise",),
    "crash, slow and fast reboot": ("crash", "reboot"),
    "power loss with and without its BMC": ("lose_power", "black_out"),
    "freeze 10 ms to 60 s, also within a turn": ("freeze",),
    "kill, orderly end": ("kill", "stop"),
    "suspend": ("pause",),
    "full, read-only, missing or rolled-back disk; runtime directory": ("spoil_disk", "spoil_memory"),
    "wall-clock step, boot-time jump (offset and drift are in every run)": ("step_wall_clock", "jump"),
    "BMC unreachable": ("bmc_gone",),
    "BMC 0.1 to 30 s slow, late execution after the timeout": ("bmc_slow",),
    "says OFF while on, wrong target": ("bmc_deceives",),
    "says ON while off": ("bmc_says_on",),
    "graceful instead of hard off": ("bmc_polite",),
    "start or stop fails or hangs, VIP add fails": ("fail_start", "fail_stop", "fail_address"),
    "monitor lies, service dies, VIP removed": ("mislead_monitor", "die", "take_address"),
    "carrier, upstream, foreign holder of the VIP, watchdog": ("lose_carrier", "lose_upstream", "intrude", "guard"),
    "forced takeover, true and untrue": ("confirm", "confirm_wrongly"),
    "maintenance, standby, online, switchover, drill": ("maintain", "stand_by", "go_online", "switchover", "drill"),
    "key rotation in the middle of a failure": ("rotate_keys",),
    "both nodes started with the same id": ("mistake",),
}
# These wait for what comes next, or must change nothing at all: a calm pair goes on as if they had not been.
QUIET = frozenset(
    (
        *("fail_start", "fail_stop", "spoil_memory", "spoil_disk"),
        *("bmc_gone", "bmc_slow", "bmc_polite", "bmc_says_on", "bmc_deceives"),
        *("attack", "make_noise", "confirm"),
    )
)


def calm_pair(seed: int) -> World:
    world = World(replace(default_plan(), boot_ns=SECOND), seed)
    for host in world.hosts:
        host.boot()
    world.run_for(5 * SECOND)
    assert is_settled(world)
    return world


def test_the_model_and_the_kinds_are_the_same() -> None:
    named = [kind for kinds in MODEL.values() for kind in kinds]
    assert sorted(named) == sorted(KINDS)
    assert set(KINDS) > RARE


@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_does_something_and_ends(kind: str) -> None:
    """Compared with the same pair left alone, by all that is logged and all that is sent."""
    alone = calm_pair(3)
    alone.run_for(20 * SECOND)
    world = calm_pair(3)
    for _ in range(4):
        KINDS[kind](world)
        world.run_for(500 * MS)
    world.run_for(18 * SECOND)
    assert (world.log.digest == alone.log.digest) is (kind in QUIET)
    make_good(world)
    recover(world)
    assert is_settled(world)
