"""Everything that `step` can be told: past-tense facts, each true at the instant `now` that comes with it.

Never a wish of another module, and never anything that needs a library to understand.
"""

from __future__ import annotations

from dataclasses import dataclass

from hblink.core.value import Advert, Holder, Memory, Power


@dataclass(frozen=True, slots=True)
class Started:
    """The daemon has started, and remembers this much. The first event, exactly once."""

    memory: Memory


@dataclass(frozen=True, slots=True)
class Woke:
    """A deadline returned by `next_wakeup` has come."""


@dataclass(frozen=True, slots=True)
class Stalled:
    """The loop was `late_ns` late, or the machine was suspended that long. Told before anything else is read."""

    late_ns: int


@dataclass(frozen=True, slots=True)
class PeerBeat:
    """A fresh frame (WIRE R6) of the peer came in on `link`.

    `adopted`: with this frame a new session of the peer was adopted, whose predecessor's words are void.
    `newest`: its sequence is higher than that of every frame before it, on any link.
    `advert`: what it says, if it may be applied: newest, from a peer whose session state is UP, understood.
    `echo_sent_at`: when I sent the sequence that it echoes.
    `hears`: bit i is set if the peer accepted me on link i within its deadtime; None if the frame is not newest.
    `boot`: the peer's kernel boot id as an opaque number, None until its session has told it (S14).
    """

    link: int
    advert: Advert | None
    echo_sent_at: int
    newest: bool = True
    adopted: bool = False
    hears: int | None = None
    boot: int | None = None


@dataclass(frozen=True, slots=True)
class PeerHalfOpen:
    """An authentic frame that is new but proves no freshness: HALF_OPEN, or of a session not adopted yet."""

    link: int


@dataclass(frozen=True, slots=True)
class LinkOpened:
    link: int


@dataclass(frozen=True, slots=True)
class LinkClosed:
    link: int


@dataclass(frozen=True, slots=True)
class LinkSignalChanged:
    """Whether the hardware at the far end of a link is felt: DSR or CD of a null modem, carrier of a direct cable.

    None: it cannot be told (three wires, a switch in between, no port open).
    """

    link: int
    present: bool | None


@dataclass(frozen=True, slots=True)
class ServiceCarrierChanged:
    """Whether the service interfaces that are not cabled to the peer have carrier."""

    up: bool


@dataclass(frozen=True, slots=True)
class HealthMeasured:
    """How much of the upstream targets answers, 0..100; None without targets, or before the first answer or timeout."""

    score: int | None


@dataclass(frozen=True, slots=True)
class AddressHolderChanged:
    """Who else answers for a virtual address; told again for every sighting, since one counts for a while only."""

    holder: Holder


@dataclass(frozen=True, slots=True)
class GuardChanged:
    """Whether a watchdog would reset this node if the loop stopped.

    `timeout_ns`: after what time, as read back from the driver; None if it is none that can be relied on (softdog).
    """

    armed: bool
    timeout_ns: int | None = None


@dataclass(frozen=True, slots=True)
class FenceReadinessChanged:
    """Whether the last look at the peer's fence device found it usable."""

    ready: bool


@dataclass(frozen=True, slots=True)
class Activated:
    """The service runs here, read back from the kernel."""

    op_id: int


@dataclass(frozen=True, slots=True)
class ActivationFailed:
    op_id: int


@dataclass(frozen=True, slots=True)
class ServiceLost:
    """The service that ran here does not any more, and could not be put right after several tries."""


@dataclass(frozen=True, slots=True)
class Released:
    """Nothing of the service runs here, read back from the kernel."""

    op_id: int


@dataclass(frozen=True, slots=True)
class ReleaseFailed:
    """A stop failed or did not end in time: something may still run here."""

    op_id: int


@dataclass(frozen=True, slots=True)
class PowerRead:
    """The answer to ReadPower; every failure is UNKNOWN. `gone`: no device has answered at all."""

    op_id: int
    power: Power
    gone: bool = False


@dataclass(frozen=True, slots=True)
class PowerCommanded:
    """The answer to PowerOff or PowerOn: `accepted` means that the device said yes, not that it happened."""

    op_id: int
    accepted: bool


@dataclass(frozen=True, slots=True)
class SwitchoverRequested:
    """An operator asks for the service to move to the other node. `request` comes back in Answer."""

    request: int


@dataclass(frozen=True, slots=True)
class StandbyRequested:
    """An operator wants this node to run nothing and to take nothing over until `online`."""

    request: int


@dataclass(frozen=True, slots=True)
class OnlineRequested:
    """An operator lifts what holds this node back: `standby`, a failed start, the cap on fences, a lying device."""

    request: int


@dataclass(frozen=True, slots=True)
class MaintenanceRequested:
    """An operator begins or ends maintenance of the pair (S18); `until_at` ends it by itself."""

    request: int
    on: bool
    until_at: int | None = None


@dataclass(frozen=True, slots=True)
class DrillRequested:
    """An operator wants the standby peer to be switched off and on again, to prove the fence device.

    `level` is the one level of the ladder that is to do it, from 0, and `level_ready` whether the last look found that
    one usable; None for the ladder as it is.
    """

    request: int
    level: int | None = None
    level_ready: bool = False


@dataclass(frozen=True, slots=True)
class ConfirmRequested:
    """An operator swears that the peer is off (S16)."""

    request: int


@dataclass(frozen=True, slots=True)
class ShutdownRequested:
    """The daemon is asked to end: hand over, then Exit."""


Event = (
    Started
    | Woke
    | Stalled
    | PeerBeat
    | PeerHalfOpen
    | LinkOpened
    | LinkClosed
    | LinkSignalChanged
    | ServiceCarrierChanged
    | HealthMeasured
    | AddressHolderChanged
    | GuardChanged
    | FenceReadinessChanged
    | Activated
    | ActivationFailed
    | ServiceLost
    | Released
    | ReleaseFailed
    | PowerRead
    | PowerCommanded
    | SwitchoverRequested
    | StandbyRequested
    | OnlineRequested
    | MaintenanceRequested
    | DrillRequested
    | ConfirmRequested
    | ShutdownRequested
)
