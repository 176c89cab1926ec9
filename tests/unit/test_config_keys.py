"""KEYS.md is what the reader reads: every key of hblink.toml with its bounds and its default, and no other."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hblink.config import fence, parse, reader, relation
from hblink.config.document import NS_PER_MS, Table
from tests.unit.sample import GOOD

TEXT = (Path(fence.__file__).parent / "KEYS.md").read_text()
LEAST = (
    GOOD.replace("attempt_ms = 30000\n", "").replace("baud = 115200\n", "").replace("deadtime_ms = 1000\n", "")
    + """
[[fence]]
node = "beta"
type = "agent"
agent = "fence_apc_snmp"
[[target]]
address = "192.0.2.1"
interface = "eth0"
"""
)
# With what is asked for only where it is there.
FULL = """
profile = "stateless"
start_alone = "fence"
start_alone_node = "alpha"
guard = { self_reset_ms = 5000 }
""" + re.sub(r'type = "(ipmi|agent)"\n', lambda match: match[0] + "level = LEVEL\n", LEAST).replace(
    'host = "10.0.0.12"\n', 'host = "10.0.0.12"\nrestore_policy = "previous"\n'
).replace("LEVEL", "1", 2).replace("LEVEL", "2")
# Narrower than the key's own bounds: judged against other values, or one by one.
NARROWER = {
    "timing.lease_ms": f"{relation.LEASE_MIN_NS // NS_PER_MS}..{relation.LEASE_MAX_NS // NS_PER_MS}",
    "link serial.baud": ", ".join(map(str, reader.BAUDS)),
    "fence ipmi.cipher_suite": ", ".join(map(str, fence.CIPHER_SUITES)),
}
SECTIONS = {
    "Head of the file": "",
    "[node.NODE]": "node.NODE.",
    "[timing]": "timing.",
    '[[link]] of type "udp"': "link udp.",
    '[[link]] of type "serial"': "link serial.",
    "[[vip]]": "vip.",
    '[[fence]] of type "ipmi"': "fence ipmi.",
    '[[fence]] of type "agent"': "fence agent.",
    "[[target]]": "target.",
    "[health]": "health.",
    "[guard]": "guard.",
}
ANY = "anything"  # what a text may be is said in words


@dataclass(frozen=True)
class Key:
    values: str
    default: str


def place(path: str) -> str:
    """A dotted path without the numbers of tables and the names of nodes."""
    path = path.replace("link[0]", "link udp").replace("link[1]", "link serial").replace("fence[2]", "fence agent")
    path = re.sub(r"fence\[\d\]", "fence ipmi", path)
    return re.sub(r"\[\d\]", "", re.sub(r"\.(alpha|beta)\b", ".NODE", path))


def read_keys(text: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Key]:
    """What the reader asks for when it reads `text`, as KEYS.md is to say it."""
    asked: dict[str, Key] = {}

    def watch(name: str, describe: Callable[..., Key]) -> None:
        original = getattr(Table, name)

        def read(self: Table, key: str, *arguments: Any, **named: Any) -> Any:
            asked[place(self.at(key))] = describe(*arguments, **named)
            return original(self, key, *arguments, **named)

        monkeypatch.setattr(Table, name, read)

    def choice(choices: Mapping[str, object], default: str | None = None) -> Key:
        words = "a node" if set(choices) == {"alpha", "beta"} else ", ".join(f'`"{word}"`' for word in choices)
        return Key(words, "required" if default is None else f'`"{default}"`')

    def words(default: str | None = None, _rule: object = None, **_named: object) -> Key:
        return Key(ANY, "required" if default is None else f'`"{default}"`' if default else "none")

    watch(
        "integer",
        lambda low, high, default=None: Key(f"{low}..{high}", str("required" if default is None else default)),
    )
    watch("boolean", lambda default: Key("true, false", str(default).lower()))
    watch("choice", choice)
    watch("text", words)
    watch("optional_text", lambda: Key(ANY, "none"))
    watch("texts", lambda: Key(ANY, "none"))
    original_table = Table.table

    def table(self: Table, key: str, required: bool = False) -> Table:
        if key in ("parameters", "secret_files"):
            asked[place(self.at(key))] = Key(ANY, "none")
        return original_table(self, key, required)

    monkeypatch.setattr(Table, "table", table)
    parse(text, Path("/etc/hblink"))
    monkeypatch.undo()
    return asked


def written_keys() -> dict[str, Key]:
    """What KEYS.md says; of a default what stands before a comma, as what follows explains it."""
    found: dict[str, Key] = {}
    for section in TEXT.split("\n## ")[1:]:
        title, _, body = section.partition("\n")
        for key, values, default in re.findall(r"^\| `([^`]+)` \| ([^|]+) \| ([^|]+) \| [^|]+ \|$", body, re.MULTILINE):
            assert SECTIONS[title] + key not in found
            found[SECTIONS[title] + key] = Key(values, default.partition(",")[0])
    return found


def test_every_key_that_is_read_is_told_with_its_bounds_and_its_default(monkeypatch: pytest.MonkeyPatch) -> None:
    least, full = read_keys(LEAST, monkeypatch), read_keys(FULL, monkeypatch)
    written = written_keys()
    only_there = {path: Key(key.values, "none") for path, key in full.items() if path not in least}
    expected = only_there | least
    assert set(written) == set(expected)
    for path, key in expected.items():
        values = NARROWER.get(path, key.values)
        told = written[path]
        assert told == Key(told.values if values == ANY else values, key.default), path


def test_each_row_of_a_table_is_understood() -> None:
    assert len(re.findall(r"^\| `", TEXT, re.MULTILINE)) == len(written_keys())
