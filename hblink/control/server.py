"""The answering end of the control socket, on the daemon's loop.

It must never block the loop, never hold more than a bounded amount for a client, and never decide anything: requests
go to `handle`, which answers now or later. A client that is slow, silent or rude is dropped, and costs nobody else.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import grp
import json
import os
import socket
import stat
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hblink.control import REQUEST_MAX, ControlError
from hblink.loop import Loop, Timer

CLIENTS_MAX = 16
IDLE_NS = 10_000_000_000  # a client without a question pending is dropped after this long
PAUSE_NS = 1_000_000_000  # before accepting again when the process is out of descriptors
SO_PEERGROUPS = 59  # asm-generic/socket.h; supplementary groups of the peer, since Linux 4.13
GROUPS_MAX = 256  # 1024 bytes, the most that Python's getsockopt takes


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who is at the other end, as the kernel says (unix(7), SO_PEERCRED and SO_PEERGROUPS)."""

    pid: int
    uid: int
    gids: frozenset[int]


class Request:
    """One question: `command`, its `argument`s, and who asks. It is to be answered once, at any later time."""

    __slots__ = ("_reply", "argument", "command", "credentials")

    def __init__(
        self,
        command: str,
        argument: dict[str, object],
        credentials: Credentials,
        reply: Callable[[dict[str, object]], None],
    ) -> None:
        self.command = command
        self.argument = argument
        self.credentials = credentials
        self._reply: Callable[[dict[str, object]], None] | None = reply

    def answer(self, answer: dict[str, object]) -> None:
        """Send `answer`. Nothing happens if the client has gone, or was answered before."""
        reply, self._reply = self._reply, None
        if reply is not None:
            reply(answer)


Handle = Callable[[Request, int], None]  # called with the request and now


class ControlServer:
    """Serve the socket at `path` to root, to this process's own user, and to members of `group`, until `close`.

    A socket that a dead daemon left behind is replaced; a living daemon is recognised by the lock that it holds beside
    it (flock(2) on `path` + ".lock"). Raise ControlError if it cannot be served.
    """

    def __init__(self, loop: Loop, path: Path, group: str | None, handle: Handle) -> None:
        self._loop = loop
        self._path = path
        self._handle = handle
        self._gid = _gid(group)
        self._clients: set[_Client] = set()
        self._pause: Timer | None = None
        self._lock = take_lock(path)
        try:
            self._listener = _listen(path, self._gid)
        except OSError as error:
            os.close(self._lock)
            raise ControlError(f"cannot serve {path}: {error.strerror or error}") from error
        self._watching = True
        loop.watch(self._listener.fileno(), self._accept)

    def close(self) -> None:
        """Drop every client, remove the socket, and let go of the lock."""
        for client in tuple(self._clients):
            client.drop()
        self._unwatch()
        if self._pause is not None:
            self._pause.cancel()
        self._path.unlink(missing_ok=True)
        self._listener.close()
        os.close(self._lock)

    def _accept(self, now: int) -> None:
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                raise
            self._unwatch()  # the listener would stay readable, and the loop would spin
            self._pause = self._loop.call_at(now + PAUSE_NS, self._resume)
            return
        connection.setblocking(False)
        credentials = _credentials(connection)
        refusal = None
        if not self._may_ask(credentials):
            refusal = "not allowed: be root, or in the socket's group"
        elif len(self._clients) >= CLIENTS_MAX:
            refusal = "too many clients"
        if refusal is not None:
            with contextlib.suppress(OSError):
                connection.send(_line({"ok": False, "error": refusal}))
            connection.close()
            return
        self._clients.add(_Client(self._loop, connection, credentials, self._handle, self._clients.discard, now))

    def _may_ask(self, credentials: Credentials) -> bool:
        return credentials.uid in (0, os.geteuid()) or self._gid in credentials.gids

    def _resume(self, _now: int) -> None:
        self._watching = True
        self._loop.watch(self._listener.fileno(), self._accept)

    def _unwatch(self) -> None:
        if self._watching:
            self._watching = False
            self._loop.unwatch(self._listener.fileno())


