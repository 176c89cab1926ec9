"""A thread that writes, so that the loop never waits for a disk, a pipe or a log daemon.

What cannot be taken is counted and dropped, never waited for. Nothing but bytes and file names goes in here.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from collections.abc import Callable
from pathlib import Path

QUEUE_LIMIT = 4096


class Writer:
    """Run small writing jobs in order on one thread; `dropped` and `failed` count them; `errors` says what fails."""

    def __init__(self) -> None:
        self._jobs: queue.Queue[tuple[str, Callable[[], None]] | None] = queue.Queue(QUEUE_LIMIT)
        self.dropped = 0
        self.failed = 0
        self._errors: dict[str, str] = {}
        self._thread = threading.Thread(target=self._run, name="hblink-writer", daemon=True)
        self._thread.start()

    @property
    def errors(self) -> tuple[str, ...]:
        """Each file whose last writing failed, and why."""
        return tuple(self._errors.copy().values())  # copied in one step, as the thread goes on

    def has_failed(self, path: Path) -> bool:
        """Whether the last writing of `path` failed."""
        return str(path) in self._errors

    @property
    def thread_id(self) -> int:
        """The thread's id as the kernel knows it (gettid(2))."""
        assert self._thread.native_id is not None
        return self._thread.native_id

    def append(self, fd: int, data: bytes) -> None:
        """Write `data` to the open descriptor `fd`."""
        self._put(f"descriptor {fd}", lambda: _write_all(fd, data))

    def replace(self, path: Path, data: bytes) -> None:
        """Make `data` the content of `path`, whole or not at all, and on the disk before anything is renamed."""
        self._put(str(path), lambda: replace_file(path, data, durable=True))

    def close(self, timeout_s: float) -> None:
        """Write what is queued, for at most `timeout_s` seconds, and end."""
        with contextlib.suppress(queue.Full):
            self._jobs.put_nowait(None)
        self._thread.join(timeout_s)

    def _put(self, name: str, job: Callable[[], None]) -> None:
        try:
            self._jobs.put_nowait((name, job))
        except queue.Full:
            self.dropped += 1

    def _run(self) -> None:
        while (entry := self._jobs.get()) is not None:
            name, job = entry
            try:
                job()
            except OSError as error:
                self.failed += 1
                self._errors[name] = f"{name}: {error.strerror}"
            else:
                self._errors.pop(name, None)


def replace_file(path: Path, data: bytes, *, durable: bool) -> None:
    """Write `data` to `path` by a temporary file and rename(2), mode 0600. Raises OSError.

    `durable` adds fsync(2) of the file and of its directory, with whatever was unlinked there before.
    """
    temporary = path.with_name(f".{path.name}.new")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        _write_all(fd, data)
        if durable:
            os.fsync(fd)
    finally:
        os.close(fd)
    temporary.replace(path)
    if durable:
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
