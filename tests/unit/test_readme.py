"""The README's example is a configuration that passes, alone and with each further table; its commands exist."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import dedent

import pytest

from hblink.cli.main import COMMANDS
from hblink.config import parse
from hblink.config.value import IPMI_PORT, PORT

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


[EXAMPLE] = re.findall(r"<!-- example: begin -->\n```toml\n(.*?)```\n<!-- example: end -->", README, re.DOTALL)
TABLES = [dedent(block) for block in re.findall(r"^((?: {4}\[.*\n)(?: {4}.*\n)*)", README, re.MULTILINE)]


def test_the_first_configuration_passes_without_a_warning() -> None:
    config = parse(EXAMPLE, Path("/etc/hblink"))
    assert config.nodes == ("alpha", "beta")
    assert config.warnings == ()


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.split()[0])
def test_each_further_table_passes_behind_it_without_a_warning(table: str) -> None:
    assert parse(EXAMPLE + table, Path("/etc/hblink")).warnings == ()


def test_the_further_tables_are_those() -> None:
    assert [table.split()[0] for table in TABLES] == ["[[fence]]", "[[target]]", "[guard]"]


def test_every_command_of_the_readme_exists_and_every_command_is_in_it() -> None:
    named = {
        word for line in re.findall(r"`hblink ([a-z]+)|^ {4}hblink ([a-z]+)", README, re.MULTILINE) for word in line
    }
    assert named - {""} == set(COMMANDS)


def test_the_port_that_a_firewall_lets_through_is_the_default() -> None:
    assert f"UDP from port {PORT} to port {PORT}" in README
    assert f"from port {PORT} to port {PORT}" in (ROOT / "wire/PROTOCOL.md").read_text()
    assert f"UDP to port {IPMI_PORT} of both BMCs" in README
