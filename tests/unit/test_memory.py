"""What survives a daemon: whole, doubted, or of another boot (SAFETY S17)."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pytest

from hblink.core.value import Grant, Memory
from hblink.daemon.memory import MemoryFile
from hblink.daemon.writer import Writer
from tests.rig.wait import wait_until

BOOT = "11111111-2222-3333-4444-555555555555"
MEMORY = Memory(
    epoch=6,
    ran=True,
    peer_heard=True,
    grant=Grant.FENCED,
    last_authentic_at=123,
    standby=True,
    maintenance=True,
    maintenance_until=456,
    peer_maintenance=True,
    outstanding_until=789,
    fences=(11, 12),
    fence_lied=True,
    unleased=True,
    orderly=True,
    owes_on=True,
    sworn_off=True,
    off_under_way=True,
)
DOUBT = Memory(ran=True)


@pytest.fixture
def runtime(tmp_path: Path) -> Path:
    directory = tmp_path / "run"
    directory.mkdir()
    return directory


def make(runtime: Path, state: Path | None = None, boot: str = BOOT) -> tuple[MemoryFile, Writer]:
    writer = Writer()
    return MemoryFile(runtime, state, boot, writer), writer


def test_nothing_is_remembered_at_first(runtime: Path) -> None:
    assert make(runtime)[0].load() == Memory()


def test_it_survives_a_daemon(runtime: Path) -> None:
    plain = [each.name for each in fields(Memory) if getattr(MEMORY, each.name) == getattr(Memory(), each.name)]
    assert plain == [], "nothing of what is to survive is left out here"
    make(runtime)[0].store(MEMORY)
    assert make(runtime)[0].load() == MEMORY


def test_it_does_not_survive_a_kernel_boot(runtime: Path) -> None:
    make(runtime)[0].store(MEMORY)
    assert make(runtime, boot="9" * 8)[0].load() == Memory()


def test_the_epoch_survives_a_kernel_boot_on_disk(runtime: Path, tmp_path: Path) -> None:
    memory, writer = make(runtime, tmp_path)
    memory.store(replace(MEMORY, sworn_off=False))
    writer.close(60)
    assert make(runtime, tmp_path, boot="9" * 8)[0].load() == Memory(epoch=6)


def test_an_oath_survives_a_kernel_boot_on_disk_until_the_peer_is_heard(runtime: Path, tmp_path: Path) -> None:
    """Whoever works on the peer goes on working while this machine reboots (S16)."""
    memory, writer = make(runtime, tmp_path)
    memory.store(Memory(epoch=6, ran=True, sworn_off=True))
    writer.close(60)
    memory, writer = make(runtime, tmp_path, boot="9" * 8)
    assert memory.load() == Memory(epoch=6, sworn_off=True)
    memory.store(Memory(epoch=6, ran=True, peer_heard=True))
    writer.close(60)
    assert make(runtime, tmp_path, boot="8" * 8)[0].load() == Memory(epoch=6)


@pytest.mark.parametrize("content", ["", "{", "{}", '{"version": 2}', '{"version":1,"boot_id":"' + BOOT + '"}', "[]"])
def test_unreadable_memory_counts_as_ran_without_grant_and_not_heard(runtime: Path, content: str) -> None:
    (runtime / "memory.json").write_text(content)
    memory, _ = make(runtime)
    assert memory.load() == DOUBT
    assert "memory.json" in memory.complaint


def test_memory_that_cannot_be_written_is_doubted_afterwards(runtime: Path) -> None:
    memory, _ = make(runtime)
    memory.store(MEMORY)
    (runtime / ".memory.json.new").mkdir()  # the temporary file cannot be opened, whoever asks
    memory.store(Memory(epoch=8, ran=True, peer_heard=True))
    assert "memory.json" in memory.complaint
    assert make(runtime)[0].load() == DOUBT  # not the old grant, which is used up


@pytest.mark.parametrize("content", ["x", "-1", "4294967296", ""])
def test_a_bad_epoch_on_disk_is_told_and_not_used(runtime: Path, tmp_path: Path, content: str) -> None:
    (tmp_path / "epoch").write_text(content)
    memory, _ = make(runtime, tmp_path)
    assert memory.load() == Memory()
    assert "epoch" in memory.complaint


def test_the_oath_on_the_disk_counts_only_where_this_kernel_boot_knows_nothing(runtime: Path, tmp_path: Path) -> None:
    (tmp_path / "sworn_off").write_text("sworn\n")
    make(runtime)[0].store(
        Memory(epoch=6, ran=True, peer_heard=True)
    )  # it was heard, and the disk could not be written
    assert make(runtime, tmp_path)[0].load() == Memory(epoch=6, ran=True, peer_heard=True)
    (runtime / "memory.json").write_text("{")
    assert make(runtime, tmp_path)[0].load() == replace(DOUBT, sworn_off=True)


def test_an_oath_that_could_not_be_written_is_written_with_the_next_word(runtime: Path, tmp_path: Path) -> None:
    state = tmp_path / "later"
    memory, writer = make(runtime, state)
    memory.store(Memory(sworn_off=True))
    wait_until(lambda: writer.failed == 2, 60, "epoch and oath to fail")
    state.mkdir()
    memory.store(Memory(sworn_off=True, last_authentic_at=1))
    writer.close(60)
    assert (state / "sworn_off").read_text() == "sworn\n"


def test_a_missing_state_directory_is_survived(runtime: Path, tmp_path: Path) -> None:
    memory, writer = make(runtime, tmp_path / "nowhere")
    assert memory.load() == Memory()
    memory.store(MEMORY)
    writer.close(60)
    assert writer.failed == 2, "the epoch and the oath"
    assert make(runtime)[0].load() == MEMORY


def test_memory_in_a_directory_that_cannot_be_written_is_doubted(runtime: Path, tmp_path: Path) -> None:
    make(runtime)[0].store(MEMORY)
    (runtime / "..probe.new").mkdir()  # no file of that directory can be written any more, whoever asks
    memory, _ = make(runtime)
    assert memory.load() == Memory(epoch=6, ran=True)
    assert memory.complaint
    (tmp_path / "sworn_off").write_text("sworn\n")
    assert make(runtime, tmp_path)[0].load().sworn_off, "the disk knows of the oath"


# S5: whether the kernel boot before this one ended orderly

NEXT_BOOT = "99999999-2222-3333-4444-555555555555"


def ended_orderly(runtime: Path, state: Path, boot: str = BOOT) -> None:
    """A daemon runs in `boot`, and the machine ends it."""
    memory, _ = make(runtime, state, boot)
    memory.load()
    memory.note_orderly_end()
    assert memory.complaint == ""


def test_an_orderly_end_is_known_in_the_next_boot_and_in_no_other(runtime: Path, tmp_path: Path) -> None:
    ended_orderly(runtime, tmp_path)
    booted = make(runtime, tmp_path, boot=NEXT_BOOT)[0]
    memory = booted.load()
    assert memory.orderly
    booted.store(memory)
    assert make(runtime, tmp_path, boot=NEXT_BOOT)[0].load().orderly, "over a restart of the daemon"
    assert not make(runtime, tmp_path, boot="7" * 8)[0].load().orderly, "not over another boot"


def test_a_daemon_that_ended_within_this_boot_says_nothing_of_the_boot_before(runtime: Path, tmp_path: Path) -> None:
    ended_orderly(runtime, tmp_path)
    assert not make(runtime, tmp_path)[0].load().orderly
    assert not make(runtime, tmp_path, boot=NEXT_BOOT)[0].load().orderly, "the note is used up"


def test_a_note_that_could_not_be_removed_does_not_count_in_the_boot_after(runtime: Path, tmp_path: Path) -> None:
    ended_orderly(runtime, tmp_path)
    note = (tmp_path / "orderly").read_text()
    assert make(runtime, tmp_path, boot=NEXT_BOOT)[0].load().orderly
    (tmp_path / "orderly").write_text(note)  # as where the removal did not reach the disk
    assert not make(runtime, tmp_path, boot="7" * 8)[0].load().orderly, "another boot came between"


def test_an_orderly_end_does_not_count_where_its_note_cannot_be_used_up(runtime: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    ended_orderly(runtime, state)
    (state / ".last_boot.new").mkdir()  # so that this boot cannot be written down
    memory = make(runtime, state, boot=NEXT_BOOT)[0]
    assert not memory.load().orderly
    assert "last_boot" in memory.complaint


def test_without_a_state_directory_no_end_is_known_to_be_orderly(runtime: Path) -> None:
    make(runtime)[0].note_orderly_end()
    assert not make(runtime, boot=NEXT_BOOT)[0].load().orderly
