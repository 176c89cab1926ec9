"""Take another configuration into a running daemon, on SIGHUP or an operator's request, without a change of role.

All or nothing: a file with a problem, or with a change that a running daemon cannot take, leaves everything as it was,
and says each reason. Files are read on a thread of their own: the loop never waits for a disk. This module must never
apply half of a configuration, and never cut the links by a keyring that the peer does not go with.
"""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass

from hblink_wire import Keyring

from hblink.config import Config, ConfigError, Problem
from hblink.control.server import Request
from hblink.daemon.context import Context
from hblink.daemon.journal import Kind, Priority
from hblink.daemon.notice import Complaint, Notices
from hblink.session import PeerReport

# What a running daemon can take over. Everything else of Config is named and refused.
RELOADABLE = frozenset({"vips", "alarm_command", "health", "service_macs", "digest", "sections", "warnings"})
# Where a field of Config is in the file, if it has another name there.
_PATH = {"nodes": "node", "links": "link", "vips": "vip", "fences": "fence", "service_macs": "node"}
_RESTART = "restart the daemon to change it, first on the standby: systemctl restart hblink"

Read = Callable[[], tuple[Config, Keyring]]  # on a thread; raises ConfigError
Peer = Callable[[int], PeerReport | None]  # what the peer says of itself, None while it is not heard
Apply = Callable[[Config, Keyring, int], list[Problem]]  # all of it, or nothing and why


@dataclass(slots=True)
class _Job:
    """One reading of the files and who waits for it."""

    requests: list[Request]
    keys_only: bool
    result: tuple[Config, Keyring] | None = None
    problems: tuple[Problem, ...] = ()


class Reloader:
    """Reload, one at a time; what is asked for meanwhile is answered by another reading after that one."""

    def __init__(
        self,
        context: Context,
        notices: Notices,
        *,
        read: Read,
        ring: Callable[[], Keyring],
        peer: Peer,
        apply: Apply,
    ) -> None:
        self._context = context
        self._notices = notices
        self._read = read
        self._ring = ring
        self._peer = peer
        self._apply = apply
        self._job: _Job | None = None
        self._waiting: list[tuple[Request | None, bool]] = []
        self._event_fd = -1

    def start(self) -> None:
        """Be ready to hear from the reading thread."""
        self._event_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._context.loop.watch(self._event_fd, self._on_read)

    def close(self) -> None:
        """Forget a reading that is under way; its thread ends by itself and touches nothing."""
        self._context.loop.unwatch(self._event_fd)

    def handle(self, request: Request, now: int) -> None:
        """Answer `{"what": "all" or "keys"}` when it has been done or refused: "problems", "warnings", "changes"."""
        what = request.argument.get("what", "all")
        if what not in ("all", "keys"):
            request.answer({"ok": False, "error": 'what is "all" or "keys"'})
            return
        uid = request.credentials.uid
        self._context.log(Priority.NOTICE, f"operator asks for a reload ({what})", now, Kind.OPERATOR, uid=uid)
        self._begin(request, what == "keys")

    def on_signal(self, now: int) -> None:
        """SIGHUP: reload everything; the log and the alarm hook say what came of it."""
        self._context.log(Priority.NOTICE, "SIGHUP: reloading", now, Kind.CONFIG)
        self._begin(None, keys_only=False)

    def _begin(self, request: Request | None, keys_only: bool) -> None:
        if self._job is not None:
            self._waiting.append((request, keys_only))
            return
        job = self._job = _Job([] if request is None else [request], keys_only)
        threading.Thread(target=self._read_files, args=(job,), name="hblink-reload", daemon=True).start()

    def _read_files(self, job: _Job) -> None:
        """On the thread: read and judge, tell the loop. Nothing of the daemon is touched here."""
        try:
            job.result = self._read()
        except ConfigError as error:
            job.problems = tuple(error.problems)
        except OSError as error:
            job.problems = (Problem("hblink.toml", f"cannot be read: {error}", ""),)
        os.eventfd_write(self._event_fd, 1)

    def _on_read(self, now: int) -> None:
        os.eventfd_read(self._event_fd)
        job, self._job = self._job, None
        if job is None:
            return
        before = self._context.config
        problems = list(job.problems)
        changes: list[str] = []
        warnings: tuple[Problem, ...] = ()
        if job.result is not None:
            config, ring = job.result
            config = before if job.keys_only else config
            changes = changed(before, config) + (["keys"] if ring != self._ring() else [])
            problems = unchangeable(before, config) + unsafe_keys(
                ring, self._ring(), self._peer(now), self._context.peer
            )
            warnings = config.warnings
            problems = problems or self._apply(config, ring, now)
        self._tell(job, problems, warnings, changes, now)
        if self._waiting:
            request, keys_only = self._waiting.pop(0)
            self._begin(request, keys_only)

    def _tell(
        self, job: _Job, problems: list[Problem], warnings: tuple[Problem, ...], changes: list[str], now: int
    ) -> None:
        if problems:
            for problem in problems:
                text = f"not reloaded: {problem.path}: {problem.message}"
                self._context.log(Priority.ERROR, text, now, Kind.CONFIG, hint=problem.hint)
            self._notices.complain(Complaint.RELOAD_REFUSED, f"{problems[0].path}: {problems[0].message}", now)
        else:
            text = "reloaded: " + (", ".join(changes) or "nothing has changed")
            self._context.log(Priority.NOTICE, text, now, Kind.CONFIG)
            if not job.keys_only:  # what is wrong with the rest of the file stands until that is read again
                self._notices.settle(Complaint.RELOAD_REFUSED, now)
        answer: dict[str, object] = {
            "ok": not problems,
            "reason": "reload_refused" if problems else None,
            "problems": [dataclasses.asdict(problem) for problem in problems],
            "warnings": [dataclasses.asdict(problem) for problem in warnings],
            "changes": [] if problems else changes,
        }
        for request in job.requests:
            request.answer(answer)


