"""Child processes on the loop: started without blocking it, killed as a whole group at their deadline, reaped by pidfd.

A child gets a session and process group of its own, a fixed environment, and /dev/null or given bytes as its standard
input. When its leader ends, by itself or not, whatever is left of the group is killed: an orphan that may power a
machine off later is worse than a command that did not finish. A grandchild that makes a session of its own (setsid)
escapes this; only the unit's control group ends that one. If the daemon itself is killed, the kernel kills the leader
(PR_SET_PDEATHSIG, set by setpriv(1)).

Children inherit the scheduling policy unless the daemon sets SCHED_RESET_ON_FORK with its own (sched(7)), which it
must if it runs in real time; memory locks are not inherited (mlockall(2)). The signal mask is inherited: a daemon that
blocks signals starts children that block them too (SIGKILL excepted).

To start one, the loop looks the program up in PATH (stat(2)) and waits until the kernel has loaded setpriv(1); from
then on the child waits for the disk. Both are in memory as a rule, as each poll of a fence device uses them.

This module must never wait for a child, handle SIGCHLD, wait for any process but its own, or take an exit status that
it has not seen for success.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO

from hblink.loop import Loop, Timer

PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
OUTPUT_LIMIT = 65_536  # bytes kept of each output stream; the rest is read and thrown away
PIPE_READS = 16  # a pipe is 16 pages, of 4 to 64 KiB
KILL_GRACE_NS = 1_000_000_000  # how long a killed child may stay (in an uninterruptible wait) before it is given up
INTERRUPT_GRACE_NS = 200_000_000  # how long an interrupted child may take leave before it is killed
REAP_RETRY_NS = 10_000_000
# Programs that ask the kernel to end them with the daemon: the flag survives execve(2) and is cleared by fork(2).
_DIE_WITH_PARENT = ("setpriv", "--pdeathsig", "KILL", "--")


@dataclass(frozen=True, slots=True)
class Finished:
    """How a child ended, and what it said.

    Exactly one of these is not None: `returncode` if it exited, `signal` if a signal ended it, `error` if it could not
    be started or its end could not be learnt. `timed_out` and `killed` (by `Process.kill` or `interrupt`) are true
    whatever the status says: it may have exited a moment before.
    """

    returncode: int | None = None
    signal: int | None = None
    error: str | None = None
    stdout: bytes = b""
    stderr: bytes = b""
    timed_out: bool = False
    killed: bool = False
    elapsed_ns: int = 0

    @property
    def ok(self) -> bool:
        """Whether it exited with 0 in time and of its own will."""
        return self.returncode == 0 and not self.timed_out and not self.killed


OnExit = Callable[[Finished, int], None]  # called with now


class _Output:
    """One output stream of a child: the first OUTPUT_LIMIT bytes of it."""

    __slots__ = ("_file", "_loop", "data")

    def __init__(self, loop: Loop, file: IO[bytes]) -> None:
        self._loop = loop
        self._file = file
        self.data = bytearray()
        os.set_blocking(file.fileno(), False)
        loop.watch(file.fileno(), self._on_readable)

    def _on_readable(self, now: int) -> None:  # noqa: ARG002 - the loop's signature
        # One read a turn: a child that never stops talking must not keep the loop.
        if not self._file.closed and not self._read():
            self.close()

    def _read(self) -> bool:
        """Take some of what is there; False when nothing more will come."""
        chunk = self._file.read(OUTPUT_LIMIT)  # None: nothing there now
        if chunk:
            self.data += chunk[: OUTPUT_LIMIT - len(self.data)]
        return chunk != b""

    def drain(self) -> None:
        """Take what a dead child left in the pipe; no more than a pipe can hold (pipe(7)), somebody may still write."""
        if not self._file.closed:
            for _ in range(PIPE_READS):
                if not self._read():
                    break
            self.close()

    def close(self) -> None:
        if not self._file.closed:
            self._loop.unwatch(self._file.fileno())
            self._file.close()


class Process:
    """A child that was asked for by `run`."""

    def __init__(self, loop: Loop, on_exit: OnExit, deadline_ns: int) -> None:
        self._loop = loop
        self._on_exit: OnExit | None = on_exit
        self._started_at = loop.now()
        self._deadline_at = self._started_at + deadline_ns
        self._popen: subprocess.Popen[bytes] | None = None
        self._pidfd = -1
        self._outputs: tuple[_Output, ...] = ()
        self._timer: Timer | None = None
        self._timed_out = False
        self._killed = False
        self._interrupted = False

    @property
    def pid(self) -> int | None:
        """The leader's process id, which is also the id of its group and session; None if it is not running."""
        return None if self._popen is None or self._popen.returncode is not None else self._popen.pid

    def kill(self) -> None:
        """Kill the whole group at once; `on_exit` is still called, later, with `killed`. Does nothing after the end."""
        if self._on_exit is not None and not self._killed:
            self._killed = True
            self._kill_group(self._loop.now())

    def interrupt(self) -> None:
        """Ask the leader to end (SIGINT), and kill the whole group if it has not within INTERRUPT_GRACE_NS.

        For a child that then takes leave of somebody; `on_exit` is called as after `kill`.
        """
        if self._on_exit is None or self._killed or self._interrupted:
            return
        self._interrupted = True
        if self._popen is None or self._timed_out:
            return  # never started, or killed already; the report is on its way
        # The leader is not reaped yet, so its number is nobody else's.
        with suppress(ProcessLookupError):
            os.kill(self._popen.pid, signal.SIGINT)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._loop.now() + INTERRUPT_GRACE_NS, self._kill_group)

    def _start(self, argv: Sequence[str], stdin: bytes | None, pass_fds: Sequence[int]) -> None:
        """Start the child; raises OSError or ValueError (an argument with a NUL)."""
        if shutil.which(argv[0], path=PATH) is None:
            raise FileNotFoundError(f"{argv[0]}: no such program in {PATH}")
        source = subprocess.DEVNULL if stdin is None else _file_in_memory(stdin)
        try:
            # No preexec_fn: without it the child is started by vfork(2), which copies no page tables.
            popen = subprocess.Popen(
                [*_DIE_WITH_PARENT, *argv],
                stdin=source,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                pass_fds=pass_fds,
                env={"PATH": PATH, "LC_ALL": "C"},
                cwd="/",
                start_new_session=True,
            )
        finally:
            if source != subprocess.DEVNULL:
                os.close(source)
        assert popen.stdout is not None
        assert popen.stderr is not None
        try:
            self._pidfd = os.pidfd_open(popen.pid)
        except OSError:  # no descriptor left: it can be killed, not watched
            os.killpg(popen.pid, signal.SIGKILL)
            popen.communicate()
            raise
        self._popen = popen
        self._outputs = (_Output(self._loop, popen.stdout), _Output(self._loop, popen.stderr))
        self._loop.watch(self._pidfd, self._on_leader_exit)
        self._timer = self._loop.call_at(self._deadline_at, self._on_deadline)

    def _fail(self, error: str) -> None:
        """Report, in a later turn of the loop, that the child could not be started."""
        self._timer = self._loop.call_at(self._started_at, lambda now: self._finish(now, None, error))

    def _on_deadline(self, now: int) -> None:
        self._timed_out = True
        self._kill_group(now)

    def _kill_group(self, now: int) -> None:
        if self._popen is None:
            return  # never started; the report is on its way
        # The leader is not reaped yet, so its number is nobody else's.
        with suppress(ProcessLookupError):
            os.killpg(self._popen.pid, signal.SIGKILL)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(now + KILL_GRACE_NS, self._give_up)

    def _give_up(self, now: int) -> None:
        """Answer although the killed child is still there: it will run no instruction of its own any more."""
        self._finish(now, None, "killed, and still not gone")

    def _on_leader_exit(self, now: int) -> None:
        if self._popen is None or self._pidfd < 0:
            return
        # Before the leader is reaped: until then the group's number cannot be given to others.
        with suppress(ProcessLookupError):
            os.killpg(self._popen.pid, signal.SIGKILL)
        self._loop.unwatch(self._pidfd)
        self._reap(now)

    def _reap(self, now: int) -> None:
        """Fetch the exit status. Popen would report 0 for a status that somebody else has taken."""
        assert self._popen is not None
        try:
            status = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | os.WNOHANG)
            if status is None:  # dead, but a tracer has not let go of it yet
                self._loop.call_at(now + REAP_RETRY_NS, self._reap)
                return
        except ChildProcessError:
            status = None
        os.close(self._pidfd)
        self._pidfd = -1
        self._popen.returncode = -signal.SIGKILL if status is None else status.si_status  # reaped: nothing left to do
        self._finish(now, status, None if status else "its exit status was taken by somebody else")

    def _finish(self, now: int, status: os.waitid_result | None, error: str | None) -> None:
        on_exit, self._on_exit = self._on_exit, None
        if on_exit is None:
            return  # given up before
        if self._timer is not None:
            self._timer.cancel()
        for output in self._outputs:
            output.drain()
        exited = status is not None and status.si_code == os.CLD_EXITED
        stdout, stderr = (bytes(output.data) for output in self._outputs) if self._outputs else (b"", b"")
        finished = Finished(
            returncode=status.si_status if status is not None and exited else None,
            signal=status.si_status if status is not None and not exited else None,
            error=error,
            stdout=stdout,
            stderr=stderr,
            timed_out=self._timed_out,
            killed=self._killed or self._interrupted,
            elapsed_ns=now - self._started_at,
        )
        on_exit(finished, now)


