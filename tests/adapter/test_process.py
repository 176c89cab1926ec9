"""Child processes on a real loop: what they say, how they end, and that nothing of them is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hblink.loop import Loop
from hblink.process import INTERRUPT_GRACE_NS, OUTPUT_LIMIT, Finished, run
from tests.adapter.stage import Clock, run_until
from tests.rig.wait import wait_until

SECOND = 1_000_000_000
LONG_NS = 30 * SECOND
ROOT = Path(__file__).resolve().parents[2]


class Stage:
    """A loop, and how each child that was run on it ended."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.ended: list[Finished] = []

    def on_exit(self, finished: Finished, now: int) -> None:
        assert now >= finished.elapsed_ns >= 0
        self.ended.append(finished)

    def drive(self, until: Callable[[], object]) -> None:
        """Run the loop until the condition holds."""
        run_until(self.loop, until, "the end of a child")

    def result(self, *argv: str, deadline_ns: int = LONG_NS, stdin: bytes | None = None) -> Finished:
        """Run one child to its end."""
        run(self.loop, argv, deadline_ns=deadline_ns, on_exit=self.on_exit, stdin=stdin)
        self.drive(lambda: self.ended)
        return self.ended.pop()


@pytest.fixture
def stage(clock: Clock) -> Iterator[Stage]:
    """Check after the test that every descriptor of the children was closed."""
    before = set(os.listdir("/proc/self/fd"))
    loop = Loop(clock)
    yield Stage(loop)
    run_until(loop, lambda: not loop._selector.get_map(), "every child reaped")
    loop._selector.close()
    assert set(os.listdir("/proc/self/fd")) <= before


def members(group: int) -> list[int]:
    """Pids of the living processes of a process group (proc_pid_stat in proc(5): state, ppid, pgrp after the name)."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, pgrp = path.read_text().rpartition(")")[2].split()[:3]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(pgrp) == group and state not in "ZX":
            found.append(int(path.parent.name))
    return found


def test_reports_output_and_exit_status(stage: Stage) -> None:
    finished = stage.result("sh", "-c", "echo out; echo err >&2; exit 3")
    assert (finished.returncode, finished.signal, finished.error) == (3, None, None)
    assert (finished.stdout, finished.stderr) == (b"out\n", b"err\n")
    assert not finished.ok
    assert not finished.timed_out
    assert not finished.killed
    assert stage.result("true").ok


def test_reports_the_signal_that_ended_it(stage: Stage) -> None:
    finished = stage.result("sh", "-c", "kill -TERM $$")
    assert (finished.returncode, finished.signal) == (None, signal.SIGTERM)
    assert not finished.ok


@pytest.mark.parametrize("argv", [("no-such-program",), ("/etc/passwd",), ("echo", "nul\0inside")])
def test_a_child_that_cannot_start_is_reported_in_a_later_turn(stage: Stage, argv: tuple[str, ...]) -> None:
    process = run(stage.loop, argv, deadline_ns=LONG_NS, on_exit=stage.on_exit)
    assert stage.ended == []
    assert process.pid is None
    stage.drive(lambda: stage.ended)
    assert stage.ended[0].returncode is None
    assert stage.ended[0].error
    assert not stage.ended[0].ok


def test_environment_directory_and_session_are_fixed(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_THE_DAEMON", "x")
    finished = stage.result(
        "sh", "-c", "cat /proc/self/environ | tr '\\0' '\\n'; pwd; cut -d' ' -f5,6 /proc/$$/stat; echo $$"
    )
    lines = finished.stdout.decode().splitlines()
    assert {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"} <= set(lines)
    assert not any(line.startswith("SECRET") for line in lines)
    *_, directory, group_and_session, pid = lines
    assert (directory, group_and_session) == ("/", f"{pid} {pid}")


def test_standard_input_is_empty_or_what_was_given(stage: Stage) -> None:
    assert stage.result("cat").stdout == b""
    assert stage.result("sh", "-c", "readlink /proc/self/fd/0").stdout == b"/dev/null\n"
    assert stage.result("cat", stdin=b'{"a":1}\n').stdout == b'{"a":1}\n'
    more_than_a_pipe_holds = b"x" * 3_000_000
    assert stage.result("sh", "-c", "sleep 0.1; wc -c", stdin=more_than_a_pipe_holds).stdout.strip() == b"3000000"
    assert stage.result("true", stdin=more_than_a_pipe_holds).ok


def test_inherits_no_descriptor_but_those_that_were_passed(stage: Stage) -> None:
    read_end, write_end = os.pipe()
    os.write(write_end, b"through the pipe\n")
    os.set_inheritable(write_end, True)  # if it came through, the child's cat would wait for ever
    argv = ("sh", "-c", f"cat /dev/fd/{read_end}; ls /proc/$$/fd")
    run(stage.loop, argv, deadline_ns=LONG_NS, on_exit=stage.on_exit, pass_fds=(read_end,))
    os.close(write_end)
    os.close(read_end)
    stage.drive(lambda: stage.ended)
    first, *descriptors = stage.ended[0].stdout.decode().splitlines()
    assert first == "through the pipe"
    assert set(descriptors) <= {"0", "1", "2", str(read_end)}


def test_output_is_bounded_and_what_exceeds_it_does_not_stop_the_child(stage: Stage) -> None:
    finished = stage.result("sh", "-c", "head -c 5000000 /dev/zero; head -c 300000 /dev/zero >&2; exit 7")
    assert finished.returncode == 7
    assert (len(finished.stdout), len(finished.stderr)) == (OUTPUT_LIMIT, OUTPUT_LIMIT)


def test_deadline_kills_the_whole_group(stage: Stage, clock: Clock) -> None:
    script = "trap '' TERM HUP; sleep 600 & sh -c 'sleep 600; true' & echo started; wait"
    process = run(stage.loop, ("sh", "-c", script), deadline_ns=LONG_NS, on_exit=stage.on_exit)
    group = process.pid
    assert group is not None
    stage.drive(lambda: len(members(group)) >= 4 and process._outputs[0].data)
    assert stage.ended == []
    clock.leap(LONG_NS)
    stage.drive(lambda: stage.ended)
    assert stage.ended[0].timed_out
    assert stage.ended[0].signal == signal.SIGKILL
    assert stage.ended[0].stdout == b"started\n"
    stage.drive(lambda: not members(group))


def test_what_the_leader_leaves_behind_is_killed_and_does_not_delay_the_report(stage: Stage) -> None:
    # The grandchild holds both output pipes open and would live for ten minutes.
    process = run(stage.loop, ("sh", "-c", "sleep 600 & echo $!"), deadline_ns=LONG_NS, on_exit=stage.on_exit)
    group = process.pid
    assert group is not None
    stage.drive(lambda: stage.ended)
    assert stage.ended[0].returncode == 0
    assert int(stage.ended[0].stdout) > 0
    stage.drive(lambda: not members(group))


def test_a_grandchild_with_its_own_session_escapes_but_holds_nobody_up(stage: Stage, tmp_path: Path) -> None:
    """The stated limit: only the unit's control group ends such a process. The test ends it by its pid."""
    said = tmp_path / "pid"
    script = f"setsid sh -c 'echo $$ >{said}.new; mv {said}.new {said}; exec sleep 600' & wait"
    process = run(stage.loop, ("sh", "-c", script), deadline_ns=LONG_NS, on_exit=stage.on_exit)
    stage.drive(said.exists)
    escaped = int(said.read_text())
    process.kill()
    stage.drive(lambda: stage.ended)  # although the escaped one holds the output pipes open
    stage.drive(lambda: members(escaped) == [escaped])  # and its mv has ended
    os.kill(escaped, signal.SIGKILL)
    stage.drive(lambda: not members(escaped))