def changed(before: Config, after: Config) -> list[str]:
    """The paths of what differs between two configurations, apart from the digests that say so."""
    fields = [
        field.name for field in dataclasses.fields(Config) if field.name not in ("digest", "sections", "warnings")
    ]
    return [_PATH.get(name, name) for name in fields if getattr(before, name) != getattr(after, name)]


def unchangeable(before: Config, after: Config) -> list[Problem]:
    """A problem for each change that a running daemon cannot take."""
    fields = [field.name for field in dataclasses.fields(Config) if field.name not in RELOADABLE]
    problems = [
        Problem(_PATH.get(name, name), "may not change while the daemon runs", _RESTART)
        for name in fields
        if getattr(before, name) != getattr(after, name)
    ]
    # Removed and added in one go, a machine would answer for it on both interfaces, or on none.
    places = {vip.address.ip: vip for vip in before.vips}
    for vip in after.vips:
        if places.get(vip.address.ip, vip) != vip:
            text = f"{vip.address.ip} may not move to another interface or prefix while the daemon runs"
            problems.append(Problem("vip", text, "take it out, hblink reload, put it back, hblink reload"))
    return problems


def unsafe_keys(ring: Keyring, present: Keyring, peer: PeerReport | None, name: str) -> list[Problem]:
    """Why the keyring `ring` would cut the links to a peer that is heard now; nothing is known of one that is not."""
    if peer is None or ring == present:
        return []
    if peer.key_ids and ring.active_id not in peer.key_ids:
        hint = f"add it on {name} first: hblink key list"
        return [Problem("keys", f"{name} does not accept key {ring.active_id}, which is to be active", hint)]
    if ring.get(peer.key_id) is None:
        hint = f"make another key active on {name} first: hblink key list"
        return [Problem("keys", f"{name} signs with key {peer.key_id}, which is to be removed", hint)]
    kept, theirs = ring.get(peer.key_id), present.get(peer.key_id)
    if theirs is not None and kept != theirs:
        return [
            Problem(
                "keys", f"key {peer.key_id} has another secret now, and {name} signs with it", "hblink key new --add"
            )
        ]
    return []
