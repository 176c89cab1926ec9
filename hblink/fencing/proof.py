"""The last time that the fence devices really switched the peer off: when, why, and what each step took.

Kept on the disk where there is one; the wall clock dates it, for people and metrics only. This module must never be
asked whether something may be done: an old proof proves nothing of today.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field

from hblink.core.value import MS
from hblink.fencing.record import FenceRecord

STEPS_MAX = 64  # of one attempt; what comes after is not kept


@dataclass(slots=True)
class Proofs:
    """The steps of what is under way, and the last proof as a document; `save` is given the file's new content."""

    save: Callable[[bytes], None]
    last: dict[str, object] | None = None
    _steps: list[dict[str, object]] = field(default_factory=list)

    def load(self, content: bytes) -> None:
        """Take what was saved; nothing if it cannot be understood."""
        try:
            document = json.loads(content)
            good = isinstance(document["unix_s"], int) and isinstance(document["steps"], list)
        except (ValueError, KeyError, TypeError):
            return
        self.last = document if good else None

    def begin(self) -> None:
        """Something new is under way."""
        self._steps.clear()

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

    def succeed(self, kind: str, unix_s: int, took_ns: int) -> None:
        """The peer was seen off: keep it; `kind` is drill or takeover."""
        self.last = {"kind": kind, "unix_s": unix_s, "took_ms": took_ns // MS, "steps": self.steps}
        self.save(json.dumps(self.last).encode() + b"\n")
