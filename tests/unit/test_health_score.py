"""The scorer: steady against single samples, and silent where it knows nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hblink.health.score import Scorer

SAMPLES = st.lists(st.sampled_from([True, False, None]), max_size=40)


def feed(scorer: Scorer, target: int, *answers: bool | None) -> list[bool]:
    return [scorer.note(target, answered) for answered in answers]


def test_nothing_is_known_before_enough_samples() -> None:
    scorer = Scorer(1, 3)
    assert feed(scorer, 0, True, True) == [False, False]
    assert scorer.score is None
    assert feed(scorer, 0, True) == [True]
    assert scorer.score == 100


def test_a_target_is_lost_and_found_by_equal_samples_in_a_row() -> None:
    scorer = Scorer(1, 3)
    feed(scorer, 0, True, True, True)
    assert feed(scorer, 0, False, False, True, False, False) == [False] * 5
    assert scorer.score == 100, "losses that are no row move nothing"
    assert feed(scorer, 0, False) == [True]
    assert scorer.score == 0
    assert feed(scorer, 0, True, True, False, True, True) == [False] * 5
    assert scorer.score == 0
    feed(scorer, 0, True)
    assert scorer.score == 100


def test_the_score_is_the_share_of_targets() -> None:
    scorer = Scorer(3, 1)
    feed(scorer, 0, True)
    feed(scorer, 1, False)
    assert scorer.score is None, "one is not known yet"
    feed(scorer, 2, True)
    assert scorer.score == 66
    feed(scorer, 2, None)
    assert scorer.score is None, "a target that cannot be asked makes the whole unknown"
    assert scorer.answers(2) is None
    assert scorer.answers(1) is False


def test_without_targets_nothing_is_known() -> None:
    assert Scorer(0, 3).score is None


@given(SAMPLES, st.integers(1, 5))
def test_the_state_is_that_of_the_last_full_row(answers: list[bool | None], samples: int) -> None:
    scorer = Scorer(1, samples)
    feed(scorer, 0, *answers)
    expected = None
    for end in range(samples, len(answers) + 1):
        row = answers[end - samples : end]
        if len(set(row)) == 1:
            expected = row[0]
    assert scorer.answers(0) is expected


@pytest.mark.parametrize("lost", [2, 3])
def test_a_path_that_loses_one_in_a_few_moves_nothing(lost: int) -> None:
    scorer = Scorer(1, 3)
    feed(scorer, 0, True, True, True)
    for index in range(100):
        assert not scorer.note(0, index % lost != 0)
    assert scorer.score == 100
