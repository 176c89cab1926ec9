"""Modem lines for the ports of a null modem, which are ptys and have none: `modemlines.c`, compiled when it is needed.

A process that is started with `environment` has them on its port: it sees whether the process at the other end holds
DTR, and nobody holds it who is dead.
"""

from __future__ import annotations

from pathlib import Path

from tests.rig.process import run

SOURCE = Path(__file__).with_suffix(".c")


class ModemLines:
    """The lines of the cable between `ports`; `directory` gets what has to be written."""

    def __init__(self, directory: Path, ports: tuple[str, str]) -> None:
        self._state = directory / "modemlines"
        shim = directory / "modemlines.so"
        run(
            ["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o", str(shim), str(SOURCE)], timeout_s=60
        )
        self.environment = {"LD_PRELOAD": str(shim), "MODEM_LINES": ":".join((str(self._state), *ports))}
        self.cut(False)

    def cut(self, is_cut: bool) -> None:
        """Let both ends lose the other's lines, or see them again."""
        self._state.write_bytes(b"1" if is_cut else b"0")
