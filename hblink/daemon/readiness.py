"""The alarm that a fence device of the peer does not work any more.

A busy BMC loses a reading now and then, which is shown at once and is nobody's alarm: it takes a second one, some time
after the first. One good answer ends it. This module must never ask a device.
"""

from __future__ import annotations

from collections.abc import Sequence

from hblink.core.value import SECOND
from hblink.daemon.notice import Complaint, Notices
from hblink.fencing.device import FenceReason
from hblink.fencing.level import Level

# What does not answer is looked at again after half a minute, what refuses after a whole one, and at boot much sooner.
GRACE_NS = 20 * SECOND


class ReadinessWatch:
    """Complain of the levels that two answers at least GRACE_NS apart, and all between them, have found not ready.

    Not of one that lied: the decision's own alarm says that.
    """

    def __init__(self, notices: Notices) -> None:
        self._notices = notices
        self._since: dict[int, int] = {}  # level to the first of the answers
        self._words: dict[int, str] = {}  # ... to what was wrong when that became an alarm

    def look(self, levels: Sequence[Level], now: int) -> None:
        """Take note of what `levels` are fit for; to be called after each of their answers."""
        for index, level in enumerate(levels):
            self._look_at(index, level)
        trusted = [index for index, level in enumerate(levels) if level.readiness.reason is not FenceReason.LIED]
        text = "; ".join(self._words[index] for index in sorted(self._words))
        raised = None
        if self._words:
            every = len(self._words) == len(trusted)
            raised = Complaint.FENCE_NOT_READY if every else Complaint.FENCE_LEVEL_NOT_READY
        for complaint in (Complaint.FENCE_NOT_READY, Complaint.FENCE_LEVEL_NOT_READY):
            if complaint is raised:
                self._notices.complain(complaint, text, now)
            else:
                self._notices.settle(complaint, now)

    def _look_at(self, index: int, level: Level) -> None:
        readiness = level.readiness
        reason, at = readiness.reason, readiness.at
        if readiness.ready is not False or reason is None or reason is FenceReason.LIED or at is None:
            self._since.pop(index, None)
            self._words.pop(index, None)
        elif at >= self._since.setdefault(index, at) + GRACE_NS:
            self._words.setdefault(index, f"level {index + 1} {level.settings.name}: {reason.value}")
