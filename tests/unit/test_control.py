"""The control socket, over a real unix socket on the real loop."""

from __future__ import annotations

import grp
import json
import os
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hblink.control import REQUEST_MAX, ControlError, socket_path
from hblink.control.client import ask
from hblink.control.server import CLIENTS_MAX, IDLE_NS, ControlServer, Request
from hblink.loop import Loop, boottime_ns

DEADLINE_S = 60.0


class Rig:
    """A server whose requests are kept, on a loop that the test turns; `skew_ns` moves the loop's clock."""

    def __init__(self, path: Path, group: str | None = None) -> None:
        self.path = path
        self.skew_ns = 0
        self.loop = Loop(lambda: boottime_ns() + self.skew_ns)
        self.requests: list[Request] = []
        self.server = ControlServer(self.loop, path, group, lambda request, _now: self.requests.append(request))
        self.sockets: list[socket.socket] = []

    def client(self) -> socket.socket:
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        client.setblocking(False)
        client.connect(str(self.path))
        self.sockets.append(client)
        return client

    def turn(self, until: Callable[[], bool]) -> None:
        deadline = boottime_ns() + int(DEADLINE_S * 1e9)
        while not until():
            assert boottime_ns() < deadline, "the condition did not come true"
            self.loop.run_once(10_000_000)

    def receive(self, client: socket.socket) -> list[dict[str, Any]]:
        """Turn until the client has at least one whole answer; return what it has."""
        received = bytearray()

        def arrived() -> bool:
            try:
                received.extend(client.recv(65536))
            except BlockingIOError:
                return False
            return received.endswith(b"\n")

        self.turn(arrived)
        return [json.loads(line) for line in received.splitlines()]

    def is_closed(self, client: socket.socket) -> bool:
        try:
            return client.recv(65536) == b""
        except BlockingIOError:
            return False
        except ConnectionResetError:
            return True


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path / "hblink.sock")
    yield rig
    rig.server.close()
    for each in rig.sockets:
        each.close()


def line(**request: object) -> bytes:
    return json.dumps(request).encode() + b"\n"


def test_a_request_is_answered_when_its_time_has_come(rig: Rig) -> None:
    client = rig.client()
    client.send(line(command="fence_confirm", node="beta"))
    rig.turn(lambda: len(rig.requests) == 1)
    request = rig.requests[0]
    assert (request.command, request.argument) == ("fence_confirm", {"node": "beta"})
    assert (request.credentials.uid, request.credentials.pid) == (os.geteuid(), os.getpid())
    request.answer({"ok": True})
    request.answer({"ok": False})  # the first answer was the answer
    assert rig.receive(client) == [{"ok": True}]


def test_a_line_may_come_in_pieces_and_two_in_one(rig: Rig) -> None:
    client = rig.client()
    client.send(b'{"command": ')
    rig.turn(lambda: bool(rig.server._clients))
    rig.loop.run_once(10_000_000)
    assert rig.requests == []
    client.send(b'"a"}\n{"command": "b"}\n')
    rig.turn(lambda: len(rig.requests) == 1)
    rig.loop.run_once(10_000_000)
    assert [request.command for request in rig.requests] == ["a"]  # one question at a time
    rig.requests[0].answer({"ok": True})
    rig.turn(lambda: len(rig.requests) == 2)
    rig.requests[1].answer({"ok": False})
    assert rig.receive(client) == [{"ok": True}, {"ok": False}]


def test_an_answer_given_at_once_does_not_lose_the_next_question(tmp_path: Path) -> None:
    loop = Loop()
    seen: list[str] = []

    def handle(request: Request, _now: int) -> None:
        seen.append(request.command)
        request.answer({"ok": True, "command": request.command})

    server = ControlServer(loop, tmp_path / "s", None, handle)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.connect(str(tmp_path / "s"))
        client.send(b"".join(line(command=str(number)) for number in range(5)))
        for _ in range(20):
            loop.run_once(5_000_000)
    server.close()
    assert seen == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize("junk", [b"\n", b"[1]\n", b"{}\n", b'{"command": 3}\n', b"\xff\xfe\n", b"[" * 4000 + b"\n"])
