"""Who is named as the one that took an address away: by the netlink port, else by what runs."""

from __future__ import annotations

import os
from pathlib import Path

from hblink.vip.suspect import SEARCH_EVERY_NS, Suspects


def program(proc: Path, pid: int, name: str) -> None:
    (proc / str(pid)).mkdir()
    (proc / str(pid) / "comm").write_text(f"{name}\n")


def test_a_process_that_still_runs_is_named_by_its_port() -> None:
    own = Path(f"/proc/{os.getpid()}/comm").read_text().strip()
    assert Suspects().describe(os.getpid(), 0) == f"by process {os.getpid()} ({own})"


def test_known_programs_that_run_are_suspected(tmp_path: Path) -> None:
    program(tmp_path, 1, "systemd")
    program(tmp_path, 40, "systemd-network")
    program(tmp_path, 41, "NetworkManager")
    (tmp_path / "42").mkdir()  # has just ended
    (tmp_path / "cpuinfo").touch()
    suspects = Suspects(tmp_path)
    assert suspects.describe(0, 0) == "suspected: NetworkManager, systemd-networkd"
    assert suspects.describe(40, 0) == "by process 40 (systemd-networkd)"
    assert suspects.describe(99, 0) == "suspected: NetworkManager, systemd-networkd", "that process is gone"


def test_what_runs_is_looked_for_again_after_a_while(tmp_path: Path) -> None:
    suspects = Suspects(tmp_path)
    nobody = "suspected: no known network manager runs here"
    assert suspects.describe(0, 0) == nobody
    program(tmp_path, 40, "dhclient")
    assert suspects.describe(0, SEARCH_EVERY_NS - 1) == nobody
    assert suspects.describe(0, SEARCH_EVERY_NS) == "suspected: dhclient"


def test_without_proc_nobody_is_named(tmp_path: Path) -> None:
    assert Suspects(tmp_path / "none").describe(7, 0) == "suspected: no known network manager runs here"


def test_a_name_that_cannot_be_printed_is_not(tmp_path: Path) -> None:
    program(tmp_path, 40, "bad\x1b[2Jname")
    assert Suspects(tmp_path).describe(40, 0) == "by process 40 (?)"
