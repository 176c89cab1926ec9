"""The table of what holds each rule is true: what it names exists, and is caught under the rule of its row."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.sim import mutant, test_explorer_bites

TESTS = Path(__file__).resolve().parents[1]
TABLE = TESTS.parent / "hblink" / "sim" / "PROOF.md"
CAUGHT = {each.name: each.rule for each in mutant.MUTANTS} | {
    each.weaken.__name__: each.rule for each in test_explorer_bites.MUTANTS
}
# The weakenings that the list must not be without.
NAMED = {
    "skip the grant": "claims without a grant",
    "accept an unverified OFF": "an accepted command counts as off",
    "credit before the freshness check": "credits before freshness is proven",
    "ignore the epoch": "a yield counts for any epoch",
    "forget the stall gate": "the stall gate is forgotten",
    "fence while a frame is fresh": "suspects a peer that is fresh",
    "yield before stops are confirmed": "says YIELDED before the stop is confirmed",
    "inert rule off": "an inert node fences",
    "off sent before the first BMC reading": "off is sent before the first reading",
    "no fencing slots": "no fencing slots",
    "a challenge reply may grant": "a challenge reply may grant",
    "no echo condition in (c)": "no echo condition in (c)",
    "a roll-back timer takes a yield back": "a timer takes a yield back",
    "a standby without the token elects itself": "a standby without the token elects itself",
    "a daemon speaks before its clean start": "a daemon speaks before its clean start",
    "the held OFF is not read again": "a held OFF is not read again",
    "epochs of standbys compared in S9": "epochs of nodes that own nothing are compared",
}


def rows() -> list[tuple[str, list[str]]]:
    found = []
    for line in TABLE.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| ") and cells[0] != "rule":
            found.append((cells[0].split()[0], re.findall(r"`([^`]+)`", cells[2])))
    return found


def test_every_invariant_has_one_row() -> None:
    rules = [rule for rule, _names in rows()]
    assert len(rules) == len(set(rules))
    assert {f"I{number}" for number in range(1, 17)} | {"liveness"} <= set(rules)


@pytest.mark.parametrize(("rule", "names"), rows(), ids=lambda value: value if isinstance(value, str) else "")
def test_what_a_row_names_exists_and_bites_under_its_rule(rule: str, names: list[str]) -> None:
    assert names
    weakenings = [name for name in names if "::" not in name and "/" not in name]
    assert {name: CAUGHT.get(name) for name in weakenings} == dict.fromkeys(weakenings, rule)
    for path, _, function in (name.partition("::") for name in names if "::" in name):
        assert f"def {function}(" in (TESTS / path).read_text(), f"{path} has no {function}"


def test_every_rule_that_something_is_caught_under_is_in_the_schedules_or_in_a_row() -> None:
    listed = {rule for rule, _names in rows()}
    assert set(CAUGHT.values()) - listed <= {"S3", "S6", "S8", "R6", "R7"}


def test_the_weakenings_that_must_be_there_are() -> None:
    assert {name: CAUGHT.get(name) is not None for name in NAMED.values()} == dict.fromkeys(NAMED.values(), True)
