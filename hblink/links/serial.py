"""A serial link: a null-modem cable between two UARTs, raw 8N1, without flow control.

pyserial opens and sets up the port; after that only `os.read` and `os.write` on its descriptor, because pyserial's own
`write` spins for ever when the buffer is full. A heartbeat is sent now or not at all: bytes that wait in a buffer are
stale heartbeats. Must never block, never send BREAK (SysRq on a console), and never know a frame.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
import termios
from dataclasses import dataclass

import serial

from hblink.links.console import console_use
from hblink.links.link import LinkCounters, LinkError, OnBytes, OnClosed
from hblink.loop import Loop

BITS_PER_BYTE = 10  # start, 8 data, stop
SECOND = 1_000_000_000
RECEIVE_BYTES = 4096

IFLAG, OFLAG, CFLAG, LFLAG, ISPEED, OSPEED, CC = range(7)  # of termios.tcgetattr

# What must be clear in each word; besides 8 data bits, CREAD, CLOCAL, HUPCL and IGNBRK are set.
CLEAR = {
    IFLAG: termios.BRKINT
    | termios.PARMRK
    | termios.INPCK
    | termios.ISTRIP
    | termios.INLCR
    | termios.IGNCR
    | termios.ICRNL
    | termios.IXON
    | termios.IXOFF
    | termios.IXANY,
    OFLAG: termios.OPOST,
    CFLAG: termios.PARENB | termios.CSTOPB | termios.CRTSCTS,
    LFLAG: termios.ICANON | termios.ECHO | termios.ECHONL | termios.ISIG | termios.IEXTEN,
}
# HUPCL: the last close, and so the death of the process, drops DTR, which the peer sees.
SET = {IFLAG: termios.IGNBRK, CFLAG: termios.CREAD | termios.CLOCAL | termios.HUPCL}


@dataclass(frozen=True, slots=True)
class ModemLines:
    """The modem lines at one instant: `dtr` and `rts` are our outputs, the others inputs."""

    dtr: bool
    rts: bool
    cts: bool
    dsr: bool
    cd: bool


class SerialLink:
    """Exchange bytes over `port`, a path, at `baud`.

    `on_bytes` gets what came in, split anywhere. `on_closed` is called when the port hangs up or fails (an adapter was
    unplugged); it may be opened again later.
    """

    def __init__(self, loop: Loop, port: str, baud: int, on_bytes: OnBytes, on_closed: OnClosed) -> None:
        self._loop = loop
        self._path = port
        self._baud = baud
        self._on_bytes = on_bytes
        self._on_closed = on_closed
        self._port: serial.Serial | None = None
        self._fd = -1
        self._drained_at = 0
        self._expected = 1  # VMIN
        self._lines_work = False
        self._looked: bool | None = None  # what the last look of `signal` found
        self._signal: bool | None = None
        self.counters = LinkCounters()

    @property
    def is_open(self) -> bool:
        """Whether the port is open."""
        return self._port is not None

    @property
    def ready_at(self) -> int:
        """When the line has carried what was written last, by its bit rate."""
        return self._drained_at

    def open(self) -> None:
        """Open the port, set it up, lock it, and read the settings back. Raises LinkError."""
        if self._port is not None:
            return
        use = console_use(self._path)
        if use is not None:
            raise LinkError(f"{self._path}: {use}; use another port, or take the console away from this one")
        speed = getattr(termios, f"B{self._baud}", None)
        if speed is None:
            raise LinkError(f"{self._path}: {self._baud} is not a standard bit rate; 115200 is")
        port = serial.Serial()
        port.port = self._path
        port.baudrate = self._baud
        port.timeout = 0
        port.write_timeout = 0
        port.exclusive = True  # flock: against root, whom TIOCEXCL does not stop
        try:
            port.open()
        except (serial.SerialException, OSError, termios.error) as error:
            raise LinkError(f"{self._path}: {_reason(error)}; {_way_out(error)}") from error
        try:
            fd: int = port.fileno()
            fcntl.ioctl(fd, termios.TIOCEXCL)
            wrong = _set_up(fd, speed)
        except (OSError, termios.error) as error:
            port.close()
            raise LinkError(f"{self._path}: cannot be set up: {_reason(error)}; is it a serial port?") from error
        if wrong:
            port.close()
            raise LinkError(f"{self._path}: the driver did not take {', '.join(wrong)}; use another port or bit rate")
        self._port, self._fd, self._drained_at, self._expected = port, fd, 0, 1
        self._looked = self._signal = None
        self._loop.watch(self._fd, self._on_readable)

    def close(self) -> None:
        """Close the port; may be repeated. The kernel first sends what it still holds, at most one frame."""
        if self._port is None:
            return
        self._loop.unwatch(self._fd)
        with contextlib.suppress(OSError):  # hung up: the mark is gone with the port
            fcntl.ioctl(self._fd, termios.TIOCNXCL)
        self._port.close()
        self._port, self._fd = None, -1

    def send(self, data: bytes, now: int) -> bool:
        """Send `data` now or not at all; not while anything is still on its way out.

        The driver's queue says so on a UART; the bit rate says so as well, as a queue may be hidden (adapters, ptys).
        """
        if self._port is None:
            self.counters.unsent["closed"] += 1
            return False
        if now < self._drained_at:
            self.counters.unsent["paced"] += 1
            return False
        try:
            if _output_queue(self._fd) > 0:
                self.counters.unsent["not drained"] += 1
                return False
            written = os.write(self._fd, data)
        except BlockingIOError:
            self.counters.unsent["not drained"] += 1
            return False
        except OSError as error:
            self.counters.unsent[_name(error)] += 1
            self._fail(_name(error), now)
            return False
        self._drained_at = now + -(-written * BITS_PER_BYTE * SECOND // self._baud)
        if written < len(data):
            self.counters.unsent["cut short"] += 1
            return False
        self.counters.sent += 1
        self.counters.sent_bytes += written
        return True

    def expect(self, count: int) -> None:
        """Call `on_bytes` when at least `count` bytes are there, 1 to 255; what cannot come sooner wakes nobody.

        With VTIME 0 the kernel takes VMIN for what makes a terminal readable (termios(3)); a 16550 hands over 8 bytes
        at a time, so a frame would wake the daemon ten times. It is no deadline: fewer bytes are read with the next.
        To be said anew after each `on_bytes`, which may have got a part (the kernel hands over 64 bytes a read).
        """
        if self._port is None or count == self._expected:
            return
        try:
            settings = termios.tcgetattr(self._fd)
            settings[CC][termios.VMIN] = count
            termios.tcsetattr(self._fd, termios.TCSANOW, settings)
        except (OSError, termios.error):
            return  # a port that hung up is noticed by reading
        self._expected = count

    def modem_lines(self) -> ModemLines | None:
        """Read the modem lines; None if the port is closed or has none (ENOTTY, EINVAL: ptys, some adapters)."""
        bits = self._line_bits()
        if bits is None:
            return None
        return ModemLines(
            dtr=bool(bits & termios.TIOCM_DTR),
            rts=bool(bits & termios.TIOCM_RTS),
            cts=bool(bits & termios.TIOCM_CTS),
            dsr=bool(bits & termios.TIOCM_DSR),
            cd=bool(bits & termios.TIOCM_CD),
        )

    def carrier(self) -> bool | None:
        """Say whether the far end holds DTR; None until DSR or CD was once seen raised: a 3-wire cable has neither."""
        bits = self._line_bits()
        if bits is None:
            return None
        held = bits & (termios.TIOCM_DSR | termios.TIOCM_CD) != 0
        self._lines_work = self._lines_work or held
        return held if self._lines_work else None

    def signal(self) -> bool | None:
        """Say whether the far end holds DTR, as `carrier` does; but it is gone only when two looks in a row miss it.

        DTR falls with the far end's power, with the death of its daemon, and with the cable. CTS is not looked at: it
        follows the far end's RTS, which many cables do not carry. With a cable that leads a port's DTR back into its
        own DSR the far end is there for ever: nothing is then lost that anybody could act on.
        """
        before, self._looked = self._looked, self.carrier()
        if self._looked is not False or before is False:
            self._signal = self._looked
        return self._signal

    def _line_bits(self) -> int | None:
        """The modem lines as TIOCMGET gives them (ioctl_tty(2))."""
        if self._port is None:
            return None
        try:
            bits: int = struct.unpack("i", fcntl.ioctl(self._fd, termios.TIOCMGET, bytes(4)))[0]
        except OSError:  # a port that hung up is noticed by reading
            return None
        return bits

    def _on_readable(self, now: int) -> None:
        try:
            data = os.read(self._fd, RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._fail(_name(error), now)
            return
        if not data:  # VMIN is not 0: no bytes means hung up, and nothing else
            self._fail("hangup", now)
            return
        self.counters.received += 1
        self.counters.received_bytes += len(data)
        self._on_bytes(data, now)

    def _fail(self, reason: str, now: int) -> None:
        self.counters.closed[reason] += 1
        self.close()
        self._on_closed(reason, now)


def _set_up(fd: int, speed: int) -> list[str]:
    """Complete what pyserial set (it clears IGNBRK and VMIN), read back, and return the names of what was not taken."""
    settings = termios.tcgetattr(fd)
    for word, mask in CLEAR.items():
        settings[word] &= ~mask
    for word, mask in SET.items():
        settings[word] |= mask
    settings[CC][termios.VMIN] = 1
    settings[CC][termios.VTIME] = 0
    termios.tcsetattr(fd, termios.TCSANOW, settings)
    actual = termios.tcgetattr(fd)
    checks = {
        "raw mode": all(actual[word] & mask == 0 for word, mask in CLEAR.items())
        and all(actual[word] & mask == mask for word, mask in SET.items()),
        "8 data bits": actual[CFLAG] & termios.CSIZE == termios.CS8,
        "the bit rate": actual[ISPEED] == speed and actual[OSPEED] == speed,
        "single reads": actual[CC][termios.VMIN] in (1, b"\x01") and actual[CC][termios.VTIME] in (0, b"\x00"),
    }
    return [name for name, good in checks.items() if not good]


def _output_queue(fd: int) -> int:
    """Bytes that the driver still holds (TIOCOUTQ, ioctl_tty(2)); 0 if it cannot say."""
    try:
        count: int = struct.unpack("i", fcntl.ioctl(fd, termios.TIOCOUTQ, bytes(4)))[0]
    except OSError as error:
        if error.errno in (errno.ENOTTY, errno.EINVAL):
            return 0
        raise
    return count


def _name(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, str(error.errno))


def _reason(error: Exception) -> str:
    number = error.args[0] if error.args else None
    return os.strerror(number) if isinstance(number, int) else str(error)


def _way_out(error: Exception) -> str:
    number = error.args[0] if error.args else None
    if number == errno.ENOENT:
        return "see: ls -l /dev/ttyS* /dev/ttyUSB* /dev/serial/by-path"
    if number in (errno.EAGAIN, errno.EBUSY):
        return "another process holds it: fuser -v the port; is hblink running already?"
    if number in (errno.EACCES, errno.EPERM):
        return "run as root, or join the group of the device"
    return "is it a serial port, and is its adapter plugged in?"
