"""What would happen if the peer died now, in one sentence with its time, and how long a reason still lasts.

It asks the same questions as the policy, of a state in which the peer's last frame has just come, or of the state as it
is where the peer is silent already. Times leave out what a device itself needs. This module must never decide anything,
and never name a time at which nothing would happen.
"""

from __future__ import annotations

from dataclasses import replace

from hblink.core.evidence import power_loss_claim_at
from hblink.core.lease import lease_claim_at
from hblink.core.liveness import is_fresh, is_silent, silent_at, slot_start
from hblink.core.state import State, can_fence, holds_token, in_maintenance, veto
from hblink.core.value import (
    FENCE_CAP_PERIOD_NS,
    OWNING,
    PEER_IS_OFF,
    SECOND,
    Guarantee,
    Reason,
    Role,
    Settings,
    StartAlone,
)
from hblink.fencing.device import FenceReason

# Blocked for these a node has tried what it can, and may go on by what was allowed in writing.
_TRIED = frozenset({Reason.FENCE_FAILED, Reason.NO_FENCE_DEVICE, Reason.FENCE_LIED})


def forecast(settings: Settings, state: State, peer: str, broken: FenceReason | None, now: int) -> dict[str, str]:
    """What would happen: "code" is keep, busy, inert, forbidden, blocked or takeover; "text" is for a person.

    `broken` is why no fence device of the peer works, None if one does, or if that is not known.
    """
    if state.role in OWNING:
        return _says("keep", "goes on serving; nothing to take over")
    if state.role in (Role.STARTING, Role.YIELDING, Role.HALTED):
        return _says("busy", f"is {state.role.value}; decides when that has ended")
    if state.role is Role.FENCING:
        return _says("busy", f"is fencing {peer}; takes over when that has read OFF twice")
    forbidden = veto(state, now)
    if forbidden is None and _keeps_grant(settings, state):
        wait = _in(silent_at(settings, state), now)
        return _says("takeover", f"serves again in {wait}: has not heard {peer} since it served last")
    if in_maintenance(state):
        return _says("forbidden", "maintenance: nothing, for as long as it lasts")
    if forbidden is not None:
        ends_at = reason_ends_at(settings, replace(state, reason=forbidden), now)
        length = "" if ends_at is None else f" for {_in(ends_at, now)} more"
        return _says("forbidden", f"would not take over{length}: {forbidden.value}")
    if not state.heard:
        return _says(
            "inert", f"inert: has not heard {peer} since it booted; {_start_alone(settings, state, peer, now)}"
        )
    assumed = _peer_heard_now(settings, state, now)
    if not can_fence(settings, state):
        what = f"the fence device of {peer} lied" if state.fence_lied else "no fence device"
        return _without_fence(what, settings, assumed, peer, silent_at(settings, assumed), now)
    if _is_capped(settings, state):
        return _capped(settings, assumed, peer, now)
    fence_at = _fence_at(settings, assumed, now)
    if broken is not None:
        what = f"the fence of {peer} does not work ({broken.value})"
        return _without_fence(what, settings, assumed, peer, fence_at + settings.fence_attempt_ns, now)
    claim = _in(fence_at + settings.off_interval_ns, now)
    if state.role is Role.BLOCKED and is_silent(settings, state, now):
        again = f"tries again to fence {peer} in {_in(fence_at, now)}"
        return _says("blocked", f"is blocked, {state.reason.value}: {again}, unless: hblink fence confirm {peer}")
    if is_silent(settings, state, now):
        turn = f"its turn to fence {peer} comes in {_in(fence_at, now)}"
        return _says("takeover", f"{turn}; would take over in about {claim}")
    return _says("takeover", f"would fence {peer} and take over in about {claim}")


def reason_ends_at(settings: Settings, state: State, now: int) -> int | None:
    """When the reason of `state` ends by itself if nothing more comes; None if nobody can tell."""
    ends_at = None
    if state.reason is Reason.LISTENING:
        ends_at = state.listen_until
    elif state.reason is Reason.WAITING_FOR_SLOT:
        ends_at = slot_start(settings, state, now)
    elif state.reason is Reason.START_FAILED:
        ends_at = state.start_hold_until
    elif state.reason is Reason.FENCE_CAP and state.fences:
        ends_at = state.fences[0] + FENCE_CAP_PERIOD_NS
    return None if ends_at is None or ends_at <= now else ends_at


