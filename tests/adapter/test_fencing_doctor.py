"""`hblink doctor fence` and `fence status` on real BMCs that are not as the configuration says: a reason for each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from hblink.cli.fence import LEVEL_LINES_MAX, level_lines
from hblink.cli.main import main
from hblink.fencing.device import FenceReason
from tests.adapter.loopback_bmc import GUID, Bmc, loopback_bmc, silent_port
from tests.rig.fru import inventory

Capture = pytest.CaptureFixture[str]

TEXT = """
cluster = "pair"
cluster_id = 7
preferred = "alpha"
guarantee = "at-most-one"
[node.alpha]
[node.beta]
[[link]]
name = "direct"
type = "udp"
endpoint.alpha = "10.9.0.1"
endpoint.beta = "10.9.0.2"
"""
FENCE = """
[[fence]]
node = "{node}"
type = "ipmi"
host = "127.0.0.1"
port = {port}
user = "{user}"
password_file = "{password}"
cipher_suite = {suite}
command_timeout_ms = {timeout}
attempt_ms = 600000
{more}
"""


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bmc]:
    with loopback_bmc(tmp_path_factory.mktemp("bmc"), fru=inventory(product="BOX-1")) as bmc:
        yield bmc


@pytest.fixture
def bmc(simulator: Bmc, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Bmc:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))  # no daemon
    simulator.reset()
    return simulator


def write(directory: Path, bmc: Bmc, more: str = "", **values: object) -> Path:
    """A configuration whose only device is `bmc`, used by alpha against beta, with `values` that are wrong."""
    said: dict[str, object] = {
        "node": "beta",
        "port": bmc.port,
        "user": "fence",
        "password": bmc.settings.password_file,
        "suite": 3,
        "timeout": 60_000,  # a look that takes half of it is called slow
        "more": more,
    }
    file = directory / "hblink.toml"
    file.write_text(TEXT + FENCE.format(**{**said, **values}))
    return file


def doctor(file: Path, capsys: Capture) -> tuple[int, dict[str, object]]:
    code = main(["doctor", "fence", str(file), "--json"])
    document = json.loads(capsys.readouterr().out)
    assert document["ok"] is (code == 0)
    (level,) = document["levels"]
    return code, level


def test_a_good_device_is_shown_with_its_identity(bmc: Bmc, tmp_path: Path, capsys: Capture) -> None:
    code, level = doctor(write(tmp_path, bmc), capsys)
    assert (code, level["ready"], level["guid"], level["serial"], level["power"]) == (0, True, GUID, "BOX-1", "on")
    assert (level["node"], level["restore_policy"], level["warnings"]) == ("beta", "always-off", ["restore_policy"])
    assert main(["doctor", "fence", str(tmp_path / "hblink.toml")]) == 0
    out = capsys.readouterr().out
    assert all(len(line) < 80 for line in out.splitlines())
    assert "LEVEL 1 beta ipmi 127.0.0.1" in out
    assert GUID in out
    assert "serial number BOX-1" in out
    assert "warning restore_policy" in out


def test_each_misconfiguration_has_its_own_reason(bmc: Bmc, tmp_path: Path, capsys: Capture) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("not-the-password")
    wrong.chmod(0o600)
    with silent_port(bmc.settings) as silent:
        cases: dict[FenceReason, Path] = {}
        for reason, change in (
            (FenceReason.WRONG_PASSWORD, {"password": wrong}),
            (FenceReason.WRONG_USER, {"user": "nobody"}),
            (FenceReason.WRONG_CIPHER, {"suite": 17}),
            (FenceReason.UNREADABLE_PASSWORD, {"password": tmp_path / "none"}),
            (FenceReason.UNREACHABLE, {"port": silent.port, "timeout": 3000}),
            (FenceReason.WRONG_DEVICE, {"more": f'guid = "{"0" * 31}1"'}),
        ):
            directory = tmp_path / reason.value
            directory.mkdir()
            cases[reason] = write(directory, bmc, **change)
        for reason, file in cases.items():
            code, level = doctor(file, capsys)
            assert (code, level["ready"], level["reason"]) == (1, False, reason.value), level
    code, level = doctor(write(tmp_path, bmc, 'serial = "BOX-2"'), capsys)
    assert (code, level["reason"], level["detail"]) == (1, "wrong_device", "serial number BOX-1, expected BOX-2")
    (bmc.directory / "broken").touch()
    assert doctor(write(tmp_path, bmc), capsys)[1]["reason"] == "bad_answer"
    assert bmc.commands == []


def test_no_device_and_no_configuration(bmc: Bmc, tmp_path: Path, capsys: Capture) -> None:
    assert bmc.power == "1"
    file = tmp_path / "hblink.toml"
    file.write_text(TEXT)
    assert main(["doctor", "fence", str(file)]) == 1
    assert "no fence device" in capsys.readouterr().out
    assert main(["doctor", "fence", str(tmp_path / "none.toml")]) == 78


@pytest.mark.parametrize("reason", list(FenceReason))
def test_a_level_fits_the_screen_whatever_it_says(reason: FenceReason) -> None:
    level = {
        "level": 4,
        "node": "b" * 63,
        "name": "ipmi " + "f" * 60,
        "ready": reason is FenceReason.OK,
        "reason": reason.value,
        "detail": "\x1b[2J" + "word " * 60,
        "power": "on",
        "age_ms": 12_000_000,
        "took_ms": 4999.9,
        "warnings": ["slow", "restore_policy", "no_identity"],
        "guid": GUID,
        "serial": "S" * 90,
        "restore_policy": "always-off",
        "proof": {"kind": "takeover", "age_s": 12_000_000},
    }
    lines = level_lines(level)
    assert len(lines) <= LEVEL_LINES_MAX
    assert all(len(line) <= 79 and line.isascii() and line.isprintable() for line in lines)
    assert reason is FenceReason.OK or any(reason.value in line for line in lines)