def test_what_is_no_request_is_refused(rig: Rig, junk: bytes) -> None:
    client = rig.client()
    client.send(junk)
    answer = rig.receive(client)[0]
    assert answer["ok"] is False
    assert "JSON object" in answer["error"]
    rig.turn(lambda: rig.is_closed(client))
    assert rig.requests == []


def test_a_line_that_is_too_long_is_refused(rig: Rig) -> None:
    client = rig.client()
    client.send(b"x" * (REQUEST_MAX + 1))
    assert "at most" in rig.receive(client)[0]["error"]
    rig.turn(lambda: rig.is_closed(client))


def test_a_client_that_goes_away_costs_nothing(rig: Rig) -> None:
    half, asked = rig.client(), rig.client()
    half.send(b'{"command"')
    asked.send(line(command="switchover"))
    rig.turn(lambda: len(rig.requests) == 1)
    half.close()
    asked.close()
    rig.turn(lambda: not rig.server._clients)
    rig.requests[0].answer({"ok": True})  # nobody is there any more
    other = rig.client()
    other.send(line(command="status"))
    rig.turn(lambda: len(rig.requests) == 2)
    rig.requests[1].answer({"ok": True})
    assert rig.receive(other) == [{"ok": True}]


def test_a_client_that_does_not_read_is_dropped(rig: Rig) -> None:
    client = rig.client()
    client.send(line(command="status"))
    rig.turn(lambda: len(rig.requests) == 1)
    rig.requests[0].answer({"ok": True, "text": "x" * 10_000_000})
    assert not rig.server._clients


def test_idle_clients_give_way_and_waiting_ones_do_not(rig: Rig) -> None:
    idle, waiting = rig.client(), rig.client()
    waiting.send(line(command="switchover"))
    rig.turn(lambda: len(rig.requests) == 1 and len(rig.server._clients) == 2)
    rig.skew_ns += IDLE_NS
    rig.turn(lambda: rig.is_closed(idle))
    rig.requests[0].answer({"ok": True})
    assert rig.receive(waiting) == [{"ok": True}]
    rig.skew_ns += IDLE_NS
    rig.turn(lambda: rig.is_closed(waiting))


def test_the_number_of_clients_is_bounded(rig: Rig) -> None:
    clients = []
    for _ in range(CLIENTS_MAX):
        clients.append(rig.client())
        rig.turn(lambda: len(rig.server._clients) == len(clients))
    one_too_many = rig.client()
    assert rig.receive(one_too_many) == [{"ok": False, "error": "too many clients"}]
    clients[0].close()
    rig.turn(lambda: len(rig.server._clients) == CLIENTS_MAX - 1)
    again = rig.client()
    again.send(line(command="status"))
    rig.turn(lambda: len(rig.requests) == 1)


def test_the_socket_is_for_its_owner_or_its_group_alone(tmp_path: Path) -> None:
    alone = Rig(tmp_path / "alone.sock")
    assert stat.S_IMODE(alone.path.stat().st_mode) == 0o600
    alone.server.close()
    group = grp.getgrall()[-1]
    shared = Rig(tmp_path / "shared.sock", group.gr_name)
    status = shared.path.stat()
    assert (stat.S_IMODE(status.st_mode), status.st_gid) == (0o660, group.gr_gid)
    shared.server.close()
    with pytest.raises(ControlError, match="there is no group no-such-group"):
        Rig(tmp_path / "none.sock", "no-such-group")


ASK_AS = """
import os, socket, sys
os.setgroups([int(word) for word in sys.argv[4:]]); os.setgid(int(sys.argv[3])); os.setuid(int(sys.argv[2]))
peer = socket.socket(socket.AF_UNIX); peer.connect(sys.argv[1])
try:
    peer.send(b'{"command": "status"}\\n')
except BrokenPipeError:
    pass  # refused already
sys.stdout.write(peer.recv(65536).decode())
"""


