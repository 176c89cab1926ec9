"""Serial links on real pseudo terminals; ptys have no modem lines and no output queue, which a UART has."""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import subprocess
import termios
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hblink.links.console import console_use
from hblink.links.link import LinkError
from hblink.links.serial import SerialLink
from hblink.loop import Loop
from tests.adapter.stage import run_until
from tests.rig.nullmodem import NullModem
from tests.rig.wait import wait_until

SECOND = 1_000_000_000
BAUD = 115200


class Port:
    """A pty whose master end the test holds, under a name that stays the same as an udev link does."""

    def __init__(self, name: Path) -> None:
        self.name = name
        self.master = -1
        self.plug()

    def plug(self) -> None:
        self.master, slave = os.openpty()
        os.set_blocking(self.master, False)
        self.name.unlink(missing_ok=True)
        self.name.symlink_to(os.ttyname(slave))
        os.close(slave)

    def unplug(self) -> None:
        if self.master >= 0:
            os.close(self.master)
        self.master = -1

    def read(self) -> bytes:
        with contextlib.suppress(BlockingIOError):
            return os.read(self.master, 65536)
        return b""


class End:
    """A link and what it said."""

    def __init__(self, loop: Loop, path: str, baud: int = BAUD) -> None:
        self.got = b""
        self.closed: list[str] = []
        self.link = SerialLink(loop, path, baud, self._on_bytes, lambda reason, _now: self.closed.append(reason))

    def _on_bytes(self, data: bytes, _now: int) -> None:
        self.got += data


@pytest.fixture
def loop() -> Loop:
    return Loop()


@pytest.fixture
def port(tmp_path: Path) -> Iterator[Port]:
    made = Port(tmp_path / "heartbeat")
    yield made
    made.unplug()


@pytest.fixture
def end(loop: Loop, port: Port) -> Iterator[End]:
    made = End(loop, str(port.name))
    made.link.open()
    yield made
    made.link.close()


def test_every_byte_value_crosses_a_null_modem_both_ways(loop: Loop) -> None:
    everything = bytes(range(256)) * 2
    with NullModem(baud=BAUD) as modem:
        ends = [End(loop, path) for path in modem.paths]
        for one in ends:
            one.link.open()
        for one in ends:
            assert one.link.send(everything, loop.now())
        run_until(loop, lambda: all(len(one.got) >= 512 for one in ends), "all bytes")
        assert [one.got for one in ends] == [everything, everything]
        assert [one.link.counters.received_bytes for one in ends] == [512, 512]
        for one in ends:
            one.link.close()
    assert [one.closed for one in ends] == [[], []]


def test_the_settings_are_raw_8n1_without_flow_control(port: Port, end: End) -> None:
    iflag, oflag, cflag, lflag, ispeed, ospeed, cc = termios.tcgetattr(port.master)
    assert end.link.is_open
    assert iflag & termios.IGNBRK
    assert not iflag & (termios.IXON | termios.IXOFF | termios.ICRNL | termios.INLCR | termios.BRKINT | termios.PARMRK)
    assert not oflag & termios.OPOST
    assert cflag & termios.CSIZE == termios.CS8
    assert cflag & termios.CLOCAL
    assert cflag & termios.HUPCL
    assert not cflag & (termios.PARENB | termios.CSTOPB | termios.CRTSCTS)
    assert not lflag & (termios.ICANON | termios.ECHO | termios.ISIG)
    assert (ispeed, ospeed) == (termios.B115200, termios.B115200)
    assert cc[termios.VMIN] in (1, b"\x01")


def test_what_a_terminal_would_interpret_is_carried(loop: Loop, port: Port, end: End) -> None:
    control = b"\x03\x04\x11\x13\x1a\x1c\r\n\x7f\xff\x00"
    os.write(port.master, control)
    run_until(loop, lambda: len(end.got) >= len(control), "the control characters")
    assert end.got == control
    assert port.read() == b""  # no echo


def test_a_frame_is_skipped_while_the_line_carries_the_last_one(end: End) -> None:
    frame = bytes(80)
    assert end.link.send(frame, 10 * SECOND)
    drained_at = end.link.ready_at
    assert drained_at - 10 * SECOND == pytest.approx(80 * 10 * SECOND / BAUD, abs=1)
    assert end.link.send(frame, drained_at - 1) is False
    assert end.link.counters.unsent == {"paced": 1}
    assert end.link.send(frame, drained_at)
    assert end.link.counters.sent == 2
    assert end.link.counters.sent_bytes == 160


