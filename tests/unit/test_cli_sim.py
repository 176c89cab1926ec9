"""`hblink sim` and `hblink replay`: what they print, fit on the screen, and return."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hblink.cli import sim
from hblink.cli.main import main
from hblink.config import parse
from hblink.core.event import Event, LinkOpened, PeerBeat, Released, Started
from hblink.core.invariant import InvariantViolated
from hblink.core.state import initial
from hblink.core.step import step
from hblink.core.value import MS, SECOND, Advert, Memory, Role, Settings
from hblink.flight import head_line, step_line
from hblink.sim.plan import default_plan
from hblink.sim.swarm import run_seed
from tests.unit.sample import GOOD, edited

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def record(tmp_path: Path) -> Path:
    """The flight record of a node that starts, hears its peer, and claims."""
    settings = Settings(me=0, preferred=0)
    state = initial(settings)
    events: list[tuple[int, Event]] = [
        (5 * SECOND, Started(Memory())),
        (5 * SECOND, LinkOpened(0)),
        (5 * SECOND + MS, Released(1)),
        (5 * SECOND + 50 * MS, PeerBeat(0, Advert(Role.STANDBY, 0), echo_sent_at=5 * SECOND + 2 * MS, hears=1)),
    ]
    lines = [head_line(settings, "alpha", "1.0")]
    for at, event in events:
        before = state
        state, effects = step(settings, before, event, at)
        lines.append(step_line(at, event, before, state, effects))
    path = tmp_path / "flight"
    path.write_text("\n".join(lines) + "\n", encoding="ascii")
    return path


def test_a_report_fits_the_screen_and_all_rules_hold(capsys: Capture) -> None:
    assert main(["sim", "--seeds", "2"]) == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert lines[0].startswith("simulated         2 runs, 0.1 hours, ")
    assert lines[-1] == "rules broken      none"
    assert max(map(len, lines)) < 80
    assert printed.err == ""  # no progress line where nobody watches


def test_json_says_the_same(capsys: Capture) -> None:
    assert main(["sim", "--seeds", "1", "--seed", "7", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["ok"], document["runs"], document["broken"]) == (True, 1, [])
    assert document["dual_service_ms"] == 0


def test_the_users_own_configuration_is_simulated(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "hblink.toml"
    path.write_text(GOOD)
    assert main(["sim", "-c", str(path), "--seeds", "1", "--log"]) == 0
    assert "beta" in capsys.readouterr().out
    plan = sim.plan_of(parse(GOOD, tmp_path))
    assert [(link.name, link.baud) for link in plan.links] == [("direct", None), ("serial", 115200)]
    assert [settings.me for settings in plan.settings] == [0, 1]
    assert plan.settings[0].fence_attempt_ns == plan.settings[1].fence_attempt_ns == 30 * SECOND
    assert not plan.varies


def test_a_bad_configuration_is_refused(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "hblink.toml"
    path.write_text(edited(("deadtime_ms = 1000", "deadtime_ms = 1")))
    assert main(["sim", "-c", str(path)]) == 78
    assert "timing.deadtime_ms" in capsys.readouterr().err


def test_a_broken_rule_is_printed_with_how_to_see_it_again() -> None:
    tally = sim.Tally()
    tally.add(replace(run_seed(default_plan(), 9, SECOND), violation="I1: both nodes run the service, at 3.000 s"))
    lines = sim.report(tally, Path("my.toml"))
    assert lines[-2:] == [
        "seed 9: I1: both nodes run the service, at 3.000 s",
        "  hblink sim --seed 9 --seeds 1 --log -c my.toml",
    ]
    assert tally.document()["ok"] is False


def test_a_lie_is_accounted_for_by_itself() -> None:
    """Two owners after a lie are no broken rule; the rows on honest runs must not hide or show them."""
    honest = replace(run_seed(default_plan(), 9, SECOND), dual_service_ns=0, exempt="")
    tally = sim.Tally()
    tally.add(honest)
    tally.add(replace(honest, exempt="a lying BMC", dual_service_ns=3 * SECOND, dual_vip_ns=3 * SECOND))
    document = tally.document()
    assert (document["dual_service_ms"], document["dual_address_ms"]) == (0, 0)
    assert (document["runs_with_a_lie"], document["dual_service_with_a_lie_ms"]) == (1, 3000)
    assert "after a lie       service 3.0 s in the worst of 1 runs (BMC or operator)" in sim.report(tally, None)


def test_a_soak_runs_for_as_long_as_it_is_told_to(capsys: Capture) -> None:
    assert main(["sim", "--soak", "1s", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["runs"] >= 1


@pytest.mark.parametrize("text", ["", "5", "m", "0s", "5 m", "5w"])
def test_a_soak_of_no_length_is_a_usage_error(text: str, capsys: Capture) -> None:
    with pytest.raises(SystemExit) as error:
        main(["sim", "--soak", text])
    assert error.value.code == 2
    assert "is no time such as 90s, 30m or 8h" in capsys.readouterr().err


def test_no_runs_is_a_usage_error(capsys: Capture) -> None:
    with pytest.raises(SystemExit) as error:
        main(["sim", "--seeds", "0"])
    assert error.value.code == 2
    assert "0 is not a number of runs" in capsys.readouterr().err


def test_replay_shows_the_roles_by_time(record: Path, capsys: Capture) -> None:
    assert main(["replay", str(record)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "alpha, hblink 1.0",
        "       5.001  starting -> standby (listening), epoch 0",
        "       5.050  standby -> claiming, epoch 2",
        "the same in 4 steps",
    ]


def test_several_lives_in_one_record_are_told_apart(record: Path, capsys: Capture) -> None:
    record.write_text(record.read_text() * 2)
    assert main(["replay", str(record)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines.count("alpha, hblink 1.0") == 2
    assert lines[-1] == "the same in 8 steps"


def test_the_first_difference_is_shown(record: Path, capsys: Capture) -> None:
    text = record.read_text()
    assert '"type":"Activate"' in text
    record.write_text(text.replace('"type":"Activate"', '"type":"Release"'))
    assert main(["replay", str(record)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[3].startswith("step 4 at 5.050 s differs: PeerBeat(")
    assert any(line.startswith("  then  claiming: ") for line in lines)
    assert any(line.startswith("  now   claiming: ") for line in lines)
    assert max(map(len, lines)) < 80


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda lines: lines[1:], "a flight record begins with its head"),
        (lambda lines: [lines[0], *lines[2:]], "the record begins in mid-flight"),
        (lambda lines: [lines[0], "what?", *lines[1:]], "line 2: "),
    ],
)
def test_a_record_that_cannot_be_replayed_says_why(
    edit: Callable[[list[str]], list[str]], message: str, record: Path, capsys: Capture
) -> None:
    record.write_text("\n".join(edit(record.read_text().splitlines())) + "\n")
    assert main(["replay", str(record)]) == 1
    assert message in " ".join(capsys.readouterr().err.split())


def test_a_program_reads_the_lives_the_verdict_and_the_first_difference(record: Path, capsys: Capture) -> None:
    def replayed(code: int) -> dict[str, Any]:
        assert main(["replay", "--json", str(record)]) == code
        captured = capsys.readouterr()
        assert captured.err == ""
        document: dict[str, Any] = json.loads(captured.out)
        return document

    text = record.read_text()
    claim = {"at_ns": 5050 * MS, "before": "standby", "after": "claiming", "reason": "none", "epoch": 2}
    record.write_text(text * 2)
    same = replayed(0)
    assert (same["ok"], same["steps"], len(same["lives"])) == (True, 8, 2)
    assert (same["lives"][1]["node"], same["lives"][1]["changes"][-1]) == ("alpha", claim)
    record.write_text(text.replace('"type":"Activate"', '"type":"Release"'))
    differs = replayed(1)
    assert (differs["ok"], differs["steps"], differs["difference"]["at_ns"]) == (False, 4, 5050 * MS)
    assert differs["difference"]["event"].startswith("PeerBeat(")
    then, now = differs["difference"]["then"], differs["difference"]["now"]
    assert then["role"] == now["role"] == "claiming"
    assert any(effect.startswith("Release(") for effect in then["effects"])
    assert any(effect.startswith("Activate(") for effect in now["effects"])
    record.write_text(text.partition("\n")[2])
    assert "begins with its head" in replayed(1)["error"]
    record.unlink()
    assert replayed(1) == {"ok": False, "error": f"{record}: No such file or directory"}


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_step_that_breaks_an_invariant_is_named(
    options: list[str], record: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise InvariantViolated("two owners")

    monkeypatch.setattr("hblink.flight.step", broken)
    assert main(["replay", *options, str(record)]) == 1
    out = capsys.readouterr().out
    if options:
        assert json.loads(out) == {"ok": False, "steps": 1, "lives": [], "error": "breaks an invariant: two owners"}
    else:
        assert out == "step 1 breaks an invariant: two owners\n"


def test_a_record_that_is_not_there_says_so(tmp_path: Path, capsys: Capture) -> None:
    assert main(["replay", str(tmp_path / "none")]) == 1
    assert "No such file" in " ".join(capsys.readouterr().err.split())