def _file_in_memory(content: bytes) -> int:
    """Return a descriptor from which `content` can be read: unlike a pipe, of any size and all of it at once."""
    fd = os.memfd_create("stdin", os.MFD_CLOEXEC)
    try:
        with open(fd, "wb", closefd=False) as file:
            file.write(content)
        os.lseek(fd, 0, os.SEEK_SET)
    except OSError:
        os.close(fd)
        raise
    return fd


def run(
    loop: Loop,
    argv: Sequence[str],
    *,
    deadline_ns: int,
    on_exit: OnExit,
    stdin: bytes | None = None,
    pass_fds: Sequence[int] = (),
) -> Process:
    """Start `argv` and call `on_exit(finished, now)` exactly once, in a later turn of the loop.

    `argv[0]` is a path or is looked up in PATH. The group is killed `deadline_ns` after now, or by `Process.kill`.
    `pass_fds` are inherited under their own numbers; the caller keeps, and closes, its own. Starting forks and waits
    for execve(2): a millisecond or two, and longer where a disk has to be read for it. Nothing is raised: a failure to
    start comes as `Finished.error`.
    """
    process = Process(loop, on_exit, deadline_ns)
    try:
        process._start(argv, stdin, pass_fds)
    except (OSError, ValueError) as error:
        process._fail(str(error))
    return process
