"""The proofs that are kept of fence devices: one of each level, the newest known, what was saved before still read."""

from __future__ import annotations

import json

import pytest

from hblink.core.value import MS, SECOND, Power
from hblink.fencing.device import FenceReason
from hblink.fencing.proof import STEPS_MAX, Proofs
from hblink.fencing.record import FenceRecord, Step

OLD_STEPS = [
    {"level": 1, "step": "look", "said": "unknown", "reason": "unreachable", "ms": 5000.0},
    {"level": 2, "step": "off", "said": "accepted", "reason": "ok", "ms": 41.5},
    {"level": 2, "step": "read", "said": "off", "reason": "ok", "ms": 40.0},
    {"level": 2, "step": "on", "said": "accepted", "reason": "ok", "ms": 40.0},
]
OLD = {"kind": "drill", "unix_s": 1000, "took_ms": 9000, "steps": OLD_STEPS}


def record(level: int, power: Power | None = Power.OFF, op_id: int | None = 1) -> FenceRecord:
    return FenceRecord(level, Step.READ, op_id, power, None, FenceReason.OK, "", 41 * MS)


def proofs(content: bytes = b"") -> tuple[Proofs, list[bytes]]:
    saved: list[bytes] = []
    made = Proofs(saved.append)
    made.load(content)
    return made, saved


def test_one_of_each_level_is_kept_and_survives_a_restart() -> None:
    made, saved = proofs()
    assert made.last is None
    for level, device, unix_s in ((0, "bmc", 100), (1, "outlet", 200), (0, "bmc", 300)):
        made.begin()
        made.note(record(level))
        made.succeed("drill", level, device, unix_s, 9 * SECOND)
    again, _ = proofs(saved[-1])
    for each in (made, again):
        assert each.last is not None
        assert each.last == each.of(0, "bmc")
        assert (each.last["level"], each.last["device"], each.last["unix_s"], each.last["took_ms"]) == (
            1,
            "bmc",
            300,
            9000,
        )
        second = each.of(1, "outlet")
        assert second is not None
        assert (second["level"], second["unix_s"]) == (2, 200)
        assert second["steps"] == [{"level": 2, "step": "read", "said": "off", "reason": "ok", "ms": 41.0}]
        assert each.of(2, "outlet") is None
    assert len(json.loads(saved[-1])["proofs"]) == 2


def test_a_proof_of_another_device_at_that_level_is_none() -> None:
    made, _ = proofs()
    made.succeed("takeover", 1, "outlet", 100, 0)
    assert made.of(1, "another") is None
    assert made.last is not None


def test_a_level_that_lied_has_no_proof_any_more_and_the_others_keep_theirs() -> None:
    made, saved = proofs()
    made.succeed("drill", 1, "outlet", 100, 0)
    made.succeed("takeover", 0, "bmc", 200, 0)
    made.withdraw(0)
    again, _ = proofs(saved[-1])
    for each in (made, again):
        assert each.of(0, "bmc") is None
        assert each.last == each.of(1, "outlet")
        assert each.last is not None
    again.withdraw(1)
    assert again.last is None


def test_what_is_under_way_when_a_lie_is_noticed_proves_nothing() -> None:
    """An operator may take the distrust back before the drill's `on` is accepted, which is its end."""
    made, saved = proofs()
    made.begin()
    made.withdraw(0)
    made.succeed("drill", 0, "bmc", 100, 0)
    assert made.last is None
    assert json.loads(saved[-1]) == {"proofs": []}
    made.begin()
    made.succeed("drill", 0, "bmc", 200, 0)
    assert made.last is not None


def test_what_an_earlier_version_saved_is_the_proof_of_the_level_that_it_read_off() -> None:
    made, _ = proofs(json.dumps(OLD).encode())
    assert made.last == {**OLD, "level": 2}
    assert made.of(1, "outlet") == made.last
    assert made.of(0, "bmc") is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"[7]",
        b'{"proofs": 7}',
        b'{"proofs": [7]}',
        json.dumps({**OLD, "steps": 7}).encode(),
        json.dumps({**OLD, "steps": [7]}).encode(),
        json.dumps({**OLD, "unix_s": "now"}).encode(),
        json.dumps({"proofs": [{"level": 1, "unix_s": 7}]}).encode(),
    ],
)
def test_what_cannot_be_understood_is_nothing(content: bytes) -> None:
    made, _ = proofs(content)
    assert made.last is None
    assert made.of(0, "bmc") is None


def test_polls_are_no_steps_and_there_is_an_end_of_steps() -> None:
    made, _ = proofs()
    made.note(record(0, op_id=None))
    assert made.steps == []
    for _ in range(STEPS_MAX + 5):
        made.note(record(0))
    assert len(made.steps) == STEPS_MAX
    made.begin()
    assert made.steps == []
