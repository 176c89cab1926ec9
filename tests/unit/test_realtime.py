"""Memory locks and real-time scheduling as the kernel grants or refuses them, in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from hblink.daemon import realtime
from hblink.daemon.account import Account
from hblink.daemon.realtime import ProcessorMeter, ProcessorTime, SleepMeter, is_in_memory

PROGRAM = """
import json, os, subprocess, sys
from hblink.daemon.realtime import secure_timeliness
from hblink.daemon.writer import Writer
writer = Writer()
got = secure_timeliness(writer.thread_id)
child = subprocess.run([sys.executable, "-c", "import os; print(os.sched_getscheduler(0))"], capture_output=True)
locked = next(line for line in open("/proc/self/status") if line.startswith("VmLck")).split()[1]
print(json.dumps({
    **got.document(), "complaints": got.complaints, "child": int(child.stdout), "locked_kb": int(locked),
    "writer": os.sched_getscheduler(writer.thread_id) & ~os.SCHED_RESET_ON_FORK,
}))
"""


def run(*prefix: str) -> dict[str, Any]:
    """Run the program behind `prefix`, which sets what the unit would set; return what it found."""
    done = subprocess.run([*prefix, sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def test_memory_is_locked_where_it_may_be() -> None:
    found = run()  # root may: CAP_IPC_LOCK
    assert found["memory_locked"] is True
    assert found["locked_kb"] > 0


def test_a_refused_lock_is_said_and_no_more_than_that() -> None:
    found = run("setpriv", "--bounding-set=-ipc_lock", "--inh-caps=-ipc_lock", "prlimit", "--memlock=4194304")
    assert found["memory_locked"] is False
    assert found["locked_kb"] == 0, "a limit that will be exceeded later is worse than none"
    assert any("limit is 4096 KiB" in complaint for complaint in found["complaints"])


def test_children_do_not_inherit_real_time_scheduling_and_the_writer_does() -> None:
    found = run("chrt", "--rr", "5")
    assert (found["policy"], found["priority"]) == ("rr", 5)
    assert found["child"] == os.SCHED_OTHER
    assert found["writer"] == os.SCHED_RR
    assert not any("scheduling" in complaint for complaint in found["complaints"])


def test_without_real_time_scheduling_it_runs_and_says_so() -> None:
    found = run()
    assert found["policy"] == "other"
    assert any("CPUSchedulingPolicy" in complaint for complaint in found["complaints"])


def test_only_a_jump_of_boottime_against_monotonic_is_a_sleep(monkeypatch: Any) -> None:
    clocks = {realtime.time.CLOCK_BOOTTIME: 9_000_000_000, realtime.time.CLOCK_MONOTONIC: 1_000_000_000}
    monkeypatch.setattr(realtime.time, "clock_gettime_ns", clocks.__getitem__)
    meter = SleepMeter()
    for clock in clocks:
        clocks[clock] += 20_000_000
    assert meter.slept_ns() == 0, "time that passes is no sleep"
    clocks[realtime.time.CLOCK_BOOTTIME] += 7_000_000_000
    assert meter.slept_ns() == 7_000_000_000
    assert meter.slept_ns() == 0, "told once"


@pytest.mark.parametrize(("kind", "in_memory"), [("tmpfs", True), ("ramfs", True), ("ext4", False), ("overlay", False)])
def test_a_directory_is_in_memory_by_the_file_system_that_is_mounted_there(
    tmp_path: Path, kind: str, in_memory: bool
) -> None:
    device = tmp_path.stat().st_dev
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "21 1 0:19 / /proc rw - proc proc rw\n"
        f"36 35 {os.major(device)}:{os.minor(device)} / /run rw,noatime shared:1 - {kind} source rw\n"
    )
    assert is_in_memory(tmp_path, mounts) is in_memory
    mounts.write_text("21 1 0:19 / /proc rw - proc proc rw\n")
    assert not is_in_memory(tmp_path, mounts), "one that is not listed is no tmpfs"
    assert not is_in_memory(Path("/proc")), "as the kernel lists it"


def test_a_span_is_divided_into_what_ran_what_waited_for_a_processor_and_the_rest(tmp_path: Path) -> None:
    told = tmp_path / "schedstat"
    told.write_text("5000 700 9\n")
    meter = ProcessorMeter(told)
    told.write_text("8000 1900 12\n")
    assert meter.since_mark() == ProcessorTime(ran_ns=3000, queued_ns=1200)
    meter.mark()
    assert meter.since_mark() == ProcessorTime(0, 0)
    meter.close()
    assert ProcessorMeter(tmp_path / "no such kernel").since_mark() is None


def test_the_kernel_tells_a_thread_that_computes_from_one_that_sleeps() -> None:
    meter = ProcessorMeter()
    began = time.thread_time_ns()
    while time.thread_time_ns() - began < 20_000_000:
        pass
    os.sched_yield()  # the kernel brings its books up to date when it looks at a thread
    ran = meter.since_mark()
    assert ran is not None
    assert ran.ran_ns >= 10_000_000
    meter.mark()
    time.sleep(0.05)
    slept = meter.since_mark()
    assert slept is not None
    assert slept.ran_ns < 20_000_000
    meter.close()


def test_the_histogram_of_lateness_counts_every_timer_once() -> None:
    account = Account()
    for late_us in (0, 100, 101, 4_999, 5_000, 2_000_000):
        account.note_lateness(late_us * 1000)
    histogram = account.lateness_histogram()
    assert sum(entry["count"] or 0 for entry in histogram) == 6
    assert {entry["up_to_us"]: entry["count"] for entry in histogram if entry["count"]} == {
        100: 2, 200: 1, 5_000: 2, None: 1,
    }  # fmt: skip
    assert account.lateness_ms(0.5) == 0.2
    assert account.lateness_ms(1.0) == account.lateness_max_ns / 1e6 == 2000.0


def test_no_timer_was_later_than_its_bucket_says() -> None:
    account = Account()
    account.note_lateness(100_001)
    assert [entry["up_to_us"] for entry in account.lateness_histogram() if entry["count"]] == [200]
    assert account.lateness_sum_ns == 100_001
