"""A node's BMC, by ipmitool(1) over IPMI v2.0 (RMCP+): one process for each request.

The password goes from its file to ipmitool through a pipe; it must never be in an argument, the environment, a log or
a second file. Only `chassis power status`, `off` and `on` are ever sent: `cycle` and `reset` prove nothing. ipmitool
returns 1 for every failure, so the exit status is judged together with the text (1.8.18 and 1.8.19, with -v: without
it a wrong password and an absent BMC read the same). It always writes to stderr, also when all is well.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hblink.core.value import MS, Power
from hblink.fencing.device import Commanded, FenceReason, OnCommanded, OnReading, Reading, Running
from hblink.loop import Loop
from hblink.process import Finished, run

PASSWORD_LIMIT = 20  # bytes: IPMI v2.0, 22.30 Set User Password
DETAIL_LIMIT = 160  # characters

# First match wins; texts of ipmitool's lanplus.c and ipmi_chassis.c.
_COMPLAINTS: tuple[tuple[re.Pattern[str], FenceReason], ...] = tuple(
    (re.compile(text), reason)
    for text, reason in (
        (r"RAKP [24] message indicates an error : unauthorized name", FenceReason.WRONG_USER),
        (r"RAKP 2 HMAC is invalid", FenceReason.WRONG_PASSWORD),
        (r"RAKP 4 message has invalid integrity check value", FenceReason.WRONG_PASSWORD),
        (r"RAKP 4 message indicates an error : invalid integrity check value", FenceReason.WRONG_PASSWORD),
        (r"password is longer than|Unable to (open|read) password", FenceReason.UNREADABLE_PASSWORD),
        (r"unauthorized role requested|invalid role|insufficient resources for role", FenceReason.LOW_PRIVILEGE),
        # ipmitool -v also tells of optional commands that were refused; only these lines end the request.
        (r"failed: Insufficient privilege level|Set Session Privilege Level to \S+ failed", FenceReason.LOW_PRIVILEGE),
        (r"(invalid|no matching) (authentication|integrity|confidentiality)", FenceReason.WRONG_CIPHER),
        (r"no matching cipher suite|Unsupported cipher suite", FenceReason.WRONG_CIPHER),
        (r"insufficient resources for session", FenceReason.NO_SESSION),
        (r"Address lookup for .* failed|Could not open socket", FenceReason.UNREACHABLE),
        (r"Get Auth Capabilities error|Error issuing Get Channel Auth", FenceReason.UNREACHABLE),
        (r"no response from RAKP", FenceReason.UNREACHABLE),
    )
)
# What ipmitool -v writes before the device has said anything.
_PREAMBLE = "Loading IANA PEN Registry..."
_POWER = re.compile(r"^Chassis Power is (on|off)$", re.MULTILINE)
_OFF = re.compile(r"^Chassis Power Control: (Down/Off)$", re.MULTILINE)
_ON = re.compile(r"^Chassis Power Control: (Up/On)$", re.MULTILINE)


class IpmiSettings(Protocol):
    """What is to be known of a BMC; the typed configuration has it."""

    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def user(self) -> str: ...
    @property
    def password_file(self) -> Path: ...
    @property
    def cipher_suite(self) -> int: ...
    @property
    def privilege(self) -> str: ...
    @property
    def command_timeout_ns(self) -> int: ...


class PasswordError(Exception):
    """The password file cannot be used; the text says why, never what is in it."""


def read_password(path: Path) -> bytes:
    """Return the first line of `path`, 1 to PASSWORD_LIMIT bytes.

    Raises PasswordError if it cannot be read, is not a regular file, or is accessible to group or others.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise PasswordError(f"{path}: {error.strerror}") from error
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise PasswordError(f"{path}: not a regular file")
        if status.st_mode & 0o077:
            raise PasswordError(f"{path}: mode {stat.S_IMODE(status.st_mode):04o} lets others use it, must be 0600")
        content = os.read(fd, 4096)
    except OSError as error:
        raise PasswordError(f"{path}: {error.strerror}") from error
    finally:
        os.close(fd)
    password = content.partition(b"\n")[0].removesuffix(b"\r")
    if not password or b"\0" in password or len(password) > PASSWORD_LIMIT:
        raise PasswordError(f"{path}: the first line must have 1 to {PASSWORD_LIMIT} bytes, none of them NUL")
    return password


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one ipmitool came to: `said` is the wanted text, not None exactly if `reason` is OK."""

    reason: FenceReason
    detail: str
    said: str | None
    elapsed_ns: int


def judge(finished: Finished, wanted: re.Pattern[str]) -> Outcome:
    """Judge an ipmitool that was to print exactly one line that `wanted` matches, whose group 1 is returned.

    Both the exit status and the text must be good; anything else is a failure with the first reason that fits.
    """
    stdout = finished.stdout.decode("ascii", "replace")
    lines = [line.strip() for line in finished.stderr.decode("ascii", "replace").splitlines()]
    lines = [line for line in lines if line and line != _PREAMBLE]
    complaint = lines[-1] if lines else ""

    def outcome(reason: FenceReason, detail: str, said: str | None = None) -> Outcome:
        return Outcome(reason, _one_line(detail), said, finished.elapsed_ns)

    if finished.killed:
        return outcome(FenceReason.CANCELLED, "ended before it had answered")
    if finished.error is not None and not finished.timed_out:
        return outcome(FenceReason.NO_PROGRAM, finished.error)
    if finished.timed_out:
        spent = f"killed after {finished.elapsed_ns // MS} ms"
        if not lines and not stdout:
            return outcome(FenceReason.UNREACHABLE, f"nothing came from the device; {spent}")
        return outcome(FenceReason.TIMED_OUT, f"{spent}, the last it said: {complaint or stdout}")
    found = wanted.findall(stdout)
    if finished.returncode == 0 and len(found) == 1:
        return outcome(FenceReason.OK, stdout, str(found[0]))
    for line in lines:
        for pattern, reason in _COMPLAINTS:
            if pattern.search(line):
                return outcome(reason, line)
    end = f"signal {finished.signal}" if finished.returncode is None else f"exit status {finished.returncode}"
    return outcome(FenceReason.BAD_ANSWER, f"{end}: {complaint or stdout or 'not a word'}")


def _one_line(text: str) -> str:
    """Make `text` fit for a log and an 80-column console."""
    printable = "".join(char if " " <= char <= "~" else " " for char in text)
    return " ".join(printable.split())[:DETAIL_LIMIT]


class _Refused:
    """A request that came to no process; its answer is on its way."""

    def kill(self) -> None:
        """Do nothing: there is nothing to end."""


class IpmiDevice:
    """The BMC that `settings` describes; a `FenceDevice`."""

    def __init__(self, loop: Loop, settings: IpmiSettings) -> None:
        self._loop = loop
        self._settings = settings

    def read_power(self, on_answer: OnReading) -> Running:
        """Ask for the power state; sends no command."""

        def answer(outcome: Outcome, now: int) -> None:
            power = Power.UNKNOWN if outcome.said is None else Power(outcome.said)
            on_answer(Reading(power, outcome.reason, outcome.detail, outcome.elapsed_ns), now)

        return self._chassis_power("status", _POWER, answer)

    def power_off(self, on_answer: OnCommanded) -> Running:
        """Command a hard power-off."""
        return self._command("off", _OFF, on_answer)

    def power_on(self, on_answer: OnCommanded) -> Running:
        """Command a power-on."""
        return self._command("on", _ON, on_answer)

    def _command(self, verb: str, wanted: re.Pattern[str], on_answer: OnCommanded) -> Running:
        def answer(outcome: Outcome, now: int) -> None:
            accepted = outcome.said is not None
            on_answer(Commanded(accepted, outcome.reason, outcome.detail, outcome.elapsed_ns), now)

        return self._chassis_power(verb, wanted, answer)

    def _chassis_power(self, verb: str, wanted: re.Pattern[str], on_outcome: Callable[[Outcome, int], None]) -> Running:
        try:
            password = read_password(self._settings.password_file)
            read_end, write_end = os.pipe()
        except PasswordError as error:
            return self._refuse(FenceReason.UNREADABLE_PASSWORD, str(error), on_outcome)
        except OSError as error:
            return self._refuse(FenceReason.NO_PROGRAM, f"no pipe: {error.strerror}", on_outcome)
        try:
            os.write(write_end, password + b"\n")  # a pipe takes PIPE_BUF bytes without blocking
            return run(
                self._loop,
                self._argv(f"/dev/fd/{read_end}", verb),
                deadline_ns=self._settings.command_timeout_ns,
                on_exit=lambda finished, now: on_outcome(judge(finished, wanted), now),
                pass_fds=(read_end,),
            )
        finally:
            os.close(write_end)
            os.close(read_end)

    def _argv(self, password_source: str, verb: str) -> tuple[str, ...]:
        """-C: some BMCs cost 10 s without; -N 1 -R 2: first retry after 1 s, an absent BMC costs 6 s, not 20."""
        settings = self._settings
        # fmt: off
        return (
            "ipmitool", "-v", "-I", "lanplus", "-N", "1", "-R", "2",
            "-C", str(settings.cipher_suite), "-L", settings.privilege,
            "-H", settings.host, "-p", str(settings.port), "-U", settings.user, "-f", password_source,
            "chassis", "power", verb,
        )
        # fmt: on

    def _refuse(self, reason: FenceReason, detail: str, on_outcome: Callable[[Outcome, int], None]) -> Running:
        """Answer, in a later turn of the loop, that nothing was sent."""
        outcome = Outcome(reason, _one_line(detail), None, 0)
        self._loop.call_at(self._loop.now(), lambda now: on_outcome(outcome, now))
        return _Refused()
