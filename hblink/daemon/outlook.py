"""What stands in the way, by codes.

It asks the same questions as the policy and decides nothing. The words for the codes, and the command that comes next,
are the command line's (`hblink.cli.advice`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import Enum, unique
from typing import TYPE_CHECKING

from hblink.core.liveness import alarms_of
from hblink.core.state import State, in_maintenance, veto
from hblink.core.value import MS, OWNING, Alarm, AlarmCode, Guarantee, Reason, Role
from hblink.daemon.forecast import reason_ends_at
from hblink.daemon.notice import Complaint

if TYPE_CHECKING:
    from hblink.daemon.daemon import Daemon

# Alarms that a cause of its own says better.
_SAID_OTHERWISE = frozenset(
    code.value
    for code in (
        AlarmCode.BLOCKED,
        AlarmCode.INERT,
        AlarmCode.DEGRADED,
        AlarmCode.NO_SERVICE_CARRIER,
        AlarmCode.START_FAILED,
        AlarmCode.STANDBY_ORDERED,
    )
)
# Likewise those of the daemon's own: the fence reason of the level names them as soon as it stands.
_SAID_BY_LEVEL = frozenset({Complaint.FENCE_NOT_READY, Complaint.FENCE_LEVEL_NOT_READY})


@unique
class Finding(Enum):
    """Causes that are neither a Reason nor an alarm of the core."""

    PEER_NOT_ABLE = "peer_not_able"  # it says that it could not take over
    PEER_FENCE_NOT_READY = "peer_fence_not_ready"  # it says that it could not switch this node off
    MEMORY_IN_DOUBT = "memory_in_doubt"
    TARGET_SILENT = "target_silent"  # something upstream does not answer, or has not been asked yet


@dataclass(frozen=True, slots=True)
class Cause:
    """One reason for one thing to complain of.

    `topic`: "not_active", "no_takeover" (would not take over if the peer died), "redundancy" (something that a failure
    would need is missing) or "warning" (nothing is missing, and something should be known). `kind` says whose `code` it
    is: "reason", "role", "alarm", "fence", "fence_warning", "complaint" or "finding". `left_ms` is how long it lasts at
    most, None if nobody can tell.
    """

    topic: str
    kind: str
    code: str
    link: str | None = None
    detail: str = ""
    left_ms: int | None = None

    def document(self) -> dict[str, object]:
        """The cause as JSON."""
        return asdict(self)


def causes(daemon: Daemon, now: int) -> list[Cause]:
    """Everything that keeps this node from being active, from taking over, or the pair from being redundant."""
    found: list[Cause] = []
    state = daemon.state
    if state.role is not Role.ACTIVE:
        known = state.reason is not Reason.NONE
        code = state.reason.value if known else state.role.value
        left_ms = reason_left_ms(daemon, now)
        found.append(Cause("not_active", "reason" if known else "role", code, left_ms=left_ms))
    if state.role not in OWNING:
        found += [Cause("no_takeover", kind, code, detail=detail) for kind, code, detail in _obstacles(daemon, now)]
    found += _weaknesses(daemon, now)
    return found + [
        Cause("warning", "fence_warning", code, detail=detail) for code, detail in daemon.fence.level_warnings()
    ]


def reason_left_ms(daemon: Daemon, now: int) -> int | None:
    """How long the reason of the decision still lasts if nothing more comes; None if nobody can tell."""
    ends_at = reason_ends_at(daemon.settings, daemon.state, now)
    return None if ends_at is None else (ends_at - now) // MS


def _obstacles(daemon: Daemon, now: int) -> list[tuple[str, str, str]]:
    """Why this node would not take over if the peer died now: (kind, code, detail)."""
    state, settings = daemon.state, daemon.settings
    found: list[tuple[str, str, str]] = []
    forbidden = veto(state, now)
    if forbidden is not None:
        found.append(("reason", forbidden.value, ""))
    if in_maintenance(state):
        found.append(("reason", Reason.MAINTENANCE.value, ""))
    if state.fence_lied:
        found.append(("reason", Reason.FENCE_LIED.value, ""))
    if state.reason is Reason.FENCE_CAP:
        found.append(("reason", Reason.FENCE_CAP.value, ""))
    if not state.heard:
        inert = state.reason if state.reason in (Reason.INERT_PEER_ON, Reason.INERT_PEER_UNKNOWN) else Reason.INERT
        found.append(("reason", inert.value, ""))
    if state.role is Role.HALTED:
        found.append(("reason", Reason.STOP_FAILED.value, ""))
    if not settings.has_fence and settings.guarantee is Guarantee.AT_MOST_ONE:
        found.append(("reason", Reason.NO_FENCE_DEVICE.value, ""))
    fence = daemon.fence.fence
    if fence is not None and fence.readiness.ready is False:
        reason = fence.readiness.reason
        found.append(("fence", "unreachable" if reason is None else reason.value, fence.readiness.detail))
    return found


def _weaknesses(daemon: Daemon, now: int) -> list[Cause]:
    """What the pair lacks for the next failure, as far as it is not said already."""
    state = daemon.state
    found = [
        Cause("redundancy", "alarm", alarm.code, _link(daemon, alarm))
        for alarm in sorted(alarms_of(daemon.settings, state, now))
        if alarm.code not in _SAID_OTHERWISE
        and (state.role in OWNING or alarm.code != AlarmCode.MAINTENANCE.value)  # else it is why it would not take over
    ]
    found += [
        Cause("redundancy", "complaint", complaint.value, detail=detail)
        for complaint, (_, detail) in daemon.notices.complaints.items()
        if complaint not in _SAID_BY_LEVEL
    ]
    found += [Cause("redundancy", "fence", code, detail=detail) for code, detail in daemon.fence.weak_levels()]
    advert, silent = state.peer.advert, daemon.health.silent()
    findings: list[tuple[Finding, bool, str]] = [
        (Finding.PEER_NOT_ABLE, state.role is Role.ACTIVE and advert is not None and not advert.able, ""),
        (
            Finding.PEER_FENCE_NOT_READY,
            state.role is Role.ACTIVE
            and advert is not None
            and not advert.fence_ready
            and daemon.config.fences_of(daemon.settings.me) != (),
            "",
        ),
        (Finding.MEMORY_IN_DOUBT, bool(daemon.memory.complaint), daemon.memory.complaint),
        (Finding.TARGET_SILENT, bool(silent), ", ".join(silent)),
    ]
    if state.role in OWNING:
        found += [
            Cause("redundancy", kind, code, detail=detail)
            for kind, code, detail in _obstacles(daemon, now)
            if kind == "fence" or code == Reason.NO_SERVICE_CARRIER.value
        ]
    return found + [
        Cause("redundancy", "finding", each.value, detail=detail) for each, holds, detail in findings if holds
    ]


def _link(daemon: Daemon, alarm: Alarm) -> str | None:
    return daemon.config.links[alarm.link].name if alarm.link >= 0 else None


def confirm_hint(state: State, peer: str) -> str:
    """What to make sure of before the operator's confirmation."""
    if state.reason is Reason.INERT_PEER_ON:
        return f"{peer} is powered on: reconnect a link, or switch {peer} off at its power button first"
    return f"make sure that {peer} is switched off; never do this on both nodes"
