"""The stage: shows the running picture in a terminal, prints plain lines elsewhere, and keeps the story's time.

Everything happens in the one thread that tells the story: whoever waits, waits here, and here the picture is redrawn
and an interruption is noticed. A signal only sets a flag, so that no part of the rig is left half made.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TextIO, TypeVar

from tests.rig.demo.gauge import Gauge
from tests.rig.demo.picture import HEIGHT, WIDTH, Caption, draw, paint
from tests.rig.wait import boottime_ns

T = TypeVar("T")
REDRAW_NS = 200_000_000
POLL_S = 0.02
HOLD_POLL_S = 0.1  # while nothing is expected, the nodes are left alone
LIMIT_S = 52.0  # the whole story; the rest of the minute is for tidying up

# Alternate screen, cursor hidden; and back (xterm's private modes, which a VT100 ignores).
_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l\x1b[2J", "\x1b[?25h\x1b[?1049l"
_HOME, _END_OF_LINE, _REST = "\x1b[H", "\x1b[K", "\x1b[J"
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Unmet(AssertionError):  # noqa: N818 - a fact about the story, not an error of the demo
    """Something that the story promises did not happen, or something happened that it excludes."""


class Interrupted(Exception):  # noqa: N818 - the viewer's wish
    """The viewer has seen enough."""


class Stage:
    """Tells a story on `output`; `live` draws the picture, and prints the account when it is over."""

    def __init__(self, output: TextIO) -> None:
        self._output = output
        size = shutil.get_terminal_size((0, 0))
        self.live = output.isatty() and size.columns > WIDTH and size.lines >= HEIGHT and _can_move_the_cursor()
        self._colour = "NO_COLOR" not in os.environ
        self.gauge: Gauge | None = None  # what the picture is drawn from, once there is a pair
        self.began_at = boottime_ns()
        self._account: list[str] = []
        self._on_screen = False
        self._signal: int | None = None
        self._caption = Caption((), 0, "", "")
        self._drawn_at = 0
        self._phase = 0

    def listen(self) -> None:
        """From now on, let a signal only leave a note, which `tick` finds."""
        for number in SIGNALS:
            signal.signal(number, self._note)

    def leave(self) -> None:
        """Give the terminal back and print the account there.

        Signals are ignored from then on, here and in every program that is started: what follows is tidying up.
        """
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        if self._on_screen:
            self._on_screen = False
            print(_LEAVE, end="", file=self._output)
            print(*self._account, sep="\n", file=self._output, flush=True)

    def begin(self, gauge: Gauge, began_at: int) -> None:
        """Let the story begin at `began_at`, and the picture with it."""
        self.gauge, self.began_at = gauge, began_at
        if self.live:
            self._output.write(_ENTER)
            self._on_screen = True

    def step(self, number: int, steps: int, title: str, words: str) -> None:
        """Announce a step of the story."""
        starts = (*self._caption.starts[: number - 1], (boottime_ns() - self.began_at) / 1e9)
        self._caption = Caption(starts, steps, title, words)
        if self._account:
            self._line("")
        self._line(f"{number} of {steps}: {title}")
        self._line(f" {words}")
        self._drawn_at = 0
        self.tick()

    def say(self, text: str, at: int | None = None) -> None:
        """Report a happening, which happened at `at` (default: now)."""
        instant = boottime_ns() if at is None else at
        self._line(f"{(instant - self.began_at) / 1e9:6.2f} s {text}")
        self._caption = replace(self._caption, last=text)

    def tick(self) -> None:
        """Redraw when it is time; raises Interrupted after a signal."""
        if self._signal is not None:
            raise Interrupted(signal.Signals(self._signal).name)
        now = boottime_ns()
        if self._on_screen and self.gauge is not None and now - self._drawn_at >= REDRAW_NS:
            self._drawn_at = now
            self._phase += 1
            lines = draw(self.gauge.read(), self._caption, (now - self.began_at) / 1e9, self._phase)
            shown = [paint(line) for line in lines] if self._colour else lines
            self._output.write(_HOME + "\r\n".join(line + _END_OF_LINE for line in shown) + _REST)
            self._output.flush()

    def until(self, condition: Callable[[], T | None], timeout_s: float, what: str) -> T:
        """Wait until `condition` gives something true, and return it; Unmet, naming `what`, if it does not in time."""
        deadline = min(boottime_ns() + int(timeout_s * 1e9), self.began_at + int(LIMIT_S * 1e9))
        while True:
            self.tick()
            value = condition()
            if value:
                return value
            if boottime_ns() >= deadline:
                raise Unmet(f"did not happen in time: {what}")
            time.sleep(POLL_S)

    def hold(self, duration_s: float, check: Callable[[], None] = lambda: None) -> None:
        """Let the picture stand for a while, during which `check` must not raise."""
        end = boottime_ns() + int(duration_s * 1e9)
        while boottime_ns() < end:
            self.tick()
            check()
            time.sleep(HOLD_POLL_S)
        check()

    def rest(self, duration_s: float, check: Callable[[], None] = lambda: None) -> None:
        """Let the viewer look, if there is one."""
        self.hold(duration_s if self.live else 0.2, check)

    @property
    def interrupted(self) -> bool:
        """Whether a signal came."""
        return self._signal is not None

    def _note(self, number: int, _frame: object) -> None:
        self._signal = number

    def _line(self, line: str) -> None:
        self._account.append(line)
        if not self.live:
            print(line, file=self._output, flush=True)


def _can_move_the_cursor() -> bool:
    return os.environ.get("TERM", "dumb") not in ("", "dumb")
