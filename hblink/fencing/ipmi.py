"""A node's BMC, by ipmitool(1) over IPMI v2.0 (RMCP+): one process for each request.

The password goes from its file to ipmitool through a pipe; it must never be in an argument, the environment, a log or
a second file. Only readings and `chassis power off` and `on` are ever sent: `cycle` and `reset` prove nothing. ipmitool
returns 1 for every failure, so the exit status is judged together with the text (1.8.18 and 1.8.19, with -v: without
it a wrong password and an absent BMC read the same). It always writes to stderr, also when all is well.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
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
from hblink.fencing.inventory import serial_of
from hblink.fencing.password import PasswordError, read_password
from hblink.loop import Loop
from hblink.process import Finished, run

PASSWORD_LIMIT = 20  # bytes: IPMI v2.0, 22.30 Set User Password

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
        (r"failed: Insufficient privilege level|Set Session Privilege Level to \S+ failed:", FenceReason.LOW_PRIVILEGE),
        (r"Set Session Privilege Level to \S+ failed$", FenceReason.TIMED_OUT),  # no answer to that one
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
_SYSTEM_POWER = re.compile(r"^System Power\s*: (on|off)$", re.MULTILINE)
_POLICY = re.compile(r"^Power Restore Policy\s*: (always-on|always-off|previous)$", re.MULTILINE)
# The bytes of Get System GUID as they came: the decoded form of `mc guid` differs between versions of ipmitool.
_GUID = re.compile(r"^((?: [0-9a-f]{2}){16})$", re.MULTILINE)
# Completion codes that mean: no such thing here (IPMI v2.0 5.2). "Busy" and the like do not mean that.
_NO_GUID = re.compile(r"Unable to send RAW command .*rsp=0x(c1|c9|cb|cc|d4|d6)\)")
# One session for all: IPMI v2.0 20.8 Get System GUID (any privilege), 28.2 Get Chassis Status.
_LOOK = b"raw 0x06 0x37\nchassis status\n"
_INVENTORY = re.compile(r"\A(.*)\Z", re.DOTALL)  # whatever `fru print 0` says
_ANSWERED = frozenset({FenceReason.OK, FenceReason.BAD_ANSWER, FenceReason.LOW_PRIVILEGE})
_NO_ANSWER = re.compile(r"No Response|FRU Read failed$", re.MULTILINE)  # ... when every retry came to nothing
# What boards without a GUID of their own answer: no identity.
_NOBODY = frozenset({"0" * 32, "f" * 32, "03000200040005000006000700080009", "00020003000400050006000700080009"})
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


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one ipmitool came to: `said` is the wanted text, not None exactly if `reason` is OK."""

    reason: FenceReason
    detail: str
    said: str | None
    elapsed_ns: int


Result = Finished | Outcome  # an Outcome: refused before anything was started
Take = Callable[[Result, int], None]


def judge(finished: Result, wanted: re.Pattern[str], forgiven: re.Pattern[str] | None = None) -> Outcome:
    """Judge an ipmitool that was to print exactly one line that `wanted` matches, whose group 1 is returned.

    Both the exit status and the text must be good, but for a failure whose complaint `forgiven` matches; anything else
    is a failure with the first reason that fits.
    """
    if isinstance(finished, Outcome):
        return finished
    stdout = finished.stdout.decode("ascii", "replace")
    lines = [line.strip().removeprefix("> ") for line in finished.stderr.decode("ascii", "replace").splitlines()]
    lines = [line for line in lines if line and line != _PREAMBLE]
    complaint = lines[-1] if lines else ""

    def outcome(reason: FenceReason, detail: str, said: str | None = None) -> Outcome:
        return Outcome(reason, one_line(detail), said, finished.elapsed_ns)

    if finished.killed:
        return outcome(FenceReason.CANCELLED, "ended before it had answered")
    if finished.error is not None and not finished.timed_out:
        return outcome(FenceReason.NO_PROGRAM, finished.error)
    if finished.timed_out:
        spent = f"killed after {finished.elapsed_ns // MS} ms"
        if not lines and not stdout:
            return outcome(FenceReason.UNREACHABLE, f"no session came about; {spent}")
        return outcome(FenceReason.TIMED_OUT, f"{spent}, the last it said: {complaint or stdout}")
    found = wanted.findall(stdout)
    excused = finished.returncode == 1 and forgiven is not None and any(forgiven.search(line) for line in lines)
    if (finished.returncode == 0 or excused) and len(found) == 1:
        return outcome(FenceReason.OK, stdout, str(found[0]))
    for line in lines:
        for pattern, reason in _COMPLAINTS:
            if pattern.search(line):
                return outcome(reason, line)
    end = f"signal {finished.signal}" if finished.returncode is None else f"exit status {finished.returncode}"
    return outcome(FenceReason.BAD_ANSWER, f"{end}: {complaint or stdout or 'not a word'}")


def inspection(result: Result) -> Inspection:
    """Judge an ipmitool that was asked for GUID and chassis status: no GUID is an answer, no power state is none."""
    outcome = judge(result, _SYSTEM_POWER, _NO_GUID)
    if outcome.said is None or isinstance(result, Outcome):
        return Inspection(Power.UNKNOWN, outcome.reason, outcome.detail, outcome.elapsed_ns)
    stdout = result.stdout.decode("ascii", "replace")
    guids = [re.sub(" ", "", line) for line in _GUID.findall(stdout)]
    guid = guids[0] if len(guids) == 1 and guids[0] not in _NOBODY else None
    policy = _POLICY.search(stdout)
    detail = f"System Power is {outcome.said}"
    said = None if policy is None else policy.group(1)
    return Inspection(Power(outcome.said), outcome.reason, detail, outcome.elapsed_ns, guid, said)


