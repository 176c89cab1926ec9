"""What operators ask over the control socket, and the core's answers on their way back.

Every request is answered once, now or when the core has decided. This module must never decide, and never let a habit
typed at the wrong console pass: a confirmation names the node that it is about.
"""

from __future__ import annotations

from collections.abc import Callable

from hblink.control.server import Request
from hblink.core.effect import Answer
from hblink.core.event import ConfirmRequested, Event, SwitchoverRequested
from hblink.core.value import Reason
from hblink.daemon.journal import Journal, Priority


class OperatorDesk:
    """Take requests to the decision by `feed`, and its answers back; `status(now)` gives the status document."""

    def __init__(
        self,
        names: tuple[str, str],
        journal: Journal,
        *,
        feed: Callable[[Event], None],
        status: Callable[[int], dict[str, object]],
    ) -> None:
        self._me, self._peer = names
        self._journal = journal
        self._feed = feed
        self._status = status
        self._pending: dict[int, Request] = {}
        self._next = 1

    def handle(self, request: Request, now: int) -> None:
        """Take one request."""
        match request.command:
            case "status":
                request.answer({"ok": True, "status": self._status(now)})
            case "switchover":
                self._journal.log(Priority.NOTICE, "operator asks for a switchover", now, uid=request.credentials.uid)
                self._feed(SwitchoverRequested(self._keep(request)))
            case "fence_confirm":
                self._confirm(request, now)
            case _:
                request.answer({"ok": False, "error": f"there is no command {request.command}"})

    def answer(self, answer: Answer, now: int) -> None:
        """Bring the core's answer to whoever asked, if they are still there."""
        request = self._pending.pop(answer.request, None)
        name = "request" if request is None else request.command
        priority, outcome = (Priority.NOTICE, "done") if answer.ok else (Priority.WARNING, "refused")
        self._journal.log(priority, f"{name}: {outcome}", now, reason=answer.reason.value)
        if request is not None:
            reason = None if answer.reason is Reason.NONE else answer.reason.value
            request.answer({"ok": answer.ok, "reason": reason})

    def _confirm(self, request: Request, now: int) -> None:
        if request.argument.get("node") != self._peer:
            text = f"this is {self._me}; its peer is {self._peer}"
            request.answer({"ok": False, "reason": "wrong_node", "error": text})
            return
        uid = request.credentials.uid
        self._journal.log(Priority.CRITICAL, "operator confirms that the peer is off", now, peer=self._peer, uid=uid)
        self._feed(ConfirmRequested(self._keep(request)))

    def _keep(self, request: Request) -> int:
        number = self._next
        self._next += 1
        self._pending[number] = request
        return number
