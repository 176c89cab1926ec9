"""The families of faults that the explorer searches, each with its bounds.

Each family is searched completely within its own bounds; what no family mixes is not covered (see explorer).
"""

from __future__ import annotations

from dataclasses import dataclass

from hblink.core.value import Settings, StartAlone
from hblink.sim.explorer.joint import NEVER, ticks


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
    links: int = 1  # 2: told apart, each direction of each with its own cuts, losses and late frames
    drops: bool = False  # of the copies of a frame on two links one may be lost, at no cost
    one_link_alive: bool = False  # I12: silence must not occur
    steady: bool = False  # I12: nothing is asked for, so the service must stay where it is
    slots_hold: bool = True  # S4: no two attempts at once
    disk: bool = True  # the epoch survives a reboot
    deadtime: int = 2  # ticks
    half_open_ticks: int = 3  # more than deadtime
    disks: tuple[int, int] = (0, 0)  # the epochs that the disks know at the beginning
    has_fence: bool = True
    auto_failback: bool = False
    fence_cap: int = 0
    self_reset: bool = False  # S8: a node whose stop failed resets itself after a tick
    dark: bool = False  # both hosts may end up powered off
    by_fence: bool = False  # S5: node 1, whose last end was orderly, may start by a fence
    lease: int = 0  # S2e: ticks
    watchdog: int = 1  # ... and after so many without a pet a hardware watchdog resets its host

    def settings(self, me: int) -> Settings:
        """Small timers; in ticks so that every deadline falls between two ticks."""
        return Settings(
            me=me,
            preferred=0,
            links=self.links,
            has_fence=self.has_fence,
            deadtime_ns=ticks(self.deadtime),
            warntime_ns=ticks(1),
            initdead_ns=ticks(2),
            half_open_max_ns=ticks(self.half_open_ticks),
            off_interval_ns=ticks(1),
            poll_interval_ns=ticks(1),
            fence_attempt_ns=ticks(3),
            fence_latency_ns=ticks(4),
            off_retry_ns=ticks(1),
            slot_skew_ns=ticks(self.half_open_ticks + 2 * self.deadtime + 1),
            inert_retry_ns=ticks(2),
            power_on_retry_ns=ticks(2),
            lease_ns=ticks(self.lease or NEVER),
            lease_mode=self.lease > 0,
            start_alone=StartAlone.FENCE if self.by_fence and me == 1 else StartAlone.BMC_OFF,
            lease_margin_ns=ticks(1),
            handover_ns=ticks(2),
            start_bound_ns=ticks(2),
            stop_bound_ns=ticks(1 if self.lease else 2),
            stop_retry_ns=ticks(1),
            stop_failed_fence_ns=ticks(2),
            start_hold_ns=ticks(3),
            confirm_ttl_ns=ticks(3),
            auto_failback=self.auto_failback,
            failback_hold_ns=ticks(2),
            health_hold_ns=ticks(1),
            move_hold_ns=ticks(3),
            holder_ttl_ns=ticks(2),
            fence_cap=self.fence_cap,
            self_reset_ns=ticks(1) if self.self_reset else None,
        )


