"""What a machine runs and answers for, whatever becomes of its daemon: the service, and its address as a lease.

The kernel lets the address lapse, other programs take it away, starts and stops fail or hang. This module must never
know why it is told to start or stop.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, unique

from hblink.sim.timeline import Appointment, Timeline

_FOR_EVER_NS = 1 << 60


@unique
class Outcome(Enum):
    """What becomes of a start or a stop of the service."""

    GOOD = "good"
    FAILS = "fails"
    HANGS = "hangs"


@unique
class Monitor(Enum):
    """What the service's own check says of it."""

    TRUTHFUL = "truthful"
    SAYS_DEAD = "says_dead"
    SAYS_WELL = "says_well"


class Service:
    """The service of one machine; `running` is whether anything of it runs, `vip_until` when its address lapses.

    `note(text)` is told what happens, `on_run` that something began or ended to run, `on_change` of every change.
    """

    def __init__(
        self,
        timeline: Timeline,
        *,
        note: Callable[[str], None],
        on_run: Callable[[], None],
        on_change: Callable[[], None],
    ) -> None:
        self._timeline = timeline
        self._note = note
        self._on_run = on_run
        self._on_change = on_change
        self._lapse: Appointment | None = None
        self._left_ns = 0
        self.running = False
        self.well = False
        self.vip_until: int | None = None
        self.for_ever = False  # the address has no lease
        self.start_outcome = Outcome.GOOD
        self.stop_outcome = Outcome.GOOD
        self.address_works = True  # False: the address can be neither added nor renewed
        self.monitor = Monitor.TRUTHFUL

    def make_good(self) -> None:
        """Let starts, stops, the address and the check work."""
        self.start_outcome = self.stop_outcome = Outcome.GOOD
        self.address_works = True
        self.monitor = Monitor.TRUTHFUL

    def begin(self) -> None:
        """A start begins: from now on something may run, whatever becomes of the start."""
        self._set_running(True)

    def started(self) -> Outcome:
        """A start has had its time: what became of it."""
        if self.start_outcome is not Outcome.GOOD:
            self._note(f"service start {self.start_outcome.value}")
        else:
            self.well = True
        return self.start_outcome

    def stopped(self) -> Outcome:
        """A stop has had its time: what became of it. One that fails leaves running what runs."""
        if self.stop_outcome is Outcome.GOOD:
            if self.running:
                self._note("service stopped")
            self._remove_vip("VIP removed")
            self._set_running(False)
        elif self.running:
            self._note(f"service stop {self.stop_outcome.value}")
        else:
            return Outcome.GOOD
        return self.stop_outcome

    def die(self) -> None:
        """The service ends by itself; its address stays."""
        if self.running:
            self._note("service dies")
            self.well = False

    def revive(self) -> None:
        """What has died is started again in place."""
        if self.running and not self.well:
            self._note("service started again")
            self.well = True

    def monitored(self) -> bool:
        """Whether the service's own check finds it well."""
        match self.monitor:
            case Monitor.SAYS_DEAD:
                return False
            case Monitor.SAYS_WELL:
                return True
            case Monitor.TRUTHFUL:
                return self.well

    def renew(self, lease_ns: int | None) -> bool:
        """Add the address, or renew its lease; without a lease it stays for ever. False if that does not work."""
        if not self.address_works:
            return False
        if self.vip_until is None:
            self._note("VIP added")
        if (lease_ns is None) is not self.for_ever:
            self._note("VIP without a lease" if lease_ns is None else "VIP leased")
        self.for_ever = lease_ns is None
        self._lease_until(self._timeline.now + (_FOR_EVER_NS if lease_ns is None else lease_ns))
        self._on_change()
        return True

    def lose_address(self) -> bool:
        """Another program removes the address; False if it was not there."""
        there = self.vip_until is not None
        self._remove_vip("VIP removed by another program")
        return there

    def pause(self) -> None:
        """The kernel's timers stand still."""
        if self.vip_until is not None:
            self._left_ns = self.vip_until - self._timeline.now
        if self._lapse is not None:
            self._lapse.cancel()

    def resume(self) -> None:
        """The kernel's timers go on."""
        if self.vip_until is not None:
            self._lease_until(self._timeline.now + self._left_ns)

    def end(self) -> None:
        """The machine is no more: nothing runs, nothing answers."""
        self._remove_vip("")
        self._set_running(False)

    def _set_running(self, runs: bool) -> None:
        if not runs:
            self.well = False
        if runs != self.running:
            self.running = runs
            self._on_run()
            self._on_change()

    def _lease_until(self, at: int) -> None:
        if self._lapse is not None:
            self._lapse.cancel()
        self.vip_until = at
        self._lapse = self._timeline.call_at(at, lambda: self._remove_vip("VIP lease lapsed"))

    def _remove_vip(self, text: str) -> None:
        if self._lapse is not None:
            self._lapse.cancel()
        self.for_ever = False
        if self.vip_until is not None:
            self.vip_until = None
            if text:
                self._note(text)
            self._on_change()
