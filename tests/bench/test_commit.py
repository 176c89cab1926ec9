"""A measurement knows of which code it is."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.bench.commit import commit


def git(root: Path, *words: str) -> str:
    author = ("-c", "user.name=x", "-c", "user.email=x@example.org")
    done = subprocess.run(["git", "-C", str(root), *author, *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_commit_is_named_and_so_are_changes_of_the_code_since(tmp_path: Path) -> None:
    assert commit(tmp_path) == "", "not under git"
    (tmp_path / "hblink").mkdir()
    (tmp_path / "hblink/core.py").write_text("one")
    (tmp_path / "README.md").write_text("one")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "one")
    head = git(tmp_path, "rev-parse", "--short", "HEAD")
    (tmp_path / "README.md").write_text("two")
    assert commit(tmp_path) == head, "what it measures is the same"
    (tmp_path / "hblink/core.py").write_text("two")
    assert commit(tmp_path) == f"{head} with changes"
