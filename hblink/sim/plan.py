"""What a simulated pair is made of: its configuration, and the behaviour of its surroundings while nothing fails."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from hblink.core.value import MS, SECOND, Settings

NODES = ("alpha", "beta")
STALL_SHARE = 4  # as in hblink.daemon: a loop that is late by this share of deadtime says so
SECRET = bytes(range(1, 33))  # of simulated pairs
NEXT_SECRET = bytes(range(2, 34))  # to which a rotation leads


@dataclass(frozen=True, slots=True)
class LinkPlan:
    """One heartbeat link; `baud` is None for Ethernet."""

    name: str
    interval_ns: int
    baud: int | None = None
    latency_ns: int = MS // 5


LINKS = (LinkPlan("ethernet", 100 * MS), LinkPlan("serial", 200 * MS, 115200))


@dataclass(frozen=True, slots=True)
class Plan:
    """A pair and its surroundings. `settings` and all other pairs are indexed by node; durations in nanoseconds.

    `command_timeout_ns` is when a fence request is given up, `off_takes_ns` how long a machine goes on after its BMC
    has accepted `off`.
    """

    settings: tuple[Settings, Settings]
    links: tuple[LinkPlan, ...] = LINKS
    names: tuple[str, str] = NODES
    varies: bool = False  # a random run may have another configuration
    boot_ns: int = 15 * SECOND
    service_ns: int = 1 * MS
    carrier_ns: int = 3 * MS
    bmc_latency_ns: int = 50 * MS
    command_timeout_ns: int = 5 * SECOND
    off_takes_ns: int = 0
    shutdown_ns: int = 3 * SECOND  # from the power button to darkness, where a system listens
    poll_interval_ns: int = 60 * SECOND
    sighting_ns: int = 500 * MS  # between two words of somebody else who answers for the address
    watchdog_ns: int | None = None  # a hardware watchdog on each machine, and after what time it resets it
    has_pdu: bool = False  # a second fence device: the outlet that the machine and its BMC are fed from
    has_disk: tuple[bool, bool] = (True, True)
    clock_base_ns: tuple[int, int] = (100 * SECOND, 7 * SECOND)
    clock_ppm: tuple[int, int] = (0, 0)
    secrets: tuple[bytes, bytes] = field(default=(SECRET, SECRET), repr=False)
    cluster_ids: tuple[int, int] = (0x4842, 0x4842)
    config_digests: tuple[bytes, bytes] = (bytes(8), bytes(8))

    @property
    def deadtime_ns(self) -> int:
        """After what silence the peer is suspected."""
        return self.settings[0].deadtime_ns

    @property
    def stall_limit_ns(self) -> int:
        """How late a loop must be to say so."""
        return self.deadtime_ns // STALL_SHARE

    @property
    def echo_age_max_ns(self) -> int:
        """How old an echo may be that proves freshness."""
        return self.settings[0].deadtime_ns


def default_plan() -> Plan:
    """The built-in pair: alpha preferred, default timers, and the fencing slots that hblink.config derives of them."""
    first = Settings(me=0, preferred=0)
    slowest_ns = max(link.interval_ns for link in LINKS)
    skew_ns = first.half_open_max_ns + 2 * first.deadtime_ns + slowest_ns
    settings = replace(first, slot_skew_ns=skew_ns)
    return Plan((settings, replace(settings, me=1)), varies=True)
