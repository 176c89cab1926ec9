"""A simulated pair: two machines with whole nodes (core, session, wire), the links between them, and what befalls them.

One seed and one list of commands give one run, byte for byte, on any machine: all chance comes from one random.Random,
all time from one Timeline. This module must never do IO.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from random import Random

from hblink_wire import enframe
from hblink_wire.serial import Deframer

from hblink.core.event import (
    ConfirmRequested,
    DrillRequested,
    Event,
    MaintenanceRequested,
    OnlineRequested,
    StandbyRequested,
    SwitchoverRequested,
)
from hblink.sim.bmc import Truth
from hblink.sim.checker import Checker
from hblink.sim.host import Host
from hblink.sim.log import Log
from hblink.sim.meter import Meter
from hblink.sim.network import Network, Sent
from hblink.sim.plan import Plan
from hblink.sim.timeline import Timeline


class World:
    """Two machines, off; `run_for` lets time pass. Raises Violation as soon as a rule is broken."""

    def __init__(self, plan: Plan, seed: int = 0) -> None:
        self.plan = plan
        self.random = Random(seed)
        self.timeline = Timeline()
        self.log = Log(self.timeline)
        self.network = Network(self.timeline, self.random, plan.links, self._deliver)
        self.checker = Checker(self.timeline, plan, self.network)
        self.hosts = tuple(self._host(index) for index in range(2))
        self.checker.hosts = self.hosts
        self.meter = Meter(self.timeline, self.hosts)
        self.at_peace = False  # whether all faults have been ended
        self._next_request = 1
        for host in self.hosts:
            host.peer = self.hosts[1 - host.index]
            host.on_change = self.meter.survey

    def run_for(self, duration_ns: int) -> None:
        """Let `duration_ns` pass."""
        self.timeline.run_until(self.timeline.now + duration_ns)
        self.meter.survey()

    # Operators

    def switchover(self, host: Host) -> bool:
        """Ask the daemon of `host` for a switchover; False if there is none."""
        return self._ask(host, SwitchoverRequested)

    def stand_by(self, host: Host) -> bool:
        """Tell the daemon of `host` to run nothing; False if there is none."""
        return self._ask(host, StandbyRequested)

    def go_online(self, host: Host) -> bool:
        """Lift what holds the daemon of `host` back; False if there is none."""
        return self._ask(host, OnlineRequested)

    def drill(self, host: Host) -> bool:
        """Let the daemon of `host` switch its standby off and on; False if there is none."""
        return self._ask(host, DrillRequested)

    def maintain(self, host: Host, on: bool, for_ns: int | None = None) -> bool:
        """Begin or end maintenance at `host`, for a time if one is given; False if there is no daemon."""
        daemon = host.daemon
        until_at = None if daemon is None or for_ns is None else daemon.process.now() + for_ns
        return self._ask(host, lambda request: MaintenanceRequested(request, on, until_at))

    def confirm(self, host: Host) -> bool:
        """Tell the daemon of `host` that its peer is off; False if there is none."""
        return self._ask(host, ConfirmRequested)

    def _ask(self, host: Host, make: Callable[[int], Event]) -> bool:
        if host.daemon is None:
            return False
        host.daemon.ask(make, self._next_request)
        self._next_request += 1
        return True

    def stop_daemon(self, host: Host) -> None:
        """Ask the daemon of `host` to end (SIGTERM)."""
        if host.daemon is not None:
            host.daemon.shut_down()

    # Attackers

    def replay(self, sent: Iterable[Sent], to: Host, *, link: int | None = None) -> None:
        """Let frames that were sent before come in at `to`, on their own link or on another one.

        That is no disturbance: what the peer sends arrives all the same, and must be believed.
        """
        for each in sent:
            target = each.link if link is None else link
            data = self._as_on(each, target)
            latency_ns = self.network.path(1 - to.index, target).plan.latency_ns
            self.timeline.call_after(latency_ns, partial(self._inject, to, target, data))

    def noise(self, to: Host, link: int, data: bytes) -> None:
        """Let `data` come in at `to`, which no node sent."""
        self._inject(to, link, data)

    def lie(self, host: Host, truth: Truth) -> None:
        """Make the BMC of `host` say something; from then on I1 is not claimed where it may say OFF of what is on."""
        host.bmc.health.truth = truth
        if truth in (Truth.SAYS_OFF, Truth.ELSEWHERE):
            self.checker.exempt = self.checker.exempt or "a lying BMC"

    def _inject(self, to: Host, link: int, data: bytes) -> None:
        if to.daemon is not None:
            to.daemon.receive(link, data)

    def _as_on(self, sent: Sent, link: int) -> bytes:
        """The frame of `sent` in the form of another medium."""
        is_serial, to_serial = (self.plan.links[each].baud is not None for each in (sent.link, link))
        if is_serial == to_serial:
            return sent.data
        if to_serial:
            return enframe(sent.data)
        blocks = [block for block in Deframer().feed(sent.data) if isinstance(block, bytes)]
        return blocks[0] if blocks else sent.data

    def _deliver(self, receiver: int, link: int, data: bytes) -> None:
        host = self.hosts[receiver]
        if host.daemon is not None and not host.paused:
            host.daemon.receive(link, data)

    def _host(self, index: int) -> Host:
        return Host(index, self.plan, self.timeline, self.random, self.network, self.log, self.checker)
