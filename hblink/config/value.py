"""The configuration as typed values: what the rest of the daemon may know of hblink.toml.

Durations are int nanoseconds, paths are absolute or relative to the configuration directory as it was given, pairs are
indexed by node. These values must never hold a secret: passwords and keys stay in files of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, unique
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface
from pathlib import Path

from hblink.config.document import Problem
from hblink.core.value import MEMORY_GRAIN_NS, MS, SECOND, Guarantee, Settings, StartAlone

IPMI_PORT = 623
# Parts of the file by their number on the wire: tables by their names, and everything else.
SECTIONS = {1: "pair", 2: "timing", 3: "link", 4: "vip", 5: "fence", 6: "health"}
PORT = 1694  # UDP; of Linux-HA's well-known 694, and above 1024


# Between an `off` that a level did not accept and the next level's. The fencing room waits longer between two rounds.
LEVEL_PAUSE_NS = 200 * MS


@unique
class Profile(Enum):
    """What two owners at the same time would do to the service."""

    SHARED_DISK = "shared-disk"  # destroy what it keeps
    STATELESS = "stateless"  # disturb its clients


@dataclass(frozen=True, slots=True)
class Timing:
    """The timers that both nodes share, in nanoseconds; the words are Linux-HA's."""

    keepalive_ns: int
    warntime_ns: int
    deadtime_ns: int
    initdead_ns: int
    lease_ns: int
    handover_ns: int
    half_open_max_ns: int
    health_hold_ns: int
    failback_hold_ns: int


@dataclass(frozen=True, slots=True)
class UdpLinkConfig:
    """A heartbeat link over UDP: `endpoint` holds each node's own address, `interface` the device to bind to.

    `direct`: a cable from one node's interface to the other's, with nothing in between that has power of its own.
    """

    name: str
    endpoint: tuple[str, str]
    keepalive_ns: int
    interface: tuple[str | None, str | None]
    port: int
    direct: bool = False


@dataclass(frozen=True, slots=True)
class SerialLinkConfig:
    """A heartbeat link over a null-modem cable: `endpoint` holds each node's own port."""

    name: str
    endpoint: tuple[str, str]
    keepalive_ns: int
    baud: int


LinkConfig = UdpLinkConfig | SerialLinkConfig


@dataclass(frozen=True, slots=True)
class VipConfig:
    """A virtual address, and the interface that carries it on whichever node is active."""

    address: IPv4Interface | IPv6Interface
    interface: str


@dataclass(frozen=True, slots=True)
class IpmiFenceConfig:
    """The BMC that switches off `node` (an index); its peer is the one who uses it.

    `guid` is 32 hexadecimal digits, `serial` the serial number in its inventory; either is None where the first one
    that answers is learned. `restore_policy` is what the BMC is expected to do when power comes back, None for anything
    but always-off.
    """

    node: int
    level: int
    host: str
    port: int
    user: str
    password_file: Path
    cipher_suite: int
    privilege: str
    guid: str | None
    serial: str | None
    restore_policy: str | None
    off_interval_ns: int
    command_timeout_ns: int
    attempt_ns: int
    latency_ns: int
    retries: int

    @property
    def name(self) -> str:
        """What it is called in the log and in `status`."""
        return f"ipmi {self.host}" if self.port == IPMI_PORT else f"ipmi {self.host} port {self.port}"

    @property
    def tells_identity(self) -> bool:
        """A BMC should have a GUID, or a serial number."""
        return True


@dataclass(frozen=True, slots=True)
class AgentFenceConfig:
    """A fence agent (fence-agents family) that switches off `node`: its program, its parameters, its secrets' files."""

    node: int
    level: int
    agent: str
    parameters: Mapping[str, str] = field(hash=False)
    secret_files: Mapping[str, Path] = field(hash=False)
    off_interval_ns: int
    command_timeout_ns: int
    attempt_ns: int
    latency_ns: int
    retries: int

    @property
    def name(self) -> str:
        """What it is called in the log and in `status`."""
        return self.agent

    @property
    def guid(self) -> None:
        """Agents tell no identity."""
        return None

    @property
    def serial(self) -> None:
        """Agents tell no identity."""
        return None

    @property
    def restore_policy(self) -> None:
        """Agents tell no restore policy."""
        return None

    @property
    def tells_identity(self) -> bool:
        """Agents tell none."""
        return False


FenceConfig = IpmiFenceConfig | AgentFenceConfig


@dataclass(frozen=True, slots=True)
class TargetConfig:
    """A machine beyond the service port that is asked by `method` ("icmp" or "arp") through `interface`."""

    address: IPv4Address | IPv6Address
    interface: str
    method: str


@dataclass(frozen=True, slots=True)
class HealthConfig:
    """Whom to ask, how often, and how many equal answers in a row count."""

    targets: tuple[TargetConfig, ...] = ()
    interval_ns: int = 500 * MS
    samples: int = 3