@pytest.mark.parametrize(
    ("ids", "served"),
    [(["12345", "12345"], False), (["12345", "{gid}"], True), (["12345", "12345", "54321", "{gid}"], True)],
    ids=["stranger", "primary group", "supplementary group"],
)
def test_the_kernel_says_who_asks(tmp_path: Path, ids: list[str], served: bool) -> None:
    """Even where the socket's mode would let a stranger in."""
    tmp_path.parent.chmod(0o755)
    tmp_path.parent.parent.chmod(0o755)
    tmp_path.chmod(0o755)
    group = grp.getgrall()[-1]
    rig = Rig(tmp_path / "hblink.sock", group.gr_name)
    rig.path.chmod(0o666)
    arguments = [word.format(gid=group.gr_gid) for word in ids]
    stranger = subprocess.Popen(
        [sys.executable, "-S", "-c", ASK_AS, str(rig.path), *arguments], stdout=subprocess.PIPE, text=True
    )
    assert stranger.stdout is not None

    def ended() -> bool:
        while rig.requests:
            rig.requests.pop().answer({"ok": True})
        return stranger.poll() is not None

    rig.turn(ended)
    answer = json.loads(stranger.stdout.read())
    stranger.stdout.close()
    rig.server.close()
    assert answer["ok"] is served


def test_a_living_daemons_socket_is_not_taken(rig: Rig) -> None:
    with pytest.raises(ControlError, match="another hblink daemon serves"):
        Rig(rig.path)
    client = rig.client()
    client.send(line(command="status"))
    rig.turn(lambda: len(rig.requests) == 1)


def test_a_dead_daemons_socket_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "hblink.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(path))
    assert path.exists()
    rig = Rig(path)
    rig.client()
    rig.turn(lambda: len(rig.server._clients) == 1)
    rig.server.close()
    rig.sockets[0].close()
    assert not path.exists()
    Rig(path).server.close()  # and the lock is free again


def test_what_cannot_be_served_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    for path, word in ((tmp_path / "file", "not a socket"), (tmp_path / "no" / "s", "No such file"),
                       (tmp_path / ("x" * 120), "too long")):  # fmt: skip
        with pytest.raises(ControlError, match=word):
            Rig(path)
    assert (tmp_path / "file").read_text() == "precious"


def test_the_client_gets_its_answer(rig: Rig) -> None:
    answers: list[dict[str, object]] = []
    asker = threading.Thread(target=lambda: answers.append(ask(rig.path, {"command": "status"}, DEADLINE_S)))
    asker.start()
    rig.turn(lambda: len(rig.requests) == 1)
    rig.requests[0].answer({"ok": True, "text": "x" * 100_000})
    asker.join(DEADLINE_S)
    assert answers == [{"ok": True, "text": "x" * 100_000}]


def test_the_client_is_told_why_it_is_refused(rig: Rig) -> None:
    answers: list[dict[str, object]] = []
    for _ in range(CLIENTS_MAX):
        rig.client()
    rig.turn(lambda: len(rig.server._clients) == CLIENTS_MAX)
    asker = threading.Thread(target=lambda: answers.append(ask(rig.path, {"command": "status"}, DEADLINE_S)))
    asker.start()
    rig.turn(lambda: bool(answers))
    asker.join(DEADLINE_S)
    assert answers == [{"ok": False, "error": "too many clients"}]


def test_the_client_says_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "hblink.sock"
    with pytest.raises(ControlError, match=rf"daemon not running: no socket at {path}; try: systemctl status hblink"):
        ask(path, {"command": "status"}, 1)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
        peer.bind(str(path))
        with pytest.raises(ControlError, match="daemon not running: nobody listens"):
            ask(path, {"command": "status"}, 1)
        peer.listen()
        with pytest.raises(ControlError, match=r"no answer within 0\.1 s"):
            ask(path, {"command": "status"}, 0.1)


@pytest.mark.parametrize(
    ("answer", "word"), [(b"", "hung up without an answer"), (b"hello\n", "not hblink"), (b"[]\n", "not hblink")]
)
def test_the_client_takes_only_an_answer(tmp_path: Path, answer: bytes, word: str) -> None:
    path = tmp_path / "hblink.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
        peer.bind(str(path))
        peer.listen()

        def serve() -> None:
            connection, _ = peer.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        server = threading.Thread(target=serve)
        server.start()
        with pytest.raises(ControlError, match=word):
            ask(path, {"command": "status"}, DEADLINE_S)
        server.join(DEADLINE_S)


def test_where_the_socket_is() -> None:
    assert socket_path({}) == Path("/run/hblink/hblink.sock")
    assert socket_path({"RUNTIME_DIRECTORY": "/run/a:/run/b"}) == Path("/run/a/hblink.sock")
