"""The service of this node: its virtual addresses, started, renewed and stopped as the core wants.

Today the service is the group of VIPs alone. This module must never start anything that the core did not order, and
never leave its own lease unrenewed while it holds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace

from hblink.config import Config
from hblink.core.event import (
    Activated,
    ActivationFailed,
    AddressHolderChanged,
    Released,
    ReleaseFailed,
    ServiceCarrierChanged,
    ServiceLost,
)
from hblink.core.state import State
from hblink.core.value import MS, OWNING, SECOND, Holder, Role
from hblink.daemon.context import Context
from hblink.daemon.journal import Kind, Priority
from hblink.ethernet import hardware_addresses
from hblink.loop import Timer
from hblink.vip.holder import HolderWatch, Pace, Sighting
from hblink.vip.keeper import Repair, Vip, VipError, VipKeeper
from hblink.vip.suspect import Suspects
from hblink.vip.watch import Removal, ServiceWatch

# Renewals per lease. A renewal may be late by the longest pause that drops nothing (less than deadtime, SAFETY S7), and
# one may be lost: with a failed one tried again after an eighth of the lease, 1/3 + 1/8 + deadtime/lease stays below 1
# as long as the lease is twice deadtime, which is what `check` advises.
RENEWALS = 3
RETRIES = 8
# Failed renewals in a row after which the service counts as lost: the addresses have lapsed by then.
FAILURES_MAX = 2 * RETRIES
# How often other programs may take an address away before this node gives the service up: that many times within the
# window, where what comes within the spacing is one act of one program.
REMOVALS_MAX = 5
REMOVALS_WINDOW_NS = 60 * SECOND
REMOVALS_SPACING_NS = 200 * MS
# How often a sighting of a foreign holder is told again while it stands; the decision forgets it after twice as long.
HOLDER_REPEAT_NS = 500 * MS


class Service:
    """Start and stop the service, and keep it.

    The decision gets Activated, ActivationFailed, Released or ReleaseFailed before the call returns; the log gets one
    line on what other programs did to the addresses or what failed.
    """

    def __init__(
        self,
        context: Context,
        *,
        peer_macs: Callable[[], frozenset[bytes]],
        say_macs: Callable[[frozenset[bytes]], None],
    ) -> None:
        """`peer_macs` returns the hardware addresses of the peer's service interfaces, as far as they are known.

        `say_macs` is given those of this node, for the peer.
        """
        self._context = context
        self._peer_macs = peer_macs
        self._say_macs = say_macs
        self._loop = context.loop
        self.vips = vips_of(context.config)
        self._lease_ns = context.config.timing.lease_ns
        self._keeper = VipKeeper(self._loop, self.vips, self._lease_ns)
        self._renewal: Timer | None = None
        self._on_event = context.feed
        self._watch = self._make_watch(self.vips)
        self._holders = self._make_holders(self.vips)
        self._suspects = Suspects()
        self._removals: deque[int] = deque(maxlen=REMOVALS_MAX)
        self._sightings: frozenset[Sighting] = frozenset()
        self._holder_repeat: Timer | None = None
        self._failures = 0
        self._stop_failure = ""

    def open(self) -> None:
        """Open what watches the kernel; raises VipError. Before `Started`, whose first effect is a Release."""
        self._watch.open()

    def start(self) -> None:
        """Tell what the carrier is now; changes follow by themselves."""
        self._say_macs(self._service_macs())
        self._context.feed(ServiceCarrierChanged(self._watch.carrier()))

    def activate(self, op_id: int) -> None:
        """Put every address, read back, announce: Activated or ActivationFailed."""
        try:
            self._keeper.acquire()
        except VipError as error:
            self._note(f"the service did not start: {error}")
            self._on_event(ActivationFailed(op_id))
            return
        self._failures = 0
        self._removals.clear()
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

    def lease(self, leased: bool) -> None:
        """Give the addresses their lifetime back, or let them live for ever (S18); said if it did not work."""
        try:
            self._keeper.lease(leased)
        except VipError as error:
            self._note(f"the lifetime of an address could not be changed: {error}")

    def follow(self, state: State) -> None:
        """Ask who else holds the addresses as often as the decision may need to know: called after every step."""
        self._holders.follow(_pace(state))

    def change(self, vips: tuple[Vip, ...]) -> None:
        """Serve `vips` from now on; those that stay are not touched, and the role does not change.

        What is held is added and removed under the grant that this node has. Raises VipError, with everything as it was
        before.
        """
        if vips == self.vips:
            return
        watch = self._make_watch(vips)
        watch.open()
        try:
            keeper = self._keeper.succeeded_by(vips)
        except VipError:
            watch.close()
            raise
        for before in (self._watch, self._holders, self._keeper):
            before.close()
        self.vips, self._keeper, self._watch, self._holders = vips, keeper, watch, self._make_holders(vips)
        self._sightings = frozenset()
        if keeper.held:
            keeper.announce_repeatedly()
            self._schedule()
        self.start()

    def close(self) -> None:
        """Let go of sockets and timers; what is held stays until its lease ends."""
        self._stop_renewing()
        if self._holder_repeat is not None:
            self._holder_repeat.cancel()
        self._holders.close()
        self._watch.close()
        self._keeper.close()

    def present(self) -> frozenset[Vip]:
        """The addresses that the kernel shows; raises VipError."""
        return self._keeper.present()

    def _make_watch(self, vips: tuple[Vip, ...]) -> ServiceWatch:
        interfaces = {vip.interface for vip in vips}
        return ServiceWatch(self._loop, interfaces, self._on_carrier, self._on_addresses_removed, self._on_return)

    def _make_holders(self, vips: tuple[Vip, ...]) -> HolderWatch:
        return HolderWatch(self._loop, vips, on_change=self._on_holders, on_conflict=lambda _now: self._announce_once())

    def _note(self, text: str) -> None:
        self._context.log(Priority.WARNING, text, self._loop.now(), Kind.SERVICE)

    def _on_carrier(self, up: bool, _now: int) -> None:
        self._context.feed(ServiceCarrierChanged(up))

    def _schedule(self) -> None:
        self._stop_renewing()
        interval_ns = self._lease_ns // (RETRIES if self._failures else RENEWALS)
        self._renewal = self._loop.call_at(self._loop.now() + interval_ns, self._on_renewal_due)

    def _stop_renewing(self) -> None:
        if self._renewal is not None:
            self._renewal.cancel()
            self._renewal = None

    def _on_renewal_due(self, _now: int) -> None:
        self._renew()

    def _renew(self, *, quiet: bool = False) -> None:
        """Renew now; the next time is counted from here. `quiet`: the caller tells what was missing."""
        try:
            repair = self._keeper.renew()
        except VipError as error:
            self._failures += 1
            if self._failures % FAILURES_MAX == 1:
                self._note(f"a lease could not be renewed: {error}")
            if self._failures % FAILURES_MAX == 0:
                self._on_event(ServiceLost())
        else:
            self._failures = 0
            self._tell(replace(repair, missing=()) if quiet else repair)
        if self._keeper.held:
            self._schedule()

    def _on_addresses_removed(self, removals: tuple[Removal, ...], now: int) -> None:
        """Put back at once what another program took away while this node holds it, then say so, and who may be it."""
        places = {(str(vip.address.ip), vip.interface) for vip in self.vips}
        taken = [removal for removal in removals if (removal.ip, removal.interface) in places]
        if not taken or not self._keeper.held:
            return
        self._renew(quiet=True)
        without_carrier = self._watch.without_carrier()
        for removal in taken:
            what = f"{removal.ip} was removed from {removal.interface}"
            if removal.interface in without_carrier:
                self._note(f"{what}, which is down or gone; put back")
            else:
                who = self._suspects.describe(removal.port, now)
                self._note(f"{what} by another program; put back; {who}")
        if any(removal.interface not in without_carrier for removal in taken):
            self._count_removal(now)

    def _count_removal(self, now: int) -> None:
        """Give the service up to a peer that can take it when something here does not stop taking it away."""
        if self._removals and now - self._removals[-1] < REMOVALS_SPACING_NS:
            return
        self._removals.append(now)
        if len(self._removals) == REMOVALS_MAX and now - self._removals[0] < REMOVALS_WINDOW_NS:
            self._removals.clear()
            self._note(f"an address was taken away {REMOVALS_MAX} times within a minute: this node is unfit to serve")
            self._on_event(ServiceLost())

    def _announce_once(self) -> None:
        self._keeper.announce()

    def _on_return(self, interface: str, _now: int) -> None:
        """An interface has come back: its network must learn anew where the addresses are."""
        self._say_macs(self._service_macs())
        if self._keeper.held:
            self._note(f"{interface} has come back or has another hardware address; announcing again")
            self._renew(quiet=True)  # the kernel removes IPv6 addresses from an interface that goes down
            self._keeper.announce_repeatedly()

    def _service_macs(self) -> frozenset[bytes]:
        return hardware_addresses(sorted({vip.interface for vip in self.vips}))

    def _on_holders(self, sightings: frozenset[Sighting], now: int) -> None:
        """Somebody else answers for an address, or nobody any more: before a claim a veto, then an alarm (S12)."""
        peer_macs = self._peer_macs()
        for sighting in sorted(sightings - self._sightings, key=str):
            whose = "the peer" if sighting.mac in peer_macs else "neither this node nor the peer"
            self._context.log(Priority.WARNING, f"{sighting}, which is {whose}", now, Kind.SERVICE)
        if not sightings:
            self._context.log(Priority.NOTICE, "nobody else answers for the addresses any more", now, Kind.SERVICE)
        self._sightings = sightings
        self._tell_holder(now)

    def _tell_holder(self, now: int) -> None:
        """Tell the decision, which forgets what it is not told again, of a sighting as long as it stands."""
        if self._holder_repeat is not None:
            self._holder_repeat.cancel()
            self._holder_repeat = None
        sightings = self._sightings
        holder = Holder.OTHER if sightings else Holder.NONE
        if any(sighting.mac in self._peer_macs() for sighting in sightings):
            holder = Holder.PEER
        if sightings:
            self._holder_repeat = self._loop.call_at(now + HOLDER_REPEAT_NS, self._tell_holder)
        self._context.feed(AddressHolderChanged(holder))

    def _tell(self, repair: Repair) -> None:
        for vip in repair.missing:
            self._note(f"{vip} was missing and is back; a network manager that restarts removes foreign addresses")
        for vip in repair.unleased:
            self._note(f"{vip} was there without a lifetime and is a lease now; who else configures it?")
        for vip in repair.held_back:
            self._note(f"{vip} was there and not yet usable, and is usable now; who else configures it?")


def vips_of(config: Config) -> tuple[Vip, ...]:
    """The configured addresses as the adapters want them."""
    return tuple(Vip(vip.address, vip.interface) for vip in config.vips)


def _pace(state: State) -> Pace:
    if state.role in OWNING:
        return Pace.HELD
    if state.role is Role.FENCING or state.check is not None:
        return Pace.CLAIM
    return Pace.BLOCKED if state.role is Role.BLOCKED else Pace.OFF
