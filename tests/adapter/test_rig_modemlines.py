"""The rig's modem lines, as programs at both ends of a null modem see them."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rig.modemlines import ModemLines
from tests.rig.nullmodem import NullModem
from tests.rig.process import PYTHON, UNTIL_PARENT_DIES, end, send
from tests.rig.wait import wait_until

# A program that opens its port as pyserial does, and says which lines it sees each time it is asked.
PROGRAM = """
import serial, sys
port = serial.Serial(sys.argv[1], 115200)
for word in sys.stdin:
    if word != "look\\n":
        port.dtr = word == "raise\\n"
    print(*(name for name in ("cts", "dsr", "cd") if getattr(port, name)), flush=True)
"""
ALL = "cts dsr cd"


class End:
    """A program at one end of the cable."""

    def __init__(self, port: str, lines: ModemLines) -> None:
        self.process = subprocess.Popen(
            [*UNTIL_PARENT_DIES, *PYTHON, "-c", PROGRAM, port],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **lines.environment},
        )
        self.ask("look")

    def ask(self, word: str) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()


@pytest.fixture
def modem() -> Iterator[NullModem]:
    with NullModem() as made:
        yield made


@pytest.fixture
def lines(tmp_path: Path, modem: NullModem) -> ModemLines:
    return ModemLines(tmp_path, modem.paths)


@pytest.fixture
def alpha(modem: NullModem, lines: ModemLines) -> Iterator[End]:
    made = End(modem.paths[0], lines)
    yield made
    end(made.process)


@pytest.fixture
def beta(modem: NullModem, lines: ModemLines) -> Iterator[End]:
    made = End(modem.paths[1], lines)
    yield made
    end(made.process)


def test_the_lines_are_up_while_both_ends_are_open_and_the_cable_is_whole(
    alpha: End, beta: End, lines: ModemLines
) -> None:
    assert (alpha.ask("look"), beta.ask("look")) == (ALL, ALL)
    lines.cut(True)
    assert (alpha.ask("look"), beta.ask("look")) == ("", "")
    lines.cut(False)
    assert (alpha.ask("look"), beta.ask("look")) == (ALL, ALL)
    assert beta.ask("lower") == ALL
    assert alpha.ask("look") == ""
    beta.ask("raise")
    assert alpha.ask("look") == ALL


def test_the_lines_stay_up_while_the_far_end_is_frozen_and_fall_when_it_dies(alpha: End, beta: End) -> None:
    send(beta.process.pid, signal.SIGSTOP)
    assert alpha.ask("look") == ALL
    send(beta.process.pid, signal.SIGKILL)
    wait_until(lambda: alpha.ask("look") == "", 30, "the lines to fall")


def test_nobody_at_the_far_end_holds_no_line(alpha: End) -> None:
    assert alpha.ask("look") == ""
