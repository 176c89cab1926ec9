"""The invariants of SAFETY.md that need the whole world: who runs, who says what, what really happened to the peer.

The core asserts its own half of them in every step; here stands what only an observer of both machines can see. Each
broken rule raises Violation at the instant at which it breaks. This module must never change what it watches.

I1 one service at most; I3 no epoch twice; I4 no frame credited twice or out of place; I5 no credit later than
echo_age_max after the peer's last send; I6, I12 no fence and no suspicion while a link works, not even after a pause
of one's own; I7 YIELDED means that nothing runs; I8 no `off` for a fresh peer; I10 two nodes that serve and hear each
other do not stay so; I11 an inert node commands nobody who is on; I14 a claim by a fence finds the peer off; S14 no
truthful device is called a liar; S18 no fence in maintenance. An answer comes exactly once, an op_id is used once.
(I9: hblink.sim.fence refuses a device that is the node's own.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hblink.core.state import in_maintenance
from hblink.core.value import OWNING, Advert, Grant, Guarantee, Reason
from hblink.sim.network import Network
from hblink.sim.plan import Plan
from hblink.sim.timeline import Timeline

if TYPE_CHECKING:
    from hblink.sim.daemon import Daemon
    from hblink.sim.host import Host


class Violation(Exception):  # noqa: N818 - it says what happened
    """A rule of SAFETY.md is broken; the message begins with its name."""


class Checker:
    """Watch two hosts; what the hosts and daemons tell is checked at once."""

    def __init__(self, timeline: Timeline, plan: Plan, network: Network) -> None:
        self._timeline = timeline
        self._plan = plan
        self._network = network
        self._claimed: dict[tuple[int, int], int] = {}
        self._requests: dict[int, tuple[Host, Daemon, int]] = {}
        self.hosts: tuple[Host, ...] = ()
        self.exempt = ""  # why I1 is not claimed any more: a lying BMC, the operator's word
        if plan.settings[0].guarantee is Guarantee.AT_LEAST_ONE:
            self.exempt = "at-least-one"

    def service_changed(self) -> None:
        """I1: called whenever a service begins or ends to run anywhere."""
        if not self.exempt and all(host.service for host in self.hosts):
            self.fail("I1", "both nodes run the service")

    def said(self, host: Host, advert: Advert) -> None:
        """I7, I10: called before every frame of `host` that says something."""
        if advert.yielded and host.service:
            self.fail("I7", f"{host.name} says YIELDED and something runs")
        if all(each.service for each in self.hosts):
            self._judge_overlap(host)

    def proven(self, host: Host, daemon: Daemon, link: int, data: bytes) -> None:
        """I4: called for each frame that is taken for fresh."""
        peer = self._peer(host)
        if (link, data) not in peer.sent:
            self.fail("I4", f"{host.name} credits a frame that {peer.name} never sent on that link")
        if (link, data) in daemon.credited:
            self.fail("I4", f"{host.name} credits the same frame twice")
        daemon.credited.add((link, data))

    def credited(self, host: Host) -> None:
        """I5: called when the peer is credited with life; a pause too short to be a stall may come on top."""
        peer = self._peer(host)
        age_ns = self._timeline.now - peer.said_at
        bound_ns = self._plan.echo_age_max_ns + self._plan.stall_limit_ns
        if age_ns > bound_ns + bound_ns // 1000:
            self.fail("I5", f"{host.name} credits {peer.name}, silent for {age_ns // 1_000_000} ms")

    def off_decided(self, host: Host, daemon: Daemon, cause: Reason | None) -> None:
        """I8, I11, I12, S18: called when `off` is decided; `cause` is None for an operator's drill."""
        peer = self._peer(host)
        now = self._timeline.now
        if cause is None:
            if peer.service and not self.exempt:
                self.fail("I8", f"{host.name} drills {peer.name}, which runs the service")
            return
        if in_maintenance(daemon.state):
            self.fail("S18", f"{host.name} fences {peer.name} in maintenance")
        if self._strangers:
            return
        if cause is not Reason.PEER_STOP_FAILED and daemon.beat_at is not None:
            age_ns = daemon.process.now() - daemon.beat_at
            if age_ns < self._plan.deadtime_ns:
                self.fail("I8", f"{host.name} fences {peer.name}, heard {age_ns // 1_000_000} ms ago")
        if cause is Reason.START_BY_FENCE and host.fenced_since_end:
            self.fail("S5", f"{host.name} starts by a fence, and was fenced itself")
        if not host.heard_in_boot and peer.powered and not self.exempt and cause is not Reason.START_BY_FENCE:
            self.fail("I11", f"{host.name} is inert and commands {peer.name}, which is on")
        link = self._working_link(host, daemon)
        if cause is not Reason.PEER_STOP_FAILED and link:
            self.fail(self._accused(host), f"{host.name} fences {peer.name} although {link} works both ways")
        peer.fenced.append((now, peer.speaks))
        peer.fenced_since_end = True

    def suspected(self, host: Host, daemon: Daemon) -> None:
        """I6, I12: called when a node has lost its peer."""
        peer = self._peer(host)
        link = "" if self._strangers else self._working_link(host, daemon)
        if link:
            self.fail(self._accused(host), f"{host.name} has lost {peer.name} although {link} works both ways")
        if peer.speaks:
            peer.suspected_at.append(self._timeline.now)

    def called_a_liar(self, host: Host) -> None:
        """S14: called when a node finds that its device said OFF of a peer that never went."""
        if not self.exempt:
            self.fail("S14", f"{host.name} holds a truthful device to be a liar")

    def claimed(self, host: Host, grant: Grant | None, epoch: int) -> None:
        """I3, I14: called when a node enters CLAIMING."""
        peer = self._peer(host)
        if grant is Grant.WRITTEN_WISH or (grant is Grant.OPERATOR and peer.powered):
            self.exempt = self.exempt or "the operator's word"
        if grant is Grant.FENCED and peer.powered and not self.exempt:
            self.fail("I14", f"{host.name} claims by a fence and {peer.name} is on")
        earlier = self._claimed.get((host.index, epoch))
        if earlier is not None and not (host.forgot_at is not None and host.forgot_at >= earlier):
            self.fail("I3", f"{host.name} claims epoch {epoch} twice")
        self._claimed[host.index, epoch] = self._timeline.now

    def requested(self, host: Host, daemon: Daemon, request: int) -> None:
        """An operator's request was given to a daemon."""
        self._requests[request] = (host, daemon, self._timeline.now)

    def answered(self, request: int) -> None:
        """Called for each Answer."""
        if self._requests.pop(request, None) is None:
            self.fail("answer", f"request {request} is answered twice, or was never made")

    def overdue(self, patience_ns: int) -> None:
        """Fail if a request to a daemon that still lives has waited longer than `patience_ns`."""
        for request, (host, daemon, at) in self._requests.items():
            if host.daemon is daemon and self._timeline.now - at > patience_ns:
                self.fail("answer", f"request {request} to {host.name} is not answered")

    def broken(self, host: Host, message: str) -> None:
        """The core found one of its own invariants broken."""
        self.fail(message.partition(":")[0], f"{host.name}: {message}")

    def reused(self, host: Host, op_id: int) -> None:
        """An op_id was used before in the same life of the daemon."""
        self.fail("op_id", f"{host.name} uses op_id {op_id} again")

    def _judge_overlap(self, host: Host) -> None:
        """S9: after a lie both may serve, but not for long while they hear each other."""
        daemons = [each.daemon for each in self.hosts]
        serving = all(daemon is not None and daemon.state.role in OWNING for daemon in daemons)
        if serving and host.daemon is not None and not self._strangers:
            link = self._working_link(host, host.daemon)
            if link:
                self.fail("I10", f"both nodes serve although {link} works both ways")

    @property
    def _strangers(self) -> bool:
        """Whether no frame of one node means anything to the other: wrong identity, cluster or key."""
        first, second = self.hosts
        return (
            any(host.identity != host.index for host in self.hosts)
            or len(set(self._plan.cluster_ids)) > 1
            or not (first.trusts(second) and second.trusts(first))
        )

    def _accused(self, host: Host) -> str:
        return "I12" if host.steady_for(2 * self._plan.deadtime_ns) else "I6"

    def _working_link(self, host: Host, daemon: Daemon) -> str:
        """The name of a link that has long worked both ways, between daemons that spoke; else empty."""
        window_ns = 2 * self._plan.deadtime_ns
        spoken_at = daemon.spoken_at
        if spoken_at is None or self._timeline.now - spoken_at <= window_ns:
            return ""
        if not self._peer(host).steady_for(window_ns):
            return ""
        for link, plan in enumerate(self._plan.links):
            if all(self._undisturbed(sender, link, window_ns) for sender in range(2)):
                return plan.name
        return ""

    def _undisturbed(self, sender: int, link: int, window_ns: int) -> bool:
        path = self._network.path(sender, link)
        return path.weather.calm and self._timeline.now - path.disturbed_at > window_ns

    def _peer(self, host: Host) -> Host:
        return self.hosts[1 - host.index]

    def fail(self, rule: str, message: str) -> None:
        """A rule is broken: raise Violation."""
        raise Violation(f"{rule}: {message}, at {self._timeline.now / 1e9:.3f} s")
