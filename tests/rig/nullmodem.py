"""A null modem between two pseudo terminals: bytes cross at the line's rate, through a bounded FIFO, or not at all.

`NullModem` is the handle that tests hold; the carrying is done by this same file run as a program, so that neither a
stopped daemon nor a busy test delays a byte. A pty has no modem lines (`modemlines` gives it some) and its TIOCOUTQ is
always 0: what depends on that is proven elsewhere. The FIFO here stands for the driver's transmit buffer: when it is
full, nothing more is read and the writer gets EAGAIN, as on a port.

Must never import anything of the project: it also runs as a program of its own.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import random
import selectors
import subprocess
import sys
import termios
import threading
import time
import tty
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum, unique
from pathlib import Path
from typing import Any

SLICE_NS = 1_000_000  # how often bytes under way are handed over: about one 16550 trigger level at 115200


@unique
class Direction(Enum):
    """Which way through a cable, by the nodes at its ends; BOTH is both."""

    BOTH = "both"
    ALPHA_TO_BETA = "alpha_to_beta"
    BETA_TO_ALPHA = "beta_to_alpha"

    @property
    def sources(self) -> tuple[int, ...]:
        """The indices of the ends that send."""
        return {"both": (0, 1), "alpha_to_beta": (0,), "beta_to_alpha": (1,)}[self.value]


@dataclass(frozen=True, slots=True)
class Carried:
    """What one direction has seen since the start, in bytes; `frames` counts 00-delimited blocks delivered."""

    taken: int
    delivered: int
    lost: int  # while cut
    corrupted: int
    overrun: int  # the receiving terminal's buffer was full
    frames: int


class NullModem:
    """A running null modem; `paths` are the two ports. Use as a context, or call `close`."""

    def __init__(self, *, baud: int = 115200, fifo: int = 4096, seed: int = 1) -> None:
        """`baud` 0 means as fast as it can; `seed` makes the noise repeatable."""
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(Path(__file__).resolve()), str(baud), str(fifo), str(seed)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._lock = threading.Lock()  # a BMC's thread asks too, when it boots a node
        ports = self._answer()["ports"]
        self.paths: tuple[str, str] = (ports[0], ports[1])

    def __enter__(self) -> NullModem:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """The carrying process."""
        return self._process.pid

    def cut(self, direction: Direction = Direction.BOTH) -> None:
        """Lose every byte of `direction`, also those under way; the sender does not notice."""
        self._ask("cut", direction, value=True)

    def heal(self, direction: Direction = Direction.BOTH) -> None:
        """Carry `direction` again, and without noise."""
        self._ask("cut", direction, value=False)
        self._ask("noise", direction, value=0)

    def noise(self, per_byte: float, direction: Direction = Direction.BOTH) -> None:
        """Flip a bit of each byte with the probability `per_byte`."""
        self._ask("noise", direction, value=per_byte)

    def inject(self, data: bytes, direction: Direction) -> None:
        """Put bytes on the line that no node sent, behind those under way."""
        self._ask("inject", direction, value=data.hex())

    def tap(self, output: Path) -> None:
        """Write down from now on what is delivered: lines of [source, hexadecimal bytes], as an analyser would."""
        self._ask("tap", Direction.BOTH, value=str(output))

    def rate(self, baud: int) -> None:
        """Change the line's rate for both directions; 0 means as fast as it can."""
        self._ask("baud", Direction.BOTH, value=baud)

    def flush(self, end: int) -> None:
        """Forget what port `end` (0 or 1) has received and not read: what a powered-off UART never received."""
        self._ask("flush", Direction.BOTH, value=end)

    def statistic(self) -> tuple[Carried, Carried]:
        """Return what was carried (from end 0 to 1, from end 1 to 0)."""
        first, second = self._ask("statistic", Direction.BOTH, value=None)["carried"]
        return Carried(**first), Carried(**second)

    def close(self) -> None:
        """End the process; both ports then hang up."""
        if self._process.stdin is not None:
            self._process.stdin.close()  # the program ends with its input
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(5)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _ask(self, what: str, direction: Direction, *, value: bool | float | str | None) -> dict[str, Any]:
        assert self._process.stdin is not None
        with self._lock:
            self._process.stdin.write(json.dumps({"do": what, "sources": direction.sources, "value": value}) + "\n")
            self._process.stdin.flush()
            return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the null modem's process has ended"
        answer: dict[str, Any] = json.loads(line)
        return answer


# ---- the program ----


