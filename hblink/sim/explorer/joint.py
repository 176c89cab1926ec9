"""The small world of the explorer: what its joint states are made of.

A world is a value: two nodes (host, kernel, daemon, service, session), the frames in flight, the links. Time is counted
in ticks; every event of a tick happens at instant 0, and a tick moves every instant of a core's state by -TICK, which
by the rules of the core changes nothing else. All durations are a little shorter than a whole number of ticks, so a
deadline falls between two ticks and never on an event. The one order that matters within a tick, whether a sequence was
sent before or after `cleared_at`, is kept as a flag of its own. This module must never decide anything.
"""

from __future__ import annotations

from typing import NamedTuple

from hblink.core.value import MS, SECOND, Advert, Memory

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
    """A sequence number, as far as its sender can tell it apart.

    Its age in ticks; whether it was sent `after` the `cleared_at` of its sender's core, and whether after what the
    checker saw of that (`proven`): the core is not asked. `told`: it says a maintenance that the sender has ordered.
    """

    age: int
    after: bool
    proven: bool = False
    told: bool = False


class Frame(NamedTuple):
    """A frame in flight: a snapshot of one instant (WIRE)."""

    session: int
    seq: Sequence
    newest: bool  # nothing of its sender that was sent later has arrived
    echo_session: int
    echo: Sequence
    up: bool  # the sender has adopted the session that it echoes; False: INIT
    advert: Advert
    hears: int = 0  # bit i: the sender hears on link i; only where links are told apart


class Witness(NamedTuple):
    """What the checker itself saw of one node, so that it need not believe the core; see explorer rules."""

    advert: Advert | None = None  # the newest frame that could be applied, until something voids it
    after: bool = False  # it echoes a sequence sent after this node last released, started, resumed or cleared YIELDED
    fresh: int = NEVER  # ticks since the last fresh frame
    offs: int = 0  # OFF readings in a row
    commanded: bool = False  # an `off` was sent in this attempt
    spoken: bool = False  # an authentic frame came since that `off`
    unbroken: bool = False  # claimed, and no authentic frame since, in this kernel boot
    heard: bool = False  # a fresh frame came in this kernel boot
    resumed: int = NEVER  # ticks since the last late wake-up or confirmed stop, until the peer is heard
    stuck: int = -1  # ticks for which the peer has been saying STOP_FAILED, up to its bound; -1: it does not
    refuted: bool = False  # a reading since the first `off` of this attempt was not OFF
    latched: bool = False  # the last applied frame said MAINTENANCE, or a restart remembers it
    fences: int = 0  # accepted fences of a peer that did not read OFF, where they are capped
    was_off: bool = False  # OFF was read twice before the first `off` of this attempt
    benched: bool = False  # an operator said `standby`
    sighted: int = NEVER  # ticks since the peer's hardware was seen to answer for the service
    confirmed: bool = False  # an operator's word that has not been used or voided
    sworn: bool = False  # ... or has, and nothing has come since that the peer sent after it
    by_fence: bool = False  # the attempt is the one that an orderly end allowed
    orderly: bool = False  # S5: an orderly end came before this boot, and no fence has been begun on it
    promised: bool = False  # S2e: the newest frame promised to stop, and was the last word
    silence: int = 0  # ... ticks since any authentic frame, as far as a promise reaches


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
    unpetted: int = -1  # ticks since the watchdog was petted; -1: it is not armed
    session: int = 0
    adopted: int = 0  # the peer's session, 0 for none
    retired: int = 0  # bit mask of the peer's sessions
    newest: Sequence = Sequence(0, False)  # the peer's highest sequence
    candidate: int = 0  # a session of the peer that waits for an answer with INIT
    candidate_seq: Sequence = Sequence(0, False)
    unsent: bool = False  # has something to say that was not sent yet
    carrier: bool = True
    links: tuple[int, ...] = ()  # ticks since a fresh frame came in on each link; only where links are told apart
    settled: int = 0  # ... and since the present run of fresh frames began; up to deadtime
    witness: Witness = Witness()


class World(NamedTuple):
    """The joint state.

    `held` and `cut` have one place for each direction of each link, see `path`: a frame that is late, and whether what
    is sent there is lost.
    """

    nodes: tuple[Node, Node]
    held: tuple[Frame | None, ...]
    cut: tuple[bool, ...]


def path(sender: int, link: int) -> int:
    """The place of a direction of a link in a World."""
    return 2 * link + sender
