"""Two real cores in one small world: what the explorer's states are made of, and the passing of events to `step`.

A world is a value: two nodes (host, kernel, daemon, service, session), the frames in flight, the links. Time is counted
in ticks; every event of a tick happens at instant 0, and a tick moves every instant of a core's state by -TICK, which
by the rules of the core changes nothing else. All durations are a little shorter than a whole number of ticks, so a
deadline falls between two ticks and never on an event. The one order that matters within a tick, whether a sequence was
sent before or after `cleared_at`, is kept as a flag of its own. This module must never decide anything for a core.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

from hblink.core.effect import Effect, Remember
from hblink.core.event import Event, Started
from hblink.core.invariant import InvariantViolated
from hblink.core.state import LinkView, PeerView, State, advertise, initial, memory_of
from hblink.core.step import next_wakeup, step
from hblink.core.value import MS, SECOND, Advert, Memory, Role, Settings

# Just over the grain in which the core writes the slot reference down, so that it is written down once a tick.
TICK = SECOND + MS
MARGIN = 1000
CLEARED_AT = -1000 * TICK  # every `cleared_at` is put here between events; only its order to echoes means anything
NEVER = 10_000  # ticks

SERVICE_OP, POWER_OP, POWER_ON_OP, FIRST_OP = 1, 2, 3, 10


def ticks(count: int) -> int:
    """A duration that ends just before the `count`-th tick from any instant within a tick."""
    return count * TICK - MARGIN


class Violation(Exception):  # noqa: N818 - it says what was found
    """A joint state or a move that breaks a rule; `rule` is its short name."""

    def __init__(self, rule: str, text: str) -> None:
        super().__init__(f"{rule}: {text}")
        self.rule = rule


class Sequence(NamedTuple):
    """A sequence number, as far as its sender can tell it apart: its age in ticks, and whether it was sent after the
    sender's `cleared_at`."""

    age: int
    after: bool


class Frame(NamedTuple):
    """A frame in flight: a snapshot of one instant (WIRE)."""

    session: int
    seq: Sequence
    newest: bool  # nothing of its sender that was sent later has arrived
    echo_session: int
    echo: Sequence
    up: bool  # the sender has adopted the session that it echoes; False: INIT
    advert: Advert


class Witness(NamedTuple):
    """What the checker itself saw of one node, so that it need not believe the core; see explorer rules."""

    advert: Advert | None = None  # the newest frame that could be applied, until something voids it
    after: bool = False  # it echoes a sequence sent after this node cleared
    fresh: int = NEVER  # ticks since the last fresh frame
    offs: int = 0  # OFF readings in a row
    commanded: bool = False  # an `off` was sent in this attempt
    spoken: bool = False  # an authentic frame came since that `off`
    unbroken: bool = False  # claimed, and no authentic frame since, in this kernel boot
    heard: bool = False  # a fresh frame came in this kernel boot
    resumed: int = NEVER  # ticks since the last late wake-up, until the peer is heard
    confirmed: bool = False  # an operator's word that has not been used or voided


class Node(NamedTuple):
    """One node: host, kernel, daemon, service and session."""

    core: int = -1  # index into Cores; -1 without a daemon
    power: bool = True
    up: bool = True  # the kernel runs
    running: bool = False  # the kernel runs the service, or may
    memory: Memory = Memory()  # what the next daemon will find
    service: str = ""  # unanswered: "activate" or "release"
    power_op: str = ""  # unanswered: "off", "read"
    sampled_off: bool = False  # what an unanswered reading may have seen when it was asked for
    power_on: bool = False  # an unanswered PowerOn
    late_off: bool = False  # an `off` for this host that may still be executed
    frozen: int = -1  # ticks for which the daemon has been stopped; -1: it runs
    session: int = 0
    adopted: int = 0  # the peer's session, 0 for none
    retired: int = 0  # bit mask of the peer's sessions
    newest: Sequence = Sequence(0, False)  # the peer's highest sequence
    candidate: int = 0  # a session of the peer that waits for an answer with INIT
    candidate_seq: Sequence = Sequence(0, False)
    unsent: bool = False  # has something to say that was not sent yet
    carrier: bool = True
    witness: Witness = Witness()


