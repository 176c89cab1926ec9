"""The loop under a clock and descriptors that the test moves: order, lateness, stalls (SAFETY S6, S7)."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from hblink.core.value import MS
from hblink.loop import Loop

LIMIT = 250 * MS


class Bench:
    """A loop, its clock, one pipe, and what happened in which order."""

    def __init__(self) -> None:
        self.at = 1_000 * MS
        self.loop = Loop(clock=lambda: self.at, stall_limit_ns=LIMIT)
        self.happened: list[str] = []
        self.receive, self.send = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.loop.on_stall = lambda late_ns, _now: self.happened.append(f"stall {late_ns // MS}")
        self.loop.watch(self.receive, self.read)

    def read(self, _now: int) -> None:
        self.happened.append(f"read {os.read(self.receive, 64).decode()}")

    def timer(self, name: str, after_ns: int) -> None:
        self.loop.call_at(self.at + after_ns, lambda _now: self.happened.append(name))

    def close(self) -> None:
        self.loop.unwatch(self.receive)
        os.close(self.receive)
        os.close(self.send)


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.close()


def test_timers_run_in_the_order_of_their_instants(bench: Bench) -> None:
    bench.timer("second", 20 * MS)
    bench.timer("first", 10 * MS)
    bench.timer("later", 30 * MS)
    bench.at += 20 * MS
    bench.loop.run_once()
    assert bench.happened == ["first", "second"]


def test_what_came_in_is_read_before_a_timer_judges_the_silence(bench: Bench) -> None:
    bench.timer("judge", 10 * MS)
    os.write(bench.send, b"frame")
    bench.at += 100 * MS
    bench.loop.run_once()
    assert bench.happened == ["read frame", "judge"]


def test_a_stall_is_told_once_and_before_anything_is_read(bench: Bench) -> None:
    bench.timer("judge", 10 * MS)
    bench.timer("also", 20 * MS)
    os.write(bench.send, b"frame")
    bench.at += 10 * MS + LIMIT + MS
    bench.loop.run_once()
    bench.loop.run_once(0)
    assert bench.happened == ["stall 251", "read frame", "judge", "also"]


def test_a_delay_up_to_the_limit_is_no_stall(bench: Bench) -> None:
    bench.timer("judge", 10 * MS)
    bench.at += 10 * MS + LIMIT
    bench.loop.run_once()
    assert bench.happened == ["judge"]


def test_a_callback_that_takes_long_does_not_let_the_next_timer_judge_before_a_look(bench: Bench) -> None:
    def slow(_now: int) -> None:
        bench.happened.append("slow")
        os.write(bench.send, b"frame")
        bench.at += 2 * LIMIT

    bench.loop.call_at(bench.at + 10 * MS, slow)
    bench.timer("judge", 20 * MS)
    bench.at += 20 * MS
    bench.loop.run_once()
    bench.loop.run_once(0)
    assert bench.happened == ["slow", "stall 500", "read frame", "judge"]


def test_a_cancelled_timer_does_not_run(bench: Bench) -> None:
    timer = bench.loop.call_at(bench.at + MS, lambda _now: bench.happened.append("never"))
    timer.cancel()
    bench.at += 2 * MS
    bench.loop.run_once(0)
    assert bench.happened == []


def test_a_descriptor_that_another_callback_let_go_of_is_not_called(bench: Bench) -> None:
    other_receive, other_send = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    watched = {bench.receive, other_receive}

    def read_and_drop(own: int, other: int) -> None:
        bench.happened.append("called")
        os.read(own, 64)
        bench.loop.unwatch(other)
        watched.discard(other)

    bench.loop.unwatch(bench.receive)
    bench.loop.watch(bench.receive, lambda _now: read_and_drop(bench.receive, other_receive))
    bench.loop.watch(other_receive, lambda _now: read_and_drop(other_receive, bench.receive))
    os.write(bench.send, b"x")
    os.write(other_send, b"x")
    bench.loop.run_once(0)
    assert bench.happened == ["called"]
    bench.loop.unwatch(watched.pop())
    bench.loop.watch(bench.receive, bench.read)
    os.close(other_receive)
    os.close(other_send)


def test_a_pause_within_a_callback_is_told_when_it_asks(bench: Bench) -> None:
    def slow(_now: int) -> None:
        bench.at += LIMIT
        bench.loop.check()
        bench.happened.append("not yet")
        bench.at += LIMIT + MS
        bench.loop.check()
        bench.happened.append("judge")

    bench.loop.call_at(bench.at + MS, slow)
    bench.at += MS
    bench.loop.run_once()
    assert bench.happened == ["not yet", "stall 251", "judge"]
