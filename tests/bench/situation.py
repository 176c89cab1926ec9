"""What is done to a settled pair, and when its consequences are over.

Every situation is judged by the client alone. A fault stays until the end of the reading: nobody repairs or restarts
anything meanwhile, except where the contestant does so itself.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, unique
from pathlib import Path

from tests.bench.contestant import Contestant
from tests.bench.peer import INTERFACE
from tests.rig.node import Node
from tests.rig.pair import Pair
from tests.rig.process import send
from tests.rig.setting import NODES


@unique
class End(Enum):
    """When a reading ends, at the latest after the contestant's patience."""

    MOVED = "the other node alone has answered for a while"
    SHARED = "as MOVED, or both nodes have answered for a while"
    QUIET = "one node alone has answered, without a change, for several seconds"
    PATIENCE = "only then: nothing is expected to happen"


@dataclass(frozen=True, slots=True)
class Situation:
    """One row: `strike(pair, contestant, owner)` does it; `needs_cables` if it is about heartbeat cables.

    `follows` names the situation at whose end it is done; all others begin with a settled pair, cold starts aside.
    """

    name: str
    what: str
    strike: Callable[[Pair, Contestant, Node], None]
    end: End
    needs_cables: bool = False
    follows: str | None = None


def _isolate(pair: Pair, on: bool) -> None:
    """Make the switch lose what the nodes send to each other; each still reaches the client."""
    for node in NODES:
        pair.switch.run("bridge", "link", "set", "dev", f"{INTERFACE}-{node}", "isolated", "on" if on else "off")


def mend(pair: Pair) -> None:
    """Undo what any situation did to cables and switch."""
    pair.heal()
    _isolate(pair, False)


def _split(pair: Pair, _contestant: Contestant, _owner: Node) -> None:
    pair.cut_links()
    _isolate(pair, True)


def inhabitants(node: Node) -> list[int]:
    """Return the processes of a node's own world, its init left out: the daemon with all its children."""
    return [pid for pid in node.namespace.processes() if _number_inside(pid) > 1]


def _number_inside(pid: int) -> int:
    """Return a process's number in its node's world (NSpid in proc(5)); 0 if it is gone or of the rig itself."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    numbers = re.search(r"^NSpid:\t(.*)$", status, re.MULTILINE)
    inside = [] if numbers is None else numbers[1].split()
    return int(inside[-1]) if len(inside) > 1 else 0


def _freeze(_pair: Pair, _contestant: Contestant, owner: Node) -> None:
    for pid in inhabitants(owner):
        send(pid, signal.SIGSTOP)


def _kill(pair: Pair, contestant: Contestant, owner: Node) -> None:
    """Kill all processes of the daemon as if at once: frozen first, none can act on the end of another."""
    _freeze(pair, contestant, owner)
    for pid in inhabitants(owner):
        send(pid, signal.SIGKILL)


def _move(_pair: Pair, contestant: Contestant, owner: Node) -> None:
    assert contestant.move is not None
    contestant.move(owner)


def _nothing(_pair: Pair, _contestant: Contestant, _owner: Node) -> None:
    return


def situations() -> Mapping[str, Situation]:
    """Return all situations by name, in the order of the tables."""
    every = [
        Situation("crash", "host crash of the owner", lambda _p, _c, owner: owner.crash(), End.MOVED),
        Situation(
            "port",
            "the owner's service port unplugged",
            lambda pair, _c, owner: pair.cut_service(owner.name),
            End.MOVED,
        ),
        Situation("split", "silent split: no path between the nodes, both alive", _split, End.SHARED),
        Situation("heal", "... and healed again", lambda pair, _c, _o: mend(pair), End.QUIET, follows="split"),
        Situation("ethernet", "heartbeat Ethernet cut", lambda pair, _c, _o: pair.cut_ethernet(), End.PATIENCE, True),
        Situation("serial", "heartbeat serial line cut", lambda pair, _c, _o: pair.cut_serial(), End.PATIENCE, True),
        Situation("both", "both heartbeat cables cut", lambda pair, _c, _o: pair.cut_links(), End.SHARED, True),
        Situation("frozen", "the owner's daemon frozen (SIGSTOP)", _freeze, End.SHARED),
        Situation("killed", "the owner's daemon killed (SIGKILL)", _kill, End.SHARED),
        Situation("planned", "planned move", _move, End.MOVED),
        Situation("cold", "cold start of both nodes", _nothing, End.QUIET),
    ]
    return {each.name: each for each in every}
