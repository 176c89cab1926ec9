"""What stands in the way, by codes, and what would happen if the peer died now.

It asks the same questions as the policy and decides nothing. The words for the codes, and the command that comes next,
are the command line's (`hblink.cli.advice`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import Enum, unique
from typing import TYPE_CHECKING

from hblink.core.lease import lease_claim_at
from hblink.core.liveness import alarms_of, slot_index
from hblink.core.state import State, in_maintenance, veto
from hblink.core.value import OWNING, Alarm, AlarmCode, Guarantee, Reason, Role, Settings

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


@unique
class Finding(Enum):
    """Causes that are neither a Reason nor an alarm of the core."""

    PEER_NOT_ABLE = "peer_not_able"  # it says that it could not take over
    PEER_FENCE_NOT_READY = "peer_fence_not_ready"  # it says that it could not switch this node off
    MEMORY_IN_DOUBT = "memory_in_doubt"


@dataclass(frozen=True, slots=True)
class Cause:
    """One reason for one thing to complain of.

    `topic`: "not_active", "no_takeover" (would not take over if the peer died) or "redundancy" (something that a
    failure would need is missing). `kind` says whose `code` it is: "reason", "role", "alarm", "fence", "complaint" or
    "finding".
    """

    topic: str
    kind: str
    code: str
    link: str | None = None
    detail: str = ""

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
        found.append(Cause("not_active", "reason" if known else "role", code))
    if state.role not in OWNING:
        found += [Cause("no_takeover", kind, code, detail=detail) for kind, code, detail in _obstacles(daemon, now)]
    return found + _weaknesses(daemon, now)


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
    ]
    found += [
        Cause("redundancy", "complaint", complaint.value, detail=detail)
        for complaint, (_, detail) in daemon.notices.complaints.items()
    ]
    found += [Cause("redundancy", "fence", code, detail=detail) for code, detail in daemon.fence.weak_levels()]
    advert = state.peer.advert
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


def forecast(daemon: Daemon, now: int) -> dict[str, str]:
    """What would happen if the peer died now: "code" is keep, busy, inert, forbidden, blocked or takeover; "text"."""
    state, settings = daemon.state, daemon.settings
    peer = daemon.config.nodes[settings.peer]
    if state.role in OWNING:
        return {"code": "keep", "text": "goes on serving; nothing to take over"}
    if state.role in (Role.STARTING, Role.YIELDING, Role.HALTED):
        return {"code": "busy", "text": f"is {state.role.value}; decides when that has ended"}
    if not state.heard:
        text = f"inert: has not heard {peer} since it booted; starts alone only if its BMC reads OFF"
        return {"code": "inert", "text": text}
    if in_maintenance(state):
        return {"code": "forbidden", "text": "maintenance: nothing, for as long as it lasts"}
    forbidden = veto(state, now)
    if forbidden is not None:
        return {"code": "forbidden", "text": f"would not take over: {forbidden.value}"}
    fence = daemon.fence.fence
    if not settings.has_fence:
        return _without_fence("no fence device", settings, state, now, f"until: hblink fence confirm {peer}")
    if fence is not None and fence.readiness.ready is False:
        text = f"the BMC of {peer} does not work ({fence.readiness.detail})"
        return _without_fence(text, settings, state, now, "")
    return {"code": "takeover", "text": f"would fence {peer} and take over in about {_s(_estimate(settings, state))} s"}


def _without_fence(what: str, settings: Settings, state: State, now: int, until: str) -> dict[str, str]:
    """What a node would do whose fence does not work: block, unless the configuration allows more."""
    lease_at = lease_claim_at(settings, state)
    if settings.guarantee is Guarantee.AT_LEAST_ONE:
        wait = settings.lease_ns + settings.lease_margin_ns
        return {"code": "takeover", "text": f"{what}: would take over unproven after {_s(wait)} s"}
    if lease_at is not None:
        return {"code": "takeover", "text": f"{what}: would wait for the lease and take over in {_s(lease_at - now)} s"}
    return {"code": "blocked", "text": f"{what}: would block {until}".rstrip()}


def confirm_hint(state: State, peer: str) -> str:
    """What to make sure of before the operator's confirmation."""
    if state.reason is Reason.INERT_PEER_ON:
        return f"{peer} is powered on: reconnect a link, or switch {peer} off at its power button first"
    return f"make sure that {peer} is switched off; never do this on both nodes"


def _estimate(settings: Settings, state: State) -> int:
    """Detection, this node's slot, the interval of the two readings; the BMC's own time comes on top."""
    return settings.deadtime_ns + slot_index(settings, state) * settings.slot_ns + settings.off_interval_ns


def _s(duration_ns: int) -> str:
    return f"{duration_ns / 1e9:.1f}"
