"""Each situation as a text file: what is typed to a simulated pair, and everything that it does.

`pytest tests/scenario --rewrite-scenarios` writes down what happens now; the difference is then to be read by eye.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from hblink.core.value import SECOND
from hblink.sim.scenario import ScenarioError, perform
from hblink.sim.stage import VIOLATION, Stage
from tests.scenario.situation import SITUATIONS

FILES = sorted(Path(__file__).parent.glob("*.txt"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_pair_behaves_as_written(path: Path, request: pytest.FixtureRequest) -> None:
    text = path.read_text(encoding="ascii")
    happened = perform(text)
    assert VIOLATION not in happened, happened
    if request.config.getoption("--rewrite-scenarios"):
        path.write_text(happened, encoding="ascii")
    else:
        assert happened == text


def test_every_file_begins_by_saying_what_it_shows() -> None:
    assert len(FILES) >= 60
    assert [path.name for path in FILES if not path.read_text().startswith("# ")] == []


@pytest.mark.parametrize("situation", SITUATIONS)
def test_every_situation_is_shown(situation: str) -> None:
    names = {path.stem for path in FILES}
    assert SITUATIONS[situation]
    assert [name for name in SITUATIONS[situation] if name not in names] == []


def test_no_line_is_too_long_to_be_read() -> None:
    long = [f"{path.name}: {line}" for path in FILES for line in path.read_text().splitlines() if len(line) > 120]
    assert [line for line in long if "alarms: " not in line] == []


def test_what_was_written_below_the_rule_does_not_matter_to_what_is_played() -> None:
    text = "# a comment\nboot alpha beta\npass 1s\n----\nanything\n\nstatus\n----\n"
    happened = perform(text)
    assert happened.startswith("# a comment\nboot alpha beta\npass 1s\n----\n    0.000  alpha  boot\n")
    assert happened.endswith("beta   standby (peer_active), epoch 2, alarms: none; nothing here\n")
    assert perform(happened) == happened


def test_a_broken_rule_is_printed_and_ends_the_play() -> None:
    stage = Stage()
    stage.carry_out("boot", ["alpha", "beta"])
    stage.carry_out("pass", ["5s"])
    stage.world.timeline.call_after(SECOND, stage.host("beta").kernel.begin)
    assert stage.carry_out("pass", ["5s"]) == [f"{VIOLATION} I1: both nodes run the service, at 6.000 s"]
    assert stage.carry_out("status", []) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("jump\n----\n", "line 1: jump: wrong number of words"),
        ("boot alpha\n\ndance beta\n----\n", "line 3: dance beta: there is no command dance"),
        ("boot gamma\n----\n", "line 1: boot gamma: there is no node gamma"),
        ("pass 5h\n----\n", "line 1: pass 5h: 5h is no time such as 250ms or 5s"),
        ("boot alpha\npair fence=no\n----\n", "line 2: pair fence=no: the pair is there already"),
        ("boot alpha\n", "line 1: there is no line ---- below"),
    ],
)
def test_a_file_that_cannot_be_played_says_where(text: str, message: str) -> None:
    with pytest.raises(ScenarioError, match=message.replace("(", r"\(")):
        perform(text)
