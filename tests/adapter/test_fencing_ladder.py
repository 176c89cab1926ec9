"""Several fence devices for one node, with two real BMCs: which level is commanded, which one is believed, and when."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import pytest

from hblink.core.event import PowerCommanded, PowerRead
from hblink.core.value import MS, SECOND, Power
from hblink.fencing.device import FenceReason
from hblink.fencing.ipmi import IpmiDevice
from hblink.fencing.record import FenceWarning
from hblink.loop import Loop
from tests.adapter.ladder import LONG_NS, Hole, Ladder, Rung
from tests.adapter.loopback_bmc import GUID, Bmc, loopback_bmc, silent_port
from tests.adapter.stage import Clock, run_until

OTHER = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"


@dataclass
class Pair:
    """Two BMCs, and a port where nobody answers, with a short deadline."""

    loop: Loop
    clock: Clock
    one: Bmc
    two: Bmc
    hole: Hole

    def device(self, bmc: Bmc) -> IpmiDevice:
        return IpmiDevice(self.loop, bmc.settings)

    def ladder(self, first: Rung | None = None, second: Rung | None = None, *, dead: bool = False) -> Ladder:
        """Level 0 is `one` (or nobody, if `dead`), level 1 is `two`."""
        device = self.hole.device if dead else self.device(self.one)
        return Ladder(self.loop, [(device, first or Rung("one")), (self.device(self.two), second or Rung("two"))])


@pytest.fixture(scope="module")
def simulators(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Bmc, Bmc]]:
    with (
        loopback_bmc(tmp_path_factory.mktemp("one")) as one,
        loopback_bmc(tmp_path_factory.mktemp("two"), OTHER) as two,
    ):
        yield one, two


@pytest.fixture
def pair(simulators: tuple[Bmc, Bmc]) -> Iterator[Pair]:
    clock = Clock()
    loop = Loop(clock)
    one, two = simulators
    one.reset()
    two.reset()
    with silent_port(replace(one.settings, command_timeout_ns=SECOND // 2)) as silent:
        yield Pair(loop, clock, one, two, Hole(loop, silent))
        run_until(loop, lambda: not loop._selector.get_map(), "every child reaped")


def test_the_first_level_is_read_off_before_it_is_believed_to_have_accepted(pair: Pair) -> None:
    ladder = pair.ladder()
    fence = ladder.fence()
    fence.off(1)
    ladder.drive(1)
    fence.read(2)
    ladder.drive(2)
    fence.read(3)
    ladder.drive(3)
    assert ladder.events == [PowerCommanded(1, True), PowerRead(2, Power.OFF), PowerRead(3, Power.OFF)]
    assert ladder.steps == [(0, "look"), (0, "off"), (0, "verify"), (0, "read"), (0, "read")]
    assert (pair.one.commands, pair.two.requests) == (["set 0"], [])


def test_a_level_that_does_not_answer_gives_way_to_the_next_which_alone_is_read_then(pair: Pair) -> None:
    ladder = pair.ladder(dead=True)
    fence = ladder.fence()
    fence.off(1)
    ladder.drive(1)
    fence.off(2)
    ladder.drive(2)
    fence.read(3)
    ladder.drive(3)
    assert ladder.events == [PowerCommanded(1, False), PowerCommanded(2, True), PowerRead(3, Power.OFF)]
    assert ladder.asked == [(0, "look"), (1, "look"), (1, "off"), (1, "read")]
    assert ladder.records[0].reason is FenceReason.UNREACHABLE
    assert ladder.records[0].elapsed_ns >= SECOND // 2
    assert "killed after" in ladder.records[0].detail, "a dead device costs its deadline, not more"
    (pair.two.directory / "broken").touch()
    fence.read(4)
    ladder.drive(4)
    assert ladder.events[3] == PowerRead(4, Power.UNKNOWN), "no other level is asked in place of the one commanded"
    assert ladder.asked[4:] == [(1, "read")]


def test_a_level_that_says_yes_and_stays_on_costs_its_own_bound_and_no_more(pair: Pair) -> None:
    (pair.one.directory / "stuck").touch()
    ladder = pair.ladder(Rung("one", attempt_ns=LONG_NS))
    fence = ladder.fence()
    fence.off(1)
    run_until(pair.loop, lambda: ladder.steps.count((0, "verify")) >= 2, "two readings of it")
    assert ladder.events == []
    done = len(ladder.steps)
    pair.clock.leap(LONG_NS)
    ladder.drive(1)
    assert ladder.events == [PowerCommanded(1, False)]
    assert len(ladder.steps) == done, "not even read once more"
    assert pair.one.commands == ["set 0"], "not asked twice"
    fence.off(2)
    ladder.drive(2)
    assert ladder.events[1] == PowerCommanded(2, True)
    assert pair.two.power == "0"


def test_after_the_last_level_the_first_is_tried_again_and_a_new_attempt_begins_with_it(pair: Pair) -> None:
    for bmc in (pair.one, pair.two):
        (bmc.directory / "broken").touch()
    ladder = pair.ladder()
    fence = ladder.fence()
    begun_at = pair.loop.now()
    for op_id in (1, 2, 3):
        fence.off(op_id)
        ladder.drive(op_id)
    assert ladder.steps == [(0, "look"), (1, "look"), (0, "look")]
    assert pair.loop.now() - begun_at >= 2 * SECOND, "a round ends with a pause"
    fence.end_attempt()
    fence.off(4)
    ladder.drive(4)
    assert ladder.steps[3] == (0, "look")
    assert pair.one.commands == pair.two.commands == []


def test_a_level_may_be_tried_more_than_once(pair: Pair) -> None:
    (pair.one.directory / "broken").touch()
    ladder = pair.ladder(Rung("one", retries=1, command_timeout_ns=SECOND))
    fence = ladder.fence()
    for op_id in (1, 2, 3):
        fence.off(op_id)
        ladder.drive(op_id)
    assert [level for level, step in ladder.steps if step == "look"] == [0, 0, 1]
    assert ladder.events[2] == PowerCommanded(3, True)


def test_each_device_has_its_own_interval_between_two_off_readings(pair: Pair) -> None:
    ladder = pair.ladder(Rung("one", off_interval_ns=700 * MS))
    fence = ladder.fence()
    fence.off(1)
    ladder.drive(1)
    fence.read(2)
    ladder.drive(2)
    first = fence.levels[0].readiness
    fence.read(3)
    ladder.drive(3)
    assert ladder.events[1:] == [PowerRead(2, Power.OFF), PowerRead(3, Power.OFF)]
    second = fence.levels[0].readiness
    assert first.at is not None
    assert second.at is not None
    assert second.at - second.elapsed_ns - first.at >= 700 * MS


def test_the_readings_of_two_devices_are_never_taken_for_two_of_one(pair: Pair) -> None:
    """Without a command: level 0 says OFF, then nothing; what level 1 says then is a first OFF, not a second."""
    for bmc in (pair.one, pair.two):
        (bmc.directory / "power").write_text("0\n")
    ladder = pair.ladder()
    fence = ladder.fence()
    fence.read(1)
    ladder.drive(1)
    (pair.one.directory / "broken").touch()
    fence.read(2)
    ladder.drive(2)
    fence.read(3)
    ladder.drive(3)
    assert ladder.events == [PowerRead(1, Power.OFF), PowerRead(2, Power.UNKNOWN), PowerRead(3, Power.OFF)]
    assert ladder.steps == [(0, "read"), (0, "read"), (1, "read"), (0, "read"), (1, "read")]


def test_without_a_command_the_first_level_that_answers_decides(pair: Pair) -> None:
    (pair.two.directory / "power").write_text("0\n")
    ladder = pair.ladder()
    fence = ladder.fence()
    fence.read(1)
    ladder.drive(1)
    assert ladder.events == [PowerRead(1, Power.ON)], "an OFF further down does not outweigh it"
    assert ladder.steps == [(0, "read")]


def test_alone_the_level_whose_off_was_read_is_commanded_and_no_other(pair: Pair) -> None:
    """S5 after a fence by the second level: the first is dark, the second reads OFF."""
    (pair.one.directory / "broken").touch()
    (pair.two.directory / "power").write_text("0\n")
    ladder = pair.ladder()
    fence = ladder.fence()
    for op_id in (1, 2):
        fence.read(op_id)
        ladder.drive(op_id)
    fence.off(3, alone=True)
    ladder.drive(3)
    assert ladder.events == [PowerRead(1, Power.OFF), PowerRead(2, Power.OFF), PowerCommanded(3, True)]
    assert (pair.one.commands, pair.two.commands) == ([], ["set 0"])


def test_an_attempt_that_ends_sends_nothing_to_the_next_level(pair: Pair) -> None:
    with silent_port(pair.one.settings) as silent:
        pair.hole = Hole(pair.loop, silent)
        ladder = pair.ladder(dead=True)
        fence = ladder.fence()
        fence.off(1)
        pair.hole.await_hanging()
        fence.end_attempt()
        ladder.drive(1)
        assert ladder.events == [PowerCommanded(1, False)]
        pair.hole.assert_no_orphan()
        assert pair.two.requests == []


def test_on_goes_to_every_level_that_was_commanded_the_last_one_first(pair: Pair) -> None:
    (pair.one.directory / "stuck").touch()
    ladder = pair.ladder(Rung("one", attempt_ns=SECOND))
    fence = ladder.fence()
    for op_id in (1, 2):
        fence.off(op_id)
        ladder.drive(op_id)
    fence.end_attempt()
    fence.on(3)
    ladder.drive(3)
    assert ladder.events[2] == PowerCommanded(3, True)
    assert ladder.steps[-2:] == [(1, "on"), (0, "on")]
    assert (pair.one.commands, pair.two.commands) == (["set 0", "set 1"], ["set 0", "set 1"])


def test_a_daemon_that_has_sent_no_off_itself_switches_every_level_on(pair: Pair) -> None:
    """The daemon before it may have: which level took that is not known any more."""
    ladder = pair.ladder(Rung("one"))
    fence = ladder.fence()
    fence.on(1)
    ladder.drive(1)
    assert ladder.events == [PowerCommanded(1, True)]
    assert ladder.steps == [(1, "on"), (0, "on")]
    assert (pair.one.commands, pair.two.commands) == (["set 1"], ["set 1"])


# --- identity ---


def test_the_identity_is_learned_once_and_another_device_is_never_shot(pair: Pair) -> None:
    ladder = Ladder(pair.loop, [(pair.device(pair.one), Rung("one"))])
    fence = ladder.fence()
    fence.start()
    run_until(pair.loop, lambda: ladder.records, "the first look")
    assert fence.readiness.guid == GUID
    assert len(ladder.saved) == 1
    changed = Ladder(pair.loop, [(pair.device(pair.two), Rung("one"))], learned=ladder.saved[0])
    fence = changed.fence()
    fence.off(1)
    changed.drive(1)
    assert changed.events == [PowerCommanded(1, False)]
    assert (fence.readiness.reason, changed.readiness) == (FenceReason.WRONG_DEVICE, [False])
    fence.read(2)
    changed.drive(2)
    assert changed.events[1] == PowerRead(2, Power.UNKNOWN), "nor is its word taken"
    fence.on(3)
    changed.drive(3)
    assert changed.events[2] == PowerCommanded(3, False), "nothing was sent, so nothing was accepted"
    assert (pair.two.commands, changed.saved) == ([], [])


def test_a_configured_identity_needs_no_learning(pair: Pair) -> None:
    for guid, reason in ((GUID, FenceReason.OK), (OTHER, FenceReason.WRONG_DEVICE)):
        ladder = Ladder(pair.loop, [(pair.device(pair.one), Rung("one", guid=guid))])
        fence = ladder.fence()
        fence.start()
        run_until(pair.loop, partial(ladder.said, 1), "the first look")
        assert (fence.readiness.reason, ladder.saved) == (reason, [])


def test_ones_own_bmc_is_never_shot_and_the_next_level_is(pair: Pair) -> None:
    ladder = pair.ladder()
    ladder.own = frozenset({GUID})
    fence = ladder.fence()
    fence.off(1)
    ladder.drive(1)
    fence.off(2)
    ladder.drive(2)
    assert ladder.events == [PowerCommanded(1, False), PowerCommanded(2, True)]
    assert fence.levels[0].readiness.reason is FenceReason.OWN_DEVICE
    assert (pair.one.commands, pair.two.commands) == ([], ["set 0"])
    fence.on(3)
    ladder.drive(3)
    assert pair.one.commands == [], "nor is it switched on"


def test_a_device_that_lied_is_not_used_again(pair: Pair) -> None:
    ladder = pair.ladder()
    fence = ladder.fence()
    fence.off(1)
    ladder.drive(1)
    fence.read(2)
    ladder.drive(2)
    fence.end_attempt()
    assert fence.distrust(pair.loop.now()) == 0
    fence.off(3)
    ladder.drive(3)
    assert ladder.events[2] == PowerCommanded(3, True)
    assert (pair.one.commands, pair.two.commands) == (["set 0"], ["set 0"])
    assert fence.levels[0].readiness.reason is FenceReason.LIED
    assert fence.readiness.ready, "the other level still works"


def test_ready_is_that_one_level_works_and_warnings_do_not_count(pair: Pair) -> None:
    (pair.one.directory / "broken").touch()
    ladder = pair.ladder(second=Rung("two", restore_policy="previous"))
    fence = ladder.fence()
    fence.start()
    run_until(pair.loop, lambda: len(ladder.records) == 2, "both looked at")
    assert ladder.readiness == [True]
    assert [level.readiness.ready for level in fence.levels] == [False, True]
    assert fence.levels[1].readiness.warnings == (FenceWarning.RESTORE_POLICY,)
    assert fence.levels[1].readiness.policy == "always-off"
    (pair.two.directory / "broken").touch()
    fence.poll()
    run_until(pair.loop, lambda: len(ladder.records) == 4, "both looked at again")
    assert ladder.readiness == [True, False]
