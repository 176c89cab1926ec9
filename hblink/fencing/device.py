"""What every fence device is to the rest of the daemon: power read, off and on, each answered once with a coded reason.

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
    UNREACHABLE = "unreachable"  # nothing that came from the device
    TIMED_OUT = "timed_out"  # it answers, but not in time
    WRONG_USER = "wrong_user"
    WRONG_PASSWORD = "wrong_password"
    WRONG_CIPHER = "wrong_cipher"  # the device refuses the configured cipher suite
    LOW_PRIVILEGE = "low_privilege"
    NO_SESSION = "no_session"  # every session slot of the device is taken
    BAD_ANSWER = "bad_answer"  # it said something else
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
class Commanded:
    """The answer to `power_off` and `power_on`: `accepted` means that the device said yes, not that it happened.

    Not accepted does not mean that nothing happens: a command that was killed or timed out may still take effect.
    """

    accepted: bool
    reason: FenceReason
    detail: str
    elapsed_ns: int


OnReading = Callable[[Reading, int], None]  # called with now
OnCommanded = Callable[[Commanded, int], None]


class Running(Protocol):
    """A request that a device is working on."""

    def kill(self) -> None:
        """End it at once; it still answers, once."""


class FenceDevice(Protocol):
    """One device that switches one node.

    Each request answers exactly once, in a later turn of the loop, within the device's command timeout and a second.
    The caller keeps to one request at a time.
    """

    def read_power(self, on_answer: OnReading) -> Running: ...

    def power_off(self, on_answer: OnCommanded) -> Running: ...

    def power_on(self, on_answer: OnCommanded) -> Running: ...
