"""What a simulated daemon feels of its machine: carrier, targets, other holders, the watchdog, the peer's hardware.

As the adapters of the real daemon tell it. This module must never tell what the machine does not show.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from hblink.core.event import (
    AddressHolderChanged,
    Event,
    GuardChanged,
    HealthMeasured,
    LinkSignalChanged,
    ServiceCarrierChanged,
)
from hblink.core.lease import pet_end
from hblink.core.state import State
from hblink.core.value import MS, Holder, Role, Settings
from hblink.sim.process import Process, Timer

if TYPE_CHECKING:
    from hblink.sim.host import Host

_FEEL_NS = 100 * MS
_PETS_PER_TIMEOUT = 5
_UNCLEAN = frozenset({Role.STARTING, Role.HALTED})
_ARM_NS = 10 * MS  # how often it is looked whether the clean start is over


class Senses:
    """The events of one life of a daemon that come from its own machine."""

    def __init__(
        self,
        process: Process,
        host: Host,
        settings: Settings,
        state: Callable[[], State],
        feed: Callable[[Event], None],
    ) -> None:
        self._process = process
        self._host = host
        self._settings = settings
        self._state = state
        self._feed = feed
        self._sighting: Timer | None = None
        self._begun = False  # the clean start has succeeded, so the watchdog may be armed
        self._told = False

    def start(self, now: int) -> None:
        """Tell what is so when the daemon starts."""
        host = self._host
        if not host.carrier:
            self._feed(ServiceCarrierChanged(False))
        if host.health is not None:
            self._feed(HealthMeasured(host.health))
        if host.guarded and host.watchdog is None:
            self._tell_guard()
        if host.holder is not Holder.NONE:
            self._sight()
        self._pet(now)
        if self._settings.power_loss_evidence:
            self._feel(now)

    def carrier_changed(self) -> None:
        """The kernel has told of a change of carrier."""
        self._process.deliver(lambda _now: self._feed(ServiceCarrierChanged(self._host.carrier)))

    def health_measured(self) -> None:
        """The upstream targets answer better or worse."""
        self._process.deliver(lambda _now: self._feed(HealthMeasured(self._host.health)))

    def guard_changed(self) -> None:
        """The hardware watchdog is armed, or is not."""
        self._process.deliver(lambda _now: self._tell_guard())

    def address_sighted(self) -> None:
        """Somebody else answers for the address, or nobody any more: told again as long as it is so."""
        self._process.deliver(lambda _now: self._sight())

    def _tell_guard(self) -> None:
        armed = self._host.guarded
        self._feed(GuardChanged(armed, self._host.plan.watchdog_ns if armed else None))

    def _sight(self) -> None:
        if self._sighting is not None:
            self._sighting.cancel()
        self._feed(AddressHolderChanged(self._host.holder))
        if self._host.holder is not Holder.NONE:
            at = self._process.now() + self._host.plan.sighting_ns
            self._sighting = self._process.call_at(at, lambda _now: self._sight())

    def _pet(self, now: int) -> None:
        """As hblink.daemon.guard does it: not while a stop has failed, nor for a service past its lease."""
        watchdog, timeout_ns = self._host.watchdog, self._host.plan.watchdog_ns
        if watchdog is None or timeout_ns is None:
            return
        state = self._state()
        end_at = pet_end(self._settings, state)
        self._begun = self._begun or state.role not in _UNCLEAN
        if self._begun and state.role is not Role.HALTED and (end_at is None or now <= end_at):
            watchdog.pet()
            if self._host.guarded and not self._told:
                self._told = True
                self._tell_guard()
        self._process.call_at(now + (timeout_ns // _PETS_PER_TIMEOUT if self._begun else _ARM_NS), self._pet)

    def _feel(self, now: int) -> None:
        """Feel for the peer's hardware on each link; what was never felt is not known."""
        for link, known in enumerate(self._state().links):
            present = self._host.feels(link)
            if known.signal is not present and (present or known.signal):
                self._feed(LinkSignalChanged(link, present))
        self._process.call_at(now + _FEEL_NS, self._feel)
