"""A BMC of our own for what `ipmi_sim` cannot do: suite 17, session limits, stuck or lying power, delays, loss.

It listens on loopback (or wherever its socket is made), in a thread, and is driven by the real ipmitool. What it does
wrong is set by attributes, at any time; what happened is counted. Losses come from a seeded generator, one draw for
each datagram in each direction.
"""

from __future__ import annotations

import heapq
import itertools
import random
import selectors
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.rig.rmcp import INVALID_COMMAND, LOW_PRIVILEGE, NODE_BUSY, OK, OPERATOR, UNSPECIFIED, Account, Sessions

POLICIES = {"always-off": 0, "previous": 1, "always-on": 2, "unknown": 3}


class StandIn:
    """The BMC of one machine, whose power is `on`.

    Faults: `delay_s` before each answer; `loss` of datagrams (0 to 1); `stuck` (accepts and does nothing); `lies` (says
    OFF after an accepted off, and the machine stays on); `off_takes_s` until an accepted off takes effect; `dies_on`
    (a verb of `asked` at which it falls silent for good, in mid-session); `no_guid`; `busy` (about its GUID). `fru` is
    its inventory, none if empty: each part of it takes `fru_delay_s`, from byte `fru_bad_at` on it cannot be read, and
    `fru_silent` leaves every question about it unanswered.
    """

    def __init__(self, *, guid: str, user: str = "fence", password: str = "secret-17", address: str = "127.0.0.1",
                 port: int = 0, seed: int = 1) -> None:  # fmt: skip
        self.sessions = Sessions(Account(user, password.encode()), bytes.fromhex(guid), self._execute)
        self.guid, self.password, self.user = guid, password, user
        self.on = True
        self.policy = "previous"
        self.delay_s = 0.0
        self.loss = 0.0
        self.stuck = False
        self.lies = False
        self.off_takes_s = 0.0
        self.dies_on: str | None = None
        self.no_guid = False
        self.busy = False
        self.fru = b""
        self.fru_delay_s = 0.0
        self.fru_bad_at: int | None = None
        self.fru_silent = False
        self.asked: list[str] = []  # verbs: status, guid, fru, off, on, reset, cycle; repeated ones too
        self.received = 0
        self.dropped = 0
        self._dead = False
        self._slow_s: float | None = 0.0  # what the present answer costs besides `delay_s`; None: there is none
        self._said_off = False
        self._off_at: float | None = None
        self._random = random.Random(seed)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((address, port))
        self._socket.setblocking(False)
        self.address: str = address
        self.port: int = self._socket.getsockname()[1]
        self._later: list[tuple[float, int, bytes, tuple[str, int]]] = []
        self._order = itertools.count()
        self._stop = socket.socketpair()
        self._thread = threading.Thread(target=self._serve, name=f"standin-{self.port}", daemon=True)
        self._thread.start()

    def password_file(self, directory: Path) -> Path:
        """Write the password where a device wants it."""
        path = directory / f"standin-{self.port}.pass"
        path.write_text(f"{self.password}\n")
        path.chmod(0o600)
        return path

    @property
    def commands(self) -> list[str]:
        """What would have changed the power."""
        return [verb for verb in self.asked if verb not in ("status", "guid", "fru")]

    def close(self) -> None:
        """End the thread."""
        self._stop[1].send(b"x")
        self._thread.join(10)
        assert not self._thread.is_alive()
        for each in (self._socket, *self._stop):
            each.close()

    def _serve(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._socket, selectors.EVENT_READ)
            selector.register(self._stop[0], selectors.EVENT_READ)
            while True:
                wait_s = max(0.0, self._later[0][0] - time.monotonic()) if self._later else None
                ready = {key.fileobj for key, _ in selector.select(wait_s)}
                if self._stop[0] in ready:
                    return
                if self._socket in ready:
                    self._take(*self._socket.recvfrom(2048))
                while self._later and self._later[0][0] <= time.monotonic():
                    _, _, answer, sender = heapq.heappop(self._later)
                    self._socket.sendto(answer, sender)

    def _lost(self) -> bool:
        lost = self._random.random() < self.loss
        self.dropped += lost
        return lost

    def _take(self, packet: bytes, sender: tuple[str, int]) -> None:
        self.received += 1
        if self._dead or self._lost():
            return
        self._slow_s = 0.0
        answer = self.sessions.take(packet, time.monotonic())
        if answer is None or self._slow_s is None or self._dead or self._lost():
            return
        due_at = time.monotonic() + self.delay_s + self._slow_s
        heapq.heappush(self._later, (due_at, next(self._order), answer, sender))

    def _execute(self, netfn: int, command: int, data: bytes, privilege: int) -> tuple[int, bytes]:
        if self._off_at is not None and time.monotonic() >= self._off_at:
            self.on, self._off_at = False, None
        match netfn, command:
            case 0x00, 0x01:  # Get Chassis Status, 28.2
                self._note("status")
                shown = self.on and not self._said_off
                return OK, bytes([POLICIES[self.policy] << 5 | shown, 0, 0])
            case 0x00, 0x02:  # Chassis Control, 28.3
                if privilege < OPERATOR:
                    return LOW_PRIVILEGE, b""
                self._control(data[0] & 0x0F)
                return OK, b""
            case 0x06, 0x37:  # Get System GUID, 22.14
                self._note("guid")
                if self.busy:
                    return NODE_BUSY, b""
                return (INVALID_COMMAND, b"") if self.no_guid else (OK, bytes.fromhex(self.guid))
            case 0x0A, 0x10 | 0x11 if self.fru and data[0] == 0:
                return self._inventory(command, data)
            case 0x06, 0x01:  # Get Device ID, 20.1
                return OK, bytes([0x20, 0x81, 1, 0, 0x02, 0x8F, 0, 0, 0, 0, 0])
            case _:
                return INVALID_COMMAND, b""

    def _inventory(self, command: int, data: bytes) -> tuple[int, bytes]:
        """Get FRU Inventory Area Info, 34.1, and Read FRU Data, 34.2, of the FRU device 0."""
        self._note("fru")
        self._slow_s = None if self.fru_silent else self.fru_delay_s
        if command == 0x10:
            return OK, struct.pack("<HB", len(self.fru), 0)
        offset, count = struct.unpack_from("<HB", data, 1)
        if self.fru_bad_at is not None and offset >= self.fru_bad_at:
            return UNSPECIFIED, b""
        part = self.fru[offset : offset + count]
        return OK, bytes([len(part)]) + part

    def _control(self, action: int) -> None:
        verb = {0: "off", 1: "on", 2: "cycle", 3: "reset"}.get(action, "other")
        self._note(verb)
        if self.stuck or self._dead:
            return
        if verb == "off" and self.lies:
            self._said_off = True
        elif verb == "off":
            self._off_at = time.monotonic() + self.off_takes_s
            if not self.off_takes_s:
                self.on, self._off_at = False, None
        elif verb in ("on", "cycle", "reset"):
            self.on, self._said_off, self._off_at = True, False, None

    def _note(self, verb: str) -> None:
        self.asked.append(verb)
        if verb == self.dies_on:
            self._dead = True


@contextmanager
def standin(guid: str, **settings: int | str) -> Iterator[StandIn]:
    """A stand-in on loopback that is gone afterwards."""
    bmc = StandIn(guid=guid, seed=int(settings.get("seed", 1)))
    try:
        yield bmc
    finally:
        bmc.close()


def main() -> int:
    """`python -m tests.rig.standin COUNT LOSS`: stand-ins in a process of their own, so that a caller's loop is alone.

    Prints one line a BMC, `port guid password`; ends when its standard input does.
    """
    count, loss = int(sys.argv[1]), float(sys.argv[2])
    bmcs = [StandIn(guid=f"{index:032x}", seed=index) for index in range(1, count + 1)]
    for bmc in bmcs:
        bmc.loss, bmc.sessions.limit = loss, 64
        print(bmc.port, bmc.guid, bmc.password, flush=True)
    sys.stdin.read()
    for bmc in bmcs:
        bmc.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
