"""The normal form of a joint world: small epochs, and what the clearing of one node makes of the sequences of both.

Numbers are renamed so that worlds with equal futures are equal. This module must never change what a node would do.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from hblink.sim.family import DEADTIME
from hblink.sim.joint import Cores, Node, Sequence, World

T = TypeVar("T")


def pair(both: tuple[T, T], i: int, value: T) -> tuple[T, T]:
    """`both` with `value` for node i."""
    return (value, both[1]) if i == 0 else (both[0], value)


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
    return world._replace(held=(held[0], held[1]))


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


def older(seq: Sequence) -> Sequence:
    """`seq` a tick later."""
    return seq if seq.age >= DEADTIME else Sequence(seq.age + 1, seq.after)


def cleared(world: World, i: int) -> World:
    """Node i cleared: what it sent before comes before."""
    j = 1 - i
    peer = world.nodes[j]
    if peer.newest.after or peer.candidate_seq.after:
        peer = peer._replace(newest=peer.newest._replace(after=False))
        peer = peer._replace(candidate_seq=peer.candidate_seq._replace(after=False))
        nodes = (world.nodes[0], peer) if i == 0 else (peer, world.nodes[1])
        world = world._replace(nodes=nodes)
    mine, theirs = world.held[i], world.held[j]
    if mine is not None and mine.seq.after:
        world = world._replace(held=pair(world.held, i, mine._replace(seq=mine.seq._replace(after=False))))
    if theirs is not None and theirs.echo.after:
        world = world._replace(held=pair(world.held, j, theirs._replace(echo=theirs.echo._replace(after=False))))
    return world
