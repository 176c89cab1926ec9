"""A drill of one level of the ladder: the real decision, a real ladder, and one machine that both levels switch."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from hblink.core.effect import Answer, Effect, PowerOff, PowerOn, ReadPower
from hblink.core.event import DrillRequested, FenceReadinessChanged, PowerCommanded, PowerRead
from hblink.core.value import MS, SECOND, Power, Reason
from hblink.fencing.agent import AgentDevice
from hblink.fencing.fence import Fence
from hblink.fencing.ipmi import IpmiDevice
from hblink.loop import Loop
from tests.adapter.agent import Agent, dummy
from tests.adapter.ladder import Choice, Hole, Ladder, Rung
from tests.adapter.loopback_bmc import Bmc, Settings, silent_port
from tests.adapter.stage import Clock, run_until
from tests.rig.outlet import Outlet, write_agent
from tests.rig.standin import standin
from tests.unit.one import ALPHA, Node, active_alpha, serve

SETTINGS = replace(
    ALPHA, fence_attempt_ns=60 * SECOND, off_interval_ns=100 * MS, poll_interval_ns=100 * MS, power_on_retry_ns=SECOND
)


@dataclass
class Drill:
    """An active node whose peer stands by, on a loop of real time, and the fence that carries out what it wants."""

    ladder: Ladder
    fence: Fence = field(init=False)
    node: Node = field(init=False)

    def __post_init__(self) -> None:
        self.fence = self.ladder.fence()
        self.node = serve(active_alpha(), 3 * SECOND).tell(FenceReadinessChanged(True))
        self.node.settings = SETTINGS
        self._behind_ns = self.ladder.loop.now() - self.node.now
        self._taken = 0
        self._done = len(self.node.all)

    def ask(self, level: int | None) -> None:
        """Ask for a drill, and let its `off` be sent."""
        ready = level is not None and self.fence.levels[level].readiness.ready is True
        self.node.tell(DrillRequested(4, level, ready))
        self._carry_out()

    def answer(self) -> Answer:
        """Run to the end of the drill, and as long as it takes until nothing is wanted of the fence any more."""
        run_until(self.ladder.loop, lambda: self._turn() or self._is_over(), "the end of the drill")
        [answer] = [effect for effect in self.node.all if isinstance(effect, Answer)]
        return answer

    @property
    def wanted(self) -> list[Effect]:
        """What the decision wanted of the fence."""
        return [effect for effect in self.node.all if isinstance(effect, (PowerOff, ReadPower, PowerOn))]

    def _is_over(self) -> bool:
        """What is left may be one more `on`: for an `off` that may still come late, or as a level did not take it."""
        state = self.node.state
        due = state.power_on_at is not None and state.power_on_at <= self.node.now
        return state.drill is None and state.power_on_op is None and not due

    def _turn(self) -> None:
        drilled = self.node.state.drill
        self.node.wait(max(0, self.ladder.loop.now() - self._behind_ns - self.node.now))
        for event in self.ladder.events[self._taken :]:
            self.node.tell(event)
        self._taken = len(self.ladder.events)
        if drilled is not None and self.node.state.drill is None:
            self.fence.end_attempt()  # as the daemon does, before it carries out what the step wanted
        self._carry_out()

    def _carry_out(self) -> None:
        effects, self._done = self.node.all[self._done :], len(self.node.all)
        for effect in effects:
            match effect:
                case PowerOff():
                    self.fence.off(effect.op_id, effect.level)
                case PowerOn():
                    self.fence.on(effect.op_id, effect.level)
                case ReadPower():
                    self.fence.read(effect.op_id, effect.level)


@pytest.fixture
def outlet(bmc: Bmc, tmp_path: Path) -> Outlet:
    """A second way to switch the machine of `bmc`."""
    return Outlet(tmp_path / "outlet", bmc.directory / "chassis")


@pytest.fixture
def drill(loop: Loop, bmc: Bmc, outlet: Outlet, tmp_path: Path) -> Drill:
    agent = Agent(str(write_agent(tmp_path)), {"status_file": str(outlet.directory)})
    rungs = [
        (IpmiDevice(loop, bmc.settings), Rung("bmc")),
        (AgentDevice(loop, agent), Rung("outlet", tells_identity=False)),
    ]
    drill = Drill(Ladder(loop, rungs))
    drill.fence.poll()
    run_until(loop, lambda: len(drill.ladder.records) == 2, "both looked at")
    drill.ladder.records.clear()
    return drill


@pytest.mark.parametrize("level", [0, 1])
def test_the_level_that_is_named_does_all_of_it(drill: Drill, bmc: Bmc, level: int) -> None:
    drill.ask(level)
    assert drill.answer() == Answer(4, ok=True, reason=Reason.NONE)
    assert {effect.level for effect in drill.wanted} == {level}
    assert drill.ladder.steps == [(level, step) for step in ("look", "off", "read", "read", "on")]
    assert drill.fence.proven == level
    assert bmc.commands == ["set 0", "set 1"]
    assert bmc.power == "1"


def test_without_a_level_it_is_the_first_that_answers(drill: Drill, bmc: Bmc) -> None:
    drill.ask(None)
    assert drill.answer() == Answer(4, ok=True, reason=Reason.NONE)
    assert {level for level, _ in drill.ladder.steps} == {0}
    assert bmc.power == "1"


def test_a_level_that_is_dead_fails_and_no_other_stands_in_for_it(drill: Drill, bmc: Bmc, outlet: Outlet) -> None:
    """It has died since the last look."""
    outlet.fail("dead")
    drill.ask(1)
    assert drill.answer() == Answer(4, ok=False, reason=Reason.FENCE_FAILED)
    assert drill.ladder.steps[0] == (1, "look")
    assert "set 0" not in bmc.commands
    assert drill.fence.proven is None
    assert bmc.power == "1"


def test_what_a_level_has_switched_off_before_it_died_another_switches_on(
    drill: Drill, clock: Clock, bmc: Bmc, outlet: Outlet
) -> None:
    outlet.fail("dies")
    drill.ask(1)
    run_until(
        drill.ladder.loop, lambda: drill._turn() or (1, "read") in drill.ladder.steps, "a reading after its death"
    )
    clock.leap(SETTINGS.fence_attempt_ns)
    run_until(drill.ladder.loop, lambda: drill._turn() or drill.node.state.drill is None, "the end of the drill")
    [answer] = [effect for effect in drill.node.all if isinstance(effect, Answer)]
    assert answer == Answer(4, ok=False, reason=Reason.TIMED_OUT)
    run_until(drill.ladder.loop, lambda: drill._turn() or bmc.power == "1", "the machine to be on again")
    assert bmc.commands == ["set 0", "set 1"]
    assert {level for level, step in drill.ladder.steps if step in ("off", "read")} == {1}
    assert drill.node.state.outstanding_until is not None
    outlet.mend()
    assert drill.answer() == answer, "and the level itself is asked again until it has switched on too"


def test_a_level_that_does_not_work_is_not_drilled(drill: Drill, bmc: Bmc, outlet: Outlet) -> None:
    outlet.fail("dead")
    drill.fence.poll()
    run_until(drill.ladder.loop, lambda: {level for level, _ in drill.ladder.steps} == {0, 1}, "both looked at")
    drill.ask(1)
    assert drill.answer() == Answer(4, ok=False, reason=Reason.LEVEL_NOT_READY)
    assert (drill.wanted, bmc.commands) == ([], [])


# --- the ladder by itself ---


def test_one_level_is_switched_and_the_other_not_asked(loop: Loop, bmc: Bmc, tmp_path: Path) -> None:
    rungs = [(IpmiDevice(loop, bmc.settings), Rung("bmc")), (AgentDevice(loop, dummy(tmp_path, "on")), Rung("outlet"))]
    ladder = Ladder(loop, rungs)
    fence = ladder.fence()
    fence.off(1, 1)
    ladder.drive(1)
    fence.read(2, 1)
    ladder.drive(2)
    fence.end_attempt()
    fence.on(3, 1)
    ladder.drive(3)
    assert ladder.events == [PowerCommanded(1, True), PowerRead(2, Power.OFF), PowerCommanded(3, True)]
    assert (tmp_path / "outlet").read_text().strip() == "on"
    assert bmc.requests == []


def test_an_off_that_is_given_up_after_it_has_left_is_followed_by_on_there(loop: Loop, tmp_path: Path) -> None:
    """The second of two levels falls silent in the middle of it; it may have carried it out."""
    with standin("1" * 32) as one, standin("2" * 32) as two:
        settings = [Settings(each.port, each.password_file(tmp_path), cipher_suite=17) for each in (one, two)]
        second = IpmiDevice(loop, settings[1])
        rungs = [(IpmiDevice(loop, settings[0]), Rung("one")), (second, Rung("two"))]
        ladder = Ladder(loop, rungs)
        fence = ladder.fence()
        two.delay_s = 0.1
        fence.off(1, 1)
        run_until(loop, lambda: "off" in two.commands, "off to have left")
        fence.end_attempt()
        two.delay_s = 0.0
        fence.on(2)
        ladder.drive(2)
        assert set(ladder.events) == {PowerCommanded(1, False), PowerCommanded(2, True)}
        assert (two.on, one.asked) == (True, [])


def test_on_is_tried_at_the_other_levels_where_it_is_not_accepted(loop: Loop, bmc: Bmc, tmp_path: Path) -> None:
    with silent_port(replace(bmc.settings, command_timeout_ns=SECOND // 2)) as silent:
        hole = Hole(loop, silent)
        second = Choice(AgentDevice(loop, dummy(tmp_path, "on")), hole.device)
        ladder = Ladder(loop, [(IpmiDevice(loop, bmc.settings), Rung("bmc")), (second, Rung("outlet"))])
        fence = ladder.fence()
        fence.off(1, 1)
        ladder.drive(1)
        second.absent = True
        fence.on(2, 1)
        ladder.drive(2)
        assert bmc.commands == [], "a level that is named is asked alone"
        fence.on(3)
        ladder.drive(3)
        assert ladder.events == [PowerCommanded(1, True), PowerCommanded(2, False), PowerCommanded(3, False)]
        assert ladder.asked[-2:] == [(1, "on"), (0, "on")]
        assert bmc.commands == ["set 1"]
        hole.assert_no_orphan()
