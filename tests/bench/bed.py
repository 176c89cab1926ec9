"""The pair that a figure is measured on, and the lull from which each run starts.

A run starts from a settled pair, is not watched more closely than needed while it lasts (polling costs the processor
that is measured), and fails, with the pair's report, when an address was ever seen on two nodes.
"""

from __future__ import annotations

import contextlib
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from tests.netns.situation import FENCE, settle
from tests.rig.node import Node
from tests.rig.observer import Answer
from tests.rig.pair import Pair
from tests.rig.setting import VIPS, Setting
from tests.rig.wait import wait_until

T = TypeVar("T")
# Timers are those of a default configuration, except that a fence is forgotten soon, so that the next run can begin.
BASE = Setting(timing={"deadtime_ms": 1000}, fence_extra=FENCE)
ADDRESSES = tuple(address for address, _ in VIPS)
POLL_S = 0.1
NS_PER_MS = 1_000_000
BEFORE_NS = 500 * NS_PER_MS


@contextlib.contextmanager
def bed(observe_interval_ms: float, keepalive_ms: int | None = None) -> Iterator[Pair]:
    """Give a pair, switched off, with BASE as its setting, and `keepalive_ms`, if given, on both links.

    Prints the pair's report when what is done with it fails.
    """
    setting = replace(
        BASE,
        observe_interval_ms=observe_interval_ms,
        ethernet_keepalive_ms=keepalive_ms,
        serial_keepalive_ms=keepalive_ms,
    )
    # Not below the working directory: a unix socket's path has at most 107 characters.
    with (
        tempfile.TemporaryDirectory(prefix="hblink-bench-") as directory,
        Pair(Path(directory) / "pair", setting) as pair,
    ):
        try:
            yield pair
        except AssertionError:
            print(pair.report(), flush=True)
            raise
        assert pair.observer.dual() == []
        assert pair.observer.overlaps() == []


def lull(pair: Pair) -> tuple[Node, Node]:
    """Wait for a settled pair and then a moment more; return the active node and the standby.

    The moment lets the polling itself fade, and is random, so that runs begin anywhere between two heartbeats.
    """
    active = settle(pair, timeout_s=60)
    time.sleep(random.uniform(0.3, 0.5))
    return active, pair.other(active)


def wait(pair: Pair, condition: Callable[[], T | None], timeout_s: float, what: str) -> T:
    """Wait as `Pair.wait` does, but look so seldom that it costs nothing."""
    return wait_until(condition, timeout_s, what, logs=pair.logs, interval_s=POLL_S)


def answers(pair: Pair, node: Node, since: int) -> list[list[Answer]]:
    """Return the echoes that the client had from `node` since then, for each VIP."""
    return [[one for one in pair.observer.seen(vip, "echo", since) if one.node == node.name] for vip in ADDRESSES]


def gap_ms(pair: Pair, old: Node, new: Node, since: int) -> float:
    """Return how long the client was without an answer: from the last of `old` to the first of `new`, the worst VIP.

    `since` is when the change was begun; the last answer of `old` may be older, if that died.
    """
    ends = zip(answers(pair, old, since - BEFORE_NS), answers(pair, new, since), strict=True)
    return max(first[0].at - last[-1].at for last, first in ends) / NS_PER_MS


def wait_served(pair: Pair, node: Node, since: int, timeout_s: float) -> None:
    """Wait until the client has been answered by `node` for every VIP since then."""
    wait(pair, lambda: all(answers(pair, node, since)), timeout_s, f"the client to be served by {node.name}")
