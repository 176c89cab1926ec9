"""Who else answers for the virtual addresses: asked shortly before a claim, and watched for while they are held here.

What is found only forbids or alarms (SAFETY S12): an address that nobody answers for proves nothing. Each sighting
lapses when the holder no longer answers, so that a peer that has just been switched off does not forbid for longer than
its last answer is worth. This module must never wait for an answer, and never touch an address.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum, unique

from hblink.ethernet import ETH_P_ARP, ETH_P_IPV6, close_aside, hardware_addresses, packet_socket
from hblink.loop import Loop, Timer
from hblink.vip.address import Vip, interface_index
from hblink.vip.announcement import Announcer
from hblink.vip.probe import advertisement_claims, arp_claims, questions, read_claim

MS = 1_000_000
SECOND = 1_000_000_000

DEFEND_INTERVAL_NS = 10 * SECOND  # RFC 5227 2.4: no host defends an address more often
RECEIVES_PER_EVENT = 32
FLOOD_PAUSE_NS = 100 * MS  # a host that claims faster than that is heard often enough
FRAME_BYTES = 2048


@unique
class Pace(Enum):
    """How the question is put: the interval between questions, and how long a sighting is believed without another."""

    OFF = (0, 0)
    CLAIM = (100 * MS, 250 * MS)  # a claim may follow at any moment
    BLOCKED = (2 * SECOND, 5 * SECOND)  # it may follow on an operator's word
    HELD = (30 * SECOND, 65 * SECOND)  # held here: hosts that take an address announce it, and that is heard at once
    CONFLICT = (3 * SECOND, 7 * SECOND)  # held here, and by somebody else: is it still there?

    @property
    def interval_ns(self) -> int:
        """Between two questions."""
        return self.value[0]

    @property
    def keep_ns(self) -> int:
        """How long a sighting is believed."""
        return self.value[1]


@dataclass(frozen=True, slots=True)
class Sighting:
    """Somebody else answers for `vip` with the hardware address `mac`."""

    vip: Vip
    mac: bytes

    def __str__(self) -> str:
        return f"{self.vip.address.ip} on {self.vip.interface} is answered by {self.mac.hex(':')}"


class HolderWatch:
    """Ask and listen, as `follow` says, in the network namespace of the caller.

    `on_change(sightings, now)` is called when the set of sightings changes; `on_conflict(now)` while the addresses are
    held here and somebody else claims one, at most once in DEFEND_INTERVAL: the owner is to announce them again.
    """

    def __init__(
        self,
        loop: Loop,
        vips: Iterable[Vip],
        *,
        on_change: Callable[[frozenset[Sighting], int], None],
        on_conflict: Callable[[int], None],
    ) -> None:
        self._loop = loop
        self._vips = tuple(vips)
        self._by_claim = {(vip.address.ip, vip.interface): vip for vip in self._vips}
        self._on_change = on_change
        self._on_conflict = on_conflict
        self._pace = Pace.OFF
        self._asker = Announcer()
        self._ears: dict[tuple[str, int], tuple[int, socket.socket]] = {}  # by interface and protocol
        self._own: frozenset[bytes] = frozenset()
        self._until: dict[Sighting, int] = {}
        self._told: frozenset[Sighting] = frozenset()
        self._timer: Timer | None = None
        self._ask_at = 0
        self._defended_at: int | None = None

    @property
    def sightings(self) -> frozenset[Sighting]:
        """Who else answered lately."""
        return self._told

    def follow(self, pace: Pace) -> None:
        """Ask at `pace` from now on; OFF forgets everything. Cheap if nothing changes.

        The sockets stay open: closing a packet socket waits for the kernel, some 20 ms each, and a node that yields has
        no time for that.
        """
        if pace is self._pace or (pace is Pace.HELD and self._pace is Pace.CONFLICT):
            return
        now = self._loop.now()
        self._pace = pace
        if pace is Pace.OFF:
            self._stop_asking()
            self._until.clear()
            self._tell(now)
            return
        # what was seen at another pace is asked for again at once, and lapses if it is not confirmed
        soon = now + Pace.CLAIM.keep_ns
        self._until = {sighting: min(until, soon) for sighting, until in self._until.items()}
        self._ask(now)

    def close(self) -> None:
        """Stop asking and listening; tells nobody."""
        self._stop_asking()
        for key in tuple(self._ears):
            self._stop_hearing(key)
        self._asker.close()

    def _stop_asking(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ask(self, now: int) -> None:
        """Put the question for every address; interfaces that cannot be asked are tried again next time."""
        self._own = hardware_addresses()  # with arp_ignore 0 this very host answers on each interface of one network
        self._open_ears()
        self._asker.send(self._vips, questions)
        self._ask_at = now + self._pace.interval_ns
        self._schedule()

    def _schedule(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(min([self._ask_at, *self._until.values()]), self._on_due)

    def _on_due(self, now: int) -> None:
        self._until = {sighting: until for sighting, until in self._until.items() if until > now}
        self._tell(now)  # may lead to another pace
        if self._pace is Pace.OFF:
            return
        if now >= self._ask_at:
            self._ask(now)
        else:
            self._schedule()

    def _tell(self, now: int) -> None:
        seen = frozenset(self._until)
        if self._pace in (Pace.HELD, Pace.CONFLICT):
            self._pace = Pace.CONFLICT if seen else Pace.HELD
            self._ask_at = min(self._ask_at, now + self._pace.interval_ns)
        if seen != self._told:
            self._told = seen
            self._on_change(seen, now)

    def _open_ears(self) -> None:
        for interface in {vip.interface for vip in self._vips}:
            ips = [vip.address.ip for vip in self._vips if vip.interface == interface]
            four = [ip for ip in ips if isinstance(ip, ipaddress.IPv4Address)]
            six = [ip for ip in ips if isinstance(ip, ipaddress.IPv6Address)]
            if four:
                self._hear(interface, ETH_P_ARP)
            if six:
                self._hear(interface, ETH_P_IPV6)

    def _hear(self, interface: str, protocol: int) -> None:
        """Open the socket of an interface, or another one if the interface is a new one of the same name."""
        key, index = (interface, protocol), interface_index(interface)
        if key in self._ears and self._ears[key][0] == index:
            return
        self._stop_hearing(key)
        ips = [vip.address.ip for vip in self._vips if vip.interface == interface]
        fields = (
            arp_claims(ip for ip in ips if isinstance(ip, ipaddress.IPv4Address))
            if protocol == ETH_P_ARP
            else advertisement_claims(ip for ip in ips if isinstance(ip, ipaddress.IPv6Address))
        )
        with contextlib.suppress(OSError):  # not there, or not now: the next question tries again
            ear = packet_socket(interface, protocol, fields)
            if index is None:  # it appeared in this very moment
                ear.close()
                return
            self._ears[key] = (index, ear)
            self._loop.watch(ear.fileno(), lambda now: self._on_readable(key, now))

    def _stop_hearing(self, key: tuple[str, int]) -> None:
        _, ear = self._ears.pop(key, (0, None))
        if ear is not None:
            with contextlib.suppress(KeyError):  # a flood has had it unwatched
                self._loop.unwatch(ear.fileno())
            close_aside(ear)

    def _on_readable(self, key: tuple[str, int], now: int) -> None:
        heard = False
        for _ in range(RECEIVES_PER_EVENT):
            if key not in self._ears:
                return
            ear = self._ears[key][1]
            try:
                frame = ear.recv(FRAME_BYTES)
            except BlockingIOError:
                break
            except OSError:  # the interface went down, said once (packet(7), ENETDOWN)
                break
            heard = self._take(frame, key[0], now) or heard
        else:
            self._pause(key, now)
        if heard:
            self._tell(now)
            self._defend(now)
            if self._pace is not Pace.OFF:
                self._schedule()

    def _take(self, frame: bytes, interface: str, now: int) -> bool:
        """Note who claims one of the addresses; tell whether it is somebody else."""
        claim = read_claim(frame)
        if claim is None or claim.mac in self._own or self._pace is Pace.OFF:
            return False
        vip = self._by_claim.get((claim.ip, interface))
        if vip is None:
            return False
        pace = Pace.CONFLICT if self._pace is Pace.HELD else self._pace
        self._until[Sighting(vip, claim.mac)] = now + pace.keep_ns
        return True

    def _defend(self, now: int) -> None:
        if self._pace is not Pace.CONFLICT:
            return
        if self._defended_at is None or now - self._defended_at >= DEFEND_INTERVAL_NS:
            self._defended_at = now
            self._on_conflict(now)

    def _pause(self, key: tuple[str, int], now: int) -> None:
        """Look away for a moment: who floods the network with claims must not keep the loop from its heartbeats."""
        ear = self._ears[key][1]
        self._loop.unwatch(ear.fileno())

        def go_on(_now: int) -> None:
            if self._ears.get(key, (0, None))[1] is ear:
                self._loop.watch(ear.fileno(), lambda now: self._on_readable(key, now))

        self._loop.call_at(now + FLOOD_PAUSE_NS, go_on)
