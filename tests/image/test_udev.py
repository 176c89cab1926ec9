"""The rules of the heartbeat port, for Debian 13's udev; what they do to real ports is shown in a guest."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.image.conftest import TREE, MakeRoot, Root

RULES = "/usr/lib/udev/rules.d/62-hblink.rules"
PORT = "/etc/udev/rules.d/61-hblink-port.rules"


@pytest.fixture
def root(make_root: MakeRoot) -> Root:
    made = make_root("base")
    made.run("groupadd", "--system", "hblink")
    made.add(TREE / "udev/62-hblink.rules", RULES)
    return made


def test_udev_accepts_the_rules(root: Root) -> None:
    assert "Success: 1" in root.run("udevadm", "verify", RULES)


def test_udev_accepts_every_example_line(root: Root, tmp_path: Path) -> None:
    examples = re.findall(r"^#(SUBSYSTEM==.*)$", (TREE / "udev/61-hblink-port.rules").read_text(), re.MULTILINE)
    assert len(examples) == 4
    chosen = tmp_path / "61-hblink-port.rules"
    chosen.write_text("\n".join(examples) + "\n")
    root.add(chosen, PORT)
    assert "Success: 1" in root.run("udevadm", "verify", PORT)


def test_udev_would_have_found_a_mistake(root: Root, tmp_path: Path) -> None:
    """The check itself bites: a key that does not exist is refused."""
    wrong = tmp_path / "wrong.rules"
    wrong.write_text((TREE / "udev/62-hblink.rules").read_text().replace("SYMLINK+=", "SYMLYNK+="))
    root.add(wrong, RULES)
    with pytest.raises(AssertionError, match="SYMLYNK"):
        root.run("sh", "-c", f"udevadm verify {RULES} 2>&1")
