"""The core's Advert in the fields of a frame, and back. Must hold no judgement of its own: R7 is the session's."""

from __future__ import annotations

from hblink_wire import Flag, Frame
from hblink_wire.frame import NO_FLAGS

from hblink.core.value import HEALTH_UNKNOWN, Advert, Role

# The diag octet.
DIAG_NONE = 0
DIAG_ENDING = 1  # the daemon is being ended by its operator


def flags_of(advert: Advert) -> Flag:
    """Return the flags octet that says `advert`."""
    said = (
        (advert.fence_ready, Flag.FENCE_READY),
        (advert.watchdog_armed, Flag.WATCHDOG_ARMED),
        (advert.maintenance, Flag.MAINTENANCE),
        (advert.want, Flag.WANT),
        (advert.yielded, Flag.YIELDED),
        (advert.stop_failed, Flag.STOP_FAILED),
        (advert.dual_seen, Flag.DUAL_SEEN),
        (advert.run_ever, Flag.RUN_EVER),
    )
    flags = NO_FLAGS
    for is_said, flag in said:
        flags |= flag if is_said else NO_FLAGS
    return flags


def health_of(advert: Advert) -> int:
    """Return the health octet: 0 of a node that could not take the service, else its score or 255 (unknown)."""
    return advert.health if advert.able else 0


def diag_of(advert: Advert) -> int:
    """Return the diag octet."""
    return DIAG_ENDING if advert.ending else DIAG_NONE


def advert_of(frame: Frame, promise_ns: int | None = None) -> Advert:
    """Return what `frame` says of its sender; 0 health is a node that is not able.

    `promise_ns` is what its session has promised; it stands while the watchdog is said to be armed.
    """
    flags = frame.flags
    return Advert(
        role=Role[frame.role.name],
        epoch=frame.epoch,
        yielded=Flag.YIELDED in flags,
        stop_failed=Flag.STOP_FAILED in flags,
        maintenance=Flag.MAINTENANCE in flags,
        want=Flag.WANT in flags,
        able=frame.health != 0,
        health=frame.health or HEALTH_UNKNOWN,
        fence_ready=Flag.FENCE_READY in flags,
        run_ever=Flag.RUN_EVER in flags,
        dual_seen=Flag.DUAL_SEEN in flags,
        watchdog_armed=Flag.WATCHDOG_ARMED in flags,
        promise_ns=promise_ns if Flag.WATCHDOG_ARMED in flags else None,
        ending=frame.diag == DIAG_ENDING,
    )
