"""The normal form of a core's state: equal futures are equal values, and how the state looks a tick later.

Every number of the state is named here with what it is; a state with a number that is not named here is refused, for
an instant that is forgotten would be a state that does not age, and a search that proves nothing. This module must
never forget anything that a decision rests on.
"""

from __future__ import annotations

from dataclasses import Field, fields, replace
from typing import Any

from hblink.core.state import Attempt, Check, Drill, LinkView, PeerView, Request, State, memory_of
from hblink.core.value import OWNING, Advert, Memory, Role, Settings
from hblink.sim.explorer.joint import CLEARED_AT, FIRST_OP, POWER_ON_OP, POWER_OP, SERVICE_OP, TICK, ticks

# By the names of the classes. Deadlines: one that has passed is due now, the others are whole numbers of ticks away.
DEADLINES: dict[str, tuple[str, ...]] = {
    "State": (
        "listen_until", "check_retry_at", "confirmed_until", "outstanding_until", "power_on_at", "stop_retry_at",
        "start_hold_until", "want_until", "stop_by", "holder_until", "maintenance_until", "move_held_until",
    ),
    "Attempt": ("deadline_at", "act_at"),
    "Check": ("act_at",),
    "Request": ("deadline_at",),
    "Drill": ("deadline_at", "act_at"),
    "Memory": ("maintenance_until", "outstanding_until"),
}  # fmt: skip
# Instants that have passed.
PAST: dict[str, tuple[str, ...]] = {
    "State": ("role_at", "yielded_at", "healthier_since", "ready_since", "proof_at", "leased_at", "lease_ended_at"),
    "PeerView": ("fresh_at", "fresh_since", "fresh_floor_at", "authentic_at", "stop_failed_at", "promised_at"),
    "Attempt": ("began_at",),
    "LinkView": ("heard_at", "signal_lost_at"),
    "Memory": ("last_authentic_at",),
}
# Numbers that do not age: counters and indices; `fences`, which last for an hour; instants that only mean something
# beside others, and are replaced as a whole in `normal_of`.
AGELESS: dict[str, tuple[str, ...]] = {
    "State": (
        "epoch", "cleared_at", "maintenance_at", "service_op", "power_on_op", "next_op", "remembered", "health",
        "fences", "proof_boot", "promise_ns", "guard_ns",
    ),
    "PeerView": ("echo_sent_at", "half_open_at", "hears", "boot", "promise_ns"),
    "Attempt": ("op_id", "offs"),
    "Check": ("op_id", "offs", "request"),
    "Request": ("request",),
    "Drill": ("op_id", "offs", "request", "level"),
    "Advert": ("epoch", "health", "promise_ns"),
    "Memory": ("epoch", "fences"),
}  # fmt: skip
# Annotations of what can be no instant, nor hold one that is not named above.
PLAIN = frozenset(
    {
        "bool", "bool | None", "Role", "Reason", "Grant | None", "Power", "CheckPurpose", "Holder", "frozenset[Alarm]",
        "PeerView", "tuple[LinkView, ...]", "Attempt | None", "Check | None", "Request | None", "Drill | None",
        "Advert | None",
    }
)  # fmt: skip
KINDS = (State, PeerView, LinkView, Attempt, Check, Request, Drill, Advert, Memory)
_LONG_AGO = -20 * TICK  # further back than any hold


class UnknownField(Exception):  # noqa: N818 - it says what was found
    """The core's state has a field that the explorer cannot age: it must be named in hblink.sim.explorer.form."""


def _named(kind: type, field: Field[Any]) -> bool:
    tables = (DEADLINES, PAST, AGELESS)
    return field.type in PLAIN or any(field.name in table.get(kind.__name__, ()) for table in tables)


def require_known(kinds: tuple[Any, ...] = KINDS) -> None:
    """Raise UnknownField if there is a field of the state of which it is not said here how it ages."""
    for kind in kinds:
        for field in fields(kind):
            if not _named(kind, field):
                raise UnknownField(f"{kind.__name__}.{field.name}: {field.type}")


def normal_of(state: State, settings: Settings, links: bool) -> State:
    """Forget what no decision rests on: alarms, how long ago is long ago, and single links unless `links`."""
    attempt, check, request, drill = map(_due_of, (state.attempt, state.check, state.request, state.drill))
    if attempt is not None:
        attempt = replace(attempt, began_at=_since(state, attempt.began_at), op_id=_op(attempt.op_id, POWER_OP))
    if check is not None:
        check = replace(check, op_id=_op(check.op_id, POWER_OP))
    if drill is not None:
        drill = replace(drill, op_id=_op(drill.op_id, POWER_ON_OP if drill.is_off else POWER_OP))
    normal: State = replace(
        _due_of(state),
        role_at=_entered_at(state, settings),
        yielded_at=state.yielded_at if state.yielded else 0,
        cleared_at=CLEARED_AT,
        maintenance_at=CLEARED_AT + _order(state),
        lease_ended_at=state.lease_ended_at if state.role is Role.YIELDING else None,
        leased_at=state.leased_at if state.role in OWNING else None,
        healthier_since=_long_ago(state.healthier_since),
        ready_since=_long_ago(state.ready_since),
        peer=_peer_of(state, settings, links),
        links=tuple(_link_of(link, settings.deadtime_ns) if links else LinkView() for link in state.links),
        attempt=attempt,
        check=check,
        request=request,
        drill=drill,
        fences=(0,) * len(state.fences),
        service_op=_op(state.service_op, SERVICE_OP),
        power_on_op=_op(state.power_on_op, POWER_ON_OP),
        next_op=FIRST_OP,
        dual_seen=False,
        alarms=frozenset(),
        ran=True,
    )
    return replace(normal, remembered=memory_of(normal))