def serial_number(result: Result) -> SerialNumber:
    """Judge an ipmitool that was asked for the inventory: a device that has none, or a broken one, has answered."""
    outcome = judge(result, _INVENTORY)
    if isinstance(result, Outcome) or outcome.reason not in _ANSWERED:
        return SerialNumber(None, outcome.reason, outcome.elapsed_ns)
    stdout, stderr = (text.decode("ascii", "replace") for text in (result.stdout, result.stderr))
    reason = FenceReason.OK
    if _NO_ANSWER.search(stdout) or _NO_ANSWER.search(stderr):
        reason = FenceReason.TIMED_OUT
    elif result.returncode is None:
        reason = FenceReason.BAD_ANSWER
    serial = serial_of(stdout, stderr) if outcome.reason is FenceReason.OK else None
    return SerialNumber(serial, reason, outcome.elapsed_ns)


class IpmiDevice:
    """The BMC that `settings` describes; a `FenceDevice`."""

    def __init__(self, loop: Loop, settings: IpmiSettings) -> None:
        self._loop = loop
        self._settings = settings

    def inspect(self, on_answer: OnInspection) -> Running:
        """Read power, identity and restore policy in one session; sends no command."""

        def answer(result: Result, now: int) -> None:
            on_answer(inspection(result), now)

        return self._run(("exec", "/dev/stdin"), answer, stdin=_LOOK)

    def read_serial(self, on_answer: OnSerial) -> Running:
        """Read the inventory, a dozen exchanges or more: for no longer than half of the command timeout.

        In a process of its own: ipmitool 1.8.19 reads some that are nonsense without end, and dies of others (SIGSEGV).
        """

        def answer(result: Result, now: int) -> None:
            on_answer(serial_number(result), now)

        return self._run(("fru", "print", "0"), answer, deadline_ns=self._settings.command_timeout_ns // 2)

    def read_power(self, on_answer: OnReading) -> Running:
        """Ask for the power state; sends no command."""

        def answer(result: Result, now: int) -> None:
            outcome = judge(result, _POWER)
            power = Power.UNKNOWN if outcome.said is None else Power(outcome.said)
            on_answer(Reading(power, outcome.reason, outcome.detail, outcome.elapsed_ns), now)

        return self._run(("chassis", "power", "status"), answer)

    def power_off(self, on_answer: OnCommanded) -> Running:
        """Command a hard power-off."""
        return self._command("off", _OFF, on_answer)

    def power_on(self, on_answer: OnCommanded) -> Running:
        """Command a power-on."""
        return self._command("on", _ON, on_answer)

    def _command(self, verb: str, wanted: re.Pattern[str], on_answer: OnCommanded) -> Running:
        def answer(result: Result, now: int) -> None:
            outcome = judge(result, wanted)
            accepted = outcome.said is not None
            on_answer(Commanded(accepted, outcome.reason, outcome.detail, outcome.elapsed_ns), now)

        return self._run(("chassis", "power", verb), answer)

    def _run(
        self, words: tuple[str, ...], take: Take, stdin: bytes | None = None, deadline_ns: int | None = None
    ) -> Running:
        try:
            password = read_password(self._settings.password_file, PASSWORD_LIMIT)
        except PasswordError as error:
            return self._refuse(FenceReason.UNREADABLE_PASSWORD, str(error), take)
        try:
            read_end, write_end = os.pipe()
        except OSError as error:
            return self._refuse(FenceReason.NO_PROGRAM, f"no pipe: {error.strerror}", take)
        try:
            os.write(write_end, password + b"\n")  # a pipe takes PIPE_BUF bytes without blocking
            return run(
                self._loop,
                (*self._argv(f"/dev/fd/{read_end}"), *words),
                deadline_ns=self._settings.command_timeout_ns if deadline_ns is None else deadline_ns,
                on_exit=take,
                stdin=stdin,
                pass_fds=(read_end,),
            )
        finally:
            os.close(write_end)
            os.close(read_end)

    def _argv(self, password_source: str) -> tuple[str, ...]:
        """-C: some BMCs cost 10 s without; -N 1 -R 2: first retry after 1 s, an absent BMC costs 6 s, not 20.

        More retries do not carry a session through a worse line: each one waits a second longer than the one before.
        """
        settings = self._settings
        # fmt: off
        return (
            "ipmitool", "-v", "-I", "lanplus", "-N", "1", "-R", "2",
            "-C", str(settings.cipher_suite), "-L", settings.privilege,
            "-H", settings.host, "-p", str(settings.port), "-U", settings.user, "-f", password_source,
        )
        # fmt: on

    def _refuse(self, reason: FenceReason, detail: str, take: Take) -> Running:
        """Answer, in a later turn of the loop, that nothing was sent."""
        outcome = Outcome(reason, one_line(detail), None, 0)
        self._loop.call_at(self._loop.now(), lambda now: take(outcome, now))
        return Refused()
