"""Somebody on every link, with all that was ever sent and without a key: he can only make silence, and not even that
where he cannot keep honest frames from arriving."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hblink_wire import Expected, Frame, Keyring, Rejected
from hblink_wire import decode as decode_frame

from hblink import session as session_module
from hblink.core.liveness import is_fresh
from hblink.core.value import MS, SECOND, AlarmCode
from hblink.freshness import Emissions, Speaker
from hblink.sim.attacker import ABILITIES, INJECTIONS, Attacker
from hblink.sim.checker import Violation
from hblink.sim.host import Host
from hblink.sim.plan import Plan, default_plan
from hblink.sim.world import World

SEEDS = range(6)


def quick_plan() -> Plan:
    """The built-in pair with machines that boot soon."""
    return replace(default_plan(), boot_ns=2 * SECOND)


def old_hands(seed: int) -> World:
    """A pair whose machines have both been started several times, so that much of what is recorded is of the dead."""
    world = World(quick_plan(), seed)
    for host in world.hosts:
        host.boot()
    world.run_for(5 * SECOND)
    for host in (*world.hosts, *world.hosts):
        host.reboot()
        world.run_for(6 * SECOND)
    return world


def believes(host: Host) -> bool:
    """Whether the daemon of `host` holds its peer to be alive."""
    assert host.daemon is not None
    return is_fresh(host.daemon.settings, host.daemon.state, host.daemon.process.now())


def outlive(world: World, dead: Host) -> int:
    """Switch `dead` off for ever under attack; returns for how long the other node held it to be alive."""
    dead.bmc.health.reachable = False
    dead.switch(False)
    died_at = world.timeline.now
    believed_until = died_at
    while world.timeline.now < died_at + 15 * SECOND:
        world.run_for(10 * MS)
        if believes(dead.peer):
            believed_until = world.timeline.now
    return believed_until - died_at


@pytest.mark.parametrize("seed", SEEDS)
def test_a_dead_peer_is_never_credited_for_longer_than_the_bound(seed: int) -> None:
    """I5; and what is authentic without being fresh defers the alarm for half_open_max, not for ever."""
    world = old_hands(seed)
    attacker = Attacker(world)
    attacker.begin()
    world.run_for(10 * SECOND)
    attacker.end()
    world.run_for(5 * SECOND)  # so that the dead one was believed alive when it died
    attacker.begin()
    dead = world.hosts[seed % 2]
    believed_ns = outlive(world, dead)
    assert believed_ns <= world.plan.deadtime_ns + world.plan.echo_age_max_ns
    assert dead.peer.daemon is not None
    assert AlarmCode.PEER_LOST.value in {alarm.code for alarm in dead.peer.daemon.state.alarms}
    assert set(attacker.uses) == set(ABILITIES)


@pytest.mark.parametrize("seed", SEEDS)
def test_what_he_adds_raises_no_suspicion(seed: int) -> None:
    """Replays, reflections and frames on the wrong link, thousands of them: no role, alarm, fence or address changes.

    What the peer said is set aside for an instant when an earlier daemon of it seems to speak, until its next frame.
    """
    world = old_hands(seed)
    before = len(world.log.lines)
    attacker = Attacker(world, INJECTIONS)
    attacker.begin()
    world.run_for(30 * SECOND)
    happened = {line.text for line in world.log.lines[before:]}
    assert happened <= {"standby (waiting_for_peer)", "standby (peer_active)"}
    assert sum(attacker.uses.values()) > 100
    for host in world.hosts:
        assert host.daemon is not None
        rejected: set[str] = set()
        for link in range(len(world.plan.links)):
            rejected |= set(host.daemon.session.link_report(link, host.daemon.process.now()).rejected)
        assert rejected >= {"replayed", "reflected", "wrong_link"}


@pytest.mark.parametrize("seed", SEEDS)
def test_one_honest_link_is_enough(seed: int) -> None:
    """He does what he likes with one link: no suspicion, no fence, no change of role (I12)."""
    world = old_hands(seed)
    roles = [host.daemon.state.role for host in world.hosts if host.daemon is not None]
    began_at = world.timeline.now
    attacker = Attacker(world, links=[seed % 2])
    attacker.begin()
    world.run_for(60 * SECOND)
    assert {at < began_at for host in world.hosts for at, _ in host.fenced} == {True}
    assert [at for host in world.hosts for at in host.suspected_at if at >= began_at] == []
    assert [host.daemon.state.role for host in world.hosts if host.daemon is not None] == roles
    assert set(attacker.uses) == set(ABILITIES)


# Weakened receive rules: the checkers of the simulator must notice what the attacker makes of them.


def under_attack() -> None:
    for seed in range(4):
        world = old_hands(seed)
        attacker = Attacker(world)
        attacker.begin()
        world.run_for(20 * SECOND)
        outlive(world, world.hosts[seed % 2])


def test_a_session_that_takes_any_echo_for_fresh_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    remember = Emissions.__init__

    def keep_all(self: Emissions, first_seq: int, _keep_ns: int) -> None:
        remember(self, first_seq, 1000 * SECOND)

    monkeypatch.setattr(Emissions, "__init__", keep_all)
    with pytest.raises(Violation, match="I5: "):
        under_attack()


def test_a_session_that_takes_a_frame_twice_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def refusal(_self: Speaker, _link: int, _frame: Frame, _age_max_ms: int) -> Rejected | None:
        return None

    monkeypatch.setattr(Speaker, "refusal", refusal)
    with pytest.raises(Violation, match=r"I4: \w+ credits the same frame twice"):
        under_attack()


def test_a_session_that_does_not_look_at_the_link_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(data: bytes, keyring: Keyring, expected: Expected) -> Frame | Rejected:
        frames = [decode_frame(data, keyring, replace(expected, link_id=link)) for link in range(2)]
        return next((frame for frame in frames if isinstance(frame, Frame)), frames[0])

    monkeypatch.setattr(session_module, "decode", decode)
    with pytest.raises(Violation, match=r"I4: .* never sent on that link"):
        under_attack()
