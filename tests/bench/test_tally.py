"""What the comparison says is made from the samples, in both directions: nothing is hidden and nothing is claimed."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.bench.page import BEGIN, END, PageError, fill, write
from tests.bench.picture import PANEL, picture, scale
from tests.bench.tally import (
    NEAR,
    NEAR_MS,
    Cost,
    Sample,
    Tally,
    better,
    dual,
    duration,
    markdown,
    outage,
    report,
    worse,
)

CONTESTANTS = {"hblink": "ours", "keepalived-0.01": "quick", "ucarp": "slow"}
SITUATIONS = {"crash": "host crash of the owner", "split": "silent split: both alive"}


def served(ms: float, two_ms: float = 0.0, *, lasting: bool = False, fences: int = 0) -> Sample:
    return Sample(ms, True, two_ms, lasting, 5000.0, fences)


def lost(ms: float) -> Sample:
    return Sample(ms, False, 0.0, False, ms)


def some() -> Tally:
    tally = Tally(CONTESTANTS, SITUATIONS, {"ucarp": "1.5.2"}, "2 cores.")
    for ms in (2100.0, 2200.0, 2000.0):
        tally.add("hblink", "crash", served(ms, fences=1))
        tally.add("hblink", "split", served(1100.0, fences=1))
        tally.add("keepalived-0.01", "crash", served(ms / 100))
        tally.add("keepalived-0.01", "split", served(0.0, 3000.0, lasting=True))
        tally.add("ucarp", "crash", served(4500.0))
    tally.costs["hblink"] = [Cost(32.0, 2.0, 1.5)]
    tally.costs["ucarp"] = [Cost(3.0, 0.01, 0.02)]
    return tally


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0.0, "0"),
        (0.4, "0"),
        (12.4, "12 ms"),
        (999.6, "1.00 s"),
        (1354.0, "1.35 s"),
        (9994.0, "9.99 s"),
        (15900.0, "15.9 s"),
    ],
)
def test_durations_are_short(ms: float, text: str) -> None:
    assert duration(ms) == text


def test_a_cell_shows_median_and_worst_and_what_never_ended() -> None:
    assert outage([]) == dual([]) == "-"
    assert outage([served(10), served(20), served(90)]) == "20 ms / 90 ms"
    assert outage([served(10), served(10)]) == "10 ms"
    assert outage([lost(15000), lost(15100)]) == "not back in 15.0 s"
    assert outage([served(10), lost(15000)]) == "not back in 15.0 s (1 of 2)"
    assert dual([served(0), served(0)]) == "0"
    assert dual([served(0, 40), served(0, 60), served(0, 50)]) == "50 ms / 60 ms"
    assert dual([served(0, 3000, lasting=True), served(0)]) == "**lasting** (1 of 2)"


def test_a_table_is_aligned() -> None:
    assert markdown([["time", "a", "bcdef"], ["crash", "1 ms", "-"]]).splitlines() == [
        "| time  |    a | bcdef |",
        "| ----- | ---: | ----: |",
        "| crash | 1 ms |     - |",
    ]


def test_where_hblink_is_worse_is_said_with_what_the_others_paid() -> None:
    lines = worse(some())
    assert lines[0] == (
        "host crash of the owner: hblink 2.10 s / 2.20 s without service; keepalived-0.01 21 ms / 22 ms."
    )
    assert lines[1] == (
        "silent split: hblink 1.10 s without service; keepalived-0.01 0, with two owners for as long as we looked."
    )
    assert "memory of a node's daemon: hblink 32.00 MB; ucarp 3.00." in lines
    assert lines[-1].endswith("dead or alive: hblink in crash (3 of 3 runs), split (3 of 3 runs).")


def test_nothing_is_worse_where_the_figures_are_the_same() -> None:
    tally = Tally(CONTESTANTS, SITUATIONS, {}, "")
    tally.add("hblink", "crash", served(14.0))
    tally.add("ucarp", "crash", served(10.0))
    assert worse(tally) == []


def test_what_counts_as_the_same_is_said_where_it_is_used() -> None:
    tally = Tally(CONTESTANTS, SITUATIONS, {}, "")
    tally.add("hblink", "crash", served(100.0 * NEAR))
    tally.add("ucarp", "crash", served(100.0))
    assert worse(tally) == []
    tally.add("hblink", "crash", served(100.0 * NEAR + 1))
    assert worse(tally) != []
    text = report(tally)
    assert f"at most {100 * (NEAR - 1):.0f} % above another, or {NEAR_MS:g} ms where it is a time" in text


def test_the_commits_that_were_measured_are_named_once_each() -> None:
    tally, other = some(), some()
    assert "commit" not in report(tally), "an earlier document does not tell"
    tally.commits.append("1234567")
    other.commits.extend(["1234567", "89abcde with changes"])
    tally.take(other)
    assert "hblink of commit 1234567, 89abcde with changes; what has changed since: `git diff 1234567" in report(tally)


def test_a_service_that_never_came_back_was_not_quicker() -> None:
    tally = Tally(CONTESTANTS, SITUATIONS, {}, "")
    tally.add("hblink", "crash", served(9000.0))
    tally.add("ucarp", "crash", lost(5000.0))
    assert worse(tally) == []


def test_two_owners_of_hblink_would_be_shouted() -> None:
    tally = some()
    assert better(tally) == "hblink never, in 6 runs; keepalived-0.01 in split."
    tally.add("hblink", "crash", served(100.0, 50.0))
    assert better(tally) == "hblink HAD TWO OWNERS: hblink in crash; keepalived-0.01 in split."


def test_a_tally_survives_json() -> None:
    tally = some()
    tally.failures.append("ucarp, crash, run 4: did not settle")
    tally.commits.append("1234567")
    again = Tally.of(json.loads(json.dumps(tally.document())))
    assert again == tally
    assert report(again) == report(tally)
    assert "did not settle" in report(again)


def test_the_report_names_runs_versions_and_noise() -> None:
    tally = some()
    text = report(tally, "plot.svg")
    assert "runs of each cell: 3" in text
    assert "ucarp 1.5.2." in text
    assert "never more than 50 ms late in 15 runs" in text
    assert "](plot.svg)" in text
    tally.add("ucarp", "crash", Sample(1.0, True, 0.0, False, 1.0, 0, 80.0))
    assert "more than 50 ms late in 1 of 16 runs, 80 ms at worst" in report(tally)


def test_the_plot_is_an_svg_with_a_bar_for_each_cell() -> None:
    root = ElementTree.fromstring(picture(some()))
    space = "{http://www.w3.org/2000/svg}"
    texts = {element.text for element in root.iter(f"{space}text")}
    assert {"hblink", "ucarp", "host crash of the owner", "silent split", "time with two owners"} <= texts
    bars = [element for element in root.iter(f"{space}rect") if element.get("height") == "5"]
    assert len(bars) == 5  # four outages and one that lasts
    assert len(list(root.iter(f"{space}polygon"))) == 1
    assert len(list(root.iter(f"{space}circle"))) == 5  # none: one outage, four times with two owners


def test_the_scale_is_logarithmic_and_ends_at_the_panel() -> None:
    assert scale(0.0) == scale(1.0) == 0.0
    assert scale(60_000.0) == scale(90_000.0) == PANEL
    assert scale(100.0) - scale(10.0) == pytest.approx(scale(10.0))


def test_the_page_is_filled_between_its_marks_only() -> None:
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    assert fill(page, "new") == f"before\n{BEGIN}\nnew\n{END}\nafter\n"


@pytest.mark.parametrize("page", ["", BEGIN, f"{END}{BEGIN}", f"{BEGIN}{END}{BEGIN}{END}"])
def test_a_page_without_its_marks_is_refused(page: str) -> None:
    with pytest.raises(PageError, match="once each"):
        fill(page, "new")


def test_the_plot_and_the_page_are_written_together(tmp_path: Path) -> None:
    (tmp_path / "tests/bench").mkdir(parents=True)
    (tmp_path / "README.md").write_text(f"# x\n{BEGIN}\n{END}\n")
    write(some(), tmp_path)
    assert "host crash of the owner" in (tmp_path / "README.md").read_text()
    assert (tmp_path / "tests/bench/comparison.svg").read_text().startswith("<svg ")
