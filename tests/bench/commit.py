"""Which hblink is measured: a figure without the code that it was taken of says little a month later."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.rig.process import ROOT

CODE = ("hblink", "wire")


def commit(root: Path = ROOT) -> str:
    """Return the short name of the commit at `root`, and whether the code differs from it; empty outside of git."""
    head = _git(root, "rev-parse", "--short", "HEAD")
    return head and head + (" with changes" if _git(root, "status", "--porcelain", "--", *CODE) else "")


def _git(root: Path, *words: str) -> str:
    # Another's tree is refused by git; it is measured by root, and only looked at here.
    command = ["git", "-c", f"safe.directory={root}", "-C", str(root), *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:  # no git
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
