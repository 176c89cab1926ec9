"""What `make bench` can be asked for."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.bench.run import main
from tests.bench.tally import Sample, Tally


@pytest.mark.parametrize("words", [["--contestants", "hblink,pacemaker"], ["--situations", "fire"], ["tea"]])
def test_what_does_not_exist_is_named_with_what_does(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert f"no such thing: {words[-1].split(',')[-1]}; there is " in capsys.readouterr().err


def test_what_was_measured_before_can_be_shown_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tally = Tally({"ucarp": "slow"}, {"crash": "host crash"}, {}, "2 cores.")
    tally.add("ucarp", "crash", Sample(4500.0, True, 0.0, False, 5000.0))
    (tmp_path / "values.json").write_text(json.dumps({"comparison": tally.document()}))
    monkeypatch.setattr(sys, "argv", ["bench", "--show", str(tmp_path / "values.json"), str(tmp_path / "values.json")])
    assert main() == 0
    shown = capsys.readouterr().out
    assert "| host crash           | 4.50 s |" in shown
    assert "runs of each cell: 2" in shown
