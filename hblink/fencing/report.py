"""What a level of the ladder is shown as: one JSON object, the same in `status`, `fence test` and `doctor fence`.

Keys are part of the interface: programs read them. Nothing here asks a device.
"""

from __future__ import annotations

from collections.abc import Mapping

from hblink.core.value import MS
from hblink.fencing.level import Level


def level_document(index: int, level: Level, now: int, proof: Mapping[str, object] | None = None) -> dict[str, object]:
    """Describe level `index` (from 0) at `now`; every key is always there. Durations in milliseconds.

    `proof` is when it was last seen to switch the peer off, None where that is not known.
    """
    readiness = level.readiness
    warnings = [warning.value for warning in readiness.warnings]
    reason = None if readiness.reason is None else readiness.reason.value
    return {
        "level": index + 1,
        "name": level.settings.name,
        "ready": readiness.ready,
        "reason": reason,
        "detail": readiness.detail,
        "power": readiness.power.value,
        "age_ms": None if readiness.at is None else max(0, now - readiness.at) // MS,
        "took_ms": None if readiness.at is None else round(readiness.elapsed_ns / MS, 1),
        "warnings": warnings,
        "guid": readiness.guid,
        "serial": readiness.serial,
        "restore_policy": readiness.policy,
        "proof": proof,
    }
