"""The state of one node's decision: frozen, hashable, complete.

Everything that `step` knows is here; the same state, settings, event and instant give the same result for ever.
Nothing here grows without bound except the epoch and the op_id. This module must never decide anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, unique

from hblink.core.value import (
    EPOCH_NONE,
    HEALTH_UNKNOWN,
    Advert,
    Alarm,
    Grant,
    Holder,
    Memory,
    Reason,
    Role,
    Settings,
    owner,
)


@dataclass(frozen=True, slots=True)
class PeerView:
    """What is known of the peer.

    `advert` is its newest applied frame, and None as soon as anything newer exists that could not be applied, or the
    frame is older than deadtime: grants (a) and (c) of SAFETY S2 may rest on it, so when in doubt it is dropped.
    """

    advert: Advert | None = None
    echo_sent_at: int = 0  # when I sent the sequence that `advert` echoes
    fresh_since: int | None = None  # when the present run of fresh frames of one session began
    fresh_at: int | None = None  # last fresh frame, in this life of the daemon
    fresh_floor_at: int = 0  # the later of `fresh_at`, the start and the last stall: HALF_OPEN may defer from here
    authentic_at: int | None = None  # last authentic frame in this kernel boot, fresh or not: the slots count from here
    half_open_at: int | None = None  # since when every authentic frame has not been fresh
    hears: int = 0  # bit i: the peer accepts me on link i
    stop_failed_at: int | None = None  # since when it has been saying STOP_FAILED
    maintenance: bool = False  # S18: what the last applied frame said; silence does not end it
    promise_ns: int | None = None  # S2e: what the last applied frame promised, if nothing else came since
    promised_at: int = 0  # ... and from when that counts: the last frame, or a pause of one's own after it
    fence_ready: bool = False  # whether its fence device was fit when the last fresh frame came
    boot: int | None = None  # its kernel boot id, once it has told it


@dataclass(frozen=True, slots=True)
class LinkView:
    """One link as seen from here."""

    open: bool | None = None  # None: not tried yet
    heard_at: int | None = None  # last fresh frame
    signal: bool | None = None  # the hardware at its far end is felt; None: it cannot be told
    signal_lost_at: int | None = None  # since when it has not been felt, having been felt before


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt to power the peer off and to see it off twice (S3); it exists exactly in role FENCING."""

    cause: Reason
    began_at: int
    deadline_at: int
    op_id: int | None = None  # what is being waited for
    commanded: bool = False  # an `off` has been sent: from here on its outcome may come late
    accepted: bool = False  # the device said yes
    was_off: bool = False  # the peer read OFF before the command
    doubtful: bool = False  # an earlier `off` of this attempt was not accepted: it may still come late
    offs: int = 0  # OFF readings in a row since
    act_at: int | None = None  # when to send the next command or reading


@unique
class CheckPurpose(Enum):
    """Why the peer's power state is read without sending any command."""

    START_ALONE = "start_alone"  # S5
    CAPPED = "capped"  # S15: a peer that reads OFF may be fenced all the same
    CONFIRM = "confirm"  # S16
    LEASE = "lease"  # S2e: an active may go on serving beside a peer that is off
    POWER_LOSS = "power_loss"  # S16: that no device answers is seen in the step that claims


@dataclass(frozen=True, slots=True)
class Check:
    """A reading of the peer's power state that sends no command."""

    purpose: CheckPurpose
    op_id: int | None
    offs: int = 0
    act_at: int | None = None
    request: int | None = None


def is_waiting(check: Check) -> bool:
    """Whether an oath waits for the answer to an `on` that is under way, before the reading that it rests on."""
    return check.purpose is CheckPurpose.CONFIRM and check.op_id is None


@dataclass(frozen=True, slots=True)
class Request:
    """An operator's switchover that is under way, to this node or away from it; `standby`: and it shall stay away."""

    request: int
    deadline_at: int
    to_me: bool
    standby: bool = False


