"""What operators ask over the control socket, and the core's answers on their way back.

Every request is answered once, now or when the core has decided. This module must never decide, and never let a habit
typed at the wrong console pass: a confirmation names the node that it is about.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from hblink.control.server import Handle, Request
from hblink.core.effect import Answer
from hblink.core.event import (
    ConfirmRequested,
    DrillRequested,
    MaintenanceRequested,
    OnlineRequested,
    StandbyRequested,
    SwitchoverRequested,
)
from hblink.core.value import SECOND, Reason
from hblink.daemon.context import Context
from hblink.daemon.journal import Kind, Priority

FOR_MAX_S = 7 * 86400


class OperatorDesk:
    """Take requests to the decision, and its answers back; `inquiries` are the commands that only look, by name.

    `level_ready(level)` tells whether that level of the ladder (from 0) works; None if there is none.
    """

    def __init__(
        self, context: Context, inquiries: Mapping[str, Handle], level_ready: Callable[[int], bool | None]
    ) -> None:
        self._context = context
        self._level_ready = level_ready
        self._commands: dict[str, Handle] = {
            **inquiries,
            "switchover": self._switchover,
            "standby": self._standby,
            "online": self._online,
            "maintenance": self._maintenance,
            "fence_confirm": self._confirm,
            "fence_drill": self._drill,
        }
        self._pending: dict[int, Request] = {}
        self._begun: set[int] = set()  # drills that were not refused: their `off` was sent
        self._next = 1

    def handle(self, request: Request, now: int) -> None:
        """Take one request."""
        handle = self._commands.get(request.command)
        if handle is None:
            request.answer({"ok": False, "error": f"there is no command {request.command}"})
        else:
            handle(request, now)

    def answer(self, answer: Answer, now: int) -> None:
        """Bring the core's answer to whoever asked, if they are still there."""
        request = self._pending.pop(answer.request, None)
        name = "request" if request is None else request.command
        begun = answer.request in self._begun
        self._begun.discard(answer.request)
        priority, outcome = (Priority.NOTICE, "done") if answer.ok else (Priority.WARNING, "refused")
        outcome = "failed" if begun and not answer.ok else outcome
        self._context.log(priority, f"{name}: {outcome}", now, Kind.OPERATOR, reason=answer.reason.value)
        if request is not None:
            reason = None if answer.reason is Reason.NONE else answer.reason.value
            request.answer({"ok": answer.ok, "reason": reason, **({"begun": True} if begun else {})})

    def _switchover(self, request: Request, now: int) -> None:
        self._note("operator asks for a switchover", request, now)
        self._context.feed(SwitchoverRequested(self._keep(request)))

    def _standby(self, request: Request, now: int) -> None:
        self._note("operator asks for standby", request, now)
        self._context.feed(StandbyRequested(self._keep(request)))

    def _online(self, request: Request, now: int) -> None:
        self._note("operator asks for online", request, now)
        self._context.feed(OnlineRequested(self._keep(request)))

    def _maintenance(self, request: Request, now: int) -> None:
        """Take `{"on": bool, "for_s": seconds or null}`: with a duration it ends by itself."""
        on, for_s = request.argument.get("on"), request.argument.get("for_s")
        good = for_s is None or (isinstance(for_s, int) and not isinstance(for_s, bool) and 0 < for_s <= FOR_MAX_S)
        if not isinstance(on, bool) or not good or (for_s is not None and not on):
            request.answer({"ok": False, "error": f"on is true or false; for_s goes with on, 1 to {FOR_MAX_S} seconds"})
            return
        until_at = now + for_s * SECOND if isinstance(for_s, int) else None
        text = f"operator asks for maintenance {'on' if on else 'off'}"
        self._note(text, request, now, Priority.WARNING, **({} if for_s is None else {"for_s": for_s}))
        self._context.feed(MaintenanceRequested(self._keep(request), on, until_at))

    def _drill(self, request: Request, now: int) -> None:
        """Take `{"node": peer, "level": number}`; without a level, or with null, it is the ladder that is drilled."""
        if not self._means_peer(request):
            return
        peer, number = self._context.peer, request.argument.get("level")
        level, ready = None, None
        if number is not None:
            level = number - 1 if isinstance(number, int) and not isinstance(number, bool) else -1
            ready = self._level_ready(level)
            if ready is None:
                text = f"there is no level {number} among the fence devices of {peer}: hblink fence status"
                request.answer({"ok": False, "reason": "no_such_level", "error": text})
                return
        which = {} if level is None else {"level": number}
        self._note("operator asks for a fence drill", request, now, Priority.WARNING, peer=peer, **which)
        number = self._keep(request)
        self._context.feed(DrillRequested(number, level, ready is True))
        if number in self._pending:  # a refusal comes at once
            self._begun.add(number)

    def _means_peer(self, request: Request) -> bool:
        """Whether the request names the peer; refuse it if it does not."""
        if request.argument.get("node") == self._context.peer:
            return True
        text = f"this is {self._context.node}; its peer is {self._context.peer}"
        request.answer({"ok": False, "reason": "wrong_node", "error": text})
        return False

    def _confirm(self, request: Request, now: int) -> None:
        if not self._means_peer(request):
            return
        text = "operator confirms that the peer is off"
        self._note(text, request, now, Priority.CRITICAL, peer=self._context.peer)
        self._context.feed(ConfirmRequested(self._keep(request)))

    def _note(
        self, text: str, request: Request, now: int, priority: Priority = Priority.NOTICE, **fields: object
    ) -> None:
        self._context.log(priority, text, now, Kind.OPERATOR, uid=request.credentials.uid, **fields)

    def _keep(self, request: Request) -> int:
        number = self._next
        self._next += 1
        self._pending[number] = request
        return number
