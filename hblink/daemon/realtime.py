"""What keeps the daemon on time: memory that is not paged out, and a scheduling policy that ends with this process.

Both rights come from the unit (LimitMEMLOCK=, CPUSchedulingPolicy=, sched(7)); without them the daemon runs, and says
so. Children must never inherit real-time scheduling: a fence agent that spins would keep the heartbeats waiting.
"""

from __future__ import annotations

import ctypes
import os
import resource
import threading
import time
from dataclasses import dataclass
from pathlib import Path

# sys/mman.h; MCL_ONFAULT (since Linux 4.4) locks pages as they are touched, which costs no memory that is not used.
MCL_CURRENT = 1
MCL_FUTURE = 2
MCL_ONFAULT = 4
CAP_IPC_LOCK = 14  # linux/capability.h

_POLICY_NAME = {os.SCHED_OTHER: "other", os.SCHED_BATCH: "batch", os.SCHED_FIFO: "fifo", os.SCHED_RR: "rr"}
_IN_MEMORY = frozenset({"tmpfs", "ramfs"})
_REAL_TIME = frozenset({os.SCHED_FIFO, os.SCHED_RR})


@dataclass(frozen=True, slots=True)
class Timeliness:
    """What was granted: `locked`, the policy's name and priority; `complaints` are lines for the log."""

    locked: bool
    policy: str
    priority: int
    complaints: tuple[str, ...]

    def document(self) -> dict[str, object]:
        """For the status document."""
        return {"memory_locked": self.locked, "policy": self.policy, "priority": self.priority}


def secure_timeliness(helper_thread: int) -> Timeliness:
    """Lock this process's memory, now and from now on, and keep its scheduling policy from its children; never raises.

    `helper_thread` is the native id of a thread that gets the same policy: it takes the interpreter's lock now and
    then, and a busy machine must not keep it from giving that back.
    """
    complaints = []
    error = lock_memory()
    if error:
        complaints.append(f"memory is not locked ({error}): a page fault may cost a stall; LimitMEMLOCK= of the unit")
    policy = os.sched_getscheduler(0)
    priority = os.sched_getparam(0).sched_priority
    kept = policy & ~os.SCHED_RESET_ON_FORK
    if kept not in _REAL_TIME:
        complaints.append("no real-time scheduling: a busy machine makes frames late; CPUSchedulingPolicy= of the unit")
    else:
        own = (0,) if not policy & os.SCHED_RESET_ON_FORK else ()
        try:
            for thread in (*own, helper_thread):
                os.sched_setscheduler(thread, kept | os.SCHED_RESET_ON_FORK, os.sched_param(priority))
        except OSError as refused:
            complaints.append(
                f"real-time scheduling could not be arranged: {refused.strerror}; LimitRTPRIO= of the unit"
            )
    return Timeliness(not error, _POLICY_NAME.get(kept, str(kept)), priority, tuple(complaints))


def lock_memory() -> str:
    """Call mlockall(2) for what is there and what comes; return why it was refused, or nothing.

    Under a limit that is merely large enough for now it is not called: with MCL_FUTURE a later allocation beyond the
    limit fails, and the daemon would die of it.
    """
    limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    if limit != resource.RLIM_INFINITY and not _may_lock_anything():
        return f"the limit is {limit // 1024} KiB"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) == 0:
        return ""
    return os.strerror(ctypes.get_errno())


def _may_lock_anything() -> bool:
    """Whether CAP_IPC_LOCK is effective, which lifts the limit (proc_pid_status(5), CapEff)."""
    for line in Path("/proc/self/status").read_text("ascii", "replace").splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> CAP_IPC_LOCK & 1)
    return False


def is_in_memory(directory: Path, mounts: Path = Path("/proc/self/mountinfo")) -> bool:
    """Whether what is written there waits for no disk: it lies on a tmpfs (proc_pid_mountinfo(5)).

    What the loop itself writes down lies in the runtime directory, and there rename(2) would wait for a busy disk.
    """
    device = directory.stat().st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in mounts.read_text("utf-8", "surrogateescape").splitlines():
        place, _, kind = line.partition(" - ")
        if place.split()[2] == wanted:
            return kind.split()[0] in _IN_MEMORY
    return False  # some file systems (btrfs) tell another device in stat(2): none of them is in memory


class SleepMeter:
    """How long the machine was suspended: CLOCK_BOOTTIME goes on then, CLOCK_MONOTONIC does not (clock_gettime(2))."""

    def __init__(self) -> None:
        self._offset_ns = _offset_ns()

    def slept_ns(self) -> int:
        """How long since the last call, or since the meter was made; some microseconds of it mean nothing."""
        before, self._offset_ns = self._offset_ns, _offset_ns()
        return max(0, self._offset_ns - before)


def _offset_ns() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) - time.clock_gettime_ns(time.CLOCK_MONOTONIC)


@dataclass(frozen=True, slots=True)
class ProcessorTime:
    """What a thread did with a span of time, in nanoseconds; the rest of it, it slept, was stopped or was blocked."""

    ran_ns: int
    queued_ns: int  # could have run, and no processor was free for it


class ProcessorMeter:
    """How much of the last while the calling thread ran, and how much it waited for a processor.

    From /proc/PID/task/TID/schedstat (Documentation/scheduler/sched-stats in the kernel's source); a kernel without it
    (CONFIG_SCHED_INFO) tells nothing, and `since_mark` is None.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path or Path(f"/proc/self/task/{threading.get_native_id()}/schedstat")
        try:
            self._file: int | None = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._file = None
        self._marked = self._read()

    def mark(self) -> None:
        """Begin a new span. Cheap: what is read is looked at only when somebody asks."""
        self._marked = self._read()

    def since_mark(self) -> ProcessorTime | None:
        """What this thread did since the last `mark`."""
        before, after = self._marked.split(), self._read().split()
        if len(before) < 2 or len(after) < 2:
            return None
        ran_ns, queued_ns = (int(after[i]) - int(before[i]) for i in (0, 1))
        return ProcessorTime(ran_ns, queued_ns)

    def close(self) -> None:
        """Close the kernel's file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _read(self) -> bytes:
        return b"" if self._file is None else os.pread(self._file, 64, 0)