@dataclass(frozen=True, slots=True)
class Drill:
    """An operator's proof of the fence device on the standby peer: `off`, OFF read twice, `on`."""

    request: int
    deadline_at: int
    op_id: int | None
    offs: int = 0
    act_at: int | None = None
    is_off: bool = False  # OFF was read twice: what is left is to switch it on, and to listen until `act_at`
    spoken: bool = False  # a frame of the peer came after the first OFF
    level: int | None = None  # the one that is to be proven, which is asked for all of it; None: whichever answers


def is_on_again(drill: Drill) -> bool:
    """Whether the peer was seen off and its `on` has been accepted."""
    return drill.is_off and drill.op_id is None


_NOTHING_REMEMBERED = Memory()


@dataclass(frozen=True, slots=True)
class State:
    """One node's whole decision state; see the field comments for the rule that each one serves."""

    role: Role = Role.STARTING
    reason: Reason = Reason.NONE
    role_at: int = 0
    epoch: int = EPOCH_NONE  # highest epoch known; in role CLAIMING and ACTIVE it is one's own
    yielded: bool = False  # S8: says YIELDED for `epoch`, which is one's own
    yielded_at: int = 0
    # S2c: since when it runs nothing, says no YIELDED, has not stalled, holds the peer for off (read twice, or sworn)
    cleared_at: int = 0
    claimed_by: Grant | None = None  # the grant of the last claim of this daemon
    grant: Grant | None = None  # ... as long as no authentic frame came since (S7)
    ran: bool = False
    heard: bool = False  # the peer was heard in this kernel boot; False: inert (S5)
    listen_until: int = 0  # no suspicion before: initdead after a start, deadtime after a stall (I6)
    peer: PeerView = PeerView()
    links: tuple[LinkView, ...] = ()
    attempt: Attempt | None = None
    check: Check | None = None
    check_retry_at: int | None = None  # no reading or attempt that no slot times before this
    confirmed_until: int | None = None  # S16: an unused operator's confirmation
    outstanding_until: int | None = None  # S3: an `off` of unknown outcome may still take effect
    owes_on: bool = False  # S3: may have switched the peer off, and has neither heard it nor had an `on` accepted since
    sworn_off: bool = False  # S16: a person swore that the peer is off, and may be working on it until it is heard
    power_on_at: int | None = None  # S3: the `on` that repairs a late or mutual `off`
    power_on_op: int | None = None
    service_op: int | None = None  # the Activate or Release that is being waited for
    stop_retry_at: int | None = None
    carrier: bool = True
    health: int | None = None  # per cent of the upstream targets that answer
    healthier_since: int | None = None  # since when the ready peer has been strictly healthier
    ready_since: int | None = None  # since when the preferred peer could have had the service back
    offered: bool = False  # has given the service up for the peer's sake, and not seen the peer serve since
    move_held_until: int | None = None  # the peer did not serve what it was offered: nothing is moved to it until then
    holder: Holder = Holder.NONE
    holder_until: int | None = None  # a sighting of a foreign holder counts until then
    guard_armed: bool = False
    guard_ns: int | None = None  # ... and after what time; None if that cannot be relied on
    promise_ns: int | None = None  # S2e: what this node has promised in this life; it stands whatever the guard does
    peer_spent: bool = False  # S2e: until it is heard again the peer cannot claim by (e)
    leased_at: int | None = None  # S2e: when a frame ended what had let this node serve without a lease
    lease_ended_at: int | None = None  # S2e: in a stop, when the lease ends or ended that the service had
    orderly: bool = False  # S5: may still start by a fence
    fence_ready: bool = False
    start_hold_until: int | None = None
    request: Request | None = None
    want_until: int | None = None  # asks the active peer for the service
    standby_ordered: bool = False
    maintenance: bool = False  # S18: ordered here
    maintenance_at: int = 0
    maintenance_until: int | None = None
    unleased: bool = False  # S18: active, and the addresses have no lease because the peer knows of the maintenance
    drill: Drill | None = None
    fences: tuple[int, ...] = ()  # S15: when a powered-on peer was fenced, within the hour; at most the cap
    proof_at: int | None = None  # S14: when the OFF of the last fence was confirmed; None once it is judged
    proof_boot: int = 0  # ... and the kernel boot id that the peer must not come back with
    fence_lied: bool = False
    reset_asked: bool = False
    stop_by: int | None = None  # the daemon is to end
    exiting: bool = False
    dual_seen: bool = False
    alarms: frozenset[Alarm] = frozenset()
    remembered: Memory = _NOTHING_REMEMBERED
    next_op: int = 1


