"""What becomes of the peer's daemon and configuration, for `status`, the history and the alarm of a difference.

Display only: nothing here is read by the decision. It must never tell of a peer what an authentic frame did not say.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, unique

from hblink.advert import DIAG_ENDING
from hblink.config import SECTIONS
from hblink.core.state import State
from hblink.core.value import SECOND
from hblink.daemon.context import Context
from hblink.daemon.journal import Kind, Priority
from hblink.daemon.notice import Complaint, Notices
from hblink.loop import Timer
from hblink.session import PeerReport, Session

LOOK_NS = 1 * SECOND
NEWS_NS = 60 * SECOND  # how long a restart is worth telling


@unique
class PeerState(Enum):
    """What is known of the peer's daemon."""

    UNHEARD = "unheard"  # not since this daemon started
    RUNNING = "running"
    ENDING = "ending"  # it says that it is being ended
    ENDED = "ended"  # it said so, and is silent since: a restart, an upgrade or a stop
    RESTARTED = "restarted"  # lately, within the same kernel boot
    REBOOTED = "rebooted"  # lately
    SILENT = "silent"  # without a word


class PeerWatch:
    """Look at the peer's session once a second, and when it is new; `fresh(now)` says whether it is heard."""

    def __init__(self, context: Context, session: Session, notices: Notices, fresh: Callable[[int], bool]) -> None:
        self._context = context
        self._session = session
        self._notices = notices
        self._fresh = fresh
        self._timer: Timer | None = None
        self._known: PeerReport | None = None  # of the session that was told last, its boot id known
        self._news: tuple[PeerState, int] | None = None
        self._told_ended = 0  # the session of which it was told that it ended

    def start(self) -> None:
        """Look now, and from now on."""
        self._look(self._context.loop.now())

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def follow(self, before: State, after: State, now: int) -> None:
        """Take note of a session as soon as it has told its kernel boot: it may not live until the next look."""
        if before.peer.boot != after.peer.boot and (report := self._session.peer_report()) is not None:
            self._notice_session(report, now)

    def state(self, now: int) -> PeerState:
        """What is going on over there."""
        report = self._session.peer_report()
        if report is None:
            return PeerState.UNHEARD
        ending = report.diag == DIAG_ENDING
        if not self._fresh(now):
            return PeerState.ENDED if ending else PeerState.SILENT
        if ending:
            return PeerState.ENDING
        if self._news is not None and now < self._news[1] + NEWS_NS:
            return self._news[0]
        return PeerState.RUNNING

    def differences(self) -> tuple[str, ...] | None:
        """The names of the parts in which the peer's configuration differs; None if it has not said, or is the same.

        Empty if it differs, and has not said where.
        """
        report, mine = self._session.peer_report(), self._context.config
        if report is None or report.config_digest in (None, mine.digest):
            return None
        theirs, ours = report.config_sections, mine.sections
        return tuple(SECTIONS[number] for number in sorted(SECTIONS) if theirs and theirs.get(number) != ours[number])

    def _look(self, now: int) -> None:
        self._timer = self._context.loop.call_at(now + LOOK_NS, self._look)
        report = self._session.peer_report()
        if report is None:
            return
        self._notice_session(report, now)
        differences = self.differences()
        if differences is None:
            self._notices.settle(Complaint.CONFIG_DIFFERS, now)
        else:
            self._notices.complain(Complaint.CONFIG_DIFFERS, ", ".join(differences) or "not said where", now)

    def _notice_session(self, report: PeerReport, now: int) -> None:
        if report.boot_id is not None and (self._known is None or report.session != self._known.session):
            if self._known is not None:
                same = report.boot_id == self._known.boot_id
                self._news = (PeerState.RESTARTED if same else PeerState.REBOOTED, now)
                what = "its daemon has restarted" if same else "it has rebooted"
                version = report.software_version
                self._context.log(Priority.NOTICE, f"{self._context.peer}: {what}", now, Kind.PEER, version=version)
            self._known = report
        if report.diag == DIAG_ENDING and report.session != self._told_ended:
            self._told_ended = report.session
            text = f"{self._context.peer}: its daemon is being ended by its operator"
            self._context.log(Priority.NOTICE, text, now, Kind.PEER)
