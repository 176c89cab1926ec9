"""The session between the two nodes: a model of the receive rules R2 to R7 of the wire, frame by frame.

Adoption only by an echo of one's own session, freshness by the age of the echoed sequence, INIT without an advert,
newest by sequence. This module must never let a frame say more than its sender's core says.
"""

from __future__ import annotations

from hblink.core.event import Event, PeerBeat, PeerHalfOpen
from hblink.core.value import Advert
from hblink.sim.explorer.form import echo_at
from hblink.sim.explorer.joint import NEVER, Frame, Node, Sequence, World, path
from hblink.sim.explorer.machine import Machines
from hblink.sim.explorer.normal import placed, put


class Exchange(Machines):
    """The machines, and the frames between them."""

    def speaks(self, world: World, i: int) -> bool:
        """Whether node i has a daemon that sends frames."""
        node = world.nodes[i]
        return node.core >= 0 and node.frozen < 0 and self.cores.advert(i, node.core) is not None

    def reaches(self, world: World, i: int) -> bool:
        """Whether a frame that node i sends now arrives."""
        peer = world.nodes[1 - i]
        return bool(self.carries(world, i)) and peer.core >= 0 and peer.frozen < 0 and self.speaks(world, i)

    def carries(self, world: World, i: int) -> tuple[int, ...]:
        """The links that carry what node i sends."""
        return tuple(link for link in range(self.family.links) if not world.cut[path(i, link)])

    def frame(self, world: World, i: int) -> Frame:
        """What node i would send now."""
        node = world.nodes[i]
        advert = self.cores.advert(i, node.core)
        assert advert is not None
        now = Sequence(0, True, True, self.cores.states[node.core].maintenance)
        if node.candidate:
            return Frame(node.session, now, True, node.candidate, node.candidate_seq, False, advert)
        hears = (
            sum(1 << link for link, age in enumerate(node.links) if age < self.family.deadtime) if node.adopted else 0
        )
        return Frame(node.session, now, True, node.adopted, node.newest, node.adopted != 0, advert, hears)

    def beat(self, world: World, i: int, links: tuple[int, ...]) -> World:
        """Node i sends, and the frame arrives on `links`, one after the other."""
        frame, node = self.frame(world, i), world.nodes[i]
        world = put(world, i, node._replace(unsent=bool(node.candidate), candidate=0, candidate_seq=Sequence(0, False)))
        for link in links:
            world = self._overtake(world, i, link, frame)
        for link in links:
            if world.nodes[1 - i].core >= 0:
                world = self.deliver(world, i, link, frame)
            frame = frame._replace(newest=False)
        return world

    def _overtake(self, world: World, i: int, link: int, frame: Frame) -> World:
        """What is held back of node i's session is older than `frame`; R4 drops it on the link of that frame.

        Where links are not told apart, a held frame stands for one of the other link.
        """
        for other in range(self.family.links):
            place = path(i, other)
            held = world.held[place]
            if held is not None and held.session == frame.session:
                dropped = other == link and self.family.links > 1
                world = world._replace(held=placed(world.held, place, None if dropped else held._replace(newest=False)))
        return world

    def deliver(self, world: World, i: int, link: int, frame: Frame) -> World:
        """Receive rules R2 to R7 at the other node."""
        j = 1 - i
        node = world.nodes[j]
        if node.core < 0 or node.retired >> frame.session & 1:
            return world
        fresh = frame.echo_session == node.session and frame.echo.age < self.family.deadtime
        known = frame.session == node.adopted
        newest = frame.newest or not known
        event: Event = PeerHalfOpen(link)
        if fresh:
            echo_sent_at = echo_at(self.cores.states[node.core], frame.echo.after, frame.echo.told)
            advert: Advert | None = frame.advert if newest and frame.up else None
            hears = frame.hears if node.links and advert is not None else None
            event = PeerBeat(link, advert, echo_sent_at, newest=newest, adopted=not known, hears=hears)
            if node.links:
                node = _heard(node, link, self.family.deadtime, anew=not known)
        if known:
            node = node._replace(newest=frame.seq) if newest else node
        elif fresh:
            retired = node.retired | 1 << node.adopted if node.adopted else node.retired
            node = node._replace(adopted=frame.session, retired=retired, newest=frame.seq)
            node = node._replace(candidate=0, candidate_seq=Sequence(0, False), unsent=True)
        else:
            node = node._replace(candidate=frame.session, candidate_seq=frame.seq, unsent=True)
        return self.feed(put(world, j, node), j, event, frame.echo.proven)


def _heard(node: Node, link: int, deadtime: int, *, anew: bool) -> Node:
    """A fresh frame came in on `link`; `anew`: of a session that was just adopted."""
    ages = (deadtime,) * len(node.links) if anew else node.links
    restarted = anew or node.witness.fresh == NEVER
    return node._replace(links=placed(ages, link, 0), settled=0 if restarted else node.settled)
