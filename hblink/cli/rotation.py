"""Which step of a key rotation is safe next, from what each node accepts and signs with.

Add on both nodes, make it active on one and then on the other, remove the old one on both: in this order no frame is
ever signed with a key that its receiver does not have. Pure; a step that is not known to be safe is refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rings:
    """The key ids of both nodes as the daemon reports them: accepted, ascending, and the one that signs."""

    mine: tuple[int, ...]
    active: int
    theirs: tuple[int, ...]
    their_active: int


def newest(ids: Iterable[int]) -> int:
    """The key that was made last: going by numbers on a circle of 255, the one that no other is ahead of."""
    known = sorted(ids)
    return next((one for one in known if not any(_ahead(other, one) for other in known)), known[-1])


def next_id(ids: Iterable[int]) -> int:
    """The number of the next key: after the newest, 1 after 255; the first free one from there."""
    known = set(ids)
    number = newest(known)
    while number in known:
        number = number % 255 + 1
    return number


def next_step(rings: Rings, peer: str) -> str:
    """The next safe step, as a command to type and where; or that there is nothing to do."""
    here, there = set(rings.mine), set(rings.theirs)
    latest = newest(here | there)
    if latest not in there:
        return f"on {peer}: hblink key add, with the line of key {latest}"
    if latest not in here:
        return f"here: hblink key add, with the line of key {latest}"
    if rings.active != latest:
        return f"here: hblink key activate {latest}"
    if rings.their_active != latest:
        return f"on {peer}: hblink key activate {latest}"
    if old := (here | there) - {latest}:
        oldest = min(old, key=lambda key: (key - latest) % 255)
        where = "on both nodes" if oldest in here & there else "here" if oldest in here else f"on {peer}"
        return f"{where}: hblink key remove {oldest}"
    return "nothing: both nodes have one key, the same; to change it: hblink key new --add"


def refuse_activation(key_id: int, mine: tuple[int, ...], rings: Rings | None, peer: str) -> str | None:
    """Why it is not safe to sign with `key_id` now; None if it is. `rings` is None if the peer is not heard."""
    if key_id not in mine:
        return f"key {key_id} is not in the keyring of this node: hblink key list"
    if rings is None:
        return f"{peer} is not heard: whether it accepts key {key_id} is not known"
    if key_id not in rings.theirs:
        return f"{peer} does not accept key {key_id}: add it there first"
    return None


def refuse_removal(key_id: int, mine: tuple[int, ...], active: int, rings: Rings | None, peer: str) -> str | None:
    """Why it is not safe to remove `key_id` now; None if it is."""
    if key_id not in mine:
        return f"key {key_id} is not in the keyring of this node: hblink key list"
    if key_id == active:
        return f"key {key_id} is the active one: make another one active first"
    if rings is None:
        return f"{peer} is not heard: whether it signs with key {key_id} is not known"
    if key_id == rings.their_active:
        return f"{peer} signs with key {key_id}: make another one active there first"
    return None


def _ahead(other: int, one: int) -> bool:
    return 0 < (other - one) % 255 < 128
