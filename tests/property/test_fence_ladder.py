"""The ladder's choices under any sequence of answers: whose OFF counts, and which level is commanded next."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from hblink.core.value import MS, Power
from hblink.fencing.device import FenceReason
from hblink.fencing.identity import Identities
from hblink.fencing.ipmi import IpmiDevice
from hblink.fencing.ladder import Ladder
from hblink.fencing.level import Level
from hblink.fencing.record import Readiness
from hblink.loop import Loop
from tests.adapter.ladder import Rung
from tests.adapter.loopback_bmc import Settings

COUNT = 3
LOOP = Loop()  # of which nothing is asked


def levels(refused: frozenset[int] = frozenset()) -> list[Level]:
    """Levels that are never asked; those in `refused` are known to be another machine's."""
    made = [
        Level(
            LOOP,
            IpmiDevice(LOOP, Settings(1, Path("/nonexistent"))),
            Rung(name=f"level {index}", off_interval_ns=(index + 1) * 100 * MS),
            Identities(b"", (), lambda _content: None),
            on_step=lambda _step, _answer, _now: None,
            on_ready=lambda _now: None,
        )
        for index in range(COUNT)
    ]
    for index in refused:
        made[index].readiness = Readiness(False, 0, Power.UNKNOWN, FenceReason.WRONG_DEVICE)
    return made


STEP = st.one_of(
    st.tuples(st.just("take"), st.integers(0, COUNT - 1), st.sampled_from(Power)),
    st.tuples(st.just("choose"), st.booleans(), st.just(None)),
    st.tuples(st.just("accept"), st.integers(0, COUNT - 1), st.just(None)),
    st.tuples(st.just("reset"), st.just(0), st.just(None)),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(STEP, max_size=40))
def test_two_off_in_a_row_are_of_one_device_an_interval_apart(
    steps: list[tuple[str, int, Power | None]],
) -> None:
    ladder = Ladder(made := levels())
    now = 0
    before: tuple[int, int] | None = None  # the level of the OFF before, and when
    for step, level, power in steps:
        now += 1
        match step:
            case "take":
                assert power is not None
                now = max(now, ladder.earliest_at())
                worth = ladder.take(level, power, now)
                assert worth is power or (power, worth) == (Power.OFF, Power.UNKNOWN)
                if worth is Power.OFF and before is not None:
                    assert before[0] == level
                    assert now - before[1] >= made[level].settings.off_interval_ns
                before = (level, now) if worth is Power.OFF else None
            case "choose":
                ladder.choose(now, alone=bool(level))
                before = None
            case "accept":
                ladder.accept(level)
                assert ladder.readers() == [level]
            case _:
                ladder.reset()
                before = None
                assert ladder.readers() == list(range(COUNT))


@given(st.frozensets(st.integers(0, COUNT - 1), max_size=COUNT - 1), st.integers(1, 12))
def test_levels_are_tried_in_order_round_and_round_without_those_that_are_refused(
    refused: frozenset[int], times: int
) -> None:
    ladder = Ladder(levels(refused))
    tried = []
    for now in range(times):
        level, _since = ladder.choose(now, alone=False)
        tried.append(level)
        ladder.refuse(level, now, stays_on=False)
    usable = [level for level in range(COUNT) if level not in refused]
    assert tried == [usable[index % len(usable)] for index in range(times)]
    ladder.reset()
    assert ladder.choose(times, alone=False)[0] == usable[0]


@given(st.frozensets(st.integers(0, COUNT - 1), max_size=COUNT), st.integers(0, COUNT - 1), st.integers(0, COUNT - 1))
def test_a_level_that_is_named_is_asked_alone_and_moves_nothing_on(
    refused: frozenset[int], only: int, sent: int
) -> None:
    ladder = Ladder(levels(refused))
    ladder.note_sent(sent)
    before = ladder.choose(1, alone=False)[0]
    assert ladder.choose(2, alone=True, only=only) == (only, 2)
    usable = [] if only in refused else [only]
    assert (ladder.readers(only), ladder.switches(only)) == (usable, usable)
    assert ladder.choose(3, alone=False)[0] == before
    assert sorted(ladder.switches() + ladder.spares()) == sorted(set(range(COUNT)) - refused)


def test_alone_goes_to_the_level_whose_off_was_read_and_to_none_without_one() -> None:
    ladder = Ladder(levels())
    ladder.take(1, Power.OFF, 5)
    assert ladder.choose(6, alone=True) == (1, 6)
    ladder.reset()
    assert ladder.choose(7, alone=True) == (0, 7)
