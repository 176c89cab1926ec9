"""The house rules that a machine can check: the arrows between rooms, the linter, the types, the size of modules."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
# Modules over 400 lines and functions over 70 need a reason; there is none yet.
MODULE_LINES = 400


def run(*argv: str, **environment: str) -> None:
    """Run a tool over the tree; its output is the message when it fails."""
    finished = subprocess.run(
        argv, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, f"{' '.join(argv)}\n{finished.stdout}{finished.stderr}"


def test_the_arrows_between_rooms_are_true() -> None:
    run(str(BIN / "lint-imports"), "--no-cache")


def test_ruff_finds_nothing() -> None:
    run(str(BIN / "ruff"), "check", ".")
    run(str(BIN / "ruff"), "format", "--check", ".")


def test_mypy_strict_finds_nothing(tmp_path: Path) -> None:
    # wire/ is imported as hblink_wire; mypy finds packages by directory name, so it is shown the tree under both names.
    (tmp_path / "hblink").symlink_to(ROOT / "hblink")
    (tmp_path / "hblink_wire").symlink_to(ROOT / "wire")
    run(
        str(BIN / "mypy"), "--config-file", "pyproject.toml", "--cache-dir", str(ROOT / ".mypy_cache"),
        "-p", "hblink", "-p", "hblink_wire",
        MYPYPATH=str(tmp_path),
    )  # fmt: skip


@pytest.mark.parametrize(
    "module", sorted(str(path.relative_to(ROOT)) for room in ("hblink", "wire") for path in (ROOT / room).rglob("*.py"))
)
def test_a_module_can_be_held_in_the_head(module: str) -> None:
    lines = (ROOT / module).read_text().count("\n")
    assert lines <= MODULE_LINES, f"{module} has {lines} lines; rebuild it rather than squeezing in"


def test_every_package_is_named_in_pyproject() -> None:
    import tomllib

    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = {
        ".".join(path.parent.relative_to(ROOT).parts).replace("wire", "hblink_wire")
        for room in ("hblink", "wire")
        for path in (ROOT / room).rglob("__init__.py")
    }
    assert set(listed) == found
