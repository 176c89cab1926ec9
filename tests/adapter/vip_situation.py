"""Situations of virtual addresses, each a function: run as a program inside a namespace, by any Python and pyroute2.

The namespace has the interfaces eth0 and eth1, each with an address of its own. A situation that does not end as it
should raises AssertionError, and the program fails with it.
"""

from __future__ import annotations

import atexit
import ipaddress
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hblink.loop import Loop
from hblink.vip.address import Vip, VipError
from hblink.vip.keeper import Repair, VipKeeper
from hblink.vip.renewal import LeaseRenewer
from hblink.vip.watch import Removal, ServiceWatch

SECOND = 1_000_000_000
FOREVER = 0xFFFF_FFFF
LAN4 = Vip(ipaddress.ip_interface("192.0.2.10/32"), "eth0")
LAN6 = Vip(ipaddress.ip_interface("2001:db8::10/128"), "eth0")
DMZ4 = Vip(ipaddress.ip_interface("198.51.100.10/32"), "eth1")
DMZ6 = Vip(ipaddress.ip_interface("2001:db8:1::10/128"), "eth1")
GROUP = (LAN4, LAN6, DMZ4, DMZ6)
NOWHERE = Vip(ipaddress.ip_interface("203.0.113.10/32"), "eth7")


def ip(line: str) -> None:
    subprocess.run(["ip", *line.split()], check=True)


def addresses(interface: str) -> dict[str, dict[str, Any]]:
    """What ip(8), no code of ours, says of an interface: address/prefix to its entry."""
    output = subprocess.run(
        ["ip", "-json", "address", "show", "dev", interface], check=True, capture_output=True, text=True
    ).stdout
    entries = json.loads(output)[0]["addr_info"]
    return {f"{entry['local']}/{entry['prefixlen']}": entry for entry in entries if "local" in entry}


def lifetime(vip: Vip) -> int | None:
    """Seconds left; None if the address is not there; 0xFFFFFFFF if it lives for ever."""
    entry = addresses(vip.interface).get(str(vip.address))
    return None if entry is None else int(entry["valid_life_time"])


def is_new(vips: tuple[Vip, ...], lease_s: int, since: float) -> bool:
    """Whether the lease of each began at `since` (monotonic) or later: the kernel tells whole seconds."""
    ends = [(lifetime(vip) or 0) + time.monotonic() for vip in vips]
    return all(since + lease_s - 1 <= end for end in ends) and all((lifetime(vip) or 0) <= lease_s for vip in vips)


def held(vips: tuple[Vip, ...]) -> set[Vip]:
    return {vip for vip in vips if lifetime(vip) is not None}


def keeper(vips: tuple[Vip, ...] = GROUP, lease_s: float = 30) -> VipKeeper:
    made = VipKeeper(Loop(), vips, int(lease_s * SECOND))
    atexit.register(made.close)
    return made


def refusal(act: Callable[[], object]) -> str:
    """The message of the VipError that `act` must raise."""
    try:
        act()
    except VipError as error:
        return str(error)
    raise AssertionError("no VipError")


