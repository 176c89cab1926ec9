"""When the decision has to be asked again although nothing happens. Must never leave a deadline out: see `step`."""

from __future__ import annotations

from collections.abc import Iterator

from hblink.core.evidence import power_loss_claim_at
from hblink.core.lease import lease_claim_at, lease_end
from hblink.core.liveness import is_silent, silent_at, slot_start
from hblink.core.state import State
from hblink.core.value import FENCE_CAP_PERIOD_NS, Role, Settings


def next_wakeup(settings: Settings, state: State, now: int) -> int | None:
    """The earliest instant after `now` at which `step` could do something by itself; None if never."""
    return min((at for at in _deadlines(settings, state, now) if at > now), default=None)


def _deadlines(settings: Settings, state: State, now: int) -> Iterator[int]:
    """Every instant at which something may come due; those that have passed have been acted on."""
    yield silent_at(settings, state)
    yield state.listen_until
    peer = state.peer
    for since, wait in (
        (peer.fresh_at, settings.deadtime_ns),
        (peer.fresh_at, settings.warntime_ns),
        (peer.fresh_since, settings.deadtime_ns),
        (peer.half_open_at, settings.warntime_ns),
        (peer.stop_failed_at, settings.stop_failed_fence_ns),
        (peer.authentic_at, settings.lease_ns + settings.lease_margin_ns),
        (state.healthier_since, settings.health_hold_ns),
        (state.ready_since, settings.failback_hold_ns),
    ):
        if since is not None:
            yield since + wait
    for link in state.links:
        if link.heard_at is not None:
            yield link.heard_at + settings.deadtime_ns
    yield from _optional(
        state.confirmed_until,
        state.holder_until,
        state.move_held_until,
        state.maintenance_until,
        state.outstanding_until,
        state.start_hold_until,
        state.stop_retry_at,
        state.power_on_at,
        state.check_retry_at,
        state.want_until,
        state.stop_by,
        None if state.request is None else state.request.deadline_at,
        None if state.check is None else state.check.act_at,
        state.cleared_at + settings.deadtime_ns if settings.lease_mode else None,
        lease_end(settings, state),
        lease_claim_at(settings, state),
        power_loss_claim_at(settings, state),
    )
    if state.drill is not None:
        yield from _optional(state.drill.act_at, state.drill.deadline_at)
    if state.fences:
        yield state.fences[0] + FENCE_CAP_PERIOD_NS
    if state.role is Role.HALTED and settings.self_reset_ns is not None:
        yield state.role_at + settings.self_reset_ns
    if state.attempt is not None:
        yield from _optional(state.attempt.act_at, state.attempt.deadline_at)
    if state.yielded:
        yield state.yielded_at + settings.handover_ns
    if state.role in (Role.STARTING, Role.YIELDING):
        yield state.role_at + settings.stop_bound_ns
    if state.role is Role.CLAIMING:
        yield state.role_at + settings.start_bound_ns
    if state.role in (Role.STANDBY, Role.BLOCKED) and is_silent(settings, state, now):
        slot_at = slot_start(settings, state, now)
        yield slot_at
        if state.health == 0:
            yield slot_at + settings.deadtime_ns


def _optional(*instants: int | None) -> Iterator[int]:
    return (at for at in instants if at is not None)
