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

__all__ = ["Repair", "Vip", "VipError", "VipKeeper"]

MS = 1_000_000
SECOND = 1_000_000_000

# RFC 5227 2.3 asks for two announcements, 2 s apart; the first ones are often lost to a switch port that has just come
# up, and RFC 4861 7.2.6 allows repetition.
ANNOUNCE_AFTER_NS = tuple(ms * MS for ms in (0, 100, 200, 500, 1000, 2000, 5000))


@dataclass(frozen=True, slots=True)
class Repair:
    """What another program had changed, and has been put right: for the log, with a word on who is suspected.

    `missing`: had been taken away while held. `unleased`: was there without a lifetime, as an administrator or a
    network manager puts it there, and is a lease now.
    """

    missing: tuple[Vip, ...] = ()
    unleased: tuple[Vip, ...] = ()


class VipKeeper:
    """Hold a group of virtual addresses as leases of `lease_ns`.

    The lease is rounded up to whole seconds, the kernel's unit. The kernel looks for lapsed addresses at its own pace:
    one is gone at the latest about a second after its lease. The group lives in the network namespace of the caller.
    """

    def __init__(self, loop: Loop, vips: Iterable[Vip], lease_ns: int) -> None:
        self._loop = loop
        self._vips = tuple(vips)
        self._announcer = Announcer()
        self._announcements: list[Timer] = []
        self.lease_s = max(1, -(-lease_ns // SECOND))
        self.held = False  # between a good `acquire` and `release`
        self.announce_failures: Counter[str] = Counter()

    def acquire(self) -> Repair:
        """Add every address as a lease, read back that it is there, and begin to announce.

        An address that is already there is not refused: this node has been granted the service, and to go away again
        would leave an address without a lease on a node that owns nothing. It becomes a lease and is reported.
        Raises VipError, after which none of the configured addresses is here (the message says so if that failed too).
        """
        self._stop_announcing()
        failures, repair = self._put_all()
        if failures:
            self.held = False
            failures += self._removal_failures()
            raise VipError("; ".join(failures))
        self.held = True
        self.announce_repeatedly()
        return Repair(unleased=repair.unleased)

    def renew(self) -> Repair:
        """Start every lease anew, put back what was taken away, read back, and say what had been changed.

        Does nothing unless held. Raises VipError for the addresses that could not be renewed, after all others were.
        """
        if not self.held:
            return Repair()
        failures, repair = self._put_all()
        if repair.missing:
            self.announce_repeatedly()
        if failures:
            raise VipError("; ".join(failures))
        return repair

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

    def close(self) -> None:
        """Let go of the announcing socket and timers; the addresses stay as they are until released or lapsed."""
        self._stop_announcing()
        self._announcer.close()

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
        """Announce now, and again at 100 ms to 5 s from now, as at `acquire`; an earlier series ends."""
        self._stop_announcing()
        now = self._loop.now()
        first, *later = ANNOUNCE_AFTER_NS
        assert first == 0
        self.announce()
        self._announcements = [self._loop.call_at(now + after, lambda _now: self._announce_again()) for after in later]

    def _announce_again(self) -> None:
        self.announce()

    def _stop_announcing(self) -> None:
        for timer in self._announcements:
            timer.cancel()
        self._announcements = []

    def _put_all(self) -> tuple[list[str], Repair]:
        """Put every address and read back: what failed, and how things were before."""
        failures: list[str] = []
        try:
            with AddressTable() as table:
                before = table.dump()
                for vip in self._vips:
                    try:
                        table.put(vip, self.lease_s)
                    except VipError as error:
                        failures.append(str(error))
                if not failures:
                    failures = self._shortcomings(table.dump())
        except VipError as error:
            return [*failures, str(error)], Repair()
        except OSError as error:
            return [*failures, f"no answer from netlink: {error.strerror}"], Repair()
        return failures, self._compare(before)

    def _compare(self, before: tuple[Installed, ...]) -> Repair:
        found = {vip: _installed_as(vip, before) for vip in self._vips}
        return Repair(
            missing=tuple(vip for vip, installed in found.items() if installed is None),
            unleased=tuple(
                vip for vip, installed in found.items() if installed is not None and installed.valid_s is None
            ),
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
            elif found.valid_s is None:
                failures.append(f"{vip}: has no lifetime after it was added as a lease")
            elif found.valid_s > self.lease_s:
                failures.append(f"{vip}: lives for {found.valid_s} s, the lease is {self.lease_s} s")
            elif not found.usable:
                failures.append(f"{vip}: held back by duplicate address detection")
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
                if found.ip != ip or (ip.is_link_local and found.index != interface_index(vip.interface)):
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
