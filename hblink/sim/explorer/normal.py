"""The normal form of a joint world: small epochs, and what the clearing of one node makes of the sequences of both.

Numbers are renamed so that worlds with equal futures are equal. This module must never change what a node would do.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from hblink.sim.explorer.decision import Cores
from hblink.sim.explorer.joint import Node, Sequence, World, path

T = TypeVar("T")


def pair(both: tuple[T, T], i: int, value: T) -> tuple[T, T]:
    """`both` with `value` for node i."""
    return (value, both[1]) if i == 0 else (both[0], value)


def placed(values: tuple[T, ...], place: int, value: T) -> tuple[T, ...]:
    """`values` with `value` in that place."""
    return (*values[:place], value, *values[place + 1 :])


def put(world: World, i: int, node: Node) -> World:
    """`world` with `node` as its node i."""
    return world._replace(nodes=pair(world.nodes, i, node))


def renumbered(cores: Cores, world: World) -> World:
    """`world` with small numbers for epochs that have grown; their order, owners and small gaps stay."""
    epochs = {0}
    for node in world.nodes:
        epochs.update(cores.epochs(node.core))
        epochs.add(node.memory.epoch)
        if node.witness.advert is not None:
            epochs.add(node.witness.advert.epoch)
    epochs.update(frame.advert.epoch for frame in world.held if frame is not None)
    labels = _labels(epochs)
    return world if labels is None else _relabelled(cores, world, labels)


def _relabelled(cores: Cores, world: World, labels: dict[int, int]) -> World:
    for i in (0, 1):
        node = world.nodes[i]
        advert = node.witness.advert
        if advert is not None:
            advert = replace(advert, epoch=labels[advert.epoch])
        node = node._replace(
            core=cores.relabelled(node.core, labels),
            memory=replace(node.memory, epoch=labels[node.memory.epoch]),
            witness=node.witness._replace(advert=advert),
        )
        world = put(world, i, node)
    held = tuple(
        None if frame is None else frame._replace(advert=replace(frame.advert, epoch=labels[frame.advert.epoch]))
        for frame in world.held
    )
    return world._replace(held=held)


def _labels(epochs: set[int]) -> dict[int, int] | None:
    """Smaller numbers of the same order and parity, gaps of up to four kept; None if there is nothing to gain."""
    labels = {0: 0}
    last = new = 0
    for epoch in sorted(epochs - {0}):
        gap = epoch - last
        while gap > 4:
            gap -= 2
        last, new = epoch, new + gap
        labels[epoch] = new
    return None if last == new else labels


def older(seq: Sequence, deadtime: int) -> Sequence:
    """`seq` a tick later."""
    return seq if seq.age >= deadtime else seq._replace(age=seq.age + 1)


def cleared(world: World, i: int, flag: str) -> World:
    """Node i cleared, as its core says (`flag` is "after") or as the checker does ("proven"): what it sent is older."""
    past = {flag: False}
    j = 1 - i
    peer = world.nodes[j]
    if getattr(peer.newest, flag) or getattr(peer.candidate_seq, flag):
        newest, candidate_seq = peer.newest._replace(**past), peer.candidate_seq._replace(**past)
        world = put(world, j, peer._replace(newest=newest, candidate_seq=candidate_seq))
    for link in range(len(world.held) // 2):
        mine, theirs = world.held[path(i, link)], world.held[path(j, link)]
        if mine is not None and getattr(mine.seq, flag):
            mine = mine._replace(seq=mine.seq._replace(**past))
            world = world._replace(held=placed(world.held, path(i, link), mine))
        if theirs is not None and getattr(theirs.echo, flag):
            theirs = theirs._replace(echo=theirs.echo._replace(**past))
            world = world._replace(held=placed(world.held, path(j, link), theirs))
    return world
