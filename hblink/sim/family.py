"""The families of faults that the explorer searches, each with its bounds.

Each family is searched completely within its own bounds; what no family mixes is not covered (see explorer).
"""

from __future__ import annotations

from dataclasses import dataclass

from hblink.core.value import Settings
from hblink.sim.joint import NEVER, ticks


@dataclass(frozen=True, slots=True)
class Family:
    """One search: which moves there are, and how many of them.

    `moves` names the moves that are allowed beyond the usual ones; `faults` bounds those that are faults, `orders` the
    operator's, `late` the frames that are held back. `lossy`: any frame may be lost, at no cost; otherwise every node
    sends in every tick and at every change, and only a cut loses frames.
    """

    name: str
    ticks: int
    moves: frozenset[str] = frozenset()
    faults: int = 0
    orders: int = 0
    late: int = 0
    lossy: bool = False
    formed: bool = False  # begin with an active node 0 and a standby
    one_link_alive: bool = False  # I12: silence must not occur
    slots_hold: bool = True  # S4: no two attempts at once
    disk: bool = True  # the epoch survives a reboot
    half_open_ticks: int = NEVER
    has_fence: bool = True
    dark: bool = False  # both hosts may end up powered off

    def settings(self, me: int) -> Settings:
        """Small timers; in ticks so that every deadline falls between two ticks."""
        return Settings(
            me=me,
            preferred=0,
            links=1,
            has_fence=self.has_fence,
            deadtime_ns=ticks(DEADTIME),
            warntime_ns=ticks(1),
            initdead_ns=ticks(2),
            half_open_max_ns=ticks(self.half_open_ticks),
            off_interval_ns=ticks(1),
            poll_interval_ns=ticks(1),
            fence_attempt_ns=ticks(3),
            fence_latency_ns=ticks(4),
            slot_skew_ns=ticks(1),
            inert_retry_ns=ticks(2),
            power_on_retry_ns=ticks(2),
            lease_ns=ticks(NEVER),
            lease_margin_ns=ticks(1),
            handover_ns=ticks(2),
            start_bound_ns=ticks(2),
            stop_bound_ns=ticks(2),
            stop_retry_ns=ticks(1),
            stop_failed_fence_ns=ticks(2),
            start_hold_ns=ticks(3),
            confirm_ttl_ns=ticks(3),
        )


DEADTIME = 2

FAULTS = frozenset(
    {
        "panic", "unplug", "die", "forget", "freeze", "cut", "cut_one", "fail_start", "fail_stop", "fail_off",
        "late_off", "slow_off", "read_unknown", "fail_on",
    }
)  # fmt: skip
ORDERS = frozenset({"switchover", "confirm", "shutdown", "carrier"})

FAMILIES = (
    Family("yield", ticks=7, moves=frozenset({"switchover", "carrier"}), orders=2, late=1, lossy=True, formed=True),
    Family("boot", ticks=7, late=1, lossy=True),
    Family(
        "fence",
        ticks=16,
        formed=True,
        faults=3,
        moves=frozenset(
            {"panic", "unplug", "cut", "fail_off", "late_off", "slow_off", "read_unknown", "press", "boot", "heal"}
        ),
        dark=True,
    ),
    Family(
        "cut",
        ticks=14,
        formed=True,
        faults=3,
        dark=True,
        moves=frozenset({"cut", "cut_one", "heal", "boot"}),
        half_open_ticks=4,
    ),
    Family(
        "daemon",
        ticks=10,
        formed=True,
        faults=2,
        late=1,
        moves=frozenset({"die", "forget", "freeze", "cut", "heal", "boot"}),
    ),
    Family(
        "inert",
        ticks=16,
        faults=3,
        moves=frozenset({"unplug", "press", "boot", "cut", "heal", "read_unknown", "fail_off", "late_off"}),
        dark=True,
    ),
    Family(
        "service",
        ticks=10,
        formed=True,
        dark=True,
        faults=2,
        orders=1,
        moves=frozenset({"fail_start", "fail_stop", "slow", "switchover", "cut", "heal", "boot"}),
    ),
    Family(
        "operator",
        ticks=14,
        formed=True,
        faults=3,
        orders=2,
        moves=frozenset({"unplug", "press", "boot", "cut", "heal", "read_unknown", "confirm", "carrier"}),
        dark=True,
    ),
    Family(
        "one-link",
        ticks=8,
        formed=True,
        orders=2,
        late=2,
        moves=frozenset({"switchover", "carrier"}),
        one_link_alive=True,
    ),
)
