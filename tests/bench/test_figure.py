"""How figures are shown, and what is read out of the kernel's account of memory."""

from __future__ import annotations

from tests.bench.coldstart import memory_mb
from tests.bench.figure import Figure, table


def test_a_table_shows_medians_and_marks_a_missed_aim() -> None:
    kept = Figure("gap", "ms", 30, [10.0, 40.0, 12.34])
    missed = Figure("time", "s", 2, [2.0])
    assert table([kept, missed, Figure("nothing", "s", 1)]).splitlines() == [
        "| figure   | median |  min |  max | runs |        aim |",
        "| -------- | -----: | ---: | ---: | ---: | ---------: |",
        "| gap [ms] |   12.3 | 10.0 | 40.0 |    3 |       < 30 |",
        "| time [s] |   2.00 | 2.00 | 2.00 |    1 | < 2 MISSED |",
    ]


def test_memory_is_read_in_megabytes() -> None:
    rollup = "00400000-7fff [rollup]\nRss:   40000 kB\nPss:   20000 kB\nPss_Anon: 7 kB\nSwapPss:  0 kB\n"
    assert memory_mb(rollup) == (40.96, 20.48)
