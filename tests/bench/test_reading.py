"""How answers become durations: silence, two owners, and what a starved client must not be charged to a node."""

from __future__ import annotations

import pytest

from tests.bench.reading import Stretch, overlap, read, silence, stretches
from tests.rig.observer import Answer

MS = 1_000_000


def asked(node: str, since_ms: int, until_ms: int, kind: str = "echo") -> list[Answer]:
    """Return the answers of `node` to a question each 2 ms; the round is the question's number."""
    return [Answer(ms * MS, kind, "192.0.2.10", node, ms // 2) for ms in range(since_ms, until_ms + 1, 2)]


def test_an_outage_lasts_from_the_last_answer_to_the_first() -> None:
    echoes = [*asked("alpha", 940, 1010), *asked("beta", 1360, 2000)]
    assert silence(echoes, 1000 * MS, 2000 * MS) == (350 * MS, True)


def test_an_outage_that_began_a_moment_before_the_fault_counts_from_the_last_answer() -> None:
    echoes = [*asked("alpha", 940, 998), *asked("beta", 1050, 2000)]
    assert silence(echoes, 1000 * MS, 2000 * MS) == (52 * MS, True)


def test_several_outages_are_added() -> None:
    echoes = [*asked("alpha", 940, 1100), *asked("beta", 1200, 1300), *asked("beta", 1330, 2000)]
    assert silence(echoes, 1000 * MS, 2000 * MS) == (130 * MS, True)


def test_what_is_not_back_at_the_end_is_told() -> None:
    assert silence(asked("alpha", 940, 1010), 1000 * MS, 4000 * MS) == (2990 * MS, False)
    assert silence([], 1000 * MS, 4000 * MS) == (3000 * MS, False)


def test_a_cold_start_counts_from_its_beginning() -> None:
    assert silence(asked("alpha", 1400, 2000), 1000 * MS, 2000 * MS) == (400 * MS, True)


def test_a_client_that_did_not_ask_saw_no_outage() -> None:
    late = [Answer(one.at + 40 * MS, one.kind, one.vip, one.node, one.round) for one in asked("alpha", 1102, 1960)]
    assert silence([*asked("alpha", 940, 1100), *late], 1000 * MS, 2000 * MS) == (0, True)


def test_one_lost_answer_is_not_an_outage() -> None:
    assert silence([*asked("alpha", 940, 1100), *asked("alpha", 1104, 2000)], 1000 * MS, 2000 * MS) == (0, True)


def test_a_node_that_stops_answering_and_begins_again_has_two_stretches() -> None:
    found = stretches([*asked("alpha", 0, 100), *asked("alpha", 200, 300)])
    assert found == [Stretch("alpha", 0, 100 * MS), Stretch("alpha", 200 * MS, 300 * MS)]


@pytest.mark.parametrize(
    ("alpha", "beta", "expected"),
    [
        ((0, 100), (102, 2000), (0, False)),  # a clean move
        ((0, 150), (100, 2000), (50, False)),
        ((0, 2000), (700, 2000), (1300, True)),  # as long as we looked
        ((0, 2000), (700, 1200), (500, False)),
    ],
)
def test_two_owners_are_counted_while_both_answer(
    alpha: tuple[int, int], beta: tuple[int, int], expected: tuple[int, bool]
) -> None:
    claims = sorted([*asked("alpha", *alpha, "who"), *asked("beta", *beta, "who")], key=lambda one: one.at)
    total, lasts = overlap(stretches(claims), 0, 2000 * MS)
    assert (total, lasts) == (expected[0] * MS, expected[1])


def test_what_was_before_the_fault_is_not_counted() -> None:
    both = [Stretch("alpha", 0, 1500 * MS), Stretch("beta", 0, 1200 * MS)]
    assert overlap(both, 1000 * MS, 3000 * MS) == (200 * MS, False)


def test_a_reading_has_both() -> None:
    echoes = [*asked("alpha", 940, 1010), *asked("beta", 1360, 2000)]
    claims = [*asked("alpha", 940, 1010, "who"), *asked("beta", 1360, 2000, "who")]
    seen = read(echoes, claims, 1000 * MS, 2000 * MS)
    assert (seen.outage, seen.is_served, seen.dual, seen.is_dual) == (350 * MS, True, 0, False)
