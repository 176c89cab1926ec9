"""The configuration as typed values: what the rest of the daemon may know of hblink.toml.

Durations are int nanoseconds, paths are absolute or relative to the configuration directory as it was given, pairs are
indexed by node. These values must never hold a secret: passwords and keys stay in files of their own.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from ipaddress import IPv4Interface, IPv6Interface
from pathlib import Path

from hblink.config.document import Problem
from hblink.core.value import MEMORY_GRAIN_NS, Guarantee, Settings

PORT = 1694  # UDP; of Linux-HA's well-known 694, and above 1024


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


@dataclass(frozen=True, slots=True)
class UdpLinkConfig:
    """A heartbeat link over UDP: `endpoint` holds each node's own address, `interface` the device to bind to."""

    name: str
    endpoint: tuple[str, str]
    keepalive_ns: int
    interface: tuple[str | None, str | None]
    port: int


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
    """The BMC that switches off `node` (an index); its peer is the one who uses it."""

    node: int
    host: str
    port: int
    user: str
    password_file: Path
    cipher_suite: int
    privilege: str
    off_interval_ns: int
    command_timeout_ns: int
    attempt_ns: int
    latency_ns: int


@dataclass(frozen=True, slots=True)
class Config:
    """One hblink.toml, equal on both nodes; the order of `links` is their number on the wire, `nodes` sort by name.

    `digest` is the first 8 bytes of the SHA-256 of the content as written, whatever its comments, spacing and order of
    keys, VIPs and fences. Defaults that are not written down are not part of it, so that a pair may be upgraded node by
    node without a false alarm.
    """

    cluster: str
    cluster_id: int
    nodes: tuple[str, str]
    preferred: int
    guarantee: Guarantee
    key_file: Path
    socket_group: str | None
    alarm_command: tuple[str, ...]
    start_alone: bool
    timing: Timing
    links: tuple[LinkConfig, ...]
    vips: tuple[VipConfig, ...]
    fences: tuple[IpmiFenceConfig, ...]
    digest: bytes
    warnings: tuple[Problem, ...] = field(default=(), compare=False)

    def fence_of(self, node: int) -> IpmiFenceConfig | None:
        """The device that switches off `node`, if there is one."""
        return next((fence for fence in self.fences if fence.node == node), None)


def settings_of(config: Config, me: int) -> Settings:
    """Derive what `step` may know, for the node of index `me`.

    Readings, polls and their patience are those of the peer's device. What makes up a fencing slot (S4) must be the
    same on both nodes, else their slots overlap and they fence each other: the attempt is that of the slower device.
    The skew allows for a path that fails one way first: the deaf node dates its last authentic frame up to
    half_open_max and a deadtime (echo_age_max) earlier than the other, whose last frame may itself be one interval of
    the slowest link and a deadtime old. After a restart that instant is known to a second.
    """
    timing = config.timing
    fence = config.fence_of(1 - me)
    slowest_ns = max(link.keepalive_ns for link in config.links)
    settings = Settings(
        me=me,
        preferred=config.preferred,
        links=len(config.links),
        has_fence=fence is not None,
        guarantee=config.guarantee,
        start_alone=config.start_alone,
        deadtime_ns=timing.deadtime_ns,
        warntime_ns=timing.warntime_ns,
        initdead_ns=timing.initdead_ns,
        half_open_max_ns=timing.half_open_max_ns,
        slot_skew_ns=timing.half_open_max_ns + 2 * timing.deadtime_ns + slowest_ns + MEMORY_GRAIN_NS,
        lease_ns=timing.lease_ns,
        handover_ns=timing.handover_ns,
    )
    if config.fences:
        settings = replace(settings, fence_attempt_ns=max(device.attempt_ns for device in config.fences))
    if fence is not None:
        settings = replace(settings, off_interval_ns=fence.off_interval_ns, fence_latency_ns=fence.latency_ns)
    return settings
