"""The core's Advert in the fields of a frame, and back. Must hold no judgement of its own: R7 is the session's."""

from __future__ import annotations

from hblink_wire import Flag, Frame
from hblink_wire.frame import NO_FLAGS

from hblink.core.value import Advert, Role


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


def advert_of(frame: Frame) -> Advert:
    """Return what `frame` says of its sender; unknown health counts as able."""
    flags = frame.flags
    return Advert(
        role=Role[frame.role.name],
        epoch=frame.epoch,
        yielded=Flag.YIELDED in flags,
        stop_failed=Flag.STOP_FAILED in flags,
        maintenance=Flag.MAINTENANCE in flags,
        want=Flag.WANT in flags,
        able=frame.health != 0,
        fence_ready=Flag.FENCE_READY in flags,
        run_ever=Flag.RUN_EVER in flags,
        dual_seen=Flag.DUAL_SEEN in flags,
        watchdog_armed=Flag.WATCHDOG_ARMED in flags,
    )
