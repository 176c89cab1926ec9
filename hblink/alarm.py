"""The one alarm hook: a command of the operator's that gets each alarm as one JSON object on its standard input.

One command at a time; alarms that come meanwhile wait in a short queue, of which the oldest is dropped when it is full:
the newest says what is true now. A hook that hangs is killed with its whole process group, what it put in the
background too. This module must never wait for the hook, and a failing hook must never change what the daemon does.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from hblink.core.value import MS, SECOND
from hblink.loop import Loop
from hblink.process import Finished, Process, run

DEADLINE_NS = 10 * SECOND
QUEUE_LIMIT = 16
DETAIL_LIMIT = 160  # characters


class AlarmHook:
    """Run `argv` once for each alarm, in their order; with an empty `argv` nothing is run.

    `delivered`, `failed` and `dropped` count alarms; `on_failure(detail, now)` gets one line of ASCII for the log.
    """

    def __init__(
        self,
        loop: Loop,
        argv: Sequence[str],
        *,
        deadline_ns: int = DEADLINE_NS,
        on_failure: Callable[[str, int], None] | None = None,
    ) -> None:
        self._loop = loop
        self._argv = tuple(argv)
        self._deadline_ns = deadline_ns
        self._on_failure = on_failure
        self._queue: deque[bytes] = deque()
        self._process: Process | None = None
        self._closed = False
        self.delivered = 0
        self.failed = 0
        self.dropped = 0

    @property
    def idle(self) -> bool:
        """Whether nothing runs and nothing waits."""
        return self._process is None and not self._queue

    def notify(self, document: Mapping[str, object]) -> None:
        """Hand one alarm over: one line of ASCII JSON. Raises TypeError if `document` is not JSON."""
        if not self._argv or self._closed:
            return
        line = json.dumps(document, separators=(",", ":")).encode("ascii") + b"\n"
        if len(self._queue) == QUEUE_LIMIT:
            self._queue.popleft()
            self.dropped += 1
        self._queue.append(line)
        self._run_next()

    def close(self) -> None:
        """Kill the hook if it runs, forget what waits, take no more."""
        self._closed = True
        self._queue.clear()
        if self._process is not None:
            self._process.kill()

    def _run_next(self) -> None:
        if self._process is None and self._queue:
            self._process = run(
                self._loop,
                self._argv,
                deadline_ns=self._deadline_ns,
                on_exit=self._on_exit,
                stdin=self._queue.popleft(),
            )

    def _on_exit(self, finished: Finished, now: int) -> None:
        self._process = None
        if self._closed:
            return
        if finished.ok:
            self.delivered += 1
        else:
            self.failed += 1
            if self._on_failure is not None:
                self._on_failure(_explain(finished), now)
        self._run_next()


def _explain(finished: Finished) -> str:
    """Say in one line of ASCII why the hook did not succeed, with the last line of its own words."""
    if finished.timed_out:
        end = f"killed after {finished.elapsed_ns // MS} ms"
    elif finished.error is not None:
        end = finished.error
    elif finished.signal is not None:
        end = f"ended by signal {finished.signal}"
    else:
        end = f"exit status {finished.returncode}"
    words = finished.stderr.decode("ascii", "replace").split("\n")
    last = next((line for line in reversed(words) if line.strip()), "")
    text = f"{end}: {last}" if last else end
    return "".join(char if " " <= char <= "~" else "?" for char in text)[:DETAIL_LIMIT]
