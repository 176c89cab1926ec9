"""A direct cable that loses frames: a relay between two interfaces that drops some of what it carries, repeatably.

`Relay` is the handle that tests hold; the carrying is done by this same file run as a program in a namespace of its
own, so that a busy test delays nothing. It stands for netem, which not every kernel has. The carrier of the two ends
does not depend on each other, as with a media converter in the line.

Must never import anything of the project: it also runs as a program of its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ETH_P_ALL = 0x0003
SOL_PACKET, PACKET_VNET_HDR, PACKET_IGNORE_OUTGOING = 263, 15, 23
FRAME_BYTES = 65536


@dataclass(frozen=True, slots=True)
class Relayed:
    """What one direction has seen since the start, in frames."""

    taken: int
    lost: int


class Relay:
    """A running relay between interfaces `a` and `b` of the namespace that `enter` leads into; `seed` is its dice."""

    def __init__(self, enter: Sequence[str], interfaces: tuple[str, str], *, seed: int = 1) -> None:
        self._process = subprocess.Popen(
            [*enter, sys.executable, "-P", str(Path(__file__).resolve()), *interfaces, str(seed)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._answer()

    def lose(self, share: float) -> None:
        """Lose each frame with the probability `share`, in both directions."""
        self._ask({"share": share})

    def lose_bursts(self, length_ms: int, every_ms: int) -> None:
        """Lose everything for the first `length_ms` of each `every_ms`, in both directions; 0 ends it."""
        self._ask({"length_ms": length_ms, "every_ms": every_ms})

    def heal(self) -> None:
        """Carry everything again."""
        self._ask({"share": 0.0, "length_ms": 0})

    def statistic(self) -> tuple[Relayed, Relayed]:
        """Return what was carried (from a to b, from b to a)."""
        first, second = self._ask({})["carried"]
        return Relayed(*first), Relayed(*second)

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()  # the program ends with its input
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(5)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _ask(self, what: dict[str, float]) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the relay's process has ended"
        answer: dict[str, Any] = json.loads(line)
        return answer


# ---- the program ----


class Loss:
    """What is lost now; the same for both directions."""

    def __init__(self, seed: int) -> None:
        self.share, self.length_ms, self.every_ms = 0.0, 0, 1
        self._rng = random.Random(seed)

    def takes(self) -> bool:
        """Whether the frame at hand is lost."""
        drawn = self._rng.random() < self.share
        return drawn or time.monotonic_ns() // 1_000_000 % self.every_ms < self.length_ms


def open_end(interface: str) -> socket.socket:
    """Open a packet socket that carries whole frames, checksums that are still to be filled in included."""
    end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
    end.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    end.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    end.bind((interface, ETH_P_ALL))
    return end


def carry(source: socket.socket, sink: socket.socket, loss: Loss, count: list[int]) -> None:
    """Pass on what has come in at `source`, except what is lost."""
    while True:
        try:
            frame = source.recv(FRAME_BYTES)
        except OSError:  # empty, or that end is down
            return
        count[0] += 1
        if loss.takes():
            count[1] += 1
            continue
        try:
            sink.send(frame)
        except OSError:  # that end is down
            count[1] += 1


def main(first: str, second: str, seed: str) -> None:
    """Be the relay until standard input ends."""
    with contextlib.suppress(PermissionError):  # a cable is not slower on a busy machine; an ordinary user's is
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(os.sched_get_priority_max(os.SCHED_RR) // 2))
    ends = (open_end(first), open_end(second))
    loss = Loss(int(seed))
    counts = ([0, 0], [0, 0])
    pending = b""
    with selectors.DefaultSelector() as selector:
        selector.register(0, selectors.EVENT_READ, None)
        for index, end in enumerate(ends):
            selector.register(end, selectors.EVENT_READ, index)
        print(json.dumps({"carried": counts}), flush=True)
        while True:
            for key, _ in selector.select():
                if key.data is not None:
                    carry(ends[key.data], ends[1 - key.data], loss, counts[key.data])
                    continue
                data = os.read(0, 65536)
                if not data:
                    return
                *lines, pending = (pending + data).split(b"\n")
                for line in lines:
                    for name, value in json.loads(line).items():
                        setattr(loss, name, value)
                    print(json.dumps({"carried": counts}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:4])
