"""The rig's null modem, through real ports."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest
import serial

from tests.rig.nullmodem import Direction, NullModem
from tests.rig.process import runs
from tests.rig.wait import wait_until

FRAME = b"\x00" + bytes(range(1, 76)) + b"\x00"


@pytest.fixture
def modem() -> Iterator[NullModem]:
    with NullModem() as made:
        yield made


@pytest.fixture
def ports(modem: NullModem) -> Iterator[tuple[serial.Serial, serial.Serial]]:
    with (
        serial.Serial(modem.paths[0], 115200, timeout=0) as first,
        serial.Serial(modem.paths[1], 115200, timeout=0) as second,
    ):
        yield first, second


def receive(port: serial.Serial, length: int) -> bytes:
    """Read until `length` bytes have come."""
    got = bytearray()

    def enough() -> bool:
        got.extend(port.read(65536))
        return len(got) >= length

    wait_until(enough, 30, f"{length} bytes", interval_s=0.001)
    return bytes(got)


def settle(modem: NullModem, source: int, taken: int) -> None:
    """Wait until every byte that end `source` sent is delivered or lost."""

    def all_gone() -> bool:
        carried = modem.statistic()[source]
        return carried.taken == taken and carried.delivered + carried.lost + carried.overrun == taken

    wait_until(all_gone, 30, "the line to be empty")


def test_carries_both_ways(modem: NullModem, ports: tuple[serial.Serial, serial.Serial]) -> None:
    ports[0].write(FRAME)
    ports[1].write(FRAME * 2)
    assert receive(ports[1], len(FRAME)) == FRAME
    assert receive(ports[0], 2 * len(FRAME)) == FRAME * 2
    assert [carried.frames for carried in modem.statistic()] == [1, 2]


@pytest.mark.parametrize("direction", list(Direction))
def test_a_cut_loses_its_direction_only(
    modem: NullModem, ports: tuple[serial.Serial, serial.Serial], direction: Direction
) -> None:
    modem.cut(direction)
    for end in (0, 1):
        ports[end].write(FRAME)
        settle(modem, end, len(FRAME))
    lost = [carried.lost for carried in modem.statistic()]
    assert lost == [len(FRAME) if end in direction.sources else 0 for end in (0, 1)]
    for end in (0, 1):
        assert ports[1 - end].read(200) == (b"" if end in direction.sources else FRAME)
    modem.heal()
    ports[0].write(FRAME)
    assert receive(ports[1], len(FRAME)) == FRAME


@pytest.mark.parametrize("baud", [2400, 9600])
def test_bytes_take_their_time(modem: NullModem, ports: tuple[serial.Serial, serial.Serial], baud: int) -> None:
    modem.rate(baud)
    begun = time.monotonic()
    ports[0].write(FRAME)
    assert receive(ports[1], len(FRAME)) == FRAME
    assert time.monotonic() - begun >= len(FRAME) * 10 / baud


def test_a_full_fifo_stops_the_writer() -> None:
    with NullModem(baud=300, fifo=64) as modem, serial.Serial(modem.paths[0], 9600) as port:
        offered = 1 << 20
        accepted = 0

        def refused() -> bool:
            nonlocal accepted
            try:
                accepted += os.write(port.fileno(), bytes(4096))
            except BlockingIOError:
                return True
            return False

        os.set_blocking(port.fileno(), False)
        wait_until(refused, 30, "the port to be full", interval_s=0)
        assert accepted < offered
        assert modem.statistic()[0].taken <= accepted


def test_noise_spoils_bytes_and_the_same_seed_spoils_the_same() -> None:
    heard = []
    for _ in range(2):
        with NullModem(baud=0, seed=7) as modem, serial.Serial(modem.paths[1], 115200, timeout=0) as port:
            modem.noise(0.2)
            modem.inject(FRAME * 4, Direction.ALPHA_TO_BETA)
            heard.append(receive(port, 4 * len(FRAME)))
            assert modem.statistic()[0].corrupted == sum(
                spoilt != sent for spoilt, sent in zip(heard[-1], FRAME * 4, strict=True)
            )
    assert heard[0] == heard[1] != FRAME * 4


def test_an_end_that_nobody_reads_does_not_stop_the_other(
    modem: NullModem, ports: tuple[serial.Serial, serial.Serial]
) -> None:
    modem.rate(0)
    modem.inject(bytes(range(1, 251)) * 400, Direction.ALPHA_TO_BETA)
    ports[1].write(FRAME)
    assert receive(ports[0], len(FRAME)) == FRAME
    assert modem.statistic()[0].overrun > 0
    modem.flush(1)
    assert ports[1].in_waiting == 0


def test_nothing_is_left_after_close() -> None:
    modem = NullModem()
    modem.close()
    assert not runs(modem.pid)
