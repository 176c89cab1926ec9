"""What other programs and other machines do to the virtual addresses, and what the owner does about it."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator

import pytest

from tests.netns.situation import (
    ALL_VIPS,
    QUICK,
    Since,
    alarms,
    logged,
    logged_at,
    programs,
    restore,
    role,
    settle,
    status,
    wait_logged,
)
from tests.rig.node import Node
from tests.rig.pair import Pair
from tests.rig.process import end
from tests.rig.setting import SERVICE, VIP, VIPS, Setting
from tests.rig.wait import boottime_ns, wait_until

MS = 1_000_000
PUT_BACK_NS = 100 * MS
FOREVER = 0xFFFF_FFFF
ADDRESS = VIP.split("/")[0]
ANNOUNCE = """
import socket, struct, sys
interface, address = sys.argv[1], socket.inet_aton(sys.argv[2])
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind((interface, 0))
mac = s.getsockname()[4]
s.send(b"\\xff" * 6 + mac + struct.pack("!HHHBBH6s4s6s4s", 0x806, 1, 0x800, 6, 4, 1, mac, address, bytes(6), address))
"""


@contextlib.contextmanager
def running(node: Node, name: str) -> Iterator[None]:
    """Let a program of that name run on the node."""
    program = node.directory / name
    shutil.copy("/bin/sleep", program)
    process = subprocess.Popen(node.command([str(program), "60"]), stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        wait_until(lambda: name in programs(node).values(), 15, f"{name} to run")
        yield
    finally:
        end(process)


def take_away(node: Node) -> None:
    """Remove every virtual address, as a network manager's restart does."""
    node.namespace.ip(*(f"address del {address} dev {interface}" for address, interface in VIPS))


def lifetimes(node: Node) -> list[int]:
    """Return how many seconds each virtual address that the kernel has will live."""
    dump = json.loads(node.run("ip", "-json", "address", "show").stdout)
    ips = {address.split("/")[0] for address in ALL_VIPS}
    return [entry["valid_life_time"] for link in dump for entry in link["addr_info"] if entry["local"] in ips]


def pass_time(pair: Pair, duration_ns: int) -> None:
    """Let that much time go by."""
    began = boottime_ns()
    pair.wait(lambda: boottime_ns() - began > duration_ns, duration_ns / 1e9 + 5, "time to pass")


@pytest.fixture
def foreign(shared: Pair) -> Iterator[Pair]:
    """Give the pair with another machine on lan0 that has the first virtual address; it lets go after the test."""
    shared.switch.ip(f"address add {VIP} dev lan0")
    yield shared
    shared.switch.ip(f"address flush dev lan0 to {VIP}")


def test_what_is_taken_away_is_back_within_100_ms_and_the_suspect_is_named(shared: Pair) -> None:
    pair, since = shared, Since(shared)
    with running(pair.alpha, "systemd-network"):
        take_away(pair.alpha)
        pair.wait(lambda: len(since.appeared(pair.alpha)) == len(VIPS), 10, "the VIPs to be back")
        wait_logged(pair, pair.alpha, "suspected: systemd-networkd", since.at)
        # One that is back before the daemon reads that it was gone is not told: for a line each, it reads all at once.
        told = Since(pair)
        pair.alpha.stop()
        take_away(pair.alpha)
        pair.alpha.cont()
        each = wait_logged(pair, pair.alpha, "was removed from", told.at, len(VIPS))
    gone: dict[str, int] = {}
    for change in pair.observer.held(since.at):
        if change.at >= told.at:
            break
        if not change.present:
            gone[change.vip] = change.at
        else:
            own_ns = pair.observer.starved_ns(gone[change.vip], change.at)
            assert change.at - gone[change.vip] - own_ns < PUT_BACK_NS, change
    assert len(gone) == len(VIPS)
    assert len(each) == len(VIPS)
    assert all("suspected: systemd-networkd" in line for line in each)
    assert role(pair.alpha) == "active"
    assert since.fences() == {"alpha": 0, "beta": 0}


def test_a_node_on_which_they_are_taken_away_again_and_again_yields(shared: Pair) -> None:
    pair = shared
    for node in (pair.beta, pair.alpha):  # what was taken away before counts for the owner that it was taken from
        assert node.hblink("switchover").returncode == 0
        pair.wait_active(node.name)
    since = Since(pair)
    for times in range(1, 6):
        pass_time(pair, 300 * MS)
        if times < 5:
            take_away(pair.alpha)
            pair.wait(lambda: pair.alpha.has(*ALL_VIPS) == ALL_VIPS, 10, "the VIPs to be back")
            assert role(pair.alpha) == "active"
    pair.alpha.namespace.ip(f"address del {VIPS[0][0]} dev {VIPS[0][1]}")  # at the first one it lets go of all
    pair.wait_active("beta")
    assert len(wait_logged(pair, pair.alpha, "unfit to serve", since.at)) == 1
    assert since.fences() == {"alpha": 0, "beta": 0}
    since.assert_never_two_owners()
    pair.alpha.kill_daemon()  # what it holds against itself for a minute ends with the daemon
    pair.alpha.wait_daemon()