def test_a_port_that_does_not_drain_never_blocks(port: Port, end: End) -> None:
    now = 0
    while end.link.counters.unsent["not drained"] == 0:
        now += SECOND
        assert end.link.send(bytes(80), now) is (not end.link.counters.unsent), f"after {end.link.counters.sent} frames"
        assert end.link.counters.sent < 10_000
    assert end.link.counters.sent > 0
    assert end.link.is_open
    wait_until(lambda: not port.read(), 30, "the reader to catch up")
    assert wait_until(lambda: end.link.send(bytes(80), end.link.ready_at), 30, "room again")
    assert end.closed == []


def test_a_port_that_hangs_up_is_told_once_and_can_be_opened_again(loop: Loop, port: Port, end: End) -> None:
    port.unplug()
    run_until(loop, lambda: end.closed, "the hang-up")
    assert len(end.closed) == 1
    assert sum(end.link.counters.closed.values()) == 1
    assert not end.link.is_open
    assert end.link.send(b"beat", 0) is False
    with pytest.raises(LinkError, match="heartbeat"):
        end.link.open()
    port.plug()
    end.link.open()
    assert end.link.send(b"back", SECOND)
    assert wait_until(port.read, 30, "the bytes") == b"back"
    os.write(port.master, b"here")
    run_until(loop, lambda: end.got == b"here", "the answer")
    assert len(end.closed) == 1


def test_sending_on_a_port_that_hung_up_tells_it_once(port: Port, end: End) -> None:
    port.unplug()
    assert end.link.send(b"beat", 0) is False
    assert end.closed == ["EIO"]
    assert not end.link.is_open


def test_a_port_belongs_to_one(loop: Loop, port: Port, end: End) -> None:
    with pytest.raises(LinkError, match="another process holds it"):
        End(loop, str(port.name)).link.open()
    end.link.close()
    end.link.close()
    second = End(loop, str(port.name))
    second.link.open()
    assert second.link.is_open
    second.link.close()
    assert end.closed == []  # closing is no failure


@pytest.mark.parametrize(
    ("path", "baud", "words"),
    [
        ("/dev/ttyNOSUCH", BAUD, "No such file.*by-path"),
        ("/dev/null", BAUD, "serial port"),
        ("heartbeat", 115201, "115201 is not a standard bit rate"),
        ("/dev/console", BAUD, "stands for whatever console"),
    ],
)
def test_what_cannot_be_opened_is_named_with_a_way_out(
    loop: Loop, port: Port, path: str, baud: int, words: str
) -> None:
    end = End(loop, str(port.name) if path == "heartbeat" else path, baud)
    with pytest.raises(LinkError, match=rf"{path}: .*{words}"):
        end.link.open()
    assert not end.link.is_open


def test_a_pty_has_no_modem_lines(end: End) -> None:
    assert end.link.modem_lines() is None
    assert end.link.carrier() is None
    assert end.link.signal() is None


class Lines:
    """The modem lines that the driver shows (TIOCMGET), as a UART's would; `bits` None: there are none."""

    def __init__(self) -> None:
        self.bits: int | None = 0
        self._ioctl: Callable[..., object] = fcntl.ioctl

    def ioctl(self, fd: int, request: int, *rest: object) -> object:
        if request != termios.TIOCMGET or self.bits is None:
            return self._ioctl(fd, request, *rest)
        return struct.pack("i", self.bits)


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Lines:
    made = Lines()
    monkeypatch.setattr(fcntl, "ioctl", made.ioctl)
    return made


RAISED = [termios.TIOCM_DSR, termios.TIOCM_CD, termios.TIOCM_DSR | termios.TIOCM_CD]


@pytest.mark.parametrize("raised", RAISED)
def test_the_far_end_is_gone_when_two_looks_in_a_row_miss_it(end: End, lines: Lines, raised: int) -> None:
    assert end.link.signal() is None, "a cable of three wires looks like this"
    seen = []
    for bits in (0, raised, 0, raised, 0, 0, 0, raised, 0):
        lines.bits = bits
        seen.append(end.link.signal())
    assert seen == [None, True, True, True, True, False, False, True, True]


def test_what_only_a_cable_of_few_wires_moves_is_no_signal(end: End, lines: Lines) -> None:
    for bits in (termios.TIOCM_CTS | termios.TIOCM_RTS | termios.TIOCM_DTR | termios.TIOCM_RI, 0, 0):
        lines.bits = bits
        assert end.link.signal() is None


def test_a_port_that_was_opened_again_has_lost_nothing(end: End, lines: Lines) -> None:
    lines.bits = termios.TIOCM_DSR
    assert end.link.signal() is True
    lines.bits = 0
    assert end.link.signal() is True
    end.link.close()
    assert end.link.signal() is None
    end.link.open()
    assert [end.link.signal() for _ in range(3)] == [None, False, False]


