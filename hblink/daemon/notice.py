"""What is told of roles and alarms: lines in the log, and calls of the operator's alarm hook.

It must never wait for the hook, and never decide anything.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, unique

from hblink.alarm import AlarmHook
from hblink.core.state import State
from hblink.core.value import Alarm, Role
from hblink.daemon.account import Account
from hblink.daemon.context import Context
from hblink.daemon.journal import Kind, Priority


@unique
class Complaint(Enum):
    """Alarms that are the daemon's own: the decision does not know of them."""

    CONFIG_DIFFERS = "config_differs"  # the peer runs another configuration
    RELOAD_REFUSED = "reload_refused"  # what is on the disk could not be taken over; the old configuration is in force
    FENCE_NOT_READY = "fence_not_ready"  # no fence device of the peer works
    FENCE_LEVEL_NOT_READY = "fence_level_not_ready"  # one of them does not, and another does


class Notices:
    """Tell of changes of role and of alarms. `hook` is the operator's alarm command.

    `complaints` are those that stand: since when, and what exactly. `state()` is the decision's state.
    """

    def __init__(self, context: Context, account: Account, state: Callable[[], State]) -> None:
        self._context = context
        self._account = account
        self._state = state
        self.complaints: dict[Complaint, tuple[int, str]] = {}
        self.hook = self._make_hook()

    def reload(self) -> None:
        """Use the alarm command of the configuration in force; what waits for the old one is not told any more."""
        self.hook.close()
        self.hook = self._make_hook()

    def start(self) -> None:
        """Nothing is to be started: the hook runs when it is called."""

    def close(self) -> None:
        """Kill the hook if it runs, take no more."""
        self.hook.close()

    def role_changed(self, before: State, after: State, now: int, device_ns: int) -> None:
        """Log the change; a takeover is told to the alarm hook, with where its milliseconds went."""
        fields: dict[str, object] = {"reason": after.reason.value, "epoch": after.epoch}
        if after.role is Role.CLAIMING and after.claimed_by is not None:
            fields["grant"] = after.claimed_by.value
        self._context.log(Priority.NOTICE, f"{before.role.value} -> {after.role.value}", now, Kind.ROLE, **fields)
        peer = self._context.peer
        if after.role is Role.BLOCKED:
            text = f"blocked: make sure that {peer} is off, then: hblink fence confirm {peer}"
            self._context.log(Priority.CRITICAL, text, now, Kind.ROLE)
        if after.role is Role.ACTIVE and after.claimed_by is not None:
            spent = self._account.takeover(after, now, device_ns)
            self._context.log(
                Priority.NOTICE, "service is up", now, Kind.SERVICE, grant=after.claimed_by.value, **spent
            )
            self.tell({"event": "takeover", "grant": after.claimed_by.value, **spent}, after)

    def alarm(self, alarm: Alarm, what: str, state: State, now: int) -> None:
        """An alarm was "raised" or "cleared"."""
        link = self._context.config.links[alarm.link].name if alarm.link >= 0 else None
        self._account.note_alarm(alarm, what, now)
        fields = {} if link is None else {"link": link}
        priority = Priority.WARNING if what == "raised" else Priority.NOTICE
        self._context.log(priority, f"alarm {what}: {alarm.code}", now, Kind.ALARM, **fields)
        self.tell({"event": alarm.code, "state": what, "link": link, "reason": state.reason.value}, state)

    def complain(self, complaint: Complaint, detail: str, now: int) -> None:
        """Raise an alarm of the daemon's own, or say that it is about something else now."""
        before = self.complaints.get(complaint)
        if before is None or before[1] != detail:
            self.complaints[complaint] = (now if before is None else before[0], detail)
            text = f"alarm raised: {complaint.value}"
            self._context.log(Priority.WARNING, text, now, Kind.ALARM, detail=detail)
            self.tell({"event": complaint.value, "state": "raised", "link": None, "detail": detail}, self._state())

    def settle(self, complaint: Complaint, now: int) -> None:
        """Clear it, if it stands."""
        if self.complaints.pop(complaint, None) is not None:
            self._context.log(Priority.NOTICE, f"alarm cleared: {complaint.value}", now, Kind.ALARM)
            self.tell({"event": complaint.value, "state": "cleared", "link": None}, self._state())

    def _make_hook(self) -> AlarmHook:
        return AlarmHook(self._context.loop, self._context.config.alarm_command, on_failure=self._on_hook_failure)

    def _on_hook_failure(self, text: str, now: int) -> None:
        self._context.log(Priority.ERROR, f"the alarm command failed: {text}", now, Kind.ALARM)

    def tell(self, document: dict[str, object], state: State) -> None:
        """Call the alarm hook with `document` and who says so."""
        who = {"node": self._context.node, "peer": self._context.peer, "cluster": self._context.config.cluster}
        self.hook.notify({**document, **who, "role": state.role.value, "epoch": state.epoch})