class Wire:
    """One direction: what was read from `source` reaches `sink` one character time after the other."""

    def __init__(self, source: int, sink: int, baud: int, fifo: int, rng: random.Random) -> None:
        self.source, self.sink = source, sink
        self.baud, self.fifo = baud, fifo
        self.cut, self.noise = False, 0.0
        self.tap: Callable[[bytes], None] = lambda _chunk: None
        self.count = dict.fromkeys(Carried.__dataclass_fields__, 0)
        self._rng = rng
        self._queue = bytearray()
        self._head_at = 0
        self._in_block = False

    @property
    def busy(self) -> bool:
        return bool(self._queue)

    @property
    def room(self) -> int:
        return self.fifo - len(self._queue)

    def take(self, now: int) -> None:
        """Read what the sender wrote, as much as the FIFO holds."""
        with contextlib.suppress(BlockingIOError):
            data = os.read(self.source, self.room)
            self.count["taken"] += len(data)
            self.put(data, now)

    def put(self, data: bytes, now: int) -> None:
        if not self._queue:
            self._head_at = now
        self._queue += data

    def advance(self, now: int) -> None:
        """Hand over the bytes whose time has come."""
        if not self._queue:
            return
        byte_ns = 10_000_000_000 / self.baud if self.baud else 0.0
        ready = len(self._queue) if not byte_ns else min(len(self._queue), int((now - self._head_at) / byte_ns))
        if ready > 0:
            chunk = bytes(self._queue[:ready])
            del self._queue[:ready]
            self._head_at += int(ready * byte_ns)
            self._deliver(chunk)

    def _deliver(self, chunk: bytes) -> None:
        if self.cut:
            self.count["lost"] += len(chunk)
            return
        if self.noise:
            chunk = bytes(self._spoil(byte) for byte in chunk)
        try:
            written = os.write(self.sink, chunk)
        except BlockingIOError:
            written = 0
        self.tap(chunk[:written])
        self.count["delivered"] += written
        self.count["overrun"] += len(chunk) - written
        for byte in chunk[:written]:
            self.count["frames"] += self._in_block and byte == 0
            self._in_block = byte != 0

    def _spoil(self, byte: int) -> int:
        if self._rng.random() >= self.noise:
            return byte
        self.count["corrupted"] += 1
        return byte ^ (1 << self._rng.randrange(8))


def open_port() -> tuple[int, int]:
    """Open a pty in raw mode and return (master, slave); the slave stays open so that the port never hangs up."""
    master, slave = os.openpty()
    tty.setraw(slave)
    os.set_blocking(master, False)
    return master, slave


def obey(request: dict[str, Any], wires: tuple[Wire, Wire], slaves: tuple[int, int], now: int) -> None:
    """Carry out one request of the handle."""
    value = request["value"]
    if request["do"] == "flush":
        termios.tcflush(slaves[value], termios.TCIFLUSH)
        fcntl.ioctl(slaves[value], termios.TIOCNXCL)  # a port's last close would have done that
    for source in request["sources"]:
        match request["do"]:
            case "cut":
                wires[source].cut = value
            case "noise":
                wires[source].noise = value
            case "baud":
                wires[source].baud = value
            case "tap":
                wires[source].tap = recorder(Path(value), source)
            case "inject":
                wires[source].put(bytes.fromhex(value), now)


def recorder(output: Path, source: int) -> Callable[[bytes], None]:
    """Return what appends the bytes that `source` sent to `output`."""

    def record(chunk: bytes) -> None:
        with output.open("a") as sink:
            sink.write(json.dumps([source, chunk.hex()]) + "\n")

    return record


def requests(selector: selectors.BaseSelector, wires: tuple[Wire, Wire]) -> Iterator[dict[str, Any]]:
    """Carry bytes for ever, and give each request as it comes; ends when the handle closes its side."""
    pending = b""
    while True:
        for wire in wires:  # a full FIFO reads no more: the sender's buffer fills, as on a port
            watched = wire.source in selector.get_map()
            if wire.room > 0 and not watched:
                selector.register(wire.source, selectors.EVENT_READ, wire)
            elif wire.room <= 0 and watched:
                selector.unregister(wire.source)
        busy = any(wire.busy for wire in wires)
        ready = selector.select(SLICE_NS / 1e9 if busy else None)
        now = time.monotonic_ns()
        for key, _ in ready:
            if key.data is not None:
                key.data.take(now)
                continue
            data = os.read(0, 65536)
            if not data:
                return
            *lines, pending = (pending + data).split(b"\n")
            yield from (json.loads(line) for line in lines)
        for wire in wires:
            wire.advance(now)


def main(baud: int, fifo: int, seed: int) -> None:
    """Be the null modem until standard input ends."""
    with contextlib.suppress(PermissionError):  # a cable is not slower on a busy machine; an ordinary user's is
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(os.sched_get_priority_max(os.SCHED_RR) // 2))
    (first, first_slave), (second, second_slave) = open_port(), open_port()
    rng = random.Random(seed)
    wires = (Wire(first, second, baud, fifo, rng), Wire(second, first, baud, fifo, rng))
    print(json.dumps({"ports": [os.ttyname(first_slave), os.ttyname(second_slave)]}), flush=True)
    with selectors.DefaultSelector() as selector:
        selector.register(0, selectors.EVENT_READ, None)
        for request in requests(selector, wires):
            obey(request, wires, (first_slave, second_slave), time.monotonic_ns())
            print(json.dumps({"carried": [wire.count for wire in wires]}), flush=True)


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:4]))
