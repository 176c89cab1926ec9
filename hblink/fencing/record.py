"""What a level is asked and what it answers, as values: for the ladder, the log and `status`.

Nothing here asks a device.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, unique
from typing import Protocol

from hblink.core.value import Power
from hblink.fencing.device import Commanded, FenceReason, Inspection, Reading


@unique
class FenceWarning(Enum):
    """What does not keep a device from being used, and should be known before it is."""

    SLOW = "slow"  # a look took more than half of command_timeout_ms
    RESTORE_POLICY = "restore_policy"  # what it does when power comes back is not what is wanted
    NO_IDENTITY = "no_identity"  # it tells neither GUID nor serial number, or not the one that is configured


@unique
class Step(Enum):
    """What the device is asked, and why: the word of the log."""

    POLL = "poll"  # a look for readiness alone
    LOOK = "look"  # ... before a shot
    OFF = "off"
    READ = "read"
    VERIFY = "verify"  # a reading of the ladder's own, to know whether the next level is needed
    ON = "on"


class LevelSettings(Protocol):
    """What is to be known of a level besides what its device wants; the typed configuration has it."""

    @property
    def name(self) -> str: ...
    @property
    def guid(self) -> str | None: ...
    @property
    def serial(self) -> str | None: ...
    @property
    def restore_policy(self) -> str | None: ...
    @property
    def tells_identity(self) -> bool: ...
    @property
    def command_timeout_ns(self) -> int: ...
    @property
    def off_interval_ns(self) -> int: ...
    @property
    def attempt_ns(self) -> int: ...
    @property
    def retries(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Readiness:
    """What the last answer of the device tells of its use; `ready` is None before the first.

    `power` is the last reading, UNKNOWN if that failed or a command came since. `at` is when the answer came. `serial`
    is the serial number that was told last.
    """

    ready: bool | None = None
    at: int | None = None
    power: Power = Power.UNKNOWN
    reason: FenceReason | None = None
    detail: str = "not asked yet"
    warnings: tuple[FenceWarning, ...] = ()
    guid: str | None = None
    policy: str | None = None
    elapsed_ns: int = 0
    serial: str | None = None


Answer = Reading | Commanded | Inspection
OnStep = Callable[[Step, Answer, int], None]


@dataclass(frozen=True, slots=True)
class FenceRecord:
    """One answer of one device, for the log: which level (from 0), what it was asked, what it cost.

    `op_id` is None for a poll; `accepted` is None for readings, `power` for commands. `elapsed_ns` is the wall time of
    the request's process, which is what the device itself costs.
    """

    level: int
    step: Step
    op_id: int | None
    power: Power | None
    accepted: bool | None
    reason: FenceReason
    detail: str
    elapsed_ns: int