def test_another_machine_that_takes_an_address_is_named_and_answered_until_it_lets_go(foreign: Pair) -> None:
    pair, since = foreign, Since(foreign)
    mac = json.loads(pair.switch.run("ip", "-json", "link", "show", "dev", "lan0"))[0]["address"]
    # Hosts announce an address that they take (RFC 5227 2.3); its kernel did not, so this does.
    pair.switch.run("python3", "-c", ANNOUNCE, "lan0", ADDRESS)
    wait_logged(pair, pair.alpha, f"{ADDRESS} on lan0 is answered by {mac}", since.at)
    (line,) = logged(pair.alpha, "is answered by", since.at)
    assert "neither this node nor the peer" in line
    said = pair.observer.seen
    pair.wait(
        lambda: [seen for seen in said(VIP, "announce", since.at) if seen.node == "alpha"],
        10,
        "alpha to announce again",
    )
    pair.wait(lambda: ("address_conflict", None) in alarms(pair.alpha), 10, "alpha to raise it")
    assert role(pair.alpha) == "active"
    since.assert_nothing_moved()


def test_a_new_owner_finds_the_other_machine_by_itself(foreign: Pair) -> None:
    """By its first question, without any announcement: and it takes the addresses all the same, with an alarm."""
    pair, since = foreign, Since(foreign)
    assert pair.alpha.hblink("switchover").returncode == 0
    wait_logged(pair, pair.beta, f"{ADDRESS} on lan0 is answered by", since.at)
    assert pair.beta.has(*ALL_VIPS) == ALL_VIPS
    pair.wait(lambda: ("address_conflict", None) in alarms(pair.beta), 10, "beta to raise it")
    assert since.fences() == {"alpha": 0, "beta": 0}


def test_a_peer_that_still_answers_is_not_taken_for_dead_whatever_its_bmc_says(shared: Pair) -> None:
    """The device lies: it says OFF, and the machine serves on. Its own hardware address gives it away."""
    pair, since = shared, Since(shared)
    pass_time(pair, 1_500 * MS)  # in which each node says which hardware addresses it has
    pair.bmc("alpha").lies = True
    pair.cut_links()
    wait_logged(pair, pair.beta, "which is the peer", since.at)
    wait_logged(pair, pair.beta, "fence read: off", since.at)
    pass_time(pair, 3_000 * MS)
    assert pair.beta.has(*ALL_VIPS) == set()
    assert pair.alpha.has(*ALL_VIPS) == ALL_VIPS
    since.assert_never_two_owners()
    # What is being switched on is not sworn to be off; the second one comes when the `off` can be late no more.
    wait_logged(pair, pair.beta, "fence on: accepted", since.at, count=2)
    pair.alpha.power_off()
    wait_logged(pair, pair.beta, "nobody else answers", since.at)
    sworn = pair.beta.hblink("fence", "confirm", "alpha", "--yes")
    assert sworn.returncode == 0, sworn.stdout
    pair.wait_active("beta")
    since.assert_never_two_owners()


def test_the_question_costs_a_takeover_no_time(shared: Pair) -> None:
    """The peer answers until it is off, and two readings of OFF are enough: no third one for the sake of the veto."""
    pair, since = shared, Since(shared)
    pass_time(pair, 1_500 * MS)
    pair.cut_links()
    pair.wait_active("beta")
    wait_logged(pair, pair.beta, "fencing -> claiming", since.at)
    assert logged(pair.beta, "which is the peer", since.at), "it was seen"
    assert len(logged(pair.beta, "fence read: off", since.at)) == 2
    read = logged_at(pair.beta, "fence read: off", since.at)[1]
    claimed = logged_at(pair.beta, "fencing -> claiming", since.at)[0]
    assert claimed - read < 50 * MS
    since.assert_never_two_owners()


def test_in_maintenance_the_addresses_outlive_the_daemon(shared: Pair) -> None:
    """And have a lease again when it is over (SAFETY S18)."""
    pair, since = shared, Since(shared)
    assert all(left <= 4 for left in lifetimes(pair.alpha)), "leases"
    done = pair.alpha.hblink("maintenance", "on")
    assert done.returncode == 0, done.stdout + done.stderr
    pair.wait(lambda: set(lifetimes(pair.alpha)) == {FOREVER}, 10, "the leases to be taken away")
    pair.alpha.kill_daemon()
    pair.alpha.wait_daemon()
    pass_time(pair, 6_000 * MS)
    assert pair.alpha.has(*ALL_VIPS) == ALL_VIPS, "nobody renews them, and they stay"
    assert pair.beta.has(*ALL_VIPS) == set(), "nobody takes over"
    since.assert_nothing_moved()
    pair.alpha.start_daemon()
    pair.wait(lambda: role(pair.alpha) == "active", 30, "alpha to serve again")
    assert pair.alpha.hblink("maintenance", "off").returncode == 0
    pair.wait(lambda: all(left <= 4 for left in lifetimes(pair.alpha)), 10, "the leases to be back")
    assert len(lifetimes(pair.alpha)) == len(VIPS)
    assert since.fences() == {"alpha": 0, "beta": 0}
    since.assert_never_two_owners()