@dataclass(frozen=True, slots=True)
class GuardConfig:
    """What resets this node when it cannot be trusted: a hardware watchdog, and its own hand."""

    watchdog: Path | None = None
    timeout_ns: int = 10 * SECOND
    self_reset_ns: int | None = None  # how long a stop may have failed before sysrq resets the machine
    lease_mode: bool = False  # SAFETY S2e: an active that hears nothing stops by itself, so that its peer may go on


NO_MACS: tuple[frozenset[bytes], frozenset[bytes]] = (frozenset(), frozenset())


@dataclass(frozen=True, slots=True)
class Config:
    """One hblink.toml, equal on both nodes; the order of `links` is their number on the wire, `nodes` sort by name.

    `digest` is the first 8 bytes of the SHA-256 of the content as written, whatever its comments, spacing and order of
    keys, VIPs and fences. Defaults that are not written down are not part of it, so that a pair may be upgraded node by
    node without a false alarm. `sections` has the first 4 bytes of the same of each part, by its number in SECTIONS, so
    that a difference can be named.
    """

    cluster: str
    cluster_id: int
    nodes: tuple[str, str]
    preferred: int
    guarantee: Guarantee
    key_file: Path
    socket_group: str | None
    alarm_command: tuple[str, ...]
    profile: Profile | None
    start_alone: tuple[StartAlone, StartAlone]  # of each node: only one may be allowed to fence
    power_loss_evidence: bool
    power_loss_wait_ns: int
    auto_failback: bool  # the preferred node gets the service back once it has been ready for failback_hold_ns
    fences_per_hour: int  # of a peer that was powered on; 0: no cap
    guard: GuardConfig
    timing: Timing
    links: tuple[LinkConfig, ...]
    vips: tuple[VipConfig, ...]
    fences: tuple[FenceConfig, ...]
    digest: bytes
    sections: Mapping[int, bytes] = field(default_factory=dict, hash=False)
    health: HealthConfig = HealthConfig()
    service_macs: tuple[frozenset[bytes], frozenset[bytes]] = NO_MACS  # beside what the nodes say in their frames
    warnings: tuple[Problem, ...] = field(default=(), compare=False)

    def fences_of(self, node: int) -> tuple[FenceConfig, ...]:
        """The devices that switch off `node`, in the order in which they are tried."""
        return tuple(fence for fence in self.fences if fence.node == node)


def settings_of(config: Config, me: int) -> Settings:
    """Derive what `step` may know, for the node of index `me`.

    Readings and their patience are those of the peer's devices: the shortest interval of a ladder (the fencing room
    waits for the rest of a longer one), the latency of its slowest level. What makes up a fencing slot (S4) must be the
    same on both nodes, else their slots overlap and they fence each other: the attempt is that of the slower ladder,
    every level taking all its time.
    The skew allows for a path that fails one way first: the deaf node dates its last authentic frame up to
    half_open_max and a deadtime (echo_age_max) earlier than the other, whose last frame may itself be one interval of
    the slowest link and a deadtime old. After a restart that instant is known to a second.
    """
    timing = config.timing
    ladder = config.fences_of(1 - me)
    slowest_ns = max(link.keepalive_ns for link in config.links)
    settings = Settings(
        me=me,
        preferred=config.preferred,
        links=len(config.links),
        has_fence=bool(ladder),
        guarantee=config.guarantee,
        start_alone=config.start_alone[me],
        deadtime_ns=timing.deadtime_ns,
        warntime_ns=timing.warntime_ns,
        initdead_ns=timing.initdead_ns,
        half_open_max_ns=timing.half_open_max_ns,
        health_hold_ns=timing.health_hold_ns,
        auto_failback=config.auto_failback,
        failback_hold_ns=timing.failback_hold_ns,
        fence_cap=config.fences_per_hour,
        self_reset_ns=config.guard.self_reset_ns,
        slot_skew_ns=timing.half_open_max_ns + 2 * timing.deadtime_ns + slowest_ns + MEMORY_GRAIN_NS,
        lease_ns=timing.lease_ns,
        lease_mode=config.guard.lease_mode,
        power_loss_evidence=config.power_loss_evidence,
        power_loss_wait_ns=config.power_loss_wait_ns,
        handover_ns=timing.handover_ns,
    )
    if config.fences:
        attempts = (_ladder_ns(config.fences_of(node)) for node in range(len(config.nodes)))
        settings = replace(settings, fence_attempt_ns=max(attempts))
    if ladder:
        settings = replace(
            settings,
            off_interval_ns=min(fence.off_interval_ns for fence in ladder),
            fence_latency_ns=max(fence.latency_ns for fence in ladder),
        )
    if len(ladder) > 1:
        settings = replace(settings, off_retry_ns=LEVEL_PAUSE_NS)
    return settings


def _ladder_ns(ladder: tuple[FenceConfig, ...]) -> int:
    """The bound of one whole attempt: every level's own, and what gives way to the next may still be under way then."""
    return sum(fence.attempt_ns for fence in ladder) + sum(
        fence.command_timeout_ns + LEVEL_PAUSE_NS for fence in ladder[:-1]
    )
