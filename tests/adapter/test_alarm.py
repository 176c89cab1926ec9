"""The alarm hook with real commands: order, bounds, and that a bad hook harms nobody."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from hblink.alarm import DEADLINE_NS, QUEUE_LIMIT, AlarmHook
from hblink.loop import Loop
from tests.adapter.stage import run_until

SECOND = 1_000_000_000


def test_each_alarm_comes_as_one_json_line_in_order(loop: Loop, tmp_path: Path) -> None:
    sink = tmp_path / "alarms"
    hook = AlarmHook(loop, ("sh", "-c", f"cat >>{sink}"))
    documents = [{"alarm": "degraded", "link": "serial", "number": number, "node": "älpha"} for number in range(5)]
    for document in documents:
        hook.notify(document)
    run_until(loop, lambda: hook.idle, "the hook")
    assert [json.loads(line) for line in sink.read_text("ascii").splitlines()] == documents
    assert (hook.delivered, hook.failed, hook.dropped) == (5, 0, 0)


def test_one_at_a_time_and_the_oldest_is_dropped(loop: Loop, tmp_path: Path) -> None:
    sink, gate = tmp_path / "alarms", tmp_path / "gate"
    os.mkfifo(gate)
    hook = AlarmHook(loop, ("sh", "-c", f"cat >>{sink}; read -r line <{gate}"))
    for number in range(QUEUE_LIMIT + 4):  # the first runs, three are too many
        hook.notify({"number": number})
    assert hook.dropped == 3
    run_until(loop, lambda: sink.exists() and sink.read_text(), "the hook")
    assert sink.read_text() == '{"number":0}\n'
    with gate.open("r+b", buffering=0) as key:
        key.write(b"go\n" * (QUEUE_LIMIT + 1))  # sh reads one line at a time
        run_until(loop, lambda: hook.idle, "all alarms")
    numbers = [json.loads(line)["number"] for line in sink.read_text().splitlines()]
    assert numbers == [0, *range(4, QUEUE_LIMIT + 4)]
    assert hook.failed == 0


@pytest.mark.parametrize(
    ("argv", "deadline_ns", "words"),
    [
        (("sh", "-c", "echo no modem >&2; exit 4"), DEADLINE_NS, "exit status 4: no modem"),
        (("no-such-hook",), DEADLINE_NS, "no such program"),
        (("sh", "-c", "kill -9 $$"), DEADLINE_NS, "ended by signal 9"),
        (("sh", "-c", "sleep 600 & sleep 600"), SECOND // 5, "killed after"),
    ],
)
def test_a_failing_hook_is_counted_and_the_next_alarm_still_comes(
    loop: Loop, argv: tuple[str, ...], deadline_ns: int, words: str
) -> None:
    said: list[str] = []
    hook = AlarmHook(loop, argv, deadline_ns=deadline_ns, on_failure=lambda detail, now: said.append(f"{detail} {now}"))
    hook.notify({"alarm": "blocked"})
    hook.notify({"alarm": "takeover"})
    run_until(loop, lambda: hook.idle, "the hook")
    assert (hook.delivered, hook.failed) == (0, 2)
    assert len(said) == 2
    assert all(words in line for line in said)


def test_a_hook_that_reads_nothing_succeeds(loop: Loop) -> None:
    hook = AlarmHook(loop, ("true",))
    hook.notify({"detail": "x" * 200_000})
    run_until(loop, lambda: hook.idle, "the hook")
    assert hook.delivered == 1


def test_without_a_command_nothing_is_run(loop: Loop) -> None:
    hook = AlarmHook(loop, ())
    hook.notify({"alarm": "degraded"})
    assert hook.idle
    assert hook.delivered == 0


def test_close_kills_the_hook_and_forgets_the_rest(loop: Loop, tmp_path: Path) -> None:
    sink = tmp_path / "alarms"
    hook = AlarmHook(loop, ("sh", "-c", f"cat >>{sink}; sleep 600"))
    hook.notify({"number": 1})
    hook.notify({"number": 2})
    run_until(loop, lambda: sink.exists() and sink.read_text(), "the hook")
    hook.close()
    hook.notify({"number": 3})
    run_until(loop, lambda: hook.idle, "the hook")
    assert sink.read_text() == '{"number":1}\n'
    assert (hook.delivered, hook.failed) == (0, 0)
