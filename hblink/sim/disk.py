"""What a machine remembers: the runtime directory, gone with the kernel boot, and the epoch on its disk.

This module must never make up a memory: what cannot be read is missing or in doubt, as hblink.daemon.memory has it.
"""

from __future__ import annotations

from dataclasses import replace
from enum import Enum, unique
from random import Random

from hblink.core.value import EPOCH_NONE, Memory


@unique
class Disk(Enum):
    """What becomes of the epoch that is written to disk."""

    GOOD = "good"
    LOST = "lost"  # missing, or cannot be read
    READ_ONLY = "read_only"
    FULL = "full"
    ROLLED_BACK = "rolled_back"  # at the next boot an old copy is found


_WRITABLE = (Disk.GOOD, Disk.ROLLED_BACK)


class Store:
    """The memory of one machine. `forgetful` is whether it came back, at the last `recall`, with less than it knew."""

    def __init__(self, random: Random, disk: Disk) -> None:
        self._random = random
        self._epochs = [EPOCH_NONE]  # that the disk has held, oldest first
        self._known = EPOCH_NONE  # the highest that was ever to be written
        self._runtime: Memory | None = None
        self._spoilt = False
        self._orderly = False  # the note of an orderly end is on the disk
        self._counts = False  # ... of the boot before this one, and no daemon has started since
        self.disk = disk
        self.runtime_works = True
        self.forgetful = False

    def boot(self) -> None:
        """A new kernel boot: the runtime directory is empty."""
        self._counts = self._orderly
        self._runtime = None
        self._spoilt = False

    def remember(self, memory: Memory) -> None:
        """Write `memory` to the runtime directory, and its epoch to the disk."""
        self._known = max(self._known, memory.epoch)
        if self.runtime_works:
            self._runtime = memory
            self._spoilt = False
        else:
            self._spoilt = True
        if self.disk in _WRITABLE and memory.epoch != self._epochs[-1]:
            self._epochs.append(memory.epoch)

    def note_orderly_end(self) -> None:
        """The machine shuts down, and its daemon has ended beside an active peer."""
        self._orderly = self.disk in _WRITABLE

    def recall(self) -> Memory:
        """Read what a daemon that starts now would read."""
        orderly, self._orderly, self._counts = self._counts, False, False
        in_doubt = self._spoilt or not self.runtime_works
        memory = Memory(ran=True) if in_doubt else self._runtime or Memory()
        on_disk = self._epochs[-1]
        if self.disk is Disk.LOST:
            on_disk = EPOCH_NONE
        elif self.disk is Disk.ROLLED_BACK and self._runtime is None:
            on_disk = self._epochs[self._random.randrange(len(self._epochs))]
            self._epochs.append(on_disk)
        epoch = max(memory.epoch, on_disk)
        self.forgetful = epoch < self._known
        return replace(memory, epoch=epoch, orderly=memory.orderly or orderly)