class _Client:
    """One connection: at most one line waiting, at most one question pending."""

    def __init__(
        self,
        loop: Loop,
        connection: socket.socket,
        credentials: Credentials,
        handle: Handle,
        forget: Callable[[_Client], None],
        now: int,
    ) -> None:
        self._loop = loop
        self._connection = connection
        self._credentials = credentials
        self._handle = handle
        self._forget = forget
        self._received = bytearray()
        self._pending = False
        self._open = True
        self._active_at = now
        self._idle = loop.call_at(now + IDLE_NS, self._idled)
        loop.watch(connection.fileno(), self._readable)

    def drop(self) -> None:
        """Close the connection; an answer that comes later goes nowhere."""
        if self._open:
            self._open = False
            self._idle.cancel()
            self._loop.unwatch(self._connection.fileno())
            self._connection.close()
            self._forget(self)

    def _idled(self, now: int) -> None:
        """Drop a client that has been idle; one timer a client, however many questions it asks."""
        idle_until = (now if self._pending else self._active_at) + IDLE_NS
        if idle_until <= now:
            self.drop()
        else:
            self._idle = self._loop.call_at(idle_until, self._idled)

    def _readable(self, now: int) -> None:
        try:
            chunk = self._connection.recv(REQUEST_MAX)
        except BlockingIOError:
            return
        except OSError:
            chunk = b""
        self._received += chunk
        if not chunk:
            self.drop()
        elif not self._pending:
            self._next(now)
        elif len(self._received) > REQUEST_MAX:
            self.drop()

    def _next(self, now: int) -> None:
        """Hand over the next complete line, if there is one."""
        line, found, rest = self._received.partition(b"\n")
        if len(line) > REQUEST_MAX:
            self._refuse(f"a request is at most {REQUEST_MAX} bytes")
        elif found:
            self._received = rest
            self._ask(bytes(line), now)

    def _ask(self, line: bytes, now: int) -> None:
        try:
            question = json.loads(line)
        except (ValueError, RecursionError):
            question = None
        command = question.pop("command", None) if isinstance(question, dict) else None
        if not isinstance(command, str):
            self._refuse('a request is one JSON object with a "command"')
            return
        self._pending = True
        self._handle(Request(command, question, self._credentials, self._answer), now)

    def _answer(self, answer: dict[str, object]) -> None:
        if not self._open:
            return
        self._pending = False
        self._active_at = self._loop.now()
        self._send(answer)
        if self._open and b"\n" in self._received:  # asked too early; not from here, which may be inside `handle`
            self._loop.call_at(self._active_at, self._next_if_open)

    def _next_if_open(self, now: int) -> None:
        if self._open and not self._pending:
            self._next(now)

    def _refuse(self, error: str) -> None:
        self._send({"ok": False, "error": error})
        self.drop()

    def _send(self, answer: dict[str, object]) -> None:
        """Send all of `answer` at once; a client that leaves no room for it has stopped reading, and is dropped."""
        line = _line(answer)
        try:
            sent = self._connection.send(line)
        except OSError:
            sent = 0
        if sent < len(line):
            self.drop()


def _line(answer: dict[str, object]) -> bytes:
    return json.dumps(answer).encode() + b"\n"


def _gid(group: str | None) -> int | None:
    """The number of `group`, looked up once, at start: a directory service must not be asked from the loop."""
    if group is None:
        return None
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise ControlError(f"socket_group: there is no group {group}; try: systemd-sysusers") from None


def take_lock(path: Path) -> int:
    """Take the lock of the daemon that serves `path`, until the returned descriptor is closed. Raise ControlError."""
    lock = path.with_name(path.name + ".lock")
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise ControlError(f"cannot create {lock}: {error.strerror or error}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise ControlError(f"another hblink daemon serves {path}") from None
    return descriptor


def _listen(path: Path, gid: int | None) -> socket.socket:
    """Bind and listen, closed to everyone until owner and mode are as they shall be."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise FileExistsError(errno.EEXIST, "something that is not a socket is there")
        path.unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        mask = os.umask(0o777)
        try:
            listener.bind(str(path))
        finally:
            os.umask(mask)
        if gid is not None:
            os.chown(path, -1, gid)
        path.chmod(0o600 if gid is None else 0o660)
        listener.listen(CLIENTS_MAX)
    except OSError:
        listener.close()
        raise
    return listener


def _credentials(connection: socket.socket) -> Credentials:
    pid, uid, gid = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    gids = {gid}
    with contextlib.suppress(OSError):  # more groups than fit, or an old kernel: the primary one still counts
        groups = connection.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, 4 * GROUPS_MAX)
        gids.update(struct.unpack(f"{len(groups) // 4}i", groups))
    return Credentials(pid, uid, frozenset(gids))
