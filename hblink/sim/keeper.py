"""The service as a simulated daemon keeps it: started, renewed, watched and stopped as the core wants.

As `hblink.daemon.service` does it: renewals several times a lease, the address put back at once when another program
takes it, and ServiceLost when nothing helps. This module must never start anything that the core did not order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from hblink.core.event import Activated, ActivationFailed, Event, Released, ReleaseFailed, ServiceLost
from hblink.core.value import MS, SECOND
from hblink.sim.process import Process, Timer
from hblink.sim.service import Outcome, Service
from hblink.sim.timeline import Timeline

RENEWALS = 4  # in each lease
FAILURES_MAX = 2 * RENEWALS  # renewals or checks in a row that fail: the service counts as lost
# So many removals within the window, each counted once for a while: whoever takes the address away will not stop.
REMOVALS_MAX = 5
REMOVALS_WINDOW_NS = 60 * SECOND
REMOVALS_SPACING_NS = 200 * MS


class Keeper:
    """Answer each Activate and Release with exactly one event unless it hangs or is superseded."""

    def __init__(
        self,
        process: Process,
        timeline: Timeline,
        service: Service,
        *,
        lease_ns: int,
        act_ns: int,
        feed: Callable[[Event], None],
    ) -> None:
        self._process = process
        self._timeline = timeline
        self._service = service
        self._lease_ns = lease_ns
        self._act_ns = act_ns
        self._feed = feed
        self._op: int | None = None
        self._leased = True
        self._holds = False
        self._renewal: Timer | None = None
        self._failures = 0
        self._removed_at: deque[int] = deque(maxlen=REMOVALS_MAX)

    def activate(self, op_id: int) -> None:
        """Start the service and put its address: Activated or ActivationFailed."""
        self._op = op_id
        self._leased = True
        self._service.begin()
        self._after(op_id, self._finish_start)

    def lease(self, leased: bool) -> None:
        """Let the address have a lease, or none (S18)."""
        self._leased = leased
        if self._holds:
            self._put_address()

    def release(self, op_id: int) -> None:
        """Stop whatever runs: Released or ReleaseFailed."""
        self._op = op_id
        self._stop_renewing()
        self._after(op_id, self._finish_stop)

    def address_removed(self) -> None:
        """The kernel has told that the address is gone: put it back at once, if it is held."""
        if not self._holds:
            return
        now = self._process.now()
        self._put_address()
        if self._removed_at and now - self._removed_at[-1] < REMOVALS_SPACING_NS:
            return
        self._removed_at.append(now)
        if len(self._removed_at) == REMOVALS_MAX and now - self._removed_at[0] < REMOVALS_WINDOW_NS:
            self._removed_at.clear()
            self._feed(ServiceLost())

    def _after(self, op_id: int, finish: Callable[[int], None]) -> None:
        """Give the service its time; a later start or stop supersedes this one."""

        def answer(_now: int) -> None:
            if self._op == op_id:
                finish(op_id)

        self._timeline.call_after(self._act_ns, lambda: self._process.deliver(answer))

    def _finish_start(self, op_id: int) -> None:
        outcome = self._service.started()
        if outcome is Outcome.GOOD and not self._put_address():
            outcome = Outcome.FAILS
        if outcome is Outcome.GOOD:
            self._holds = True
            self._failures = 0
            self._removed_at.clear()
            self._schedule()
            self._feed(Activated(op_id))
        elif outcome is Outcome.FAILS:
            self._feed(ActivationFailed(op_id))

    def _finish_stop(self, op_id: int) -> None:
        outcome = self._service.stopped()
        if outcome is Outcome.GOOD:
            self._feed(Released(op_id))
        elif outcome is Outcome.FAILS:
            self._feed(ReleaseFailed(op_id))

    def _schedule(self) -> None:
        self._renewal = self._process.call_at(self._process.now() + self._lease_ns // RENEWALS, self._renew)

    def _stop_renewing(self) -> None:
        self._holds = False
        if self._renewal is not None:
            self._renewal.cancel()

    def _put_address(self) -> bool:
        return self._service.renew(self._lease_ns if self._leased else None)

    def _renew(self, _now: int) -> None:
        """Renew the lease, look after the service, and start what has died again."""
        self._schedule()
        renewed = self._put_address()
        well = self._service.monitored()
        if not well and self._service.start_outcome is Outcome.GOOD:
            self._service.revive()
        self._failures = 0 if renewed and well else self._failures + 1
        if self._failures == FAILURES_MAX:
            self._failures = 0
            self._feed(ServiceLost())
