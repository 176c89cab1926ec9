"""The core's vocabulary: roles, reasons, grants, and the settings that `step` reads.

Instants (`*_at`) and durations (`*_ns`) are integers in nanoseconds of one clock that the caller chooses (the daemon
uses CLOCK_BOOTTIME); the core only compares and adds them, so moving every instant by the same amount changes nothing.
This module must never hold behaviour that depends on the time or on a peer.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, unique

MS = 1_000_000
SECOND = 1_000_000_000

# The slot reference moves with every frame; it is written down again when it has moved this far.
MEMORY_GRAIN_NS = SECOND

# What a node says of its upstream targets while it has none, or has not asked them yet.
HEALTH_UNKNOWN = 255

FENCE_CAP_PERIOD_NS = 3600 * SECOND

# S8: how long a peer may say that its stop has failed before it is fenced for it.
STOP_FAILED_FENCE_NS = 10 * SECOND

# An epoch is a counter whose low bit is the index of the node that holds it. 0 and 1 have not been claimed by anybody:
# they are what the configuration says of the preferred node, so that two nodes with different configurations agree on
# one holder as soon as they have heard each other.
EPOCH_NONE = 0
EPOCH_CLAIMED_MIN = 2
EPOCH_MAX = 0xFFFF_FFFF


@unique
class Role(Enum):
    """What a node is doing about the service."""

    STARTING = "starting"  # stopping and reading back whatever an earlier daemon left; no frame is sent
    STANDBY = "standby"  # runs nothing, listens
    FENCING = "fencing"  # has decided to power the peer off, and verifies it
    CLAIMING = "claiming"  # used a grant, has announced a new epoch, is starting the service
    ACTIVE = "active"  # owns the service
    YIELDING = "yielding"  # is stopping the service
    BLOCKED = "blocked"  # would have to take over, and may not
    HALTED = "halted"  # a stop failed: something may still run here


# Roles in which something may run on this node.
RUNNING = frozenset({Role.CLAIMING, Role.ACTIVE, Role.YIELDING, Role.HALTED})
# Roles that own the service, whose epochs S9 compares.
OWNING = frozenset({Role.CLAIMING, Role.ACTIVE})


@unique
class Power(Enum):
    """One reading of a power state; UNKNOWN is every answer that is neither."""

    ON = "on"
    OFF = "off"
    UNKNOWN = "unknown"


@unique
class Holder(Enum):
    """Who else answers for a virtual address on the service network."""

    NONE = "none"
    PEER = "peer"  # one of the peer's MAC addresses
    OTHER = "other"  # somebody who is not of this pair


@unique
class Grant(Enum):
    """What entitled a node to claim (SAFETY S2, S16)."""

    YIELDED = "yielded"  # (a)
    FENCED = "fenced"  # (b)
    NOT_TAKEN = "not_taken"  # (c)
    OPERATOR = "operator"  # (d)
    KEPT = "kept"  # S7: the last grant, unbroken by any authentic frame of the peer
    MAINTAINED = "maintained"  # S18: served when its daemon ended; the peer knew of the maintenance, and took nothing
    WRITTEN_WISH = "written_wish"  # S16: guarantee = "at-least-one"
    LEASE = "lease"  # (e): the peer has promised to have stopped by now
    POWER_LOSS = "power_loss"  # S16, opt-in: everything that the peer's power feeds went away at once


# Grants of which each says that the peer cannot run the service: no lease runs under them (S2e).
PEER_IS_OFF = frozenset({Grant.FENCED, Grant.OPERATOR, Grant.LEASE})


@unique
class Guarantee(Enum):
    """What the operator wants when no grant can be had (S16)."""

    AT_MOST_ONE = "at-most-one"
    AT_LEAST_ONE = "at-least-one"


@unique
class StartAlone(Enum):
    """What a booted node may do that does not hear its peer (S5)."""

    WAIT = "wait"  # nothing: it waits for the peer or the operator
    BMC_OFF = "bmc-off"  # start where the peer's BMC says OFF before any command is sent
    FENCE = "fence"  # ... and fence a peer that is on, once, if this node's last end was orderly


@unique
class Reason(Enum):
    """Coded reasons: why a role was entered, why a node is not active, why a request was refused."""

    NONE = "none"
    # why a node that runs nothing stays so
    LISTENING = "listening"  # within initdead, or within deadtime after a stall
    WAITING_FOR_PEER = "waiting_for_peer"  # the peer holds the token, or has not answered yet
    PEER_ACTIVE = "peer_active"
    INERT = "inert"  # booted, never heard its peer since (S5)
    INERT_PEER_ON = "inert_peer_on"  # ... and the peer's BMC says that it is powered on
    INERT_PEER_UNKNOWN = "inert_peer_unknown"  # ... and the peer's BMC does not answer
    WAITING_FOR_SLOT = "waiting_for_slot"  # S4
    YIELDED = "yielded"  # said so, and the peer has not taken it yet
    MAINTENANCE = "maintenance"  # S18: no suspicion, no fence, no takeover
    UPSTREAM_LOST = "upstream_lost"  # own targets do not answer: the fence waits a moment (S6)
    # vetoes (S12): they only forbid
    NO_SERVICE_CARRIER = "no_service_carrier"
    START_FAILED = "start_failed"
    SHUTTING_DOWN = "shutting_down"
    STANDBY_ORDERED = "standby_ordered"  # an operator said `standby`
    ADDRESS_HELD = "address_held"  # the peer's hardware answers for a virtual address
    EPOCH_EXHAUSTED = "epoch_exhausted"
    # why a takeover is blocked
    NO_FENCE_DEVICE = "no_fence_device"
    FENCE_FAILED = "fence_failed"
    FENCE_LIED = "fence_lied"  # S14: the device said OFF of a peer that never went down
    FENCE_CAP = "fence_cap"  # S15: the peer was fenced too often within the hour
    # why the service was given up
    SWITCHOVER = "switchover"
    FAILBACK = "failback"
    PEER_HEALTHIER = "peer_healthier"  # it reaches more of the upstream targets, and has for a while
    STALL = "stall"
    LEASE_ENDED = "lease_ended"  # S2e: not heard the peer for so long, nor read it OFF
    DUAL_ACTIVE = "dual_active"
    STOP_FAILED = "stop_failed"
    # why a fence was decided
    PEER_SILENT = "peer_silent"
    PEER_STOP_FAILED = "peer_stop_failed"
    START_ALONE = "start_alone"
    START_BY_FENCE = "start_by_fence"  # S5: the one named node may fence a peer that is on
    # why a request was refused
    NOT_ACTIVE = "not_active"
    PEER_NOT_READY = "peer_not_ready"
    PEER_HEARD = "peer_heard"
    PEER_POWERED_ON = "peer_powered_on"
    FENCE_OUTSTANDING = "fence_outstanding"
    NOT_BLOCKED = "not_blocked"
    BUSY = "busy"
    PEER_MAINTENANCE = "peer_maintenance"  # the peer says it, and has to take it back itself
    REDUNDANCY_REDUCED = "redundancy_reduced"  # a drill needs every link, a ready standby and a ready device
    LEVEL_NOT_READY = "level_not_ready"  # a drill was asked of a level of the ladder that does not work now
    TIMED_OUT = "timed_out"


@unique
class AlarmCode(Enum):
    """Standing conditions that a person should know of; each is raised once and cleared once."""

    LINK_IN_DOWN = "link_in_down"  # nothing acceptable comes in on that link
    LINK_OUT_DOWN = "link_out_down"  # the peer does not accept what is sent on that link
    LINK_MISSING = "link_missing"  # the port or socket could not be opened
    DEGRADED = "degraded"  # at least one link is down
    JEOPARDY = "jeopardy"  # ... and at most one is left
    PEER_LOST = "peer_lost"
    PEER_LATE = "peer_late"  # silent for longer than warntime
    HALF_OPEN = "half_open"  # authentic frames that prove no freshness
    BLOCKED = "blocked"
    INERT = "inert"
    DUAL_ACTIVE = "dual_active"
    STOP_FAILED = "stop_failed"
    PEER_STOP_FAILED = "peer_stop_failed"
    FENCE_OUTSTANDING = "fence_outstanding"
    FENCE_LIED = "fence_lied"
    MAINTENANCE = "maintenance"
    STANDBY_ORDERED = "standby_ordered"
    ADDRESS_CONFLICT = "address_conflict"
    NO_SERVICE_CARRIER = "no_service_carrier"
    START_FAILED = "start_failed"
    NO_PROMISE = "no_promise"  # lease mode without an armed hardware watchdog here: the peer may not rely on it


@dataclass(frozen=True, slots=True, order=True)
class Alarm:
    """An alarm and what it is about: `link` is an index into the configured links, or -1."""

    code: str  # an AlarmCode's value, so that alarms sort
    link: int = -1


@dataclass(frozen=True, slots=True)
class Settings:
    """What `step` may know of the configuration; all durations in nanoseconds, indices 0 or 1 for nodes.

    `fence_attempt_ns` bounds one whole attempt (off, and OFF read twice); `fence_latency_ns` is the longest time after
    which a command of unknown outcome may still take effect; `slot_skew_ns` is how far apart the two nodes may date
    their last authentic frame, which is more than half_open_max: on a path that fails one way first, one node goes on
    hearing frames that prove nothing for that long.
    """

    me: int
    preferred: int
    links: int = 2
    has_fence: bool = True
    guarantee: Guarantee = Guarantee.AT_MOST_ONE
    start_alone: StartAlone = StartAlone.BMC_OFF
    deadtime_ns: int = 1000 * MS
    warntime_ns: int = 500 * MS
    initdead_ns: int = 10 * SECOND
    half_open_max_ns: int = 5 * SECOND
    off_interval_ns: int = 1 * SECOND  # between the two OFF readings
    poll_interval_ns: int = 500 * MS  # between readings that did not say OFF
    off_retry_ns: int = 2 * SECOND  # between commands that were not accepted
    fence_attempt_ns: int = 20 * SECOND
    fence_latency_ns: int = 60 * SECOND
    slot_skew_ns: int = 8 * SECOND
    inert_retry_ns: int = 30 * SECOND
    power_on_retry_ns: int = 30 * SECOND
    lease_ns: int = 4 * SECOND
    lease_margin_ns: int = 2 * SECOND
    lease_mode: bool = False  # S2e: an active that hears nothing for lease_ns stops, unless the peer is read OFF
    power_loss_evidence: bool = False  # S16: signals, frames and devices that go away within the window are evidence
    power_loss_window_ns: int = 2 * SECOND
    power_loss_wait_ns: int = 5 * SECOND  # from the last of them to the claim
    handover_ns: int = 5 * SECOND
    start_bound_ns: int = 10 * SECOND
    stop_bound_ns: int = 5 * SECOND
    stop_retry_ns: int = 1 * SECOND
    stop_failed_fence_ns: int = STOP_FAILED_FENCE_NS
    start_hold_ns: int = 60 * SECOND
    confirm_ttl_ns: int = 60 * SECOND
    auto_failback: bool = False  # the preferred node gets the service back once it has been ready for a while
    failback_hold_ns: int = 60 * SECOND
    health_hold_ns: int = 3 * SECOND  # how long the peer must have been strictly healthier
    move_hold_ns: int = (
        3600 * SECOND
    )  # how long nothing is moved to a peer that was given the service and did not serve
    holder_ttl_ns: int = 1500 * MS  # how long a sighting of a foreign holder counts
    fence_cap: int = 0  # S15: fences of a powered-on peer within an hour; 0: no cap
    self_reset_ns: int | None = None  # S8: how long a stop may have failed before the node resets itself

    @property
    def peer(self) -> int:
        """The other node's index."""
        return 1 - self.me

    @property
    def slot_ns(self) -> int:
        """Length of a fencing slot (S4): detection skew + the latest start + the BMC's worst off."""
        return self.slot_skew_ns + self.slot_window_ns + self.fence_attempt_ns

    @property
    def slot_window_ns(self) -> int:
        """How late into a slot an attempt may still begin: a node that hiccups at detection listens that long again."""
        return 2 * self.deadtime_ns

    @property
    def release_late_ns(self) -> int:
        """How late a loop must be to drop the service (S7).

        A pause is seen short by up to one tick, since only the part after a due timer is proof; a tick is at most a
        third of deadtime. So every pause of deadtime counts.
        """
        return self.deadtime_ns * 2 // 3


