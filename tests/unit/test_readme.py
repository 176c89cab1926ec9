"""The README's example is a configuration that passes, and its commands exist."""

from __future__ import annotations

import re
from pathlib import Path

from hblink.cli.main import COMMANDS
from hblink.config import parse

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


def test_the_first_configuration_passes_without_a_warning() -> None:
    [text] = re.findall(r"<!-- example: begin -->\n```toml\n(.*?)```\n<!-- example: end -->", README, re.DOTALL)
    config = parse(text, Path("/etc/hblink"))
    assert config.nodes == ("alpha", "beta")
    assert config.warnings == ()


def test_every_command_of_the_readme_exists_and_every_command_is_in_it() -> None:
    named = {
        word for line in re.findall(r"`hblink ([a-z]+)|^ {4}hblink ([a-z]+)", README, re.MULTILINE) for word in line
    }
    assert named - {""} == set(COMMANDS)
