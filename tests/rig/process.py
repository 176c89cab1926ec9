"""Starting and ending processes of the rig: none outlives it, and every failure shows the program's own words."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# -P: the directory of a program file must not shadow the standard library.
PYTHON = (sys.executable, "-P")
# The kernel kills the process when the thread that started it ends, so that a killed test run leaves nothing behind.
UNTIL_PARENT_DIES = ("setpriv", "--pdeathsig", "KILL")
REAL_TIME_PRIORITY = 20  # CPUSchedulingPriority= of hblink.service


class ProgramError(AssertionError):
    """A program that the rig needs returned something else than 0."""


@functools.cache
def in_real_time() -> tuple[str, ...]:
    """Return what runs a program under the scheduling policy of the unit; nothing where that is not allowed.

    On a busy machine a daemon without it is late, and does what a late daemon has to: that is not what is tested. An
    ordinary user's demo goes without; that it is there for the tests is asserted by tests/netns/test_timeliness.py.
    """
    prefix = ("chrt", "--rr", str(REAL_TIME_PRIORITY))
    return prefix if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0 else ()


def run(argv: Sequence[str], *, timeout_s: float = 20, stdin: str = "") -> str:
    """Run a program to its end and return its standard output.

    Raises ProgramError with both outputs when its exit status is not 0.
    """
    done = subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=timeout_s, check=False)
    if done.returncode != 0:
        raise ProgramError(f"{' '.join(argv)}: exit {done.returncode}\n{stdin}\n{done.stdout}{done.stderr}")
    return done.stdout


def child_of(pid: int) -> int | None:
    """Return the first child of `pid`, or None while it has none (proc_pid_children in proc(5))."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(children[0]) if children else None


def runs(pid: int) -> bool:
    """Whether `pid` exists and is not merely waiting to be reaped by somebody else."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def send(pid: int, number: signal.Signals) -> bool:
    """Send a signal; False when the process is gone already."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def end(process: subprocess.Popen[str], timeout_s: float = 15) -> int:
    """Kill `process` if it still runs, reap it, close its pipes, and return its exit status."""
    if process.poll() is None:
        process.kill()
    status = process.wait(timeout_s)
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            stream.close()
    return status
