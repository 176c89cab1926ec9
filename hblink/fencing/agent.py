"""A device by any fence agent of the fence-agents family, over its standard interface: key=value lines on its stdin.

`action=status` must exit with 2 *and* say `Status: OFF` (0 and `Status: ON`): an interpreter that cannot open its
script, and every program with a wrong option, exits with 2 as well. Secrets go from their files into the stdin of the
agent, which is a file in memory; what an agent does with them is its own affair (fence_ipmilan puts the password into
ipmitool's arguments for some milliseconds). Only `status`, `off` and `on` are ever asked: `reboot` and method=cycle
prove nothing. An agent may start others; its process group dies with it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hblink.core.value import MS, Power
from hblink.fencing.device import (
    Commanded,
    FenceReason,
    Inspection,
    OnCommanded,
    OnInspection,
    OnReading,
    OnSerial,
    Reading,
    Refused,
    Running,
    SerialNumber,
    one_line,
)
from hblink.fencing.password import PasswordError, read_password
from hblink.loop import Loop
from hblink.process import Finished, run

SECRET_LIMIT = 4096  # bytes
STATUS = {0: (Power.ON, "Status: ON"), 2: (Power.OFF, "Status: OFF")}

# First match wins; texts of fence-agents' fencing.py (4.12 to 4.16).
_COMPLAINTS: tuple[tuple[re.Pattern[str], FenceReason], ...] = tuple(
    (re.compile(text), reason)
    for text, reason in (
        (r"Ignoring unknown option|Failed: Unrecognised action|Please use '-h' for usage", FenceReason.BAD_PARAMETER),
        (r"Failed: You have to (enter|set|use|provide)", FenceReason.BAD_PARAMETER),
        (r"ModuleNotFoundError|ImportError|Utility .* does not exist", FenceReason.NO_PROGRAM),
        (r"[Aa]uthentication (failed|error)|[Ll]ogin (failed|incorrect)|401 Unauthorized", FenceReason.WRONG_PASSWORD),
        (r"Unable to connect/login to fencing device|Failed to connect", FenceReason.UNREACHABLE),
        (r"[Cc]onnection (refused|timed out)|[Nn]o route to host|[Cc]ould not resolve", FenceReason.UNREACHABLE),
        (r"Timed out waiting to power", FenceReason.STAYS_ON),
    )
)


class AgentSettings(Protocol):
    """What is to be known of an agent; the typed configuration has it."""

    @property
    def agent(self) -> str: ...
    @property
    def parameters(self) -> Mapping[str, str]: ...
    @property
    def secret_files(self) -> Mapping[str, Path]: ...
    @property
    def command_timeout_ns(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A secret could not be read, and no agent was started."""

    detail: str


Result = Finished | Unreadable


def judge_status(finished: Result) -> Reading:
    """Judge `action=status`: exit status and text must agree, and no parameter may have been passed over."""
    if isinstance(finished, Unreadable):
        return Reading(Power.UNKNOWN, FenceReason.UNREADABLE_PASSWORD, one_line(finished.detail), 0)
    reason, detail = _judge(finished)
    power = Power.UNKNOWN
    if reason is FenceReason.OK:
        lines = finished.stdout.decode("ascii", "replace").splitlines()
        power, text = STATUS.get(-1 if finished.returncode is None else finished.returncode, (Power.UNKNOWN, ""))
        if power is Power.UNKNOWN or [line.strip() for line in lines if line.startswith("Status:")] != [text]:
            power, reason = Power.UNKNOWN, FenceReason.BAD_ANSWER
            detail = f"exit status {finished.returncode}: {' '.join(lines) or detail}"
        else:
            detail = text
    return Reading(power, reason, one_line(detail), finished.elapsed_ns)


def judge_command(finished: Result) -> Commanded:
    """Judge `action=off` or `on`: accepted if it exits with 0."""
    if isinstance(finished, Unreadable):
        return Commanded(False, FenceReason.UNREADABLE_PASSWORD, one_line(finished.detail), 0)
    reason, detail = _judge(finished)
    if reason is FenceReason.OK and finished.returncode != 0:
        reason, detail = FenceReason.BAD_ANSWER, f"exit status {finished.returncode}: {detail}"
    return Commanded(reason is FenceReason.OK, reason, one_line(detail), finished.elapsed_ns)


def _judge(finished: Finished) -> tuple[FenceReason, str]:
    """What kept the agent from answering, OK if it ended by itself without a known complaint; and its last words."""
    stderr = finished.stderr.decode("ascii", "replace")
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    last = lines[-1] if lines else finished.stdout.decode("ascii", "replace").strip() or "not a word"
    if finished.killed:
        return FenceReason.CANCELLED, "ended before it had answered"
    if finished.timed_out:
        return FenceReason.TIMED_OUT, f"killed after {finished.elapsed_ns // MS} ms, the last it said: {last}"
    if finished.error is not None:
        return FenceReason.NO_PROGRAM, finished.error
    for line in lines:
        for pattern, reason in _COMPLAINTS:
            if pattern.search(line):
                return reason, line
    if finished.returncode is None:
        return FenceReason.BAD_ANSWER, f"signal {finished.signal}: {last}"
    if finished.returncode == 1:
        return FenceReason.BAD_ANSWER, last
    return FenceReason.OK, last


class AgentDevice:
    """The device behind the agent that `settings` describes; a `FenceDevice`."""

    def __init__(self, loop: Loop, settings: AgentSettings) -> None:
        self._loop = loop
        self._settings = settings

    def inspect(self, on_answer: OnInspection) -> Running:
        """Ask for the power state: agents tell no identity and no restore policy."""

        def answer(finished: Result, now: int) -> None:
            reading = judge_status(finished)
            on_answer(Inspection(reading.power, reading.reason, reading.detail, reading.elapsed_ns), now)

        return self._run("status", answer)

    def read_serial(self, on_answer: OnSerial) -> Running:
        """Answer that there is none, without asking: agents tell no identity."""
        none = SerialNumber(None, FenceReason.OK, 0)
        self._loop.call_at(self._loop.now(), lambda now: on_answer(none, now))
        return Refused()

    def read_power(self, on_answer: OnReading) -> Running:
        """Ask for the power state; sends no command."""
        return self._run("status", lambda finished, now: on_answer(judge_status(finished), now))

    def power_off(self, on_answer: OnCommanded) -> Running:
        """Command a power-off; most agents wait until they see it."""
        return self._run("off", lambda finished, now: on_answer(judge_command(finished), now))

    def power_on(self, on_answer: OnCommanded) -> Running:
        """Command a power-on."""
        return self._run("on", lambda finished, now: on_answer(judge_command(finished), now))

    def _run(self, action: str, on_exit: Callable[[Result, int], None]) -> Running:
        settings = self._settings
        lines = [f"action={action}".encode()]
        lines += [f"{key}={value}".encode() for key, value in settings.parameters.items()]
        try:
            for key, path in settings.secret_files.items():
                lines.append(key.encode() + b"=" + read_password(path, SECRET_LIMIT))
        except PasswordError as error:
            refused = Unreadable(str(error))
            self._loop.call_at(self._loop.now(), lambda now: on_exit(refused, now))
            return Refused()
        return run(
            self._loop,
            (settings.agent,),
            deadline_ns=settings.command_timeout_ns,
            on_exit=on_exit,
            stdin=b"\n".join(lines) + b"\n",
        )
