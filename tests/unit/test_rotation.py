"""Every order of allowed rotation steps on both nodes, searched in full: no frame is signed with an unknown key."""

from __future__ import annotations

import re

import pytest

from hblink.cli.rotation import Rings, newest, next_id, next_step, refuse_activation, refuse_removal

KEYS = (1, 2, 3)
Ring = tuple[frozenset[int], int]  # accepted, active
Pair = tuple[Ring, Ring]
START: Pair = ((frozenset({1}), 1), (frozenset({1}), 1))


def rings(pair: Pair, node: int) -> Rings:
    (mine, active), (theirs, their_active) = pair[node], pair[1 - node]
    return Rings(tuple(sorted(mine)), active, tuple(sorted(theirs)), their_active)


def with_ring(pair: Pair, node: int, ring: Ring) -> Pair:
    return (ring, pair[1]) if node == 0 else (pair[0], ring)


def steps(pair: Pair) -> list[Pair]:
    """Everything that an operator may type on either node, as far as it is not refused."""
    following = []
    for node in (0, 1):
        accepted, active = pair[node]
        known = rings(pair, node)
        for key in KEYS:
            if key not in accepted:
                following.append(with_ring(pair, node, (accepted | {key}, active)))
            if refuse_activation(key, known.mine, known, "peer") is None:
                following.append(with_ring(pair, node, (accepted, key)))
            if refuse_removal(key, known.mine, active, known, "peer") is None:
                following.append(with_ring(pair, node, (accepted - {key}, active)))
    return following


def reachable() -> set[Pair]:
    seen, waiting = {START}, [START]
    while waiting:
        for pair in steps(waiting.pop()):
            if pair not in seen:
                seen.add(pair)
                waiting.append(pair)
    return seen


def test_no_order_of_allowed_steps_signs_with_a_key_that_the_peer_does_not_have() -> None:
    seen = reachable()
    assert len(seen) > 50, "the search went somewhere"
    for (mine, active), (theirs, their_active) in seen:
        assert active in mine & theirs
        assert their_active in mine & theirs


def test_the_next_step_is_always_allowed_and_leads_to_one_key_on_both() -> None:
    for start in reachable():
        pair = start
        for _ in range(20):
            step = next_step(rings(pair, 0), "peer")
            if step.startswith("nothing"):
                break
            pair = take(pair, step)
        assert pair[0] == pair[1], start
        assert len(pair[0][0]) == 1, start


def take(pair: Pair, step: str) -> Pair:
    """Do as `step` says; it must be among what is allowed."""
    nodes = {"here": (0,), "on peer": (1,), "on both nodes": (0, 1)}[step.partition(":")[0]]
    key = int(re.findall(r"\d+", step)[-1])
    for node in nodes:
        accepted, active = pair[node]
        if "activate" in step:
            after = with_ring(pair, node, (accepted, key))
        elif "remove" in step:
            assert key in accepted, "a key is removed where it is"
            after = with_ring(pair, node, (accepted - {key}, active))
        else:
            after = with_ring(pair, node, (accepted | {key}, active))
        assert after in steps(pair), (pair, step)
        pair = after
    return pair


def test_nothing_is_safe_while_the_peer_is_not_heard() -> None:
    assert "not heard" in str(refuse_activation(2, (1, 2), None, "beta"))
    assert "not heard" in str(refuse_removal(2, (1, 2), 1, None, "beta"))


@pytest.mark.parametrize(
    ("ids", "last", "following"),
    [((1,), 1, 2), ((1, 2), 2, 3), ((254, 255), 255, 1), ((1, 255), 1, 2), ((255, 1, 2), 2, 3), ((255,), 255, 1)],
)
def test_numbers_go_round(ids: tuple[int, ...], last: int, following: int) -> None:
    assert newest(ids) == last
    assert next_id(ids) == following
