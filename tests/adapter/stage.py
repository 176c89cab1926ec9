"""Where adapters are tested: namespaces of the rig, entered by this very thread, and a loop that is run by hand."""

from __future__ import annotations

import contextlib
import ctypes
import os
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from hblink.loop import Loop, boottime_ns
from tests.rig.namespace import Namespace
from tests.rig.wait import wait_until

CLONE_NEWNET = 0x4000_0000
_libc = ctypes.CDLL(None, use_errno=True)


def _setns(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _libc.setns(descriptor, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"setns {path}")
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def inside(namespace: Namespace) -> Iterator[None]:
    """Let this thread be in `namespace`: a socket belongs for ever to the namespace in which it was made."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _setns(namespace.path)
        try:
            yield
        finally:
            _setns(Path(f"/proc/self/fd/{home}"))
    finally:
        os.close(home)


def wait_up(*ends: tuple[Namespace, str]) -> None:
    """Wait until the kernel sends through each interface: it takes note of a new carrier a moment after it came."""
    for namespace, interface in ends:
        link = ("ip", "link", "show", "dev", interface)
        wait_until(partial(_says, namespace, link, " state UP "), 30, f"{interface} of {namespace.label} to be up")


def _says(namespace: Namespace, argv: Sequence[str], words: str) -> bool:
    return words in namespace.run(*argv)


class Clock:
    """The loop's clock, which can be put forward: a deadline then passes at the moment that the test means."""

    def __init__(self) -> None:
        self._ahead_ns = 0

    def __call__(self) -> int:
        return boottime_ns() + self._ahead_ns

    def leap(self, duration_ns: int) -> None:
        """Put it forward."""
        self._ahead_ns += duration_ns


def run_until(loop: Loop, condition: Callable[[], object], what: str, timeout_s: float = 60) -> None:
    """Run `loop` until `condition()` is true; an assertion fails, saying `what` was awaited, after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        loop.run_once(20_000_000)
