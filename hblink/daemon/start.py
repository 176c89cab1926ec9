"""From a command line to a running daemon: files, keys, signals, systemd, memory; then Daemon.run.

Everything that can be refused is refused here, before the first frame.
"""

from __future__ import annotations

import gc
import os
import secrets
import signal
import socket
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import sdnotify
from hblink_wire import Keyring

from hblink.config import Config, ConfigError, Problem, load, settings_of
from hblink.config.secret import judge_fence_secrets, load_keyring, node_index
from hblink.control import socket_path
from hblink.core.invariant import InvariantViolated
from hblink.core.value import Role, StartAlone
from hblink.daemon.daemon import Daemon, Identification, end_without_cleanup, kernel_boot_id
from hblink.daemon.flightlog import FlightLog
from hblink.daemon.journal import Journal, Priority, open_append
from hblink.daemon.memory import MemoryFile
from hblink.daemon.realtime import is_in_memory, secure_timeliness
from hblink.daemon.writer import Writer
from hblink.host import is_shutting_down
from hblink.loop import Loop
from hblink.vip.keeper import VipError

EXIT_NOT_GOOD = 1
_CLOSE_S = 1.0


def run_daemon(config_path: Path, flight_path: str | None = None) -> int:
    """Run the daemon in the foreground until it has handed over; return the exit status.

    The environment gives RUNTIME_DIRECTORY, STATE_DIRECTORY and NOTIFY_SOCKET as systemd sets them (systemd.exec(5),
    sd_notify(3)). Every step is appended to `flight_path`, if given. Raises ConfigError with all problems, or
    ControlError.
    """
    environment = dict(os.environ)
    config, ring = _read_files(config_path)
    me = node_index(config, config_path.parent, socket.gethostname())
    path = socket_path(environment)
    runtime = path.parent
    state_directory = environment.get("STATE_DIRECTORY", "").partition(":")[0]
    writer = Writer()
    try:
        runtime.mkdir(mode=0o755, parents=True, exist_ok=True)
        flight_fd = None if flight_path is None else open_append(flight_path)
        boot_id = kernel_boot_id()
    except OSError as error:
        return _refuse(str(error))
    who = Identification(me, boot_id, secrets.randbits(64) or 1, version("hblink"))
    name = config.nodes[me]
    memory = MemoryFile(runtime, Path(state_directory) if state_directory else None, boot_id, writer)
    journal = Journal(writer, name, environment)
    flight = FlightLog(settings_of(config, me), name, who.version, writer, flight_fd)
    notifier = Notifier(environment)
    loop = Loop()
    daemon = Daemon(
        loop,
        config,
        who,
        ring,
        memory=memory,
        journal=journal,
        flight=flight,
        read_files=lambda: _read_files(config_path),
        on_ready=notifier.ready,
    )
    _watch_signals(loop, daemon, notifier)
    notifier.watch(loop)
    timeliness = secure_timeliness(writer.thread_id)
    for complaint in timeliness.complaints:
        daemon.log(Priority.WARNING, complaint, loop.now())
    if not is_in_memory(runtime):
        text = f"{runtime} is on a disk: a busy one may cost a stall; RuntimeDirectory= of the unit, a tmpfs"
        daemon.log(Priority.WARNING, text, loop.now())
    gc.collect()
    gc.freeze()  # what is alive now lives as long as the daemon; later collections need not look at it
    daemon.timeliness = timeliness.document() | {"objects_frozen": gc.get_freeze_count()}
    try:
        status = daemon.run(path)
    except InvariantViolated as violated:
        journal.log(Priority.CRITICAL, f"invariant broken, ending without clean-up: {violated}", loop.now())
        writer.close(_CLOSE_S)
        end_without_cleanup(EXIT_NOT_GOOD)
        raise
    except VipError as error:
        writer.close(_CLOSE_S)
        return _refuse(str(error))
    if _ends_orderly(daemon, loop.now()) and is_shutting_down():
        memory.note_orderly_end()
    journal.log(Priority.NOTICE, "ended", loop.now())
    writer.close(_CLOSE_S)
    return status


def _ends_orderly(daemon: Daemon, now: int) -> bool:
    """S5: whether this node surely ends by itself. An active peer, which is heard until now, fences nobody for silence.

    Any other might, between the end of this daemon and the end of the machine. What it does later, while this machine
    is away, cannot be known at its next boot: that is the price of the policy, and the README names it.
    """
    state = daemon.state
    advert = state.peer.advert
    served = advert is not None and advert.role is Role.ACTIVE and daemon.is_peer_fresh(now)
    idle = state.role in (Role.STANDBY, Role.BLOCKED)
    return daemon.settings.start_alone is StartAlone.FENCE and idle and served


class Notifier:
    """Tell systemd READY, STOPPING and WATCHDOG (sd_notify(3)); without NOTIFY_SOCKET do nothing.

    sdnotify's socket blocks, and encodes Latin-1: it is made non-blocking, and only ASCII goes in.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._notifier = sdnotify.SystemdNotifier() if environment.get("NOTIFY_SOCKET") else None
        if self._notifier is not None and getattr(self._notifier, "socket", None) is not None:
            self._notifier.socket.setblocking(False)
        self._watchdog_ns = int(environment.get("WATCHDOG_USEC", "0")) * 1000

    def ready(self, status: str) -> None:
        """The daemon serves; `status` is one line for systemctl status."""
        self._send("READY=1\nSTATUS=" + status.encode("ascii", "replace").decode())

    def stopping(self) -> None:
        """The daemon is about to end."""
        self._send("STOPPING=1")

    def watch(self, loop: Loop) -> None:
        """Send WATCHDOG=1 at a third of WatchdogSec from now on, if systemd watches."""
        if self._watchdog_ns:
            self._pet(loop, loop.now())

    def _pet(self, loop: Loop, now: int) -> None:
        self._send("WATCHDOG=1")
        loop.call_at(now + self._watchdog_ns // 3, lambda later: self._pet(loop, later))

    def _send(self, text: str) -> None:
        if self._notifier is not None:
            self._notifier.notify(text)


def _read_files(path: Path) -> tuple[Config, Keyring]:
    """Read what `reload` reads again: the configuration and the keyring; raise ConfigError with every problem."""
    config = load(path)
    return config, _read_secrets(config)


def _read_secrets(config: Config) -> Keyring:
    """Return the keyring, having read the passwords too; raise ConfigError with everything that others can read.

    The passwords are read again whenever they are used, so that they can be changed under a running daemon.
    """
    problems: list[Problem] = [problem for fence in config.fences for problem in judge_fence_secrets(fence)]
    try:
        ring = load_keyring(config.key_file)
    except ConfigError as error:
        raise ConfigError([*error.problems, *problems]) from error
    if problems:
        raise ConfigError(problems)
    return ring


def _watch_signals(loop: Loop, daemon: Daemon, notifier: Notifier) -> None:
    """Turn SIGTERM, SIGINT and SIGHUP into events of the loop (signal.set_wakeup_fd)."""
    receive, send = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def on_signal(now: int) -> None:
        numbers = os.read(receive, 64)
        if signal.SIGHUP in numbers:
            daemon.reloader.on_signal(now)
        if signal.SIGTERM in numbers or signal.SIGINT in numbers:
            notifier.stopping()
            daemon.shut_down()

    signal.set_wakeup_fd(send, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    loop.watch(receive, on_signal)


def _refuse(problem: str) -> int:
    print(f"hblink: {problem}", file=sys.stderr)
    return EXIT_NOT_GOOD
