"""The last time that each fence device really switched the peer off: when, why, and what each step took.

Kept on the disk where there is one; the wall clock dates it, for people and metrics only. This module must never be
asked whether something may be done: an old proof proves nothing of today.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field

from hblink.core.value import MS, Power
from hblink.fencing.record import FenceRecord

STEPS_MAX = 64  # of one attempt; what comes after is not kept


@dataclass(slots=True)
class Proofs:
    """The steps of what is under way, and the last proof of each level; `save` is given the file's new content."""

    save: Callable[[bytes], None]
    _kept: list[dict[str, object]] = field(default_factory=list)  # one of each level, the newest last
    _steps: list[dict[str, object]] = field(default_factory=list)
    _refuted: bool = False  # what is under way has turned out to rest on a lie

    def load(self, content: bytes) -> None:
        """Take what was saved, by earlier versions of one level only; nothing if it cannot be understood."""
        try:
            document = json.loads(content)
            proofs = document.get("proofs", [document])
            read = [dict(each, level=_level_of(each)) for each in proofs if isinstance(each["unix_s"], int)]
        except (ValueError, KeyError, TypeError, AttributeError):
            return
        self._kept = read

    def begin(self) -> None:
        """Something new is under way."""
        self._steps.clear()
        self._refuted = False

    def note(self, record: FenceRecord) -> None:
        """Take one step of it; `ms` is what the device cost."""
        if record.op_id is not None and len(self._steps) < STEPS_MAX:
            said = record.power.value if record.power is not None else "accepted" if record.accepted else "not accepted"
            self._steps.append(
                {
                    "level": record.level + 1,
                    "step": record.step.value,
                    "said": said,
                    "reason": record.reason.value,
                    "ms": round(record.elapsed_ns / MS, 1),
                }
            )

    @property
    def steps(self) -> list[dict[str, object]]:
        """The steps since `begin`."""
        return list(self._steps)

    @property
    def last(self) -> dict[str, object] | None:
        """The newest proof of all."""
        return self._kept[-1] if self._kept else None

    def of(self, level: int, device: str) -> dict[str, object] | None:
        """The last proof of `level` (from 0); none if it was another device then."""
        found = [each for each in self._kept if each["level"] == level + 1 and each.get("device", device) == device]
        return found[-1] if found else None

    def succeed(self, kind: str, level: int, device: str, unix_s: int, took_ns: int) -> None:
        """The peer was seen off by `device`, which is `level` (from 0): keep it; `kind` is drill or takeover.

        Nothing is kept if a proof was withdrawn since `begin`.
        """
        if self._refuted:
            return
        proof = {"kind": kind, "level": level + 1, "device": device, "unix_s": unix_s, "took_ms": took_ns // MS}
        self._kept = [each for each in self._kept if each["level"] != level + 1]
        self._kept.append({**proof, "steps": self.steps})
        self._save()

    def withdraw(self, level: int) -> None:
        """What `level` (from 0) called off was not: it has no proof any more, and what is under way will be none."""
        self._refuted = True
        self._kept = [each for each in self._kept if each["level"] != level + 1]
        self._save()

    def _save(self) -> None:
        self.save(json.dumps({"proofs": self._kept}).encode() + b"\n")


def _level_of(proof: dict[str, object]) -> object:
    """The level that a proof names, else the one that its steps read OFF last."""
    steps = proof["steps"]
    if not isinstance(steps, list):
        raise TypeError("the steps of a proof are a list")
    return proof.get("level") or next((step["level"] for step in reversed(steps) if step["said"] == Power.OFF.value), 1)
