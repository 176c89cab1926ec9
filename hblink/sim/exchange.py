"""The session between the two nodes: a model of the receive rules R2 to R7 of the wire, frame by frame.

Adoption only by an echo of one's own session, freshness by the age of the echoed sequence, INIT without an advert,
newest by sequence. This module must never let a frame say more than its sender's core says.
"""

from __future__ import annotations

from hblink.core.event import Event, PeerBeat, PeerHalfOpen
from hblink.core.value import Advert
from hblink.sim.family import DEADTIME
from hblink.sim.joint import CLEARED_AT, Frame, Sequence, World
from hblink.sim.machine import Machines
from hblink.sim.normal import pair, put

NOW = Sequence(0, True)


class Exchange(Machines):
    """The machines, and the frames between them."""

    def speaks(self, world: World, i: int) -> bool:
        """Whether node i has a daemon that sends frames."""
        node = world.nodes[i]
        return node.core >= 0 and node.frozen < 0 and self.cores.advert(i, node.core) is not None

    def reaches(self, world: World, i: int) -> bool:
        """Whether a frame that node i sends now arrives."""
        peer = world.nodes[1 - i]
        return not world.cut[i] and peer.core >= 0 and peer.frozen < 0 and self.speaks(world, i)

    def frame(self, world: World, i: int) -> Frame:
        """What node i would send now."""
        node = world.nodes[i]
        advert = self.cores.advert(i, node.core)
        assert advert is not None
        if node.candidate:
            return Frame(node.session, NOW, True, node.candidate, node.candidate_seq, False, advert)
        return Frame(node.session, NOW, True, node.adopted, node.newest, node.adopted != 0, advert)

    def beat(self, world: World, i: int) -> World:
        """Node i sends, and the frame arrives."""
        frame, node = self.frame(world, i), world.nodes[i]
        world = put(world, i, node._replace(unsent=bool(node.candidate), candidate=0, candidate_seq=Sequence(0, False)))
        held = world.held[i]
        if held is not None and held.session == frame.session:
            world = world._replace(held=pair(world.held, i, held._replace(newest=False)))
        return self.deliver(world, i, frame)

    def deliver(self, world: World, i: int, frame: Frame) -> World:
        """Receive rules R2 to R7 at the other node."""
        j = 1 - i
        node = world.nodes[j]
        if node.core < 0 or node.retired >> frame.session & 1:
            return world
        fresh = frame.echo_session == node.session and frame.echo.age < DEADTIME
        known = frame.session == node.adopted
        newest = frame.newest or not known
        event: Event = PeerHalfOpen(0)
        if fresh:
            echo_sent_at = CLEARED_AT + 1 if frame.echo.after else CLEARED_AT
            advert: Advert | None = frame.advert if newest and frame.up else None
            event = PeerBeat(0, advert, echo_sent_at, newest=newest, adopted=not known)
        if known:
            node = node._replace(newest=frame.seq) if newest else node
        elif fresh:
            retired = node.retired | 1 << node.adopted if node.adopted else node.retired
            node = node._replace(adopted=frame.session, retired=retired, newest=frame.seq)
            node = node._replace(candidate=0, candidate_seq=Sequence(0, False), unsent=True)
        else:
            node = node._replace(candidate=frame.session, candidate_seq=frame.seq, unsent=True)
        return self.feed(put(world, j, node), j, event, frame.echo.after)