def test_the_network_is_told_again_when_the_carrier_returns(shared: Pair) -> None:
    """Both nodes lose it, so nobody can take over; the switch that comes back has learnt nothing."""
    pair, since = shared, Since(shared)
    pair.cut_service("beta")
    pair.wait(lambda: ("no_service_carrier", None) in alarms(pair.beta), 10, "beta to notice")
    able = "alpha to hear that beta could not take over"
    pair.wait(lambda: "peer_not_able" in {cause["code"] for cause in status(pair.alpha)["causes"]}, 10, able)
    pair.cut_service("alpha")
    pair.wait(lambda: not pair.observer.seen(VIP, "who", boottime_ns() - 200 * MS), 10, "the VIP to be out of reach")
    back = boottime_ns()
    pair.heal()
    pair.wait(
        lambda: [seen for seen in pair.observer.seen(VIP, "announce", back) if seen.node == "alpha"],
        10,
        "the announcement",
    )
    wait_logged(pair, pair.alpha, "lan0 has come back", since.at)
    assert role(pair.alpha) == "active"
    settle(pair, "alpha")
    since.assert_nothing_moved()


def test_the_addresses_are_announced_seven_times_by_a_new_owner(shared: Pair) -> None:
    pair = shared
    restore(pair)
    since = Since(pair)
    assert pair.alpha.hblink("switchover").returncode == 0
    pair.wait_active("beta")
    expected = [0, 100, 200, 500, 1000, 2000, 5000]

    def announced(address: str) -> list[int]:
        frames = 1 if ":" in address else 2  # a request and a reply
        seen = pair.observer.seen(address, "announce", since.at)
        return [each.at for each in seen if each.node == "beta"][::frames]

    for address, _ in VIPS:
        pair.wait(lambda address=address: len(announced(address)) >= len(expected), 15, "seven announcements")
        instants = announced(address)
        rounds = [(at - instants[0]) / MS for at in instants]
        assert len(rounds) == len(expected), (address, rounds)
        # On a busy machine the daemon may be late, and the observer too: both keep account of it.
        late = status(pair.beta)["lateness_ms"]["max"] + pair.observer.starved_ns(since.at, boottime_ns()) / MS
        assert all(abs(seen - wanted) <= 100 + late for seen, wanted in zip(rounds, expected, strict=True)), rounds
    since.assert_never_two_owners()


@pytest.fixture
def wishing(build_pair: Callable[[Setting], Pair]) -> Pair:
    """Give a pair without fence devices whose operator accepted two owners in writing, with alpha active."""
    wish = Setting(timing={**QUICK.timing, "lease_ms": 2000}, fence=False, guarantee="at-least-one")
    pair = build_pair(wish)
    pair.start()
    pair.wait_active("alpha")
    pair.wait(lambda: role(pair.beta) == "standby", 20, "a standby")
    pass_time(pair, 1_500 * MS)
    return pair


def isolate(pair: Pair, isolated: bool) -> None:
    """Let the nodes not see each other on the service networks, while the client goes on seeing both."""
    for port in (f"{network}-{node}" for network in SERVICE for node in pair.nodes):
        pair.switch.run("bridge", "link", "set", "dev", port, "isolated", "on" if isolated else "off")


def test_even_the_written_wish_waits_for_a_peer_that_still_answers(wishing: Pair) -> None:
    pair, since = wishing, Since(wishing)
    pair.cut_links()
    wait_logged(pair, pair.beta, "which is the peer", since.at)
    pass_time(pair, 8_000 * MS)
    assert role(pair.beta) == "blocked"
    since.assert_nothing_moved()
    pair.alpha.crash()
    pair.wait_active("beta")
    assert status(pair.beta)["grant"] == "written_wish"


def test_the_winner_of_a_healed_conflict_announces_again(wishing: Pair) -> None:
    """The older owner lets go, and the client finds the younger one."""
    pair = wishing
    isolate(pair, True)
    pair.cut_links()
    pair.wait(lambda: role(pair.beta) == "active", 20, "beta to serve too")
    isolate(pair, False)
    healed = boottime_ns()
    pair.heal()
    pair.wait_active("beta")
    wait_logged(pair, pair.alpha, "active -> yielding reason=dual_active", healed)
    let_go = logged_at(pair.alpha, "active -> yielding reason=dual_active", healed)[0]

    def told_again() -> bool:
        seen = pair.observer.seen(VIP, "announce", let_go)
        return any(announced.node == "beta" for announced in seen)

    pair.wait(told_again, 10, "beta to announce after alpha let go")


def test_two_owners_that_see_each_other_only_by_their_addresses_say_so(wishing: Pair) -> None:
    """The heartbeat links stay cut: each hears the other's announcement, and knows whose it is."""
    pair = wishing
    isolate(pair, True)
    pair.cut_links()
    pair.wait(lambda: role(pair.beta) == "active", 20, "beta to serve too")
    isolate(pair, False)
    for node in pair.nodes.values():
        pair.wait(lambda node=node: ("address_conflict", None) in alarms(node), 40, f"{node.name} to notice")
        wait_logged(pair, node, "which is the peer")