def test_kill_ends_it_at_once_and_is_reported_once(stage: Stage) -> None:
    process = run(stage.loop, ("sleep", "600"), deadline_ns=LONG_NS, on_exit=stage.on_exit)
    process.kill()
    process.kill()
    assert stage.ended == []
    stage.drive(lambda: stage.ended)
    assert stage.ended[0].killed
    assert not stage.ended[0].ok
    assert process.pid is None
    process.kill()
    stage.loop.run_once(0)
    assert len(stage.ended) == 1


def test_an_interrupted_child_may_take_leave(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hblink.process.INTERRUPT_GRACE_NS", LONG_NS)  # however slow this machine is
    script = "trap 'echo leave; exit 255' INT; echo ready >&2; while :; do sleep 0.01; done"
    process = run(stage.loop, ("sh", "-c", script), deadline_ns=LONG_NS, on_exit=stage.on_exit)
    stage.drive(lambda: process._outputs[1].data)
    process.interrupt()
    process.interrupt()
    stage.drive(lambda: stage.ended)
    assert (stage.ended[0].returncode, stage.ended[0].stdout, stage.ended[0].killed) == (255, b"leave\n", True)
    process.interrupt()
    process.kill()
    stage.loop.run_once(0)
    assert len(stage.ended) == 1


@pytest.mark.parametrize("killed_too", [False, True])
def test_an_interrupted_child_that_stays_is_killed(stage: Stage, killed_too: bool) -> None:
    script = "trap '' INT; echo ready >&2; sleep 600 & wait; exec sleep 600"
    process = run(stage.loop, ("sh", "-c", script), deadline_ns=LONG_NS, on_exit=stage.on_exit)
    stage.drive(lambda: process._outputs[1].data)
    group = process.pid
    assert group is not None
    interrupted_at = stage.loop.now()
    process.interrupt()
    if killed_too:
        process.kill()
    stage.drive(lambda: stage.ended)
    assert (stage.ended[0].signal, stage.ended[0].killed) == (signal.SIGKILL, True)
    assert killed_too or stage.loop.now() - interrupted_at >= INTERRUPT_GRACE_NS
    stage.drive(lambda: not members(group))


def test_a_child_that_cannot_start_can_be_interrupted(stage: Stage) -> None:
    process = run(stage.loop, ("no-such-program",), deadline_ns=LONG_NS, on_exit=stage.on_exit)
    process.interrupt()
    stage.drive(lambda: stage.ended)
    assert (stage.ended[0].error is not None, stage.ended[0].killed) == (True, True)


def test_timers_run_while_a_child_runs(stage: Stage) -> None:
    order: list[str] = []
    process = run(stage.loop, ("sleep", "600"), deadline_ns=LONG_NS, on_exit=lambda *_: order.append("end"))

    def tick(now: int) -> None:
        order.append("tick")
        if len(order) < 5:
            stage.loop.call_at(now + SECOND // 100, tick)
        else:
            process.kill()

    tick(stage.loop.now())
    stage.drive(lambda: "end" in order)
    assert order == [*["tick"] * 5, "end"]


def test_many_at_once_each_get_their_own_answer(stage: Stage) -> None:
    answers: dict[int, bytes] = {}

    def start(number: int) -> None:
        def on_exit(finished: Finished, now: int) -> None:
            assert now > 0
            answers[number] = finished.stdout
            if number < 20:  # the next child reuses the descriptors of this one within the same turn
                start(number + 10)

        run(stage.loop, ("echo", str(number)), deadline_ns=LONG_NS, on_exit=on_exit)

    for number in range(10):
        start(number)
    stage.drive(lambda: len(answers) == 30)
    assert answers == {number: f"{number}\n".encode() for number in range(30)}


def test_late_output_of_one_child_is_not_taken_for_the_next_ones(stage: Stage, tmp_path: Path) -> None:
    """In one turn: the leader's end, then output that came later, on a descriptor that the next child has by now."""
    gate, said = tmp_path / "gate", tmp_path / "said"
    os.mkfifo(gate)

    def start_next(finished: Finished, now: int) -> None:
        stage.on_exit(finished, now)
        run(stage.loop, ("echo", "next"), deadline_ns=LONG_NS, on_exit=stage.on_exit)

    script = f"(read -r line <{gate}; echo late; echo >{said}; exec sleep 600) &"
    process = run(stage.loop, ("sh", "-c", script), deadline_ns=LONG_NS, on_exit=start_next)
    group = process.pid
    assert group is not None
    wait_until(lambda: members(group) and group not in members(group), 60, "the leader has ended")
    with gate.open("r+b", buffering=0) as key:
        key.write(b"go\n")
        wait_until(said.exists, 60, "the grandchild has spoken")
    stage.drive(lambda: len(stage.ended) == 2)
    assert [finished.stdout for finished in stage.ended] == [b"late\n", b"next\n"]


def test_a_status_that_somebody_else_took_is_not_success(stage: Stage) -> None:
    process = run(stage.loop, ("true",), deadline_ns=LONG_NS, on_exit=stage.on_exit)
    assert process.pid is not None
    os.waitpid(process.pid, 0)
    stage.drive(lambda: stage.ended)
    assert stage.ended[0].returncode is None
    assert stage.ended[0].error
    assert not stage.ended[0].ok


def test_a_killed_child_that_does_not_go_is_given_up() -> None:
    """Time jumps, so that the grace is over before the loop looks at the descriptors."""
    clock = [0]
    stage = Stage(Loop(clock=lambda: clock[0]))
    process = run(stage.loop, ("sleep", "600"), deadline_ns=SECOND, on_exit=stage.on_exit)
    clock[0] = SECOND
    stage.loop.run_once(0)
    assert stage.ended == []
    clock[0] = 10 * SECOND
    stage.loop.run_once(0)
    assert stage.ended[0].timed_out
    assert stage.ended[0].returncode is None
    stage.drive(lambda: process.pid is None)
    assert len(stage.ended) == 1


def test_children_die_with_a_killed_daemon(stage: Stage) -> None:
    program = (
        "from hblink.loop import Loop\nfrom hblink.process import run\n"
        "loop = Loop()\nchild = run(loop, ('sleep', '600'), deadline_ns=10**12, on_exit=lambda *_: None)\n"
        "print(child.pid, flush=True)\nloop.run()\n"
    )
    daemon = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert daemon.stdout is not None
    pid = int(daemon.stdout.readline())
    name = Path(f"/proc/{pid}/comm")
    wait_until(lambda: name.read_text() == "sleep\n", 60, "setpriv to have asked the kernel for it")
    daemon.kill()
    daemon.wait()
    daemon.stdout.close()
    stage.drive(lambda: not members(pid))
