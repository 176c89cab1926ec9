"""Deliberate weakenings of the rules: what is changed, the schedule in which it shows, and the rule that must be named.

A checker that cannot fail is worth nothing, so every rule is broken once, and something must notice. An edit quotes the
shipped code: whoever changes that line meets the weakening here and has to say anew how the rule would be broken.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.sim.fresh import Edit


@dataclass(frozen=True, slots=True)
class Mutant:
    """A weakening, the schedule in which it shows, and the rule whose checker must find it."""

    name: str
    schedule: str
    rule: str
    edits: tuple[Edit, ...]


_POLICY = "hblink.core.policy"
_ALONE = "hblink.core.alone"
_FENCE = "hblink.core.fence"
_LIVENESS = "hblink.core.liveness"
_STEP = "hblink.core.step"
_STATE = "hblink.core.state"
_TURN = "hblink.core.turn"
_PEER = "hblink.core.peer"
_REQUEST = "hblink.core.request"
_SESSION = "hblink.session"
_FRESHNESS = "hblink.freshness"
_CODEC = "hblink_wire.codec"


def _mutant(name: str, schedule: str, rule: str, place: str, *texts: str) -> Mutant:
    """One weakening in one module: `texts` are old and new by turns."""
    pairs = zip(texts[::2], texts[1::2], strict=True)
    return Mutant(name, schedule, rule, tuple(Edit(place, old, new) for old, new in pairs))


CORE = (
    _mutant(
        "claims without a grant",
        "first_boot",
        "I2",
        _POLICY,
        "grant = _grant(turn)\n",
        "grant = _grant(turn) or Grant.OPERATOR\n",
    ),
    _mutant(
        "a standby without the token elects itself",
        "first_boot",
        "I2",
        _POLICY,
        "if token and not state.yielded and not advert.yielded",
        "if not state.yielded and not advert.yielded",
    ),
    _mutant(
        "no echo condition in (c)",
        "roll_back_races_claim",
        "I16",
        _POLICY,
        " and state.peer.echo_sent_at > state.cleared_at",
        "",
    ),
    _mutant(
        "a timer takes a yield back",
        "roll_back_races_claim",
        "I16",
        _POLICY,
        "turn.set(yielded=False, cleared_at=now)",
        "turn.set(yielded=False)",
    ),
    _mutant(
        "a yield counts for any epoch",
        "yield_of_an_old_epoch",
        "I2",
        _POLICY,
        " and advert.epoch == state.epoch:",
        ":",
    ),
    _mutant(
        "a yield outlives a newer frame that is not applied",
        "restart_after_a_yield",
        "I2",
        _PEER,
        "    turn.set_peer(\n        advert=None,\n        promise_ns",
        "    turn.set_peer(\n        promise_ns",
    ),
    _mutant(
        "says YIELDED before the stop is confirmed",
        "switchover",
        "I7",
        _STATE,
        "yielded=state.yielded,\n        stop_failed",
        "yielded=state.yielded or state.role is Role.YIELDING,\n        stop_failed",
    ),
    _mutant(
        "a failed stop counts as a stop",
        "switchover_with_a_failed_stop",
        "I7",
        _STEP,
        "if isinstance(event, Released):",
        "if event is not None:",
    ),
    _mutant(
        "a daemon speaks before its clean start",
        "restart_of_the_active",
        "S8",
        _STATE,
        "if state.role is Role.STARTING:",
        "if state.role is None:",
    ),
    _mutant(
        "an answer of the device that is neither counts as OFF",
        "graceful_off",
        "I2",
        _FENCE,
        "if power is Power.OFF else 0",
        "if power is not Power.ON else 0",
    ),
    _mutant(
        "an accepted command counts as off",
        "graceful_off",
        "I2",
        _FENCE,
        "    wait = 0 if accepted",
        "".join(
            (
                "    if accepted and veto(state, turn.now) is None:\n",
                "            return become_claiming(turn, Grant.FENCED)\n",
                "        wait = 0 if accepted",
            )
        ),
    ),
    _mutant("one OFF is enough", "flickering_off", "I2", _FENCE, "OFFS_NEEDED = 2", "OFFS_NEEDED = 1"),
    _mutant(
        "a fence that timed out counts as done",
        "graceful_off",
        "I2",
        _FENCE,
        "become_blocked(turn, held or Reason.FENCE_FAILED)",
        "become_claiming(turn, Grant.FENCED)",
    ),
    _mutant(
        "a held OFF is not read again",
        "held_off",
        "I2",
        _FENCE,
        "offs = OFFS_NEEDED - 1  # held",
        "offs = OFFS_NEEDED  # held",
        "    if attempt.act_at is not None and",
        "".join(
            (
                "    if attempt.offs >= OFFS_NEEDED and veto(state, now) is None:\n",
                "        become_claiming(turn, Grant.FENCED)\n",
                "        return True\n",
                "    if attempt.act_at is not None and",
            )
        ),
    ),
    _mutant(
        "an OFF outlives an authentic frame",
        "frame_between_two_offs",
        "I2",
        _FENCE,
        "turn.set(attempt=replace(state.attempt, offs=0))",
        "pass",
    ),
    _mutant(
        "suspects a peer that is fresh",
        "first_boot",
        "I8",
        _LIVENESS,
        "return now >= silent_at(settings, state)",
        "return now >= state.listen_until",
        "first = reference + settings.deadtime_ns + ",
        "first = reference + ",
    ),
    _mutant(
        "an attempt goes on though the peer is heard",
        "healed_during_the_attempt",
        "I8",
        _FENCE,
        "return heard and not is_silent(turn.settings, turn.state, turn.now)",
        "return heard and turn.now < 0",
    ),
    _mutant(
        "a short pause accuses",
        "short_pause",
        "I6",
        _STEP,
        "listen_until=max(turn.state.listen_until, now + settings.deadtime_ns), ",
        "",
    ),
    _mutant(
        "the stall gate is forgotten",
        "long_pause",
        "S7",
        _STEP,
        "if late_ns < settings.release_late_ns:",
        "if late_ns >= 0:",
    ),
    _mutant(
        "a kept grant outlives an authentic frame",
        "restart_in_the_dark",
        "I2",
        _PEER,
        "    turn.set(grant=None, peer_spent=False)\n",
        "    turn.set(peer_spent=False)\n",
    ),
    _mutant(
        "an inert node fences",
        "boot_in_the_dark",
        "I11",
        _ALONE,
        "if not state.heard:",
        "if state.heard is None:",
    ),
    _mutant(
        "a boot counts as having heard the peer",
        "boot_in_the_dark",
        "I11",
        _STEP,
        "heard=memory.peer_heard,",
        "heard=True,",
    ),
    _mutant(
        "off is sent before the first reading",
        "boot_in_the_dark",
        "I11",
        _ALONE,
        "    begin_check_in_time(turn, CheckPurpose.START_ALONE)",
        "".join(
            (
                "    become_fencing(turn, Reason.START_ALONE)\n",
                "    return True",
            )
        ),
    ),
    _mutant(
        "an inert node starts alone while the peer is on",
        "boot_in_the_dark",
        "I11",
        _FENCE,
        "    elif power is not Power.OFF:\n        turn.set(check=None",
        "    elif power is None:\n        turn.set(check=None",
    ),
    _mutant(
        "at-least-one on an inert node",
        "boot_in_the_dark_at_least_one",
        "I11",
        _ALONE,
        "if not state.heard:",
        "if not state.heard and settings.guarantee is Guarantee.AT_MOST_ONE:",
        "authentic_at is not None and now >= authentic_at + wait",
        "now >= (authentic_at or 0) + wait",
    ),
    _mutant(
        "an active node fences for silence",
        "partition",
        "S4",
        _POLICY,
        "    _compare_with_peer(turn, ready)\n    _keep_lifetime",
        "".join(
            (
                "    if is_silent(turn.settings, turn.state, turn.now):\n",
                "        become_fencing(turn, Reason.PEER_SILENT)\n",
                "        return True\n",
                "    _keep_lifetime",
            )
        ),
    ),
    _mutant(
        "no fencing slots",
        "pause_in_a_partition",
        "S4",
        _LIVENESS,
        "return 1 if settings.me == settings.preferred else 2",
        "return 0",
    ),
    _mutant(
        "slots narrower than half_open_max",
        "one_way_first",
        "S4",
        _LIVENESS,
        "slot_index(settings, state) * settings.slot_ns",
        "slot_index(settings, state) * (settings.slot_window_ns + settings.fence_attempt_ns)",
    ),
    _mutant(
        "a missed slot is used late",
        "missed_slot",
        "S4",
        _LIVENESS,
        "return start if now < start + settings.slot_window_ns else start + cycle",
        "return start",
    ),
    _mutant(
        "fences without service carrier",
        "fence_without_carrier",
        "S6",
        _ALONE,
        "    if forbidden is not None:\n        return block(turn, forbidden)\n    if not can_fence(settings, state):",
        "    if not can_fence(settings, state):",
    ),
    _mutant(
        "epochs of nodes that own nothing are compared",
        "old_epoch_on_the_disk",
        "S9",
        _PEER,
        "conflict = advert.role in OWNING and state.role in OWNING",
        "conflict = state.role in OWNING",
    ),
    _mutant(
        "the higher epoch lets go",
        "false_confirmation",
        "S9",
        _PEER,
        "if conflict and advert.epoch > state.epoch:",
        "if conflict and advert.epoch < state.epoch:",
    ),
    _mutant(
        "nobody lets go",
        "false_confirmation",
        "I10",
        _PEER,
        "if conflict and advert.epoch > state.epoch:",
        "if conflict and advert.epoch < 0:",
    ),
    _mutant(
        "a confirmation is taken while the device says ON",
        "confirmation_against_the_device",
        "S16",
        _FENCE,
        "    if power is Power.ON:\n        turn.emit(Answer",
        "    if power is None:\n        turn.emit(Answer",
    ),
    _mutant(
        "a confirmation can be used twice",
        "confirmation_and_a_failed_start",
        "I2",
        _TURN,
        "        confirmed_until=None,\n",
        "",
    ),
    _mutant(
        "a confirmation outlives an authentic frame",
        "confirmation_and_a_late_frame",
        "I2",
        _FENCE,
        "    turn.set(confirmed_until=None)\n",
        "",
    ),
    _mutant(
        "an outstanding off is forgotten",
        "late_off",
        "S3",
        _TURN,
        "if attempt is not None and attempt.commanded:",
        "if attempt is not None and attempt.deadline_at < 0:",
    ),
    _mutant(
        "STOP_FAILED counts without an echo",
        "both_could_not_stop",
        "S4",
        _LIVENESS,
        "        and peer.echo_sent_at > state.cleared_at\n",
        "",
    ),
    _mutant(
        "a promise keeps the last grant",
        "promise_in_the_dark",
        "S8",
        _TURN,
        "yielded=True, yielded_at=turn.now, grant=None",
        "yielded=True, yielded_at=turn.now",
    ),
    _mutant(
        "a hiccup does not hold an attempt",
        "hiccup_during_the_attempt",
        "I6",
        _STEP,
        "        suspend_attempt(turn)\n",
        "",
    ),
    _mutant(
        "an inert node tries again without reading",
        "switched_on_in_the_middle",
        "I11",
        _FENCE,
        "if attempt.cause is Reason.START_ALONE and not accepted:",
        "if attempt is None:",
    ),
    _mutant(
        "a frame that was not applied ends inertness",
        "dark_after_the_first_words",
        "I11",
        _PEER,
        "turn.set(links=tuple(links), listen_until",
        "turn.set(heard=True, links=tuple(links), listen_until",
    ),
    _mutant(
        "no on after a claim by a fence",
        "partition",
        "S3",
        _FENCE,
        "        turn.emit(PowerOn(op_id))\n",
        "",
    ),
    _mutant(
        "a restart forgets that the peer may be off by this node's hand",
        "on_refused_before_a_restart",
        "S3",
        _STEP,
        "        owes_on=memory.owes_on,\n",
        "",
    ),
    _mutant(
        "a maintenance forgets that the peer may be off by this node's hand",
        "on_refused_before_a_maintenance",
        "S3",
        _REQUEST,
        "turn.set(confirmed_until=None, maintenance_until",
        "turn.set(confirmed_until=None, power_on_at=None, owes_on=False, maintenance_until",
    ),
    _mutant(
        "nothing is remembered",
        "restart_of_both",
        "I3",
        _STEP,
        "turn.effects.insert(0, Remember(memory))",
        "pass",
    ),
    _mutant(
        "a confirmation is taken of a peer that is heard",
        "confirmation_of_a_live_peer",
        "S16",
        _REQUEST,
        "elif lately or not waited:",
        "elif lately and now < 0:",
    ),
    _mutant(
        "a claim in spite of a veto",
        "restart_after_a_yield",
        "S6",
        _POLICY,
        "if grant is not None and held is None:",
        "if grant is not None:",
    ),
    _mutant(
        "a yield counts for ever",
        "yield_of_long_ago",
        "I2",
        _STEP,
        "        turn.set_peer(advert=None)\n        turn.set(dual_seen=False)",
        "        turn.set(dual_seen=False)",
    ),
    _mutant(
        "a yield outlives a pause",
        "yield_before_a_pause",
        "I2",
        _STEP,
        "turn.set_peer(advert=None, fresh_floor_at=now)",
        "turn.set_peer(fresh_floor_at=now)",
    ),
    _mutant(
        "an inert node commands after one OFF",
        "flickering_off_at_boot",
        "I11",
        _FENCE,
        "elif check.offs + 1 < OFFS_NEEDED:",
        "elif check.offs + 1 < 1:",
    ),
    Mutant(
        "a confirmation counts for ever",
        "confirmation_held_too_long",
        "I2",
        (
            Edit(
                _STEP,
                "if state.confirmed_until is not None and now >= state.confirmed_until:",
                "if state.confirmed_until is not None and now < 0:",
            ),
            Edit(
                _POLICY,
                "if state.confirmed_until is not None and now < state.confirmed_until:",
                "if state.confirmed_until is not None:",
            ),
        ),
    ),
    _mutant(
        "a confirmation outlives a pause",
        "confirmation_and_a_pause",
        "I2",
        _STEP,
        ", confirmed_until=None)\n    if settings.lease_mode",
        ")\n    if settings.lease_mode",
    ),
    _mutant(
        "an earlier off of the same attempt is forgotten",
        "late_off_before_the_claim",
        "S3",
        _TURN,
        "turn.state.attempt.doubtful",
        "turn.state.attempt.deadline_at < 0",
    ),
    _mutant(
        "the winner of a conflict does not announce itself",
        "false_confirmation",
        "S9",
        _PEER,
        "                turn.emit(Reannounce())\n            turn.set(dual_seen=True)",
        "                pass\n            turn.set(dual_seen=True)",
        "turn.emit(Reannounce())  # the loser",
        "pass  # the loser",
    ),
    _mutant(
        "an echo from before a pause counts in (c)",
        "echo_from_before_a_pause",
        "I2",
        _STEP,
        "    turn.set(cleared_at=now)\n    turn.set_peer(advert=None, fresh_floor_at=now)",
        "    turn.set_peer(advert=None, fresh_floor_at=now)",
    ),
    _mutant(
        "accuses right after a stop",
        "partition_during_a_stop",
        "I6",
        _POLICY,
        "listen_ns = turn.settings.slot_ns if halted else turn.settings.deadtime_ns",
        "listen_ns = turn.settings.slot_ns if halted else 0",
    ),
    _mutant(
        "a node that said STOP_FAILED accuses like any other",
        "halted_under_fence",
        "S4",
        _POLICY,
        "listen_ns = turn.settings.slot_ns if halted else turn.settings.deadtime_ns",
        "listen_ns = turn.settings.deadtime_ns",
    ),
    _mutant(
        "STOP_FAILED has no bound",
        "halted_for_a_moment",
        "I8",
        _LIVENESS,
        "now >= peer.stop_failed_at + settings.stop_failed_fence_ns",
        "now >= peer.stop_failed_at",
    ),
    _mutant(
        "a start alone goes on after a reading that was not OFF",
        "switched_on_for_a_moment",
        "I11",
        _FENCE,
        "if attempt.cause is Reason.START_ALONE and power is not Power.OFF:",
        "if attempt is None:",
    ),
    _mutant(
        "two OFF readings in one instant are enough",
        "blinking_off",
        "I14",
        _FENCE,
        "wait = settings.off_interval_ns if offs else settings.poll_interval_ns",
        "wait = 0 if offs else settings.poll_interval_ns",
    ),
    _mutant(
        "a maintenance that was heard is forgotten",
        "partition_in_maintenance",
        "S18",
        _PEER,
        "maintenance=advert.maintenance,",
        "",
    ),
    _mutant(
        "a maintenance that was heard does not survive the daemon",
        "restart_in_maintenance",
        "S18",
        _STEP,
        "maintenance=memory.peer_maintenance,",
        "",
    ),
    _mutant(
        "a yield is taken in maintenance",
        "yield_in_maintenance",
        "S18",
        _POLICY,
        "if advert.yielded and not token and not in_maintenance(state):",
        "if advert.yielded and not token:",
    ),
    _mutant(
        "the addresses lose their lease before the peer knows of the maintenance",
        "maintenance_in_the_dark",
        "S18",
        _POLICY,
        "unleased = in_maintenance(state) and (known or state.unleased)",
        "unleased = in_maintenance(state) and state.peer.hears >= 0",
    ),
    _mutant(
        "the end of maintenance accuses at once",
        "maintenance_ends_in_the_dark",
        "I6",
        _REQUEST,
        "maintenance_until=None, listen_until=listen_until)",
        "maintenance_until=None)",
    ),
    _mutant(
        "fences are not capped",
        "flapping",
        "S15",
        _FENCE,
        "return 0 < turn.settings.fence_cap <= len(turn.state.fences)",
        "return turn.now < 0",
    ),
    _mutant(
        "a restart of the daemon forgets how often it fenced",
        "flapping_and_a_restart",
        "S15",
        _STEP,
        "fences=memory.fences,",
        "",
    ),
    _mutant(
        "a device that lied is trusted",
        "lying_device",
        "S14",
        _PEER,
        "fence_lied=state.fence_lied or beat.boot == state.proof_boot",
        "fence_lied=state.fence_lied",
    ),
)

WIRE = (
    _mutant(
        "credits before freshness is proven",
        "held_back",
        "I5",
        _SESSION,
        "if echoed is None:  # R6",
        "echoed = echoed or Emission(0, now, False)\n        if frame is None:  # R6",
    ),
    _mutant(
        "an echo has no age",
        "held_back",
        "I5",
        _FRESHNESS,
        "while self._sent and now - self._sent[0].at >= self._keep_ns:",
        "while len(self._sent) > 4000:",
        "return emission if now - emission.at < self._keep_ns else None",
        "return emission",
    ),
    _mutant(
        "an echo of an earlier life counts",
        "echo_of_an_earlier_life",
        "I5",
        _SESSION,
        "if frame.echo_session == self.session_id else None",
        "if frame.echo_session else None",
    ),
    _mutant(
        "frames are not bound to a node",
        "reflected",
        "I4",
        _CODEC,
        "if node_id == expected.my_node_id:",
        "if node_id > 1:",
    ),
    _mutant(
        "frames are not bound to a link", "moved", "I4", _CODEC, "if link_id != expected.link_id:", "if link_id > 3:"
    ),
    _mutant(
        "the MAC is not compared",
        "altered",
        "I4",
        _CODEC,
        "if not hmac.compare_digest(",
        "if None is hmac.compare_digest(",
    ),
    _mutant(
        "the key is not checked",
        "foreign_key",
        "I4",
        _CODEC,
        'return Rejected(Reject.UNKNOWN_KEY, f"key id {data[layout.AT_KEY_ID]}")',
        "return _parse(data[: -layout.TAG_LENGTH])",
    ),
    _mutant("no adoption floor", "earlier_life_held_back", "I4", _SESSION, " or echoed.seq <= self._floor", ""),
    _mutant(
        "retired sessions are heard",
        "retired",
        "I4",
        _SESSION,
        "if frame.session in self._retired:",
        "if frame is None:",
    ),
    _mutant("repeated frames count", "repeated", "I4", _FRESHNESS, "if frame.seq <= last:", "if frame.seq < 0:"),
    _mutant(
        "overtaken frames have no age",
        "overtaken_long_ago",
        "I4",
        _FRESHNESS,
        "if frame.seq < self.highest and lag_ms > age_max_ms:",
        "if frame.seq < 0:",
    ),
    _mutant(
        "an older frame is applied",
        "overtaken",
        "I4",
        _SESSION,
        "applied = newest and is_up",
        "applied = is_up",
        "newest=newest,\n            adopted",
        "newest=True,\n            adopted",
    ),
    _mutant(
        "a challenge reply may grant",
        "first_words",
        "R7",
        _SESSION,
        "is_up = frame.session_state is SessionState.UP",
        "is_up = frame is not None",
    ),
    _mutant(
        "echoes what the core was not told of",
        "first_words",
        "R6",
        _SESSION,
        "events = (PeerHalfOpen(link),) if newest else ()",
        "events = ()",
    ),
)

MUTANTS = CORE + WIRE
