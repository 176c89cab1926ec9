"""A way through the explorer's world as a scenario file: written, accepted, played, and refused where it is wrong."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from hblink.core.state import State
from hblink.sim import stage
from hblink.sim.explorer import script
from hblink.sim.explorer.family import FAMILIES, Family
from hblink.sim.explorer.form import UnknownField, require_known
from hblink.sim.explorer.move import TICK_MOVE, Move
from hblink.sim.explorer.script import WISHES, Script, written
from hblink.sim.scenario import ScenarioError, perform


def test_what_is_written_is_what_the_scenario_runner_plays() -> None:
    moves = (Move("start", 0), Move("start", 1), Move("cut_one", 1, 0), TICK_MOVE, Move("hold", 0, 1))
    text = written(Family("twice", 1, links=2, disks=(0, 3), disk=False), "I1: both", moves)
    assert text.splitlines()[:4] == [
        "# I1: both",
        "# Found by the explorer in the family twice: the shortest way to it.",
        "explore links=2 disk=no disks=0,3",
        "start alpha",
    ]
    played = perform(text)
    assert "beta   starting, epoch 3, inert; asks: release" in played
    assert played.endswith("hold alpha serial\n----\n   1  hold alpha serial is not possible here\n")
    assert perform(played) == played


def test_a_want_of_an_owner_is_shown_by_letting_the_world_be_fair() -> None:
    text = written(Family("nobody", 1, has_fence=False), "liveness: nobody owns the service", (Move("panic", 0),))
    assert "settle\n----\n" in text
    alpha, beta = perform(text).splitlines()[-2:]
    assert alpha == "      fair from here on       alpha  active, epoch 2; runs"
    assert beta == "      fair from here on       beta   standby (peer_active), epoch 2"


def test_both_kinds_of_scenario_say_violation_with_the_same_word() -> None:
    assert script.VIOLATION == stage.VIOLATION


def test_every_family_can_be_written_and_built_again() -> None:
    for family in FAMILIES:
        wishes = next(line for line in written(family, "", ()).splitlines() if line.startswith("explore")).split()[1:]
        player = Script()
        player.carry_out("explore", wishes)
        assert [getattr(player.family, name) for name in WISHES] == [getattr(family, name) for name in WISHES]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("explore\ndance alpha\n----\n", "line 2: dance alpha: there is no move dance"),
        ("explore\nstart gamma\n----\n", "line 2: start gamma: there is no node gamma"),
        ("explore links=2\nhold alpha usb\n----\n", "line 2: hold alpha usb: there is no link usb"),
        ("explore\ntick alpha\n----\n", "line 2: tick alpha: wrong number of words"),
        ("explore wings=2\n----\n", "line 1: explore wings=2: wings=2 is unknown"),
        ("explore disk=maybe\n----\n", "line 1: explore disk=maybe: disk is yes or no"),
    ],
)
def test_a_file_that_cannot_be_played_says_where(text: str, message: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        perform(text)
    assert str(caught.value) == message


def test_an_instant_that_the_explorer_does_not_know_is_refused() -> None:
    """A new field of the core's state must be named before anything is searched: else it would not age."""
    require_known()

    @dataclass
    class LinkView:
        open: bool
        lost_at: int | None

    with pytest.raises(UnknownField, match=r"LinkView\.lost_at: int \| None"):
        require_known((State, LinkView))
