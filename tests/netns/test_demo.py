"""The demo as a viewer without a terminal gets it, what Ctrl-C leaves behind, and what fits on a screen."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from tests.rig.demo.gauge import ClientReading, LinkReading, NodeReading, Reading, WayReading
from tests.rig.demo.picture import HEIGHT, WIDTH, Caption, draw, paint
from tests.rig.namespace import leftover
from tests.rig.process import ROOT

DEMO = (sys.executable, "-m", "tests.rig.demo")
HAPPENINGS = (
    "1 of 6: THE PAIR FORMS",
    "alpha is active, beta is standby",
    "the client is answered by alpha",
    "2 of 6: ETHERNET HEARTBEAT CABLE CUT",
    'alpha raises an alarm: link "direct" is down',
    'beta raises an alarm: link "direct" is down',
    "same roles, no fence, exactly one owner",
    "3 of 6: ETHERNET CABLE MENDED",
    "both links are up again",
    "4 of 6: POWER PULLED FROM ALPHA",
    "alpha is dead",
    "beta fences alpha",
    "beta has taken over",
    "measured by the client",
    "5 of 6: ALPHA COMES BACK",
    "alpha was switched on again",
    "alpha is standby, beta stays active",
    "6 of 6: PLANNED SWITCHOVER",
    "beta# hblink switchover",
    "alpha is active, beta is standby, no fence",
    "never two owners",
)


def test_the_story_is_told_in_order_and_ends_well_without_a_terminal() -> None:
    done = subprocess.run(DEMO, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert "\x1b" not in done.stdout
    rest = done.stdout
    for happening in HAPPENINGS:
        before, found, rest = rest.partition(happening)
        assert found, f"{happening!r} does not come after:\n{before}"
    last = re.fullmatch(r"demo: ok gap=(\d+) ms", done.stdout.splitlines()[-1])
    assert last is not None, done.stdout
    assert 0 < int(last[1]) < 30_000


def test_an_ordinary_user_plays_it_in_a_user_namespace_of_its_own() -> None:
    # An id other than 0 and no capability, as an ordinary user has it, on files that are still its own.
    ordinary = ("unshare", "--user", "--map-user=1000", "--map-group=1000")
    done = subprocess.run(
        (*ordinary, *DEMO), cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=240
    )
    assert re.fullmatch(r"demo: ok gap=(\d+) ms", done.stdout.splitlines()[-1]), done.stdout + done.stderr


def test_ctrl_c_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    # Short, since unix sockets lie below it.
    words = tmp_path / "stderr"
    with tempfile.TemporaryDirectory(prefix="hblink-") as scratch, words.open("w") as errors:
        demo = subprocess.Popen(
            DEMO,
            cwd=ROOT,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "TMPDIR": scratch},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        assert demo.stdout is not None
        with demo.stdout:
            told = next(line for line in demo.stdout if "is active" in line)
            made = leftover(demo.pid)
            demo.send_signal(signal.SIGINT)
            rest = demo.stdout.read()
        assert demo.wait(60) == 130, told + rest
        assert rest.splitlines()[-1].startswith("demo: interrupted")
        assert words.read_text() == ""
        assert made
        assert leftover(demo.pid) == []
        assert list(Path(scratch).iterdir()) == []
        assert _mentioning(scratch) == []


NODE = NodeReading("alpha", "ACTIVE", 4, 2, (), True, "keep", True, 0)
UP = WayReading("up", 10.0, "fr/s")
CAPTION = Caption((0.0, 5.2, 33.0), 6, "POWER PULLED FROM ALPHA", "words " * 20, "happening " * 12)


@pytest.mark.parametrize("condition", ["ACTIVE", "DEAD", "BOOTING"])
@pytest.mark.parametrize("marks", ["", "." * 20 + "A" * 90])
def test_the_picture_fits_a_screen_of_80_by_24(condition: str, marks: str) -> None:
    epoch = 2**40 if condition == "ACTIVE" else None
    alarms = ("link_in_down", "link_out_down", "no_service_carrier")
    alpha = replace(NODE, condition=condition, epoch=epoch, alarms=alarms, fences=12)
    beta = replace(NODE, name="beta", condition="STANDBY", held=0, outlook="takeover", can_fence=None)
    links = tuple(
        LinkReading(name, UP, WayReading("DOWN", 0.0, unit)) for name, unit in (("Ethernet", "fr/s"), ("serial", "B/s"))
    )
    client = ClientReading("alpha", 123456.0, 1234567.0, marks)
    reading = Reading((alpha, beta), links, client, 4, tuple(f"log {'é' * 100}" for _ in range(3)))
    for phase in range(8):
        lines = draw(reading, CAPTION, 1234.5, phase)
        assert len(lines) == HEIGHT
        assert all(len(line) <= WIDTH and line.isascii() and line.isprintable() for line in lines), lines
        assert {line[26] for line in lines[7:13]} <= {"|", ":"}, lines
        assert [re.sub(r"\x1b\[[\d;]*m", "", paint(line)) for line in lines] == lines
    assert any("VIP 192.0.2.10 (4 of 4)" in line for line in lines)


def _mentioning(text: str) -> list[str]:
    """The command lines of running processes that contain `text`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if text in line:
            found.append(line)
    return found