class World(NamedTuple):
    """The joint state. `held[i]` is a frame of node i that is late; `cut[i]`: nothing that node i sends arrives."""

    nodes: tuple[Node, Node]
    held: tuple[Frame | None, Frame | None] = (None, None)
    cut: tuple[bool, bool] = (False, False)


class Outcome(NamedTuple):
    """What one step made of a core's state."""

    core: int
    effects: tuple[Effect, ...]
    cleared: bool
    changed: bool  # what it says of itself


class Cores:
    """The states of the real cores, each kept once, in a normal form in which equal futures are equal values.

    Steps are remembered by (node, state, event): `step` is a pure function.
    """

    def __init__(self, settings: tuple[Settings, Settings]) -> None:
        self.settings = settings
        self.states: list[State] = []
        self._index: dict[State, int] = {}
        self._steps: dict[tuple[int, int, Event], Outcome] = {}
        self._later: dict[tuple[int, int], tuple[int, bool]] = {}
        self._adverts: dict[tuple[int, int], Advert | None] = {}
        self.calls = 0
        self._deadtime = settings[0].deadtime_ns
        self._forgotten_at = -settings[0].half_open_max_ns - TICK

    def fresh(self, node: int) -> int:
        """The state before Started."""
        return self._intern(initial(self.settings[node]))

    def step(self, node: int, core: int, event: Event) -> Outcome:
        """Pass `event` to the core; raises Violation if the core finds an invariant broken."""
        key = (node, core, event)
        outcome = self._steps.get(key)
        if outcome is None:
            outcome = self._steps[key] = self._step(node, core, event)
        return outcome

    def _step(self, node: int, core: int, event: Event) -> Outcome:
        self.calls += 1
        before = self.states[core]
        settings = self.settings[node]
        try:
            after, effects = step(settings, before, event, 0)
        except InvariantViolated as error:
            name, _, text = str(error).partition(": ")
            raise Violation(name, text) from error
        if after.epoch < before.epoch:
            raise Violation("I3", f"epoch fell from {before.epoch} to {after.epoch}")
        known = _lasting(event.memory if isinstance(event, Started) else before.remembered)
        if _lasting(memory_of(after)) != known and not (effects and isinstance(effects[0], Remember)):
            raise Violation("S17", "what must survive was not written down first")
        said, says = self.advert_of(settings, before), self.advert_of(settings, after)
        return Outcome(self._intern(after), effects, after.cleared_at == 0, says != said)

    def later(self, node: int, core: int) -> tuple[int, bool]:
        """The state a tick later, and whether the core asked to be woken by then."""
        key = (node, core)
        found = self._later.get(key)
        if found is None:
            state = self.states[core]
            wake_at = next_wakeup(self.settings[node], state, 0)
            found = (self._intern(_moved(state)), wake_at is not None and wake_at <= TICK)
            self._later[key] = found
        return found

    def advert(self, node: int, core: int) -> Advert | None:
        """What the node says of itself."""
        key = (node, core)
        if key not in self._adverts:
            self._adverts[key] = self.advert_of(self.settings[node], self.states[core])
        return self._adverts[key]

    @staticmethod
    def advert_of(settings: Settings, state: State) -> Advert | None:
        """The part of the advert that any decision rests on."""
        del settings
        advert = advertise(state, 0)
        return None if advert is None else replace(advert, fence_ready=False, run_ever=False, dual_seen=False)

    def relabelled(self, core: int, epochs: dict[int, int]) -> int:
        """The same state with other numbers for its epochs."""
        if core < 0:
            return core
        state = self.states[core]
        peer = state.peer
        if peer.advert is not None:
            peer = replace(peer, advert=replace(peer.advert, epoch=epochs[peer.advert.epoch]))
        return self._intern(replace(state, epoch=epochs[state.epoch], peer=peer))

    def epochs(self, core: int) -> tuple[int, ...]:
        """Every epoch that the state knows."""
        if core < 0:
            return ()
        state = self.states[core]
        advert = state.peer.advert
        return (state.epoch,) if advert is None else (state.epoch, advert.epoch)

    def _intern(self, state: State) -> int:
        normal = self._normal(state)
        index = self._index.get(normal)
        if index is None:
            index = self._index[normal] = len(self.states)
            self.states.append(normal)
        return index

    def _normal(self, state: State) -> State:
        """Forget what no decision rests on: alarms, single links, how long ago is long ago."""
        peer = state.peer
        fresh = peer.fresh_at is not None and peer.fresh_at + self._deadtime > 0
        dated = fresh or peer.fresh_at != peer.fresh_floor_at  # else `fresh_floor_at` says it
        after = peer.advert is not None and peer.echo_sent_at > state.cleared_at
        floor_at = peer.fresh_floor_at
        if not state.heard:  # no slots are counted from it
            floor_at = max(floor_at, self._forgotten_at)
        view = PeerView(
            advert=None
            if peer.advert is None
            else replace(peer.advert, fence_ready=False, run_ever=False, dual_seen=False),
            echo_sent_at=CLEARED_AT + 1 if after else CLEARED_AT,
            fresh_since=None if peer.fresh_since is None else 0,
            fresh_at=peer.fresh_at if dated else None,
            fresh_floor_at=floor_at,
            authentic_at=peer.authentic_at,
            stop_failed_at=peer.stop_failed_at,
        )
        changes: dict[str, Any] = {
            name: _due(getattr(state, name))
            for name in (
                "check_retry_at", "confirmed_until", "outstanding_until", "power_on_at", "stop_retry_at",
                "start_hold_until", "want_until", "stop_by",
            )
        }  # fmt: skip
        attempt, check, request = state.attempt, state.check, state.request
        if attempt is not None:
            attempt = replace(
                attempt,
                began_at=_since(state, attempt.began_at),
                deadline_at=_due(attempt.deadline_at) or 0,
                act_at=_due(attempt.act_at),
                op_id=None if attempt.op_id is None else POWER_OP,
            )
        if check is not None:
            check = replace(check, act_at=_due(check.act_at), op_id=None if check.op_id is None else POWER_OP)
        if request is not None:
            request = replace(request, deadline_at=_due(request.deadline_at) or 0)
        normal = replace(
            state,
            role_at=_entered_at(state),
            yielded_at=state.yielded_at if state.yielded else 0,
            cleared_at=CLEARED_AT,
            listen_until=_due(state.listen_until) or 0,
            peer=view,
            links=(LinkView(),) * len(state.links),
            attempt=attempt,
            check=check,
            request=request,
            service_op=None if state.service_op is None else SERVICE_OP,
            power_on_op=None if state.power_on_op is None else POWER_ON_OP,
            next_op=FIRST_OP,
            dual_seen=False,
            alarms=frozenset(),
            ran=True,
            **changes,
        )
        return replace(normal, remembered=memory_of(normal))


