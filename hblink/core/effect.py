"""Everything that `step` can want: imperatives that name the wanted end, carried out in the order given.

An effect with an `op_id` is answered by exactly one event that carries it, sooner or later, or is given up; an answer
with an id that the core no longer waits for is ignored. All may be repeated without harm; fencing is the exception.
Sending frames is not among them: the daemon sends on every link at once whenever `advertise(state)` has changed, and
before it carries out anything but Remember.
"""

from __future__ import annotations

from dataclasses import dataclass

from hblink.core.value import Alarm, Memory, Reason


@dataclass(frozen=True, slots=True)
class Remember:
    """Write this down before anything that follows."""

    memory: Memory


@dataclass(frozen=True, slots=True)
class Activate:
    """Start the service, read back that it runs: Activated or ActivationFailed."""

    op_id: int


@dataclass(frozen=True, slots=True)
class Release:
    """Stop the service, read back that nothing runs: Released or ReleaseFailed. Supersedes an unanswered Activate."""

    op_id: int


@dataclass(frozen=True, slots=True)
class Reannounce:
    """Announce the virtual addresses again (S9: the winner of a healed conflict)."""


@dataclass(frozen=True, slots=True)
class LeaseService:
    """Let the virtual addresses that are here have a lease (S10), or none while the pair is in maintenance (S18)."""

    leased: bool


@dataclass(frozen=True, slots=True)
class ResetSelf:
    """Reset this machine at once, without a sync: something that should have stopped may still run (S8)."""


@dataclass(frozen=True, slots=True)
class ReadPower:
    """Read the peer's power state from its fence device, sending no command: PowerRead.

    `level`, here and below: ask that level of the ladder and no other; None leaves it to the ladder.
    """

    op_id: int
    level: int | None = None


@dataclass(frozen=True, slots=True)
class PowerOff:
    """Command a hard power-off of the peer: PowerCommanded."""

    op_id: int
    level: int | None = None


@dataclass(frozen=True, slots=True)
class PowerOn:
    """Command a power-on of the peer: PowerCommanded."""

    op_id: int
    level: int | None = None


@dataclass(frozen=True, slots=True)
class RaiseAlarm:
    alarm: Alarm


@dataclass(frozen=True, slots=True)
class ClearAlarm:
    alarm: Alarm


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to an operator's request: refused or failed for `reason`, or done, but for what `reason` says."""

    request: int
    ok: bool
    reason: Reason


@dataclass(frozen=True, slots=True)
class Exit:
    """Nothing runs here and the hand-over is over: end the process."""


Effect = (
    Remember
    | Activate
    | Release
    | Reannounce
    | LeaseService
    | ResetSelf
    | ReadPower
    | PowerOff
    | PowerOn
    | RaiseAlarm
    | ClearAlarm
    | Answer
    | Exit
)
