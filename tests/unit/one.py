"""One core, told its events by hand: its clock, its effects, and the usual states to begin from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

from hblink.core.effect import Activate, Effect, PowerOff, Release
from hblink.core.event import (
    Activated,
    Event,
    GuardChanged,
    LinkOpened,
    PeerBeat,
    PowerCommanded,
    PowerRead,
    Released,
    Started,
    Woke,
)
from hblink.core.state import advertise, initial
from hblink.core.step import next_wakeup, step
from hblink.core.value import MS, SECOND, Advert, Grant, Memory, Power, Role, Settings

ALPHA = Settings(me=0, preferred=0)
BETA = Settings(me=1, preferred=0)
STANDBY = Advert(Role.STANDBY, 0)
READY = Advert(Role.STANDBY, 2)
WATCHDOG = 2 * SECOND


class Node:
    """One core, its clock, and the effects of its last event."""

    def __init__(self, settings: Settings, memory: Memory | None = None, now: int = 100 * SECOND) -> None:
        self.settings = settings
        self.state = initial(settings)
        self.now = now
        self.effects: tuple[Effect, ...] = ()
        self.all: list[Effect] = []
        self.tell(Started(memory or Memory()))
        stop = only(self, Release)  # the first act is to stop whatever runs
        assert advertise(self.state, self.now) is None, "and it is silent until that is done"
        self.tell(Released(stop.op_id))
        for link in range(settings.links):
            self.tell(LinkOpened(link))

    def tell(self, event: Event) -> Node:
        self.state, self.effects = step(self.settings, self.state, event, self.now)
        self.all += self.effects
        return self

    def hear(self, advert: Advert | None, age_ns: int = 10 * MS, link: int = 0, *, newest: bool = True) -> Node:
        """A fresh frame of the peer, echoing what was sent `age_ns` ago."""
        self.tell(PeerBeat(link, advert, self.now - age_ns, newest=newest, hears=3 if advert else None))
        return self

    def wait(self, duration_ns: int) -> Node:
        """Let time pass, waking whenever the core asked for it."""
        end = self.now + duration_ns
        while (at := next_wakeup(self.settings, self.state, self.now)) is not None and at <= end:
            self.now = at
            self.tell(Woke())
        self.now = end
        return self


T = TypeVar("T")


def only(node: Node, kind: type[T]) -> T:
    """The one effect of that kind among those of the last event."""
    [found] = (effect for effect in node.effects if isinstance(effect, kind))
    return found


def count(node: Node, kind: type[Effect]) -> int:
    """How many effects of that kind there have been in all."""
    return sum(isinstance(effect, kind) for effect in node.all)


def active_alpha() -> Node:
    node = Node(ALPHA).wait(100 * MS).hear(STANDBY)
    return node.tell(Activated(only(node, Activate).op_id))


def serve(node: Node, duration_ns: int, advert: Advert | None = READY, boot: int | None = None) -> Node:
    """Let time pass while the peer is heard on both links."""
    end = node.now + duration_ns
    while node.now < end and advert is not None:
        node.wait(100 * MS)
        for link in (0, 1):
            node.tell(PeerBeat(link, advert, node.now - 10 * MS, hears=3, boot=boot))
    return node


def standby_beta(**settings: Any) -> Node:
    """Beta, which has heard alpha to be active under epoch 2 until now."""
    return Node(replace(BETA, **settings)).wait(100 * MS).hear(Advert(Role.ACTIVE, 2))


def fencing_beta(**settings: Any) -> Node:
    """Beta, which has just sent `off` to the silent alpha."""
    node = standby_beta(**settings).wait(BETA.deadtime_ns)
    assert node.state.role is Role.FENCING
    return node


def read_off(node: Node) -> Node:
    """Answer the reading that is under way: OFF."""
    assert node.state.attempt is not None
    assert node.state.attempt.op_id is not None
    return node.tell(PowerRead(node.state.attempt.op_id, Power.OFF))


def leased_alpha(**settings: Any) -> Node:
    """Alpha, active in lease mode with an armed watchdog, which has heard beta until now."""
    node = Node(replace(ALPHA, lease_mode=True, **settings)).tell(GuardChanged(True, WATCHDOG))
    node.wait(100 * MS).hear(STANDBY)
    node.tell(Activated(only(node, Activate).op_id))
    return node.hear(Advert(Role.STANDBY, 2))


def answer(node: Node, power: Power, *, gone: bool = False) -> Node:
    """Answer the reading without command that is under way."""
    assert node.state.check is not None
    assert node.state.check.op_id is not None
    return node.tell(PowerRead(node.state.check.op_id, power, gone))


def fail_the_fence(node: Node, *, refuted: bool = False) -> Node:
    """Let the attempt run out, no device answering; `refuted`: one says yes once."""
    end = node.now + node.settings.deadtime_ns + node.settings.fence_attempt_ns
    while node.now < end and node.state.role is not Role.BLOCKED:
        attempt = node.state.attempt
        if attempt is not None and attempt.op_id is not None:
            answered = PowerRead(attempt.op_id, Power.ON)
            failed = PowerCommanded(attempt.op_id, accepted=refuted)
            node.tell(answered if attempt.accepted else failed)
        node.wait(100 * MS)
    return node


def confirmed_off(**settings: Any) -> Node:
    """Beta, which has read the peer OFF twice and claims, its `on` under way."""
    node = standby_beta(**settings)
    node.wait(node.settings.deadtime_ns)
    node.tell(PowerCommanded(only(node, PowerOff).op_id, accepted=True))
    read_off(node).wait(node.settings.off_interval_ns)
    read_off(node)
    assert node.state.claimed_by is Grant.FENCED
    return node
