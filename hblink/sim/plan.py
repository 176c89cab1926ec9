"""What a simulated pair is made of: its configuration, and the behaviour of its surroundings while nothing fails."""

from __future__ import annotations

from dataclasses import dataclass, field

from hblink.core.value import MS, SECOND, Settings

NODES = ("alpha", "beta")


@dataclass(frozen=True, slots=True)
class LinkPlan:
    """One heartbeat link; `baud` is None for Ethernet."""

    name: str
    interval_ns: int
    baud: int | None = None
    latency_ns: int = MS // 5


@dataclass(frozen=True, slots=True)
class Plan:
    """A pair and its surroundings. `settings` are indexed by node; durations in nanoseconds.

    `stall_limit_ns` is when the loop reports lateness, `command_timeout_ns` when a fence request is given up,
    `off_takes_ns` how long a machine goes on after its BMC has accepted `off`.
    """

    settings: tuple[Settings, Settings]
    links: tuple[LinkPlan, ...] = (
        LinkPlan("ethernet", 100 * MS),
        LinkPlan("serial", 200 * MS, 115200),
    )
    names: tuple[str, str] = NODES
    stall_limit_ns: int = 1 * SECOND
    boot_ns: int = 15 * SECOND
    service_ns: int = 1 * MS
    carrier_ns: int = 3 * MS
    bmc_latency_ns: int = 50 * MS
    command_timeout_ns: int = 5 * SECOND
    off_takes_ns: int = 0
    poll_interval_ns: int = 60 * SECOND
    has_disk: tuple[bool, bool] = (True, True)
    clock_base_ns: tuple[int, int] = (100 * SECOND, 7 * SECOND)
    clock_ppm: tuple[int, int] = (0, 0)
    secret: bytes = field(default=bytes(range(1, 33)), repr=False)
    cluster_id: int = 0x4842

    @property
    def deadtime_ns(self) -> int:
        """After what silence the peer is suspected."""
        return self.settings[0].deadtime_ns

    @property
    def echo_age_max_ns(self) -> int:
        """How old an echo may be that proves freshness."""
        return self.settings[0].deadtime_ns


def default_plan() -> Plan:
    """The built-in pair: alpha preferred, default timers."""
    return Plan((Settings(me=0, preferred=0), Settings(me=1, preferred=0)))