def _op(op_id: int | None, number: int) -> int | None:
    return None if op_id is None else number


def _order(state: State) -> int:
    """Where `maintenance_at` stands beside `cleared_at`, in such a way that an echo fits in between."""
    if not state.maintenance or state.maintenance_at == state.cleared_at:
        return 0
    return 2 if state.maintenance_at > state.cleared_at else -2


def echo_at(state: State, after: bool, told: bool) -> int:
    """An instant that is `after` the state's `cleared_at`, and after its `maintenance_at` if it is `told`."""
    order = _order(state)
    if order == 0:
        return CLEARED_AT + 1 if after else CLEARED_AT - 5
    if order > 0:
        return CLEARED_AT + (3 if told and after else 1 if after else -5)
    return CLEARED_AT + (1 if after else -1 if told else -5)


def _peer_of(state: State, settings: Settings, links: bool) -> PeerView:
    peer, deadtime_ns = state.peer, settings.deadtime_ns
    fresh = peer.fresh_at is not None and peer.fresh_at + deadtime_ns > 0
    # Else `fresh_floor_at` says it; the lease is counted from it.
    dated = fresh or peer.fresh_at != peer.fresh_floor_at or settings.lease_mode
    echoed = peer.advert is not None
    floor_at = peer.fresh_floor_at
    if not state.heard:  # no slots are counted from it
        floor_at = max(floor_at, -settings.half_open_max_ns - TICK)
    since = peer.fresh_since
    if since is not None:
        since = (max(since, -TICK - deadtime_ns) if fresh else None) if links else 0
    return replace(
        peer,
        advert=None if peer.advert is None else plain(peer.advert),
        echo_sent_at=echo_at(
            state,
            echoed and peer.echo_sent_at > state.cleared_at,
            echoed and peer.echo_sent_at > state.maintenance_at,
        ),
        fresh_since=since,
        fresh_at=peer.fresh_at if dated else None,
        fresh_floor_at=floor_at,
        half_open_at=None,
        hears=peer.hears if links and fresh else 0,
        fence_ready=peer.fence_ready and settings.power_loss_evidence,
        promised_at=peer.promised_at if settings.lease_mode and peer.promise_ns is not None else 0,
    )


def plain(advert: Advert) -> Advert:
    """The part of an advert that any decision rests on."""
    return replace(advert, fence_ready=False, run_ever=False, dual_seen=False)


def _link_of(link: LinkView, deadtime_ns: int) -> LinkView:
    heard = link.heard_at is not None and link.heard_at + deadtime_ns > 0
    return LinkView(heard_at=link.heard_at if heard else None)


def moved(state: State, by_ns: int) -> State:
    """The state as it looks `by_ns` later."""
    later: State = replace(
        _back_of(state, by_ns),
        peer=_back_of(state.peer, by_ns),
        links=tuple(_back_of(link, by_ns) for link in state.links),
        attempt=_back_of(state.attempt, by_ns),
        check=_back_of(state.check, by_ns),
        request=_back_of(state.request, by_ns),
        drill=_back_of(state.drill, by_ns),
    )
    return later


def moved_memory(memory: Memory, by_ns: int) -> Memory:
    """What a node without a daemon will remember, `by_ns` later."""
    later: Memory = _due_of(_back_of(memory, by_ns))
    return later


def _back_of(part: Any, by_ns: int) -> Any:
    if part is None:
        return None
    names = (*DEADLINES.get(type(part).__name__, ()), *PAST.get(type(part).__name__, ()))
    instants = ((name, getattr(part, name)) for name in names)
    return replace(part, **{name: at - by_ns for name, at in instants if at is not None})


def _due_of(part: Any) -> Any:
    if part is None:
        return None
    instants = ((name, getattr(part, name)) for name in DEADLINES[type(part).__name__])
    return replace(part, **{name: _due(at) for name, at in instants if at is not None})


def _due(at: int) -> int:
    """A deadline in whole ticks from now; one that has passed is due now."""
    return 0 if at <= 0 else ticks(-(-at // TICK))


def _long_ago(at: int | None) -> int | None:
    return None if at is None else max(at, _LONG_AGO)


def _entered_at(state: State, settings: Settings) -> int:
    """`role_at` as far as it matters: to bound a start, stop or reset, and to tell whether the peer was heard since."""
    if state.service_op is not None:
        return state.role_at
    if state.role is Role.HALTED and settings.self_reset_ns is not None:
        return max(state.role_at, _LONG_AGO)
    return _since(state, state.role_at) if state.role is Role.BLOCKED else 0


def _since(state: State, at: int) -> int:
    """An instant of which only this matters: whether an authentic frame has come since."""
    heard_at = state.peer.authentic_at
    return CLEARED_AT if heard_at is not None and heard_at >= at else 0
