"""Out of the decision: each effect to the wiring that carries it out. One arm for each kind, and nothing else.

Remember is not carried out here: it must be done before the frames go out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from hblink.core.effect import (
    Activate,
    Answer,
    ClearAlarm,
    Effect,
    Exit,
    LeaseService,
    PowerOff,
    PowerOn,
    RaiseAlarm,
    ReadPower,
    Reannounce,
    Release,
    Remember,
    ResetSelf,
)
from hblink.core.event import PowerCommanded

if TYPE_CHECKING:
    from hblink.daemon.daemon import Daemon


def carry_out(daemon: Daemon, effect: Effect, now: int) -> None:
    """Carry out one effect of the step that has just been taken at `now`."""
    match effect:
        case Remember():
            pass
        case Activate():
            daemon.account.activating(now)
            daemon.service.activate(effect.op_id)
            daemon.account.activated(daemon.loop.now())
        case Release():
            daemon.service.release(effect.op_id)
        case Reannounce():
            daemon.service.reannounce()
        case LeaseService():
            daemon.service.lease(effect.leased)
        case ResetSelf():
            daemon.guard.reset_self(now)
        case ReadPower() | PowerOff() | PowerOn():
            if isinstance(effect, PowerOff) and daemon.loop.now() - now > daemon.loop.stall_limit_ns:
                # A pause came between the decision and its act: it was decided on what is no longer known (I6).
                daemon.feed(PowerCommanded(effect.op_id, accepted=False))
                return
            attempt = daemon.state.attempt
            daemon.fence.carry_out(effect, now, None if attempt is None else attempt.cause)
        case RaiseAlarm():
            daemon.notices.alarm(effect.alarm, "raised", daemon.state, now)
        case ClearAlarm():
            daemon.notices.alarm(effect.alarm, "cleared", daemon.state, now)
        case Answer():
            daemon.desk.answer(effect, now)
        case Exit():
            daemon.exit(0)
        case _:
            assert_never(effect)