def _entered_at(state: State) -> int:
    """`role_at` as far as it matters: to bound a start or stop, and to tell whether the peer was heard since."""
    if state.service_op is not None:
        return state.role_at
    return _since(state, state.role_at) if state.role is Role.BLOCKED else 0


def _since(state: State, at: int) -> int:
    """An instant of which only this matters: whether an authentic frame has come since."""
    heard_at = state.peer.authentic_at
    return CLEARED_AT if heard_at is not None and heard_at >= at else 0


def _lasting(memory: Memory) -> Memory:
    return replace(memory, last_authentic_at=None, ran=True)


def _due(at: int | None) -> int | None:
    """A deadline in whole ticks from now; one that has passed is due now."""
    return None if at is None else 0 if at <= 0 else ticks(-(-at // TICK))


def _moved(state: State) -> State:
    """The state as it looks a tick later."""

    def back(at: int | None) -> Any:
        return None if at is None else at - TICK

    peer = state.peer
    attempt, check, request = state.attempt, state.check, state.request
    names = (
        "role_at", "yielded_at", "listen_until", "check_retry_at", "confirmed_until", "outstanding_until",
        "power_on_at", "stop_retry_at", "start_hold_until", "want_until", "stop_by",
    )  # fmt: skip
    return replace(
        state,
        peer=replace(
            peer,
            fresh_at=back(peer.fresh_at),
            fresh_floor_at=back(peer.fresh_floor_at),
            authentic_at=back(peer.authentic_at),
            stop_failed_at=back(peer.stop_failed_at),
        ),
        attempt=attempt
        and replace(
            attempt,
            began_at=back(attempt.began_at),
            deadline_at=back(attempt.deadline_at),
            act_at=back(attempt.act_at),
        ),
        check=check and replace(check, act_at=back(check.act_at)),
        request=request and replace(request, deadline_at=back(request.deadline_at)),
        **{name: back(getattr(state, name)) for name in names},
    )