def _says(code: str, text: str) -> dict[str, str]:
    return {"code": code, "text": text}


def _in(at: int, now: int) -> str:
    """How long it is until then, in tenths of a second where that matters."""
    seconds = max(0, at - now) / SECOND
    if seconds < 10:
        return f"{seconds:.1f} s"
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _keeps_grant(settings: Settings, state: State) -> bool:
    """Whether it may claim on its last grant (S7) as soon as the peer counts as silent."""
    unleased = not settings.lease_mode or state.grant in PEER_IS_OFF
    return state.grant is not None and unleased and holds_token(settings, state.epoch) and not state.yielded


def _peer_heard_now(settings: Settings, state: State, now: int) -> State:
    """The state as it is if the peer dies right after a frame; as it is, if it is not heard any more."""
    if not is_fresh(settings, state, now):
        return state
    promised_at = state.peer.promised_at if state.peer.promise_ns is None else now
    return replace(state, peer=replace(state.peer, fresh_at=now, authentic_at=now, promised_at=promised_at))


def _fence_at(settings: Settings, state: State, now: int) -> int:
    """When it would begin to fence: it has listened, its slot has come, and nothing upstream may cost it a moment."""
    suspects_at = max(now, silent_at(settings, state))
    slot_at = slot_start(settings, state, suspects_at)
    if state.health == 0:
        slot_at += settings.deadtime_ns
    return max(slot_at, suspects_at)


def _is_capped(settings: Settings, state: State) -> bool:
    return 0 < settings.fence_cap <= len(state.fences)


def _start_alone(settings: Settings, state: State, peer: str, now: int) -> str:
    """What an inert node may do by itself (S5)."""
    may_read = can_fence(settings, state) and settings.start_alone is not StartAlone.WAIT
    by_fence = settings.start_alone is StartAlone.FENCE and state.orderly and not _is_capped(settings, state)
    if not may_read:
        return f"starts alone only by: hblink fence confirm {peer}"
    listens_until = silent_at(settings, state)
    earliest = "" if now >= listens_until else f", in {_in(listens_until, now)} at the earliest"
    if by_fence and state.peer.authentic_at is None:
        return f"starts alone, by a fence if its BMC reads ON{earliest}"
    return f"starts alone only if its BMC reads OFF{earliest}"


def _capped(settings: Settings, state: State, peer: str, now: int) -> dict[str, str]:
    """S15: only a peer that reads OFF already is fenced; a promise is as good."""
    what = f"fenced {peer} too often within the hour"
    lease_at = lease_claim_at(settings, state)
    if lease_at is not None:
        at = max(lease_at, silent_at(settings, state))
        return _says("takeover", f"{what}: would wait for the lease and take over in {_in(at, now)}")
    ends = _in(state.fences[0] + FENCE_CAP_PERIOD_NS, now)
    return _says("blocked", f"{what}: would block for {ends} at most, unless it reads OFF; or: hblink online")


def _without_fence(what: str, settings: Settings, state: State, peer: str, blocked_at: int, now: int) -> dict[str, str]:
    """What it would do whose fence does not work: block at `blocked_at`, and go on if the configuration allows more."""
    if state.role is Role.BLOCKED and state.reason in _TRIED and is_silent(settings, state, now):
        blocked_at = now
    lease_at, power_loss_at = lease_claim_at(settings, state), power_loss_claim_at(settings, state)
    authentic_at = state.peer.authentic_at
    if lease_at is not None:
        at = max(lease_at, blocked_at)
        return _says("takeover", f"{what}: would wait for the lease and take over in {_in(at, now)}")
    if settings.guarantee is Guarantee.AT_LEAST_ONE and authentic_at is not None:
        at = max(authentic_at + settings.lease_ns + settings.lease_margin_ns, blocked_at)
        return _says("takeover", f"{what}: would take over unproven in {_in(at, now)}")
    if power_loss_at is not None:
        at = max(power_loss_at, blocked_at)
        return _says("takeover", f"{what}: would take over in {_in(at, now)}, as {peer} has lost its power")
    until = f"until: hblink fence confirm {peer}"
    if blocked_at <= now:
        return _says("blocked", f"{what}: is blocked {until}")
    return _says("blocked", f"{what}: would block in {_in(blocked_at, now)}, {until}")