def wait_until(condition: Callable[[], object], what: str, timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        time.sleep(0.01)


def run_until(loop: Loop, condition: Callable[[], object], what: str, timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        loop.run_once(20_000_000)


def a_group_is_acquired_as_leases_and_released() -> None:
    own = {name: set(addresses(name)) for name in ("eth0", "eth1")}
    group = keeper(lease_s=29.5)
    assert group.lease_s == 30
    assert group.present() == frozenset()
    began = time.monotonic()
    group.acquire()
    assert group.present() == frozenset(GROUP)
    assert is_new(GROUP, 30, began)
    for vip in (LAN6, DMZ6):
        entry = addresses(vip.interface)[str(vip.address)]
        assert entry["nodad"], entry
        assert not entry.get("tentative"), entry
        assert entry["preferred_life_time"] == 0, "the host's own connections would begin from the VIP"
    group.release()
    assert held(GROUP) == set()
    assert group.present() == frozenset()
    assert not group.held
    assert {name: set(addresses(name)) for name in ("eth0", "eth1")} == own
    group.release()  # may be repeated


def a_lease_ends_by_itself() -> None:
    group = keeper(lease_s=3)
    began = time.monotonic()
    group.acquire()
    wait_until(lambda: not held(GROUP), "the kernel to remove the addresses")
    assert time.monotonic() - began > 2.5
    assert group.present() == frozenset()


def a_renewal_starts_the_lease_anew() -> None:
    group = keeper(lease_s=30)
    group.acquire()
    for vip in GROUP:
        ip(f"address change {vip.address} dev {vip.interface} valid_lft 20 preferred_lft 0")
    assert max(lifetime(vip) or 0 for vip in GROUP) <= 20
    began = time.monotonic()
    assert group.renew() == Repair()
    assert is_new(GROUP, 30, began)
    group.release()


def the_short_way_renews_what_is_as_it_should_be_and_nothing_else() -> None:
    group = keeper(lease_s=30)
    renewer = LeaseRenewer(GROUP, 30)
    assert not renewer.renew(), "nothing is there"
    assert held(GROUP) == set(), "and nothing is put there"
    group.acquire()
    for vip in GROUP:
        ip(f"address change {vip.address} dev {vip.interface} valid_lft 20 preferred_lft 0")
    began = time.monotonic()
    assert renewer.renew()
    assert is_new(GROUP, 30, began)
    for vip in (LAN6, DMZ6):
        assert addresses(vip.interface)[str(vip.address)]["preferred_life_time"] == 0
    for vip in GROUP:
        ip(f"address change {vip.address} dev {vip.interface} valid_lft forever preferred_lft forever")
        assert not renewer.renew(), f"{vip} is no lease"
        group.renew()
        assert renewer.renew()
        ip(f"address delete {vip.address} dev {vip.interface}")
        assert not renewer.renew(), f"{vip} is missing"
        assert lifetime(vip) is None
        group.renew()
        assert renewer.renew()
    for n in range(300):  # more than fits into one answer
        ip(f"address add 10.66.{n // 250}.{n % 250}/32 dev lo")
    assert renewer.renew()
    ip("link delete eth1")
    assert not renewer.renew(), "an interface is gone"
    renewer.close()
    group.release()


def what_another_program_took_away_is_put_back() -> None:
    group = keeper()
    group.acquire()
    ip(f"address delete {LAN4.address} dev eth0")
    ip(f"address delete {DMZ6.address} dev eth1")
    assert group.renew() == Repair(missing=(LAN4, DMZ6))
    assert held(GROUP) == set(GROUP)
    assert group.renew() == Repair()
    group.release()


def what_is_held_back_by_duplicate_address_detection_is_put_anew() -> None:
    """Another program has just put it there, and the kernel looks whether somebody else has it: for a minute here."""
    for name, value in (("accept_dad", "1"), ("dad_transmits", "60")):
        Path(f"/proc/sys/net/ipv6/conf/{DMZ6.interface}/{name}").write_text(value)

    def put_there_by_another() -> None:
        ip(f"address add {DMZ6.address} dev {DMZ6.interface}")
        assert addresses(DMZ6.interface)[str(DMZ6.address)]["tentative"] is True

    put_there_by_another()
    group = keeper()
    group.acquire()
    assert "tentative" not in addresses(DMZ6.interface)[str(DMZ6.address)]
    assert (lifetime(DMZ6) or 0) <= 30
    assert group.renew() == Repair()
    for leased in (True, False):  # in maintenance too
        group.lease(leased)
        ip(f"address delete {DMZ6.address} dev {DMZ6.interface}")
        put_there_by_another()
        assert group.renew() == Repair(unleased=(DMZ6,) if leased else (), held_back=(DMZ6,))
        assert "tentative" not in addresses(DMZ6.interface)[str(DMZ6.address)]
        assert group.renew() == Repair()
    group.release()
    assert held(GROUP) == set()


def what_another_program_made_permanent_is_a_lease_again() -> None:
    for vip in (LAN4, DMZ6):
        ip(f"address add {vip.address} dev {vip.interface}")
    group = keeper()
    group.acquire()
    assert max(lifetime(vip) or 0 for vip in GROUP) <= 30
    ip(f"address change {LAN4.address} dev eth0 valid_lft forever preferred_lft forever")
    assert group.renew() == Repair(unleased=(LAN4,))
    assert group.renew() == Repair()
    assert max(lifetime(vip) or 0 for vip in GROUP) <= 30
    group.release()
    assert held(GROUP) == set()


def maintenance_takes_the_lifetime_away_and_gives_it_back() -> None:
    group = keeper()
    group.lease(False)
    assert group.leased, "what is not held has no lifetime to lose"
    group.acquire()
    group.lease(False)
    assert {lifetime(vip) for vip in GROUP} == {FOREVER}
    assert group.renew() == Repair()
    assert {lifetime(vip) for vip in GROUP} == {FOREVER}, "a renewal keeps to it"
    ip(f"address delete {LAN4.address} dev eth0")
    assert group.renew() == Repair(missing=(LAN4,))
    assert lifetime(LAN4) == FOREVER
    group.lease(True)
    assert max(lifetime(vip) or FOREVER for vip in GROUP) <= 30
    group.lease(False)
    group.release()
    assert held(GROUP) == set()
    group.acquire()
    assert max(lifetime(vip) or FOREVER for vip in GROUP) <= 30, "a new claim begins with a lease"
    group.release()


def a_link_local_address_is_one_for_each_interface() -> None:
    pair = tuple(Vip(ipaddress.ip_interface("fe80::10/128"), name) for name in ("eth0", "eth1"))
    group = keeper(pair)
    group.acquire()
    assert held(pair) == set(pair)
    ip("address delete fe80::10/128 dev eth1")
    assert group.renew() == Repair(missing=(pair[1],))
    assert held(pair) == set(pair)
    keeper(pair[1:]).release()  # says nothing of the one on the other interface
    assert held(pair) == {pair[0]}
    group.release()
    assert held(pair) == set()


def all_are_held_or_none() -> None:
    group = keeper((*GROUP, NOWHERE))
    message = refusal(group.acquire)
    assert "203.0.113.10/32 on eth7: there is no interface eth7" in message, message
    assert held(GROUP) == set()
    assert not group.held
    assert group.renew() == Repair()
    assert held(GROUP) == set()
    subprocess.run(["sysctl", "-qw", "net.ipv6.conf.eth1.disable_ipv6=1"], check=True)
    group = keeper(GROUP)
    message = refusal(group.acquire)
    assert "2001:db8:1::10/128 on eth1" in message, message
    assert "disable_ipv6" in message, message
    assert held(GROUP) == set()


def a_renewal_does_what_it_can() -> None:
    group = keeper()
    group.acquire()
    for vip in (LAN4, LAN6):
        ip(f"address change {vip.address} dev eth0 valid_lft 20 preferred_lft 0")
    ip("link delete eth1")
    began = time.monotonic()
    message = refusal(group.renew)
    assert str(DMZ4) in message, message
    assert str(DMZ6) in message, message
    assert str(LAN4) not in message, message
    assert is_new((LAN4, LAN6), 30, began)
    group.release()  # what is on an interface that is gone is gone
    assert held((LAN4, LAN6)) == set()


def what_an_earlier_process_left_is_released() -> None:
    keeper().acquire()
    ip(f"address change {LAN4.address} dev eth0 valid_lft forever preferred_lft forever")
    later = keeper()
    assert later.present() == frozenset(GROUP)
    later.release()
    assert held(GROUP) == set()


def an_address_of_the_machine_itself_is_told_and_not_touched() -> None:
    ip("address add 192.0.2.10/24 dev eth0")
    ip("address add 2001:db8::10/64 dev eth1 nodad")
    group = keeper()
    message = refusal(group.release)
    assert "ip addr del 192.0.2.10/24 dev eth0" in message, message
    assert "ip addr del 2001:db8::10/64 dev eth1" in message, message
    assert "192.0.2.10/24" in addresses("eth0")
    assert "2001:db8::10/64" in addresses("eth1")


def nothing_is_announced_or_renewed_after_release() -> None:
    group = keeper()
    group.acquire()
    assert group.announce() == ()
    group.release()
    assert group.announce() == ()
    assert group.renew() == Repair()
    assert held(GROUP) == set()


class Seen:
    """A watch, its loop, and what it said."""

    def __init__(self, *interfaces: str) -> None:
        self.loop = Loop()
        self.carrier: list[bool] = []
        self.removals: list[Removal] = []
        self.returned: list[str] = []
        self.watch = ServiceWatch(
            self.loop,
            interfaces,
            lambda up, _now: self.carrier.append(up),
            lambda removals, _now: self.removals.extend(removals),
            lambda interface, _now: self.returned.append(interface),
        )
        self.watch.open()

    @property
    def removed(self) -> list[tuple[str, str]]:
        return [(removal.ip, removal.interface) for removal in self.removals]

    def until(self, condition: Callable[[], object], what: str) -> None:
        run_until(self.loop, condition, what)


def carrier_is_that_of_every_interface() -> None:
    seen = Seen("eth0", "eth1")
    assert seen.watch.carrier()
    assert seen.watch.without_carrier() == ()
    ip("link set peer1 down")
    seen.until(lambda: seen.carrier == [False], "the loss")
    assert seen.watch.without_carrier() == ("eth1",)
    ip("link set peer1 up")
    seen.until(lambda: seen.carrier == [False, True], "the return")
    assert seen.returned == ["eth1"]
    ip("link set eth0 down")
    seen.until(lambda: seen.carrier == [False, True, False], "an interface that was switched off")
    assert seen.watch.without_carrier() == ("eth0",)
    seen.watch.close()


def an_interface_that_is_missing_has_no_carrier() -> None:
    seen = Seen("eth0", "eth7")
    assert not seen.watch.carrier()
    assert seen.watch.without_carrier() == ("eth7",)
    ip("link add eth7 type veth peer name peer7")
    ip("link set eth7 up")
    ip("link set peer7 up")
    seen.until(lambda: seen.carrier == [True], "the interface to appear with carrier")
    ip("link set eth7 down")
    ip("link set eth7 name eth8")
    ip("link set eth8 up")
    seen.until(lambda: seen.carrier == [True, False], "the interface to change its name")
    ip("link set eth8 down")
    ip("link set eth8 name eth7")
    ip("link set eth7 up")
    seen.until(lambda: seen.carrier == [True, False, True], "the interface to take its name back")
    ip("link delete eth7")
    seen.until(lambda: seen.carrier == [True, False, True, False], "the interface to disappear")
    seen.watch.close()


def an_address_that_disappears_is_told_by_name() -> None:
    group = keeper(lease_s=4)
    seen = Seen("eth0")
    group.acquire()
    ip(f"address delete {LAN4.address} dev eth0")
    seen.until(lambda: ("192.0.2.10", "eth0") in seen.removed, "the removal")
    seen.until(lambda: ("2001:db8::10", "eth0") in seen.removed, "the end of the lease")
    assert all(interface == "eth0" for _, interface in seen.removed)
    seen.watch.close()


def an_interface_that_comes_back_is_told_by_name_while_another_is_still_down() -> None:
    ip("link set peer0 down")
    ip("link set peer1 down")
    seen = Seen("eth0", "eth1")
    ip("link set peer0 up")
    seen.until(lambda: seen.returned == ["eth0"], "the return of one")
    assert seen.carrier == [], "the other is still down"
    ip("link set eth0 address 02:00:00:00:00:77")
    seen.until(lambda: seen.returned == ["eth0", "eth0"], "another hardware address, as after a bond's failover")
    ip("link set eth0 alias lan")
    ip("link set peer1 up")
    seen.until(lambda: seen.returned == ["eth0", "eth0", "eth1"], "the return of the other, and of no more")
    seen.watch.close()


def who_removed_an_address_is_named_for_ipv4() -> None:
    group = keeper((LAN4,), lease_s=4)
    seen = Seen("eth0")
    group.acquire()
    by = subprocess.Popen(["ip", "address", "delete", str(LAN4.address), "dev", "eth0"])
    assert by.wait() == 0
    seen.until(lambda: seen.removals, "the removal")
    assert seen.removals == [Removal("192.0.2.10", "eth0", by.pid)]
    group.renew()
    seen.until(lambda: len(seen.removals) == 2, "the end of the lease")
    assert seen.removals[1] == Removal("192.0.2.10", "eth0", 0), "the kernel itself"
    seen.watch.close()


def what_is_back_already_is_not_told_as_removed() -> None:
    group = keeper((LAN4, DMZ4))  # the kernel tells of a new IPv6 address a moment later
    seen = Seen("eth0", "eth1")
    group.acquire()
    group.release()
    group.acquire()
    seen.loop.run_once(20_000_000)
    assert seen.removals == []
    group.release()
    seen.until(lambda: len(seen.removals) == 2, "the release")
    seen.watch.close()


def lost_events_are_made_up_for() -> None:
    group = keeper((LAN4, LAN6))
    group.acquire()
    seen = Seen("eth0")
    flood = "".join(
        f"address {verb} 10.77.{n // 256}.{n % 256}/32 dev eth0\n" for n in range(1500) for verb in ("add", "delete")
    )
    flood += f"address delete {LAN4.address} dev eth0\nlink set peer0 down\n"
    subprocess.run(["ip", "-batch", "-"], input=flood, text=True, check=True)
    seen.until(lambda: seen.watch.overruns > 0, "the overrun")
    seen.until(lambda: seen.carrier == [False], "the loss of carrier")
    assert ("192.0.2.10", "eth0") in seen.removed
    ip("link set peer0 up")
    seen.until(lambda: seen.carrier == [False, True], "the events that come after the overrun")
    assert seen.watch.undecodable == 0
    seen.watch.close()


SITUATIONS = {
    situation.__name__: situation
    for situation in (
        a_group_is_acquired_as_leases_and_released,
        a_lease_ends_by_itself,
        a_renewal_starts_the_lease_anew,
        the_short_way_renews_what_is_as_it_should_be_and_nothing_else,
        what_another_program_took_away_is_put_back,
        what_is_held_back_by_duplicate_address_detection_is_put_anew,
        what_another_program_made_permanent_is_a_lease_again,
        maintenance_takes_the_lifetime_away_and_gives_it_back,
        a_link_local_address_is_one_for_each_interface,
        all_are_held_or_none,
        a_renewal_does_what_it_can,
        what_an_earlier_process_left_is_released,
        an_address_of_the_machine_itself_is_told_and_not_touched,
        nothing_is_announced_or_renewed_after_release,
        carrier_is_that_of_every_interface,
        an_interface_that_is_missing_has_no_carrier,
        an_address_that_disappears_is_told_by_name,
        an_interface_that_comes_back_is_told_by_name_while_another_is_still_down,
        who_removed_an_address_is_named_for_ipv4,
        what_is_back_already_is_not_told_as_removed,
        lost_events_are_made_up_for,
    )
}

if __name__ == "__main__":
    SITUATIONS[sys.argv[1]]()
    print("as it should be")
