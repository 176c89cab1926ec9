"""What operators ask over the control socket: a drill refused at once is told from one that began and failed."""

from __future__ import annotations

from pathlib import Path

import pytest

from hblink.config import parse
from hblink.control.server import Credentials, Request
from hblink.core.effect import Answer
from hblink.core.event import DrillRequested, Event
from hblink.core.value import Reason
from hblink.daemon.context import Context
from hblink.daemon.operator import OperatorDesk
from hblink.loop import Loop
from tests.unit.sample import GOOD


@pytest.mark.parametrize("at_once", [True, False])
def test_a_drill_that_began_is_never_called_refused(at_once: bool) -> None:
    fed: list[Event] = []
    said: list[str] = []
    answers: list[dict[str, object]] = []

    def feed(event: Event) -> None:
        fed.append(event)
        if at_once:
            desk.answer(Answer(1, ok=False, reason=Reason.FENCE_LIED), 0)

    def log(_priority: object, text: str, _now: int, _kind: object, **_fields: object) -> None:
        said.append(text)

    context = Context(Loop(), parse(GOOD, Path("/etc/hblink")), 0, feed, log)
    desk = OperatorDesk(context, {}, lambda _level: True)
    desk.handle(Request("fence_drill", {"node": "beta"}, Credentials(1, 0, frozenset()), answers.append), 0)
    assert fed == [DrillRequested(1, None, False)]
    if not at_once:
        desk.answer(Answer(1, ok=False, reason=Reason.FENCE_LIED), 0)
    begun = {} if at_once else {"begun": True}
    assert answers == [{"ok": False, "reason": "fence_lied", **begun}]
    assert said[-1] == f"fence_drill: {'refused' if at_once else 'failed'}"