def test_lines_that_cannot_be_read_any_more_tell_nothing(end: End, lines: Lines) -> None:
    lines.bits = termios.TIOCM_CD
    assert end.link.signal() is True
    lines.bits = None
    assert end.link.signal() is None


def proc_tree(root: Path, *, consoles: str = "", cmdline: str = "") -> Path:
    root.mkdir()
    (root / "consoles").write_text(consoles)
    (root / "cmdline").write_text(cmdline)
    return root


@pytest.mark.parametrize(
    ("consoles", "cmdline", "port", "words"),
    [
        ("ttyS0                -W- (EC  p a)    4:64\n", "", "/dev/ttyS0", "/proc/consoles"),
        ("ttyS0                -W- (EC  p a)    4:64\n", "", "/dev/ttyS1", None),
        ("tty0 -WU (EC p  ) 4:1\n", "quiet console=tty0 console=ttyS1,115200n8", "/dev/ttyS1", "command line"),
        ("", "root=/dev/sda1 kgdboc=ttyS2,115200", "/dev/ttyS2", "command line"),
        ("", "console=ttyS10", "/dev/ttyS1", None),
        ("", "", "/dev/console", "stands for"),
    ],
)
def test_consoles_of_the_kernel_are_recognised(
    tmp_path: Path, consoles: str, cmdline: str, port: str, words: str | None
) -> None:
    use = console_use(port, proc_tree(tmp_path / "proc", consoles=consoles, cmdline=cmdline), cgroups=())
    assert (use is None) if words is None else (use is not None and words in use)


def test_a_console_behind_a_symbolic_link_is_recognised(tmp_path: Path) -> None:
    link = tmp_path / "heartbeat"
    link.symlink_to("/dev/ttyS3")
    use = console_use(str(link), proc_tree(tmp_path / "proc", cmdline="console=ttyS3"), cgroups=())
    assert use is not None
    assert "ttyS3" in use


def test_a_serial_getty_is_recognised(tmp_path: Path) -> None:
    unit = tmp_path / "cgroup/system.slice/system-serial\\x2dgetty.slice/serial-getty@ttyS1.service"
    unit.mkdir(parents=True)
    proc = proc_tree(tmp_path / "proc")
    assert console_use("/dev/ttyS2", proc, (tmp_path / "cgroup",)) is None
    assert console_use("/dev/ttyS1", proc, (tmp_path / "cgroup",)) == "serial-getty@ttyS1.service is running on it"


def test_a_login_on_the_port_is_recognised_and_the_port_refused(loop: Loop, port: Port) -> None:
    assert console_use(str(port.name)) is None
    slave = os.open(port.name, os.O_RDWR | os.O_NOCTTY)
    with subprocess.Popen(["setsid", "--ctty", "sleep", "600"], stdin=slave) as login:
        try:
            os.close(slave)
            wanted = f"it is the controlling terminal of process {login.pid} (sleep)"
            wait_until(lambda: console_use(str(port.name)) == wanted, 30, "the process to take the terminal")
            with pytest.raises(LinkError, match="controlling terminal"):
                End(loop, str(port.name)).link.open()
        finally:
            login.kill()


def test_bytes_gather_in_the_driver_until_as_many_as_expected_are_there(loop: Loop, port: Port, end: End) -> None:
    """A 16550 hands over 8 bytes at a time: the daemon is not woken for each of them."""
    end.link.open()
    os.write(port.master, b"x")
    run_until(loop, lambda: end.got == b"x", "the first byte")
    end.link.expect(76)
    woken = end.link.counters.received
    for _ in range(9):
        os.write(port.master, b"8 bytes ")
        loop.run_once(2_000_000)
    assert end.got == b"x", "72 bytes are not 76"
    os.write(port.master, b"8 bytes ")
    run_until(loop, lambda: len(end.got) == 65, "what the kernel hands over at once")
    end.link.expect(12)
    run_until(loop, lambda: len(end.got) == 81, "the rest")
    assert end.link.counters.received == woken + 2
    end.link.expect(1)
    os.write(port.master, b"y")
    run_until(loop, lambda: end.got.endswith(b"y"), "a single byte again")


def test_a_port_that_hangs_up_is_told_whatever_is_expected(loop: Loop, port: Port, end: End) -> None:
    end.link.open()
    end.link.expect(200)
    port.unplug()
    run_until(loop, lambda: bool(end.closed), "the end of the port")
    assert len(end.closed) == 1
