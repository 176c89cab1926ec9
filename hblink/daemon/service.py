"""The service of this node: its virtual addresses, started, renewed and stopped as the core wants.

Today the service is the group of VIPs alone. This module must never
start anything that the core did not order, and never leave its own lease unrenewed while it holds.
"""

from __future__ import annotations

from collections.abc import Callable

from hblink.core.event import Activated, ActivationFailed, Event, Released, ReleaseFailed, ServiceLost
from hblink.loop import Loop, Timer
from hblink.vip.keeper import Repair, Vip, VipError, VipKeeper
from hblink.vip.watch import ServiceWatch

# Renewals per lease: one may be lost to a slow moment without the address lapsing.
RENEWALS = 4
# Failed renewals in a row after which the service counts as lost: the addresses have lapsed by then.
FAILURES_MAX = 2 * RENEWALS


class Service:
    """Start and stop the service, and keep it.

    `on_event` gets Activated, ActivationFailed, Released or ReleaseFailed before the call returns; `on_note` gets one
    line for the log about what other programs did to the addresses or what failed.
    """

    def __init__(
        self,
        loop: Loop,
        vips: tuple[Vip, ...],
        lease_ns: int,
        *,
        on_event: Callable[[Event], None],
        on_carrier: Callable[[bool, int], None],
        on_note: Callable[[str, int], None],
    ) -> None:
        self._loop = loop
        self.vips = vips
        self._keeper = VipKeeper(loop, vips, lease_ns)
        self._renew_ns = lease_ns // RENEWALS
        self._renewal: Timer | None = None
        self._on_event = on_event
        self._on_note = on_note
        self._ips = {str(vip.address.ip) for vip in vips}
        interfaces = {vip.interface for vip in vips}
        self.watch = ServiceWatch(loop, interfaces, on_carrier, self._on_address_removed)
        self._failures = 0
        self._stop_failure = ""

    def activate(self, op_id: int) -> None:
        """Put every address, read back, announce: Activated or ActivationFailed."""
        try:
            repair = self._keeper.acquire()
        except VipError as error:
            self._note(f"the service did not start: {error}")
            self._on_event(ActivationFailed(op_id))
            return
        self._failures = 0
        self._tell(repair)
        self._schedule()
        self._on_event(Activated(op_id))

    def release(self, op_id: int) -> None:
        """Remove every address, read back: Released or ReleaseFailed."""
        self._stop_renewing()
        try:
            self._keeper.release()
        except VipError as error:
            if str(error) != self._stop_failure:  # it is tried again each second, and said once
                self._note(f"the service did not stop: {error}")
            self._stop_failure = str(error)
            self._on_event(ReleaseFailed(op_id))
            return
        self._stop_failure = ""
        self._on_event(Released(op_id))

    def reannounce(self) -> None:
        """Announce every address again."""
        self._keeper.announce_repeatedly()

    def close(self) -> None:
        """Let go of sockets and timers; what is held stays until its lease ends."""
        self._stop_renewing()
        self.watch.close()
        self._keeper.close()

    def present(self) -> frozenset[Vip]:
        """The addresses that the kernel shows; raises VipError."""
        return self._keeper.present()

    def _note(self, text: str) -> None:
        self._on_note(text, self._loop.now())

    def _schedule(self) -> None:
        self._stop_renewing()
        self._renewal = self._loop.call_at(self._loop.now() + self._renew_ns, self._on_renewal_due)

    def _stop_renewing(self) -> None:
        if self._renewal is not None:
            self._renewal.cancel()
            self._renewal = None

    def _on_renewal_due(self, _now: int) -> None:
        self._renew()
        self._schedule()

    def _renew(self) -> None:
        try:
            self._tell(self._keeper.renew())
        except VipError as error:
            self._failures += 1
            self._note(f"a lease could not be renewed: {error}")
            if self._failures % FAILURES_MAX == 0:
                self._on_event(ServiceLost())
            return
        self._failures = 0

    def _on_address_removed(self, ip: str, interface: str, now: int) -> None:
        """Put back at once what another program took away while this node holds it."""
        if self._keeper.held and ip in self._ips:
            self._on_note(f"{ip} was removed from {interface} by another program; putting it back", now)
            self._renew()

    def _tell(self, repair: Repair) -> None:
        for vip in repair.missing:
            self._note(f"{vip} was missing and is back; a network manager that restarts removes foreign addresses")
        for vip in repair.unleased:
            self._note(f"{vip} was there without a lifetime and is a lease now; who else configures it?")