@dataclass(frozen=True, slots=True)
class Memory:
    """What must survive a daemon restart within one kernel boot (S17); `epoch` also survives a reboot where it can.

    Unreadable memory counts as `Memory(ran=True)`: ran, not heard, no grant. The rest is what a person or a device has
    said and must not be forgotten by an upgrade: `standby` and `maintenance` ordered here, the peer's own
    `peer_maintenance` (S18), the instants of `fences` (S15), that the peer's device lied (S14), and an oath (S16).
    """

    epoch: int = EPOCH_NONE
    ran: bool = False
    peer_heard: bool = False
    grant: Grant | None = None  # the last grant, as long as no authentic frame of the peer came since
    last_authentic_at: int | None = None  # the reference of the fencing slots
    standby: bool = False
    maintenance: bool = False
    maintenance_until: int | None = None
    peer_maintenance: bool = False
    outstanding_until: int | None = None  # S3: an `off` of unknown outcome may still take effect
    fences: tuple[int, ...] = ()
    fence_lied: bool = False
    unleased: bool = False  # S18: served in a maintenance of which the peer knew
    orderly: bool = False  # S5: the kernel boot before this one ended orderly, so it was not a fence that ended it
    owes_on: bool = False  # S3: may have switched the peer off, which is to be on again once this node serves
    sworn_off: bool = False  # S16: a person swore that the peer is off, and it has not been heard since
    off_under_way: bool = False  # S3: an `off` has been sent, and neither seen to work nor called outstanding yet


@dataclass(frozen=True, slots=True)
class Advert:
    """What a node says of itself in every frame: a snapshot of one instant."""

    role: Role
    epoch: int
    yielded: bool = False
    stop_failed: bool = False
    maintenance: bool = False
    want: bool = False  # asks to be handed the service
    able: bool = True  # could take it: no veto stands
    health: int = HEALTH_UNKNOWN  # per cent of the upstream targets that it reaches, 1 at least
    fence_ready: bool = False
    run_ever: bool = False
    dual_seen: bool = False
    watchdog_armed: bool = False
    promise_ns: int | None = None  # S2e: its service has ended so long after the last frame that was heard of it
    ending: bool = False  # its daemon is being ended


def owner(epoch: int) -> int:
    """The index of the node that holds the token by `epoch`."""
    return epoch & 1


def next_epoch(above: int, node: int) -> int:
    """The smallest epoch that `node` (0 or 1) can claim and that is greater than `above`.

    The result may exceed EPOCH_MAX; the caller must then not claim.
    """
    epoch = max(above + 1, EPOCH_CLAIMED_MIN)
    return epoch if epoch & 1 == node else epoch + 1