def initial(settings: Settings) -> State:
    """The state before Started: role STARTING, nothing known."""
    return State(links=(LinkView(),) * settings.links)


def holds_token(settings: Settings, epoch: int) -> bool:
    """Whether this node holds the right to claim, going by `epoch` (S2)."""
    return owner(epoch) == settings.me


def in_maintenance(state: State) -> bool:
    """Whether either node has said that the pair is in maintenance (S18)."""
    return state.maintenance or state.peer.maintenance


def can_fence(settings: Settings, state: State) -> bool:
    """Whether there is a fence device to rely on (S14: one that lied is not)."""
    return settings.has_fence and not state.fence_lied


def veto(state: State, now: int) -> Reason | None:
    """Why this node may neither claim nor fence now; None if nothing forbids it (S6, S12). A veto never grants."""
    if state.stop_by is not None:
        return Reason.SHUTTING_DOWN
    if state.standby_ordered:
        return Reason.STANDBY_ORDERED
    if not state.carrier:
        return Reason.NO_SERVICE_CARRIER
    if state.start_hold_until is not None and now < state.start_hold_until:
        return Reason.START_FAILED
    if state.epoch >= 0xFFFF_FFFE:
        return Reason.EPOCH_EXHAUSTED
    return None


def claim_veto(state: State, now: int) -> Reason | None:
    """Why this node may not claim now, though it may fence: the peer's hardware still answers for the service (S12)."""
    if state.holder is Holder.PEER and state.holder_until is not None and now < state.holder_until:
        return Reason.ADDRESS_HELD
    return veto(state, now)


def memory_of(state: State) -> Memory:
    """What must be written down of this state (S17)."""
    return Memory(
        epoch=state.epoch,
        ran=state.ran,
        peer_heard=state.heard,
        grant=state.grant,
        last_authentic_at=state.peer.authentic_at,
        standby=state.standby_ordered and not (state.request is not None and state.request.standby),
        maintenance=state.maintenance,
        maintenance_until=state.maintenance_until,
        peer_maintenance=state.peer.maintenance,
        outstanding_until=state.outstanding_until,
        fences=state.fences,
        fence_lied=state.fence_lied,
        unleased=state.unleased,
        orderly=state.orderly,
        owes_on=state.owes_on,
        sworn_off=state.sworn_off,
        off_under_way=state.attempt is not None or (state.drill is not None and not state.drill.is_off),
    )


def advertise(state: State, now: int) -> Advert | None:
    """What every frame says of this node now; None while no frame may be sent (S8: before the clean start)."""
    if state.role is Role.STARTING:
        return None
    return Advert(
        role=state.role,
        epoch=state.epoch,
        yielded=state.yielded,
        stop_failed=state.role is Role.HALTED,
        maintenance=state.maintenance,
        want=state.want_until is not None,
        able=veto(state, now) is None,
        health=HEALTH_UNKNOWN if state.health is None or veto(state, now) is not None else max(1, state.health),
        fence_ready=state.fence_ready and not state.fence_lied,
        run_ever=state.ran,
        dual_seen=state.dual_seen,
        watchdog_armed=state.guard_armed,
        promise_ns=state.promise_ns if state.guard_armed else None,
        ending=state.stop_by is not None,
    )
