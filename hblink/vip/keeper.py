"""The virtual addresses of the service as one group: all are held, or none is.

Each is a lease (SAFETY S10): if this process dies or hangs, the kernel removes the addresses by itself. Every change is
read back by a dump. This module must never decide who owns the service, and never touch an address that is not
configured; which of the two is done with an address that somebody else put there is said at `acquire` and `release`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from hblink.loop import Loop, Timer
from hblink.vip.address import (
    AddressTable,
    Installed,
    Vip,
    VipError,
    interface_index,
    interface_name,
)
from hblink.vip.announcement import Announcer
from hblink.vip.renewal import LeaseRenewer

__all__ = ["Repair", "Vip", "VipError", "VipKeeper"]

MS = 1_000_000
SECOND = 1_000_000_000

# RFC 5227 2.3 asks for two announcements, 2 s apart; the first ones are often lost to a switch port that has just come
# up, and RFC 4861 7.2.6 allows repetition.
ANNOUNCE_AFTER_NS = tuple(ms * MS for ms in (0, 100, 200, 500, 1000, 2000, 5000))
# From then on, for what has been lost on the way or has forgotten: a switch that was restarted, a host that was asleep.
REFRESH_NS = 30 * SECOND


@dataclass(frozen=True, slots=True)
class Repair:
    """What another program had changed, and has been put right: for the log, with a word on who is suspected.

    `missing`: had been taken away while held. `unleased`: was there without a lifetime, as an administrator or a
    network manager puts it there, and is a lease now. `held_back`: had just been put there, and the kernel still looked
    whether somebody else has it (duplicate address detection, RFC 4862 5.4).
    """

    missing: tuple[Vip, ...] = ()
    unleased: tuple[Vip, ...] = ()
    held_back: tuple[Vip, ...] = ()


class VipKeeper:
    """Hold a group of virtual addresses as leases of `lease_ns`.

    The lease is rounded up to whole seconds, the kernel's unit. The kernel looks for lapsed addresses at its own pace:
    one is gone at the latest about a second after its lease. The group lives in the network namespace of the caller.
    """

    def __init__(self, loop: Loop, vips: Iterable[Vip], lease_ns: int) -> None:
        self._loop = loop
        self._vips = tuple(vips)
        self._announcer = Announcer()
        self._renewer = LeaseRenewer(self._vips, max(1, -(-lease_ns // SECOND)))
        self._announcement: Timer | None = None
        self._series_at = 0  # when the present series of announcements began
        self._announced = 0  # how many of it have been made
        self.lease_s = max(1, -(-lease_ns // SECOND))
        self.held = False  # between a good `acquire` and `release`
        self.leased = True  # False: held without a lifetime (SAFETY S18)
        self.announce_failures: Counter[str] = Counter()

    def acquire(self) -> None:
        """Add every address as a lease, read back that it is there, and begin to announce.

        An address that is already there is not refused: this node has been granted the service, and to go away again
        would leave an address without a lease on a node that owns nothing. It becomes a lease.
        Raises VipError, after which none of the configured addresses is here (the message says so if that failed too).
        """
        self._stop_announcing()
        self.leased = True
        failures, _ = self._put_all(look_first=False)
        if failures:
            self.held = False
            failures += self._removal_failures()
            raise VipError("; ".join(failures))
        self.held = True
        self.announce_repeatedly()

    def renew(self) -> Repair:
        """Start every lease anew, put back what was taken away, and say what had been changed.

        Each renewal reads back what the one before has done; what had to be put right is read back at once. Does
        nothing unless held. Raises VipError for the addresses that could not be renewed, after all others were.
        """
        if not self.held:
            return Repair()
        if self.leased and self._renewer.renew():
            return Repair()
        failures, repair = self._put_all(look_first=True)
        if repair.missing or repair.held_back:
            self.announce_repeatedly()
        if failures:
            raise VipError("; ".join(failures))
        return repair

    def lease(self, leased: bool) -> None:
        """Give every address that is held its lifetime back, or let it live for ever (S18), read back.

        Does nothing unless held: what is acquired is always a lease. Raises VipError for those that did not obey.
        """
        if not self.held:
            return
        self.leased = leased
        failures, _ = self._put_all(look_first=False)
        if failures:
            raise VipError("; ".join(failures))

    def release(self) -> None:
        """Remove every configured address, whatever its lifetime, and read back that this machine answers for none.

        Also removes what an earlier process left. The same IP address with another prefix length or on another
        interface is not touched, as it may be the machine's own: then this raises VipError, for the machine still
        answers for it. Raises VipError if anything is left.
        """
        self.held = False
        self._stop_announcing()
        failures = self._removal_failures()
        if failures:
            raise VipError("; ".join(failures))

    def succeeded_by(self, vips: tuple[Vip, ...]) -> VipKeeper:
        """Return a keeper of `vips` that holds them if this one holds its own; the caller then closes this one.

        Added first, then what is not among them is removed; what stays is not touched. Raises VipError, after which
        what was added is gone again and this keeper holds what it held.
        """
        lease_ns = self.lease_s * SECOND
        successor = VipKeeper(self._loop, vips, lease_ns)
        if not self.held:
            return successor
        added = VipKeeper(self._loop, (vip for vip in vips if vip not in self._vips), lease_ns)
        gone = VipKeeper(self._loop, (vip for vip in self._vips if vip not in vips), lease_ns)
        try:
            added.acquire()
            try:
                gone.release()
            except VipError:
                added.release()
                self.renew()
                raise
        finally:
            added.close()
            gone.close()
        successor.held, successor.leased = True, self.leased
        if not self.leased:
            successor.lease(False)
        return successor

    def close(self) -> None:
        """Let go of the announcing socket and timers; the addresses stay as they are until released or lapsed."""
        self._stop_announcing()
        self._announcer.close()
        self._renewer.close()

    def present(self) -> frozenset[Vip]:
        """Return the addresses that the kernel shows, with any lifetime. Raises VipError."""
        try:
            with AddressTable() as table:
                return self._find(table.dump())
        except OSError as error:
            raise VipError(f"no answer from netlink: {error.strerror}") from error

    def announce(self) -> tuple[str, ...]:
        """Announce every address once, if held; return what failed, one text for each interface. Never raises."""
        if not self.held:
            return ()  # to announce what another node may own would take its traffic away
        failures = self._announcer.announce(self._vips)
        self.announce_failures.update(failures)
        return failures

    def announce_repeatedly(self) -> None:
        """Announce now, again at 100 ms to 5 s from now, and every 30 s from then on; an earlier series ends."""
        self._stop_announcing()
        self._series_at, self._announced = self._loop.now(), 0
        self._announce_next(self._series_at)

    def _announce_next(self, now: int) -> None:
        self.announce()
        self._announced += 1
        is_series = self._announced < len(ANNOUNCE_AFTER_NS)
        at = self._series_at + ANNOUNCE_AFTER_NS[self._announced] if is_series else now + REFRESH_NS
        self._announcement = self._loop.call_at(at, self._announce_next)

    def _stop_announcing(self) -> None:
        if self._announcement is not None:
            self._announcement.cancel()
            self._announcement = None

    def _put_all(self, *, look_first: bool) -> tuple[list[str], Repair]:
        """Put every address: what failed, and what was found other than it should be, if it was looked at first.

        One dump is half the cost of a renewal: it comes before where nothing is likely to be wrong, after where
        everything is new, and both where something was wrong.
        """
        failures: list[str] = []
        repair = Repair()
        try:
            with AddressTable() as table:
                if look_first:
                    repair = self._compare(table.dump())
                failures = self._put(table, self._vips)
                if not failures and (not look_first or repair != Repair()):
                    failures = self._read_back(table)
        except VipError as error:
            failures.append(str(error))
        except OSError as error:
            failures.append(f"no answer from netlink: {error.strerror}")
        return failures, repair

    def _put(self, table: AddressTable, vips: Iterable[Vip]) -> list[str]:
        failures: list[str] = []
        for vip in vips:
            try:
                table.put(vip, self.lease_s if self.leased else None)
            except VipError as error:
                failures.append(str(error))
        return failures

    def _read_back(self, table: AddressTable) -> list[str]:
        """Say what is not as it should be, after what another program had put there and the kernel holds back.

        That is put anew: only a new address skips duplicate address detection.
        """
        installed = table.dump()
        held_back = [vip for vip in self._vips if (found := _installed_as(vip, installed)) and not found.usable]
        if not held_back:
            return self._shortcomings(installed)
        for vip in held_back:
            table.remove(vip)
        return self._put(table, held_back) or self._shortcomings(table.dump())

    def _compare(self, before: tuple[Installed, ...]) -> Repair:
        found = {vip: _installed_as(vip, before) for vip in self._vips}
        there = [(vip, installed) for vip, installed in found.items() if installed is not None]
        return Repair(
            missing=tuple(vip for vip, installed in found.items() if installed is None),
            unleased=tuple(vip for vip, installed in there if self.leased and installed.valid_s is None),
            held_back=tuple(vip for vip, installed in there if not installed.usable),
        )

    def _find(self, installed: tuple[Installed, ...]) -> frozenset[Vip]:
        return frozenset(vip for vip in self._vips if _installed_as(vip, installed) is not None)

    def _shortcomings(self, installed: tuple[Installed, ...]) -> list[str]:
        """Say for each address what the dump shows other than a usable lease."""
        failures = []
        for vip in self._vips:
            found = _installed_as(vip, installed)
            if found is None:
                failures.append(f"{vip}: not there after it was added")
            elif not found.usable:
                failures.append(f"{vip}: held back by duplicate address detection")
            elif not self.leased:
                if found.valid_s is not None:
                    failures.append(f"{vip}: lives for {found.valid_s} s after it was added for ever")
            elif found.valid_s is None:
                failures.append(f"{vip}: has no lifetime after it was added as a lease")
            elif found.valid_s > self.lease_s:
                failures.append(f"{vip}: lives for {found.valid_s} s, the lease is {self.lease_s} s")
        return failures

    def _removal_failures(self) -> list[str]:
        """Remove every address and read back: what failed."""
        failures: list[str] = []
        try:
            with AddressTable() as table:
                for vip in self._vips:
                    try:
                        table.remove(vip)
                    except VipError as error:
                        failures.append(str(error))
                return failures + self._leftovers(table.dump())
        except VipError as error:
            return [*failures, str(error)]
        except OSError as error:
            return [*failures, f"no answer from netlink: {error.strerror}"]

    def _leftovers(self, installed: tuple[Installed, ...]) -> list[str]:
        """Say where this machine still answers for one of our IP addresses: Linux does so on every interface."""
        failures = []
        for vip in self._vips:
            ip = vip.address.ip
            for found in installed:
                is_bound = ip.version == 6 and ip.is_link_local  # the same address on two interfaces is two addresses
                if found.ip != ip or (is_bound and found.index != interface_index(vip.interface)):
                    continue
                name = interface_name(found.index)
                failures.append(
                    f"{ip}/{found.prefixlen} is still on {name}; if it should not be: "
                    f"ip addr del {ip}/{found.prefixlen} dev {name}"
                )
        return failures


def _installed_as(vip: Vip, installed: tuple[Installed, ...]) -> Installed | None:
    index = interface_index(vip.interface)
    return next((found for found in installed if index is not None and found.is_of(vip, index)), None)
