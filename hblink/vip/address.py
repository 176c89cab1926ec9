"""The kernel's address table: add with a lifetime, remove, dump. One netlink conversation for each batch of actions.

pyroute2 spells lifetimes differently in 0.7 and 0.9, and every version ignores what it does not know, after which an
address would live for ever (SAFETY S10). So nothing here counts as done before a dump has shown it.
This module must never decide when an address is wanted, and never touch one that is not configured.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkDumpInterrupted, NetlinkError

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IpInterface = ipaddress.IPv4Interface | ipaddress.IPv6Interface

FOREVER = 0xFFFF_FFFF  # INFINITY_LIFE_TIME of the kernel
# linux/if_addr.h
IFA_F_NODAD = 0x02
IFA_F_DADFAILED = 0x08
IFA_F_TENTATIVE = 0x40

# Removing what is not there, or from an interface that is gone, has the wanted end.
ALREADY_GONE = frozenset({errno.EADDRNOTAVAIL, errno.ENODEV})
DUMP_ATTEMPTS = 5  # a dump is interrupted when the table changes meanwhile

_OLD_SPELLING = tuple(int(part) for part in version("pyroute2").split(".")[:2]) < (0, 8)


class VipError(Exception):
    """The virtual addresses are not as they should be; the message names each address, its interface and the reason."""


@dataclass(frozen=True, slots=True)
class Vip:
    """A virtual address with its prefix length, and the interface that carries it."""

    address: IpInterface
    interface: str

    def __str__(self) -> str:
        return f"{self.address} on {self.interface}"


@dataclass(frozen=True, slots=True)
class Installed:
    """An address as the kernel's dump shows it; `valid_s` is None if it lives for ever."""

    ip: IpAddress
    prefixlen: int
    index: int
    valid_s: int | None
    usable: bool  # False: IPv6 duplicate detection is running, or has failed

    def is_of(self, vip: Vip, index: int) -> bool:
        """Say whether this is `vip`, whose interface has `index`."""
        return (self.ip, self.prefixlen, self.index) == (vip.address.ip, vip.address.network.prefixlen, index)


def interface_index(name: str) -> int | None:
    """Return the index of an interface in this network namespace; None if there is none of that name."""
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return None


def interface_name(index: int) -> str:
    """Return the name of an interface; `#INDEX` if it has vanished."""
    try:
        return socket.if_indextoname(index)
    except OSError:
        return f"#{index}"


class AddressTable:
    """A netlink conversation; use it as a context manager, for one batch of actions.

    Every method raises VipError for what netlink refuses, and OSError only from opening the socket.
    """

    def __init__(self) -> None:
        self._route = IPRoute()

    def __enter__(self) -> AddressTable:
        return self

    def __exit__(self, *_: object) -> None:
        self._route.close()

    def put(self, vip: Vip, lease_s: int | None) -> None:
        """Add or renew `vip`, to live for `lease_s` seconds from now, whatever its lifetime was; None is for ever.

        IPv6 addresses skip duplicate address detection (RFC 4862 5.4: it would keep them silent for a second) and are
        deprecated from the start (RFC 6724 rule 3), so that the host's own connections do not begin from them.
        """
        index = interface_index(vip.interface)
        if index is None:
            raise VipError(f"{vip}: there is no interface {vip.interface} on this machine")
        is_ipv6 = vip.address.version == 6
        valid_s = FOREVER if lease_s is None else lease_s
        try:
            self._route.addr(
                "replace",
                index=index,
                address=str(vip.address.ip),
                prefixlen=vip.address.network.prefixlen,
                family=socket.AF_INET6 if is_ipv6 else socket.AF_INET,
                **({"flags": IFA_F_NODAD} if is_ipv6 else {}),
                **_lifetime(0 if is_ipv6 else valid_s, valid_s),
            )
        except NetlinkError as error:
            hint = " (is IPv6 switched off on it? see net.ipv6.conf.*.disable_ipv6)" if is_ipv6 else ""
            raise VipError(f"{vip}: the kernel refused it: {_reason(error)}{hint}") from error

    def remove(self, vip: Vip) -> None:
        """Remove `vip`, whatever its lifetime; that it is not there is fine."""
        index = interface_index(vip.interface)
        if index is None:
            return
        try:
            self._route.addr(
                "delete",
                index=index,
                address=str(vip.address.ip),
                prefixlen=vip.address.network.prefixlen,
                family=socket.AF_INET6 if vip.address.version == 6 else socket.AF_INET,
            )
        except NetlinkError as error:
            if error.code not in ALREADY_GONE:
                raise VipError(f"{vip}: the kernel did not remove it: {_reason(error)}") from error

    def dump(self) -> tuple[Installed, ...]:
        """Return every address of this network namespace."""
        for _ in range(DUMP_ATTEMPTS):
            try:
                return tuple(_installed(message) for message in self._route.get_addr())
            except NetlinkDumpInterrupted:
                continue
            except NetlinkError as error:
                raise VipError(f"the kernel did not list its addresses: {_reason(error)}") from error
        raise VipError(f"the kernel's addresses changed during each of {DUMP_ATTEMPTS} dumps")


def _lifetime(preferred_s: int, valid_s: int) -> dict[str, object]:
    if _OLD_SPELLING:
        return {"cacheinfo": {"preferred": preferred_s, "valid": valid_s}}
    return {"preferred_lft": preferred_s, "valid_lft": valid_s}


def _installed(message: Any) -> Installed:
    """Read one address out of pyroute2's message, which has no static type."""
    flags = message.get_attr("IFA_FLAGS") or message["flags"]
    cacheinfo = message.get_attr("IFA_CACHEINFO")
    valid_s = FOREVER if cacheinfo is None else cacheinfo["ifa_valid"]
    return Installed(
        # IFA_LOCAL is the own address on a point-to-point link; IPv6 has it only there
        ip=ipaddress.ip_address(message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")),
        prefixlen=message["prefixlen"],
        index=message["index"],
        valid_s=None if valid_s == FOREVER else valid_s,
        usable=not flags & (IFA_F_DADFAILED | IFA_F_TENTATIVE),
    )


def _reason(error: NetlinkError) -> str:
    return str(error.args[-1]) if error.args else "unknown"