FAMILIES = (
    # frames: late, lost, in any order; yields and the rolling back of them
    Family("boot", ticks=5, late=1, lossy=True),
    Family(
        "yield",
        ticks=5,
        formed=True,
        orders=2,
        late=1,
        one_link_alive=True,  # one path stands for all links: frames are late, and it never falls silent
        moves=_names("switchover carrier"),
    ),
    Family("lossy", ticks=6, formed=True, orders=1, lossy=True, dark=True, moves=_names("switchover carrier")),
    # fencing: hosts that crash, links that are cut, devices that fail, answer slowly, or execute late
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
        faults=4,
        dark=True,
        half_open_ticks=4,
        moves=_names("cut cut_one heal fail_off late_off slow_off"),
    ),
    Family(
        "slow-bmc",
        ticks=7,
        formed=True,
        faults=2,
        dark=True,
        moves=_names("cut panic heal late_off slow_power boot"),
    ),
    # daemons that end or stand still
    Family("daemon", ticks=6, formed=True, faults=2, moves=_names("die forget cut heal boot")),
    Family("stall", ticks=7, formed=True, faults=3, dark=True, moves=_names("freeze hiccup cut fail_off")),
    Family("late", ticks=6, formed=True, faults=1, late=1, moves=_names("die forget freeze hiccup")),
    Family("pause", ticks=5, deadtime=3, half_open_ticks=4, faults=1, late=1, moves=_names("freeze hiccup")),
    # boots: alone, with and without what the disk knew
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
        "by-fence",
        ticks=8,
        absent=True,
        by_fence=True,
        faults=1,
        dark=True,
        slots_hold=False,  # a node that was never heard has no slot
        moves=_names("press boot cut late_off"),
    ),
    Family("disk", ticks=4, formed=True, faults=3, dark=True, moves=_names("panic unplug cut boot")),
    Family("no-disk", ticks=5, formed=True, disk=False, faults=3, dark=True, moves=_names("panic unplug cut boot")),
    Family(
        "old-disk",
        ticks=5,
        absent=True,
        disk=False,
        disks=(3, 0),
        faults=2,
        dark=True,
        moves=_names("press boot cut_one"),
    ),
    # the service: starts and stops that take long, fail, or are undone; and the operator
    Family(
        "service",
        ticks=7,
        formed=True,
        faults=2,
        orders=1,
        dark=True,
        moves=_names("fail_start fail_stop lose_service slow switchover cut boot"),
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
    Family(
        "orders",
        ticks=4,
        formed=True,
        faults=1,
        orders=2,
        dark=True,
        moves=_names("unplug read_unknown boot confirm shutdown switchover carrier"),
    ),
    Family(
        "oath",
        ticks=7,
        formed=True,
        faults=2,
        orders=1,
        dark=True,
        moves=_names("panic fail_off fail_on fail_start die confirm"),
    ),
    Family(
        "standby",
        ticks=6,
        formed=True,
        faults=2,
        orders=2,
        dark=True,
        moves=_names("standby online switchover cut unplug boot"),
    ),
    Family(
        "drill",
        ticks=5,
        formed=True,
        faults=1,
        orders=2,
        dark=True,
        moves=_names("drill late_off fail_off read_unknown cut switchover panic boot"),
    ),
    Family(
        "reset",
        ticks=6,
        formed=True,
        faults=2,
        orders=1,
        dark=True,
        self_reset=True,
        moves=_names("fail_stop fail_start switchover cut boot slow"),
    ),
    # what only forbids, prefers or defers: maintenance, health, a foreign answer, failback, the cap on fences
    Family(
        "maintenance",
        ticks=3,
        formed=True,
        faults=2,
        orders=1,
        dark=True,
        moves=_names("maintenance cut panic die boot"),
    ),
    Family(
        "upgrade",
        ticks=3,
        formed=True,
        orders=3,
        dark=True,
        moves=_names("maintenance maintenance_off shutdown"),
    ),
    Family("health", ticks=5, formed=True, faults=2, dark=True, moves=_names("sicken sight cut panic boot")),
    Family(
        "failback",
        ticks=9,
        formed=True,
        faults=1,
        orders=2,
        dark=True,
        auto_failback=True,
        moves=_names("switchover cut boot panic"),
    ),
    Family(
        "cap",
        ticks=7,
        formed=True,
        faults=2,
        orders=1,
        dark=True,
        fence_cap=1,
        moves=_names("panic unplug boot switchover"),
    ),
    # the lease mode: without a device, and with one that may tell an active that its peer is off
    Family(
        "lease",
        ticks=12,
        formed=True,
        faults=2,
        has_fence=False,
        dark=True,
        lease=3,
        moves=_names("cut cut_one heal freeze fail_stop die slow"),
    ),
    Family(
        "lease-restart",
        ticks=5,
        formed=True,
        faults=1,
        orders=2,
        has_fence=False,
        dark=True,
        lease=3,
        moves=_names("cut shutdown switchover die"),
    ),
    Family(
        "lease-bmc",
        ticks=12,
        formed=True,
        faults=2,
        dark=True,
        lease=3,
        moves=_names("cut unplug heal fail_off late_off read_unknown boot"),
    ),
    # two links: each direction of each on its own
    Family(
        "crossed",
        ticks=6,
        formed=True,
        links=2,
        drops=True,
        late=1,
        faults=2,
        one_link_alive=True,
        steady=True,
        moves=_names("cut_one mend"),
    ),
    Family("links", ticks=6, formed=True, links=2, faults=4, dark=True, moves=_names("cut cut_one heal fail_off")),
    Family("two-boot", ticks=3, links=2, drops=True, late=1),
    Family(
        "two-yield",
        ticks=4,
        formed=True,
        links=2,
        drops=True,
        faults=1,
        orders=1,
        moves=_names("switchover carrier cut_one"),
    ),
)
