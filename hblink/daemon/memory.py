"""What must outlive the daemon (SAFETY S17): a file in the runtime directory; epoch and oath in the state directory.

The runtime directory is a tmpfs that goes away with the kernel boot; it is written in the loop, before the first start
action. The state directory is a disk: its copy of the epoch is a convenience (I3), and so is that an oath is known
after a reboot (S16): both are written by the writer thread, and may be missing, read-only, full or rolled back.
Whatever cannot be read or written counts as: ran, no grant, not heard.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from hblink.core.value import EPOCH_MAX, EPOCH_NONE, SECOND, Grant, Memory
from hblink.daemon.context import Context
from hblink.daemon.journal import Priority
from hblink.daemon.writer import Writer, replace_file

_VERSION = 2
_SWORN = "sworn"
_RETRY_NS = SECOND


class MemoryFile:
    """Load and store the memory of one node. `complaint` says what could not be read or written last, or is empty."""

    def __init__(self, runtime: Path, state: Path | None, boot_id: str, writer: Writer) -> None:
        self._path = runtime / "memory.json"
        self._epoch_path = None if state is None else state / "epoch"
        self._orderly_path = None if state is None else state / "orderly"
        self._last_boot_path = None if state is None else state / "last_boot"
        self._sworn_path = None if state is None else state / "sworn_off"
        self._boot_id = boot_id
        self.writer = writer
        self._stored_epoch: int | None = None
        self._stored_sworn = False
        self.complaint = ""

    def beside(self, name: str) -> Path:
        """Where a file of that name is kept: on the disk, where there is a state directory."""
        return (self._path if self._epoch_path is None else self._epoch_path).with_name(name)

    def load(self) -> Memory:
        """What is remembered of this kernel boot, with the higher of the two epochs."""
        memory, is_known = self._load_runtime()
        if not self._writable():
            memory, is_known = Memory(epoch=memory.epoch, ran=True), False  # it may be of before it became so
        epoch = self._load_epoch()
        self._stored_epoch = epoch
        orderly = self._take_orderly() or memory.orderly
        # S16: whoever works on the peer goes on working while this machine reboots. Else the disk's word is the older.
        self._stored_sworn = self._sworn_path is not None and _read_word(self._sworn_path) == _SWORN
        sworn_off = memory.sworn_off if is_known else self._stored_sworn
        return replace(memory, epoch=max(memory.epoch, epoch), orderly=orderly, sworn_off=sworn_off)

    def note_orderly_end(self) -> None:
        """The machine shuts down and nothing runs here: the next kernel boot does not follow a fence (S5)."""
        if self._orderly_path is None:
            return
        try:
            replace_file(self._orderly_path, self._boot_id.encode(), durable=True)
        except OSError as error:
            self.complaint = f"{self._orderly_path}: {error.strerror}"

    def _take_orderly(self) -> bool:
        """Whether the last kernel boot in which a daemon ran noted its orderly end (S5).

        The note is gone from the disk, and this boot is written down there, before it counts. A disk that could not be
        written in a boot between does not know of that boot; `complaint` said so then.
        """
        if self._orderly_path is None or self._last_boot_path is None:
            return False
        noted, last = _read_word(self._orderly_path), _read_word(self._last_boot_path)
        try:
            self._orderly_path.unlink(missing_ok=True)
            if last != self._boot_id:
                replace_file(self._last_boot_path, self._boot_id.encode(), durable=True)
        except OSError as error:
            self.complaint = f"{error.filename or self._orderly_path}: {error.strerror}"
            return False
        return noted is not None and noted == last and noted != self._boot_id

    def store(self, memory: Memory) -> None:
        """Write `memory` down. If that fails, the old file must not stay: it may hold a grant that is used up."""
        document = {
            "version": _VERSION,
            "boot_id": self._boot_id,
            "epoch": memory.epoch,
            "ran": memory.ran,
            "peer_heard": memory.peer_heard,
            "grant": None if memory.grant is None else memory.grant.value,
            "last_authentic_at": memory.last_authentic_at,
            "standby": memory.standby,
            "maintenance": memory.maintenance,
            "maintenance_until": memory.maintenance_until,
            "peer_maintenance": memory.peer_maintenance,
            "outstanding_until": memory.outstanding_until,
            "fences": memory.fences,
            "fence_lied": memory.fence_lied,
            "unleased": memory.unleased,
            "orderly": memory.orderly,
            "owes_on": memory.owes_on,
            "sworn_off": memory.sworn_off,
            "off_under_way": memory.off_under_way,
        }
        try:
            replace_file(self._path, json.dumps(document).encode(), durable=False)
            self.complaint = ""
        except OSError as error:
            self.complaint = f"{self._path}: {error.strerror}"
            try:
                self._path.unlink(missing_ok=True)
                self._path.with_name(".unwritable").touch()
            except OSError as second:
                self.complaint += f"; the old one is still there: {second.strerror}"
        if self._epoch_path is not None and memory.epoch != self._stored_epoch:
            self._stored_epoch = memory.epoch
            self.writer.replace(self._epoch_path, b"%d\n" % memory.epoch)
        if self._sworn_path is not None and (
            memory.sworn_off is not self._stored_sworn or self.writer.has_failed(self._sworn_path)
        ):
            self._stored_sworn = memory.sworn_off
            self.writer.replace(self._sworn_path, f"{_SWORN if memory.sworn_off else 'heard'}\n".encode())

    def _writable(self) -> bool:
        """Whether memory can be written now; where it cannot, the old file may outlive what it remembers."""
        probe = self._path.with_name(".probe")
        try:
            replace_file(probe, b"", durable=False)
            probe.unlink()
        except OSError as error:
            self.complaint = f"{self._path}: {error.strerror}"
            return False
        return True

    def _load_runtime(self) -> tuple[Memory, bool]:
        """What the runtime directory holds, and whether that is all there is to know of this kernel boot."""
        doubt = Memory(ran=True)
        try:
            document = json.loads(self._path.read_text("ascii"))
            if document["version"] != _VERSION:
                raise ValueError(f"version {document['version']}")
            if document["boot_id"] != self._boot_id:
                return Memory(), False  # of an earlier kernel boot: nothing of it holds
            at, until = document["last_authentic_at"], document["maintenance_until"]
            outstanding = document["outstanding_until"]
            memory = Memory(
                epoch=_epoch(document["epoch"]),
                ran=bool(document["ran"]),
                peer_heard=bool(document["peer_heard"]),
                grant=None if document["grant"] is None else Grant(document["grant"]),
                last_authentic_at=None if at is None else int(at),
                standby=bool(document["standby"]),
                maintenance=bool(document["maintenance"]),
                maintenance_until=None if until is None else int(until),
                peer_maintenance=bool(document["peer_maintenance"]),
                outstanding_until=None if outstanding is None else int(outstanding),
                fences=tuple(int(instant) for instant in document["fences"]),
                fence_lied=bool(document["fence_lied"]),
                unleased=bool(document.get("unleased", False)),  # an older daemon does not say it
                orderly=bool(document.get("orderly", False)),
                owes_on=bool(document.get("owes_on", outstanding is not None)),
                sworn_off=bool(document.get("sworn_off", False)),
                off_under_way=bool(document.get("off_under_way", False)),
            )
        except FileNotFoundError:
            # No file is what a fresh boot looks like, and also what a failed write leaves.
            return (doubt if self._path.with_name(".unwritable").exists() else Memory()), False
        except (OSError, ValueError, KeyError, TypeError) as error:
            self.complaint = f"{self._path}: {error}"
            return doubt, False
        return memory, True

    def _load_epoch(self) -> int:
        if self._epoch_path is None:
            return EPOCH_NONE
        try:
            return _epoch(int(self._epoch_path.read_text("ascii")))
        except FileNotFoundError:
            return EPOCH_NONE
        except (OSError, ValueError) as error:
            self.complaint = f"{self._epoch_path}: {error}"
            return EPOCH_NONE


def is_in_maintenance(runtime: Path, boot_id: str, now: int) -> bool:
    """Whether the last daemon of this kernel boot left the pair in maintenance; False if that cannot be read."""
    try:
        document = json.loads((runtime / "memory.json").read_text("ascii"))
        if document["version"] != _VERSION or document["boot_id"] != boot_id:
            return False
        until = document["maintenance_until"]
        ordered = bool(document["maintenance"]) and (until is None or now < int(until))
        return ordered or bool(document["peer_maintenance"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _read_word(path: Path) -> str | None:
    try:
        return path.read_text("ascii", "replace").strip()
    except OSError:
        return None


class Rememberer:
    """Carry out Remember: what cannot be written is said, and tried again until it is, or something newer is."""

    def __init__(self, context: Context, file: MemoryFile) -> None:
        self._context = context
        self._file = file
        self._newest: Memory | None = None

    def store(self, memory: Memory, now: int) -> None:
        """Write `memory` down before anything that follows."""
        self._newest = memory
        before = self._file.complaint
        self._file.store(memory)
        if self._file.complaint and self._file.complaint != before:
            self._context.log(Priority.ERROR, f"memory cannot be written: {self._file.complaint}", now)
        if self._file.complaint:
            self._context.loop.call_at(now + _RETRY_NS, lambda later: self._store_again(memory, later))

    def _store_again(self, memory: Memory, now: int) -> None:
        if self._file.complaint and self._newest == memory:
            self.store(memory, now)


def _epoch(value: object) -> int:
    # Half of the range is never used up; a number above that is damage, and would leave no epoch to claim.
    if not isinstance(value, int) or not EPOCH_NONE <= value <= EPOCH_MAX // 2:
        raise ValueError(f"{value!r} is not an epoch")
    return value
