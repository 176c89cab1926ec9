"""The families of faults that the explorer searches, each with its bounds.

Each family is searched completely within its own bounds; what no family mixes is not covered (see explorer).
"""

from __future__ import annotations

from dataclasses import dataclass

from hblink.core.value import Settings
from hblink.sim.joint import NEVER, ticks

DEADTIME = 2  # ticks


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


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
    absent: bool = False  # begin with node 1 powered off
    one_link_alive: bool = False  # I12: silence must not occur
    slots_hold: bool = True  # S4: no two attempts at once
    disk: bool = True  # the epoch survives a reboot
    half_open_ticks: int = DEADTIME + 1
    disks: tuple[int, int] = (0, 0)  # the epochs that the disks know at the beginning
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
            off_retry_ns=ticks(1),
            slot_skew_ns=ticks(self.half_open_ticks + 2 * DEADTIME + 1),
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


FAMILIES = (
    Family("boot", ticks=5, late=1, lossy=True),
    Family("yield", ticks=5, formed=True, orders=2, late=1, moves=_names("switchover carrier")),
    Family("lossy", ticks=6, formed=True, orders=1, lossy=True, moves=_names("switchover carrier")),
    Family(
        "fence",
        ticks=5,
        formed=True,
        faults=3,
        dark=True,
        moves=_names("panic unplug cut fail_off late_off read_unknown boot"),
    ),
    Family(
        "revival",
        ticks=9,
        formed=True,
        faults=2,
        dark=True,
        moves=_names("panic cut fail_off late_off slow_off read_unknown boot"),
    ),
    Family(
        "cut",
        ticks=40,
        formed=True,
        faults=3,
        dark=True,
        half_open_ticks=4,
        moves=_names("cut cut_one heal fail_off"),
    ),
    Family("daemon", ticks=6, formed=True, faults=2, moves=_names("die forget cut heal boot")),
    Family("stall", ticks=6, formed=True, faults=2, moves=_names("freeze hiccup cut")),
    Family("late", ticks=6, formed=True, faults=1, late=1, moves=_names("die forget freeze hiccup")),
    Family(
        "inert",
        ticks=6,
        absent=True,
        disks=(0, 3),
        faults=2,
        dark=True,
        moves=_names("press boot cut_one fail_off late_off"),
    ),
    Family(
        "service",
        ticks=7,
        formed=True,
        faults=2,
        orders=1,
        dark=True,
        moves=_names("fail_start fail_stop slow switchover cut boot"),
    ),
    Family(
        "operator",
        ticks=8,
        formed=True,
        faults=2,
        orders=1,
        dark=True,
        moves=_names("unplug cut read_unknown boot confirm shutdown carrier"),
    ),
    Family("one-link", ticks=5, formed=True, orders=2, late=1, one_link_alive=True, moves=_names("switchover carrier")),
)
