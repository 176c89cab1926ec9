"""The table that a run of the virtual machines leaves in images/README.md; no machine is started here."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.rig.process import ROOT
from tests.rig.setting import NODES
from tests.vm import readme
from tests.vm.scenario import STEPS, TAKEOVERS
from tests.vm.stage import Record, Result

RESULTS = [Result(step.__name__, 12.3, {"192.0.2.10": ["alpha", "beta"]}, gap_ms=7400) for step in STEPS]
RECORD = Record(
    machine_ids=dict.fromkeys(NODES, "id"),
    ready_s=dict.fromkeys(NODES, 41.0),
    memory_mib=dict.fromkeys(NODES, 43.5),
    load_percent=dict.fromkeys(NODES, 6.25),
)


def test_every_takeover_is_a_step() -> None:
    assert set(TAKEOVERS) <= {step.__name__ for step in STEPS}


def test_the_readme_has_one_block_for_the_figures() -> None:
    text = (ROOT / "images" / "README.md").read_text()
    assert text.count(readme.BEGIN) == text.count(readme.END) == 1


def test_the_figures_replace_the_block_and_nothing_else(tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(bytes(1 << 20))
    page = tmp_path / "README.md"
    page.write_text(f"before\n{readme.BEGIN}\nold\n{readme.END}\nafter\n")
    for _ in range(2):
        readme.fill(page, image, RECORD, RESULTS)
    text = page.read_text()
    assert text.startswith(f"before\n{readme.BEGIN}\n")
    assert text.endswith(f"{readme.END}\nafter\n")
    assert "old" not in text
    assert "| power on to READY, both booting [s] | 41 / 41 |" in text
    assert text.count("| 7.4 |") == len(TAKEOVERS)


def test_a_page_without_marks_is_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_text("nothing\n")
    with pytest.raises(AssertionError, match="no marked block"):
        readme.fill(page, page, RECORD, RESULTS)
    assert page.read_text() == "nothing\n"


def test_the_summary_names_a_failed_step_and_its_first_line() -> None:
    failed = Result("power_cut", 60.0, error="beta did not answer | in time\nmore")
    assert "| power_cut | FAILED | 60 |" in readme.summary([*RESULTS, failed], 600.0)
    assert "beta did not answer / in time |" in readme.summary([failed], 60.0)
