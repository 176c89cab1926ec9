"""What every fence device is to the rest of the daemon: looked at, read, switched off and on, with coded reasons.

A device must never command anything that it was not asked for, and never report ON, OFF or acceptance that it has not
read in so many words: unknown is not success (SAFETY S3).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, unique
from typing import Protocol

from hblink.core.value import Power


@unique
class FenceReason(Enum):
    """Why a device's answer is what it is."""

    OK = "ok"
    NO_PROGRAM = "no_program"  # the program that talks to the device is missing or cannot be started
    UNREADABLE_PASSWORD = "unreadable_password"
    UNREACHABLE = "unreachable"  # no session came about in time
    TIMED_OUT = "timed_out"  # it answers, but not in time
    WRONG_USER = "wrong_user"
    WRONG_PASSWORD = "wrong_password"
    WRONG_CIPHER = "wrong_cipher"  # the device refuses the configured cipher suite
    LOW_PRIVILEGE = "low_privilege"
    NO_SESSION = "no_session"  # every session slot of the device is taken
    BAD_ANSWER = "bad_answer"  # it said something else
    BAD_PARAMETER = "bad_parameter"  # the agent does not know a configured parameter: it may switch something else
    WRONG_DEVICE = "wrong_device"  # another BMC answers there than the one that was learned or configured
    OWN_DEVICE = "own_device"  # it is this node's own BMC
    LIED = "lied"  # the node that it called off came back in the same kernel boot
    STAYS_ON = "stays_on"  # it accepted `off`, and did not read OFF within its time
    BUSY = "busy"  # refused here: another command is under way
    CANCELLED = "cancelled"  # killed here: something more urgent came, it was no longer wanted, or the daemon ends


@dataclass(frozen=True, slots=True)
class Reading:
    """The answer to `read_power`: `power` is UNKNOWN unless `reason` is OK. `detail` is one line of ASCII."""

    power: Power
    reason: FenceReason
    detail: str
    elapsed_ns: int


@dataclass(frozen=True, slots=True)
class Inspection:
    """The answer to `inspect`: a reading, and what else the device tells of itself.

    `guid` is 32 lower-case hexadecimal digits, None where the device has none; `policy` is what it does when power
    comes back: always-on, always-off, previous, or None where it does not say. `serial` is what `read_serial` has
    told in the same look, None where it was not asked or told none.
    """

    power: Power
    reason: FenceReason
    detail: str
    elapsed_ns: int
    guid: str | None = None
    policy: str | None = None
    serial: str | None = None


@dataclass(frozen=True, slots=True)
class SerialNumber:
    """The answer to `read_serial`: printable ASCII, None where the device tells none or did not get so far.

    `reason` is OK if it has answered, whatever it said, TIMED_OUT or BAD_ANSWER if it has not come to an end of it.
    Nothing here is a failure of the device.
    """

    serial: str | None
    reason: FenceReason
    elapsed_ns: int


@dataclass(frozen=True, slots=True)
class Commanded:
    """The answer to `power_off` and `power_on`: `accepted` means that the device said yes, not that it happened.

    Not accepted does not mean that nothing happens: a command that was killed or timed out may still take effect.
    """

    accepted: bool
    reason: FenceReason
    detail: str
    elapsed_ns: int


OnInspection = Callable[[Inspection, int], None]  # called with now
OnSerial = Callable[[SerialNumber, int], None]
OnReading = Callable[[Reading, int], None]
OnCommanded = Callable[[Commanded, int], None]


class Running(Protocol):
    """A request that a device is working on."""

    def kill(self) -> None:
        """End it at once; it still answers, once."""

    def interrupt(self) -> None:
        """End it, but let it close its session first, if that takes but a moment; it still answers, once."""


class FenceDevice(Protocol):
    """One device that switches one node.

    Each request answers exactly once, in a later turn of the loop, within the device's command timeout and a second.
    The caller keeps to one request at a time.
    """

    def inspect(self, on_answer: OnInspection) -> Running: ...

    def read_serial(self, on_answer: OnSerial) -> Running: ...

    def read_power(self, on_answer: OnReading) -> Running: ...

    def power_off(self, on_answer: OnCommanded) -> Running: ...

    def power_on(self, on_answer: OnCommanded) -> Running: ...


class Refused:
    """A request that came to no process; its answer is on its way."""

    def kill(self) -> None:
        """Do nothing: there is nothing to end."""

    def interrupt(self) -> None:
        """Do nothing: there is nothing to end."""


DETAIL_LIMIT = 160  # characters


def one_line(text: str) -> str:
    """Make `text` fit for a log and an 80-column console."""
    printable = "".join(char if " " <= char <= "~" else " " for char in text)
    return " ".join(printable.split())[:DETAIL_LIMIT]
