"""The explorer shown to bite: each deliberate weakening of the shipped code is found by the search, by the rule's name.

A checker that lets one of these pass is worth nothing; so is one that finds the same without the weakening, so each
family used here is also searched with the code as it is.
"""

# ruff: noqa: ARG001, ARG005 - a weakening keeps the signature of what it replaces

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from hblink.core import alone, effect, fence, liveness, peer, policy, state, turn
from hblink.core.state import veto
from hblink.core.value import Advert, Grant, Power, Reason, Role, Settings
from hblink.sim.explorer import decision, rule
from hblink.sim.explorer.family import Family
from hblink.sim.explorer.search import Explorer
from hblink.sim.scenario import perform
from hblink.sim.stage import VIOLATION
from tests.sim.fresh import Edit, load

# hblink.core exports the function `step` nowhere; the module of that name is meant here.
step = __import__("hblink.core.step", fromlist=["step"])

Patch = pytest.MonkeyPatch
LIMIT = 60_000


def names(text: str) -> frozenset[str]:
    return frozenset(text.split())


BOOT = Family("boot", ticks=3, late=1, lossy=True)
LOSSY = Family("lossy", ticks=4, formed=True, orders=1, lossy=True, moves=names("switchover"))
SLOTS = Family("slots", ticks=9, formed=True, faults=4, dark=True, moves=names("freeze cut_one fail_off"))
YIELD = Family("yield", ticks=4, formed=True, orders=1, late=1, moves=names("switchover carrier"))
COLD = Family("cold", ticks=7, faults=2, dark=True, moves=names("cut_one unplug fail_off"))
LATE = Family("late", ticks=5, formed=True, faults=1, late=1, dark=True, moves=names("panic"))
FENCE = Family("fence", ticks=6, formed=True, faults=2, dark=True, moves=names("panic fail_off read_unknown"))
DAEMON = Family("daemon", ticks=5, formed=True, faults=2, moves=names("die freeze hiccup cut"))
INERT = Family(
    "inert", ticks=6, absent=True, disks=(0, 3), faults=1, dark=True, moves=names("press boot cut read_unknown")
)
SERVICE = Family(
    "service", ticks=6, formed=True, faults=2, orders=1, dark=True, moves=names("fail_stop switchover cut")
)
OPERATOR = Family("operator", ticks=6, formed=True, faults=1, orders=1, dark=True, moves=names("panic carrier"))
OATH = Family(
    "oath", ticks=7, formed=True, faults=2, orders=1, dark=True, moves=names("panic fail_off fail_start die confirm")
)
PAUSE = Family("pause", ticks=4, deadtime=3, half_open_ticks=4, faults=1, late=1, moves=names("freeze"))
PARTITION = Family("partition", ticks=6, formed=True, faults=4, dark=True, moves=names("cut slow_off read_unknown"))
SIGHTED = Family("sighted", ticks=6, formed=True, faults=2, dark=True, moves=names("sight panic"))
BENCHED = Family("benched", ticks=5, formed=True, orders=2, moves=names("standby switchover"))
DRILL = Family("drill", ticks=3, formed=True, faults=1, orders=2, dark=True, moves=names("drill maintenance cut"))
LEASE = Family(
    "lease",
    ticks=11,
    formed=True,
    faults=2,
    has_fence=False,
    dark=True,
    lease=3,
    moves=names("cut cut_one heal freeze slow"),
)
BY_FENCE = Family(
    "by-fence",
    ticks=7,
    absent=True,
    by_fence=True,
    faults=1,
    dark=True,
    slots_hold=False,
    moves=names("press boot cut"),
)
MAINTENANCE = Family(
    "maintenance", ticks=4, formed=True, faults=2, orders=1, dark=True, moves=names("maintenance cut die")
)
HANDOVER = Family("handover", ticks=2, formed=True, orders=2, moves=names("maintenance switchover"))
CAPPED = Family(
    "capped",
    ticks=8,
    formed=True,
    faults=2,
    orders=1,
    dark=True,
    fence_cap=1,
    moves=names("panic boot switchover"),
)
LOST = Family("lost", ticks=3, formed=True, faults=1, moves=names("lose_service"))
CROSSED = Family(
    "crossed", ticks=4, formed=True, links=2, one_link_alive=True, steady=True, faults=2, moves=names("cut_one")
)


# --- grants


def skip_the_grant(patch: Patch) -> None:
    original = policy._grant

    def grant(now: turn.Turn) -> Grant | None:
        advert = now.state.peer.advert
        return original(now) or (Grant.NOT_TAKEN if advert is not None and advert.role is Role.STANDBY else None)

    patch.setattr(policy, "_grant", grant)


def no_echo_condition(patch: Patch) -> None:
    original = policy._grant

    def grant(now: turn.Turn) -> Grant | None:
        cleared_at = now.state.cleared_at
        now.set(cleared_at=-(10**18))
        found = original(now)
        now.set(cleared_at=cleared_at)
        return found

    patch.setattr(policy, "_grant", grant)


def elects_itself(patch: Patch) -> None:
    patch.setattr(policy, "holds_token", lambda settings, epoch: True)


def timer_takes_a_yield_back(patch: Patch) -> None:
    original = policy._keep_yield

    def keep_yield(now: turn.Turn) -> None:
        yielded = now.state.yielded
        original(now)
        if yielded and not now.state.yielded:
            turn.become_claiming(now, Grant.NOT_TAKEN)

    patch.setattr(policy, "_keep_yield", keep_yield)


def last_grant_survives_frames(patch: Patch) -> None:
    def authentic(now: turn.Turn) -> None:
        fence.void_readings(now)
        turn.drop_check(now, Reason.PEER_HEARD)

    patch.setattr(peer, "_authentic", authentic)


def epoch_not_raised(patch: Patch) -> None:
    patch.setattr(
        turn, "next_epoch", lambda above, node: above if above & 1 == node and above else above + 1 + node % 2
    )


# --- fencing


def one_off_is_enough(patch: Patch) -> None:
    patch.setattr(fence, "OFFS_NEEDED", 1)


def unverified_off(patch: Patch) -> None:
    original = fence.on_power_commanded

    def on_power_commanded(now: turn.Turn, op_id: int, accepted: bool) -> None:
        attempt = now.state.attempt
        if attempt is not None and attempt.op_id == op_id and accepted:
            turn.become_claiming(now, Grant.FENCED)
        else:
            original(now, op_id, accepted)

    patch.setattr(step, "on_power_commanded", on_power_commanded)


def unknown_counts_as_off(patch: Patch) -> None:
    original = fence._attempt_read

    def read(now: turn.Turn, power: Power) -> None:
        original(now, Power.OFF if power is Power.UNKNOWN else power)

    patch.setattr(fence, "_attempt_read", read)


def readings_outlive_a_frame(patch: Patch) -> None:
    patch.setattr(peer, "void_readings", lambda now: now.set(confirmed_until=None))


def held_off_is_not_read_again(patch: Patch) -> None:
    """The last OFF was held by a veto; when that is gone the claim comes at once."""
    pursue = fence.pursue_attempt
    read = fence._attempt_read

    def attempt_read(now: turn.Turn, power: Power) -> None:
        attempt = now.state.attempt
        assert attempt is not None
        if power is Power.OFF and attempt.offs >= 1 and veto(now.state, now.now) is not None:
            now.set(attempt=replace(attempt, op_id=None, offs=2, act_at=None))
        else:
            read(now, power)

    def pursue_attempt(now: turn.Turn) -> bool:
        attempt = now.state.attempt
        if attempt is not None and attempt.offs >= 2 and veto(now.state, now.now) is None:
            turn.become_claiming(now, Grant.FENCED)
            return True
        return pursue(now)

    patch.setattr(fence, "_attempt_read", attempt_read)
    patch.setattr(policy, "pursue_attempt", pursue_attempt)


def half_a_deadtime_is_silence(patch: Patch) -> None:
    def is_silent(settings: Settings, state: state.State, now: int) -> bool:
        return now >= liveness.silent_at(settings, state) - settings.deadtime_ns // 2

    patch.setattr(policy, "is_silent", is_silent)
    patch.setattr(fence, "is_silent", is_silent)
    patch.setattr(alone, "slot_start", lambda settings, state, now: now)


def no_slots(patch: Patch) -> None:
    patch.setattr(alone, "slot_start", lambda settings, state, now: now)


def narrow_slots(patch: Patch) -> None:
    """Slots as long as an attempt: the nodes may date the last frame half_open_max apart."""
    patch.setattr(Settings, "slot_ns", property(lambda settings: settings.fence_attempt_ns))


def inert_rule_off(patch: Patch) -> None:
    original = policy.act_alone

    def act_alone(now: turn.Turn, forbidden: Reason | None) -> bool:
        if not now.state.heard and now.state.check is None and forbidden is None:
            now.set(heard=True)
        return original(now, forbidden)

    patch.setattr(policy, "act_alone", act_alone)


def off_before_the_first_reading(patch: Patch) -> None:
    def act_inert(now: turn.Turn, forbidden: Reason | None) -> bool:
        if forbidden is not None:
            return False
        turn.become_fencing(now, Reason.START_ALONE)
        return True

    patch.setattr(alone, "_act_inert", act_inert)


def veto_ignored(patch: Patch) -> None:
    for module in (policy, fence, alone):
        patch.setattr(module, "veto", lambda state, now: None, raising=False)  # core.alone is told what forbids
        patch.setattr(module, "claim_veto", lambda state, now: None)


# --- stalls, stops, restarts


def stall_gate_forgotten(patch: Patch) -> None:
    patch.setattr(step, "_stall", lambda now, late_ns: None)


def short_stall_accuses(patch: Patch) -> None:
    original = step._stall

    def stall(now: turn.Turn, late_ns: int) -> None:
        if late_ns >= now.settings.release_late_ns:
            original(now, late_ns)

    patch.setattr(step, "_stall", stall)


def stall_keeps_the_service(patch: Patch) -> None:
    def stall(now: turn.Turn, late_ns: int) -> None:
        now.set(listen_until=max(now.state.listen_until, now.now + now.settings.deadtime_ns), confirmed_until=None)
        if now.state.role is Role.FENCING:
            turn.become_standby(now, Reason.STALL)

    patch.setattr(step, "_stall", stall)


def yield_before_stops_are_confirmed(patch: Patch) -> None:
    original = policy.become_yielding

    def become_yielding(now: turn.Turn, reason: Reason) -> None:
        original(now, reason)
        if reason is Reason.SWITCHOVER:
            turn.become_standby(now, reason, yielded=True)

    patch.setattr(step, "become_yielding", become_yielding)
    patch.setattr(policy, "become_yielding", become_yielding)


def failed_stop_counts_as_stopped(patch: Patch) -> None:
    for module in (step, policy):
        patch.setattr(module, "become_halted", policy.finish_release)


def speaks_before_its_clean_start(patch: Patch) -> None:
    def advertise(state: state.State, now: int) -> Advert | None:
        return original(replace(state, role=Role.STANDBY) if state.role is Role.STARTING else state, now)

    original = state.advertise
    patch.setattr(decision, "advertise", advertise)


def restart_without_a_stop(patch: Patch) -> None:
    original = step._start

    def start(now: turn.Turn, memory: object) -> None:
        original(now, memory)
        now.effects[:] = [each for each in now.effects if not isinstance(each, effect.Release)]
        turn.become_standby(now, Reason.LISTENING)

    patch.setattr(step, "_start", start)


def forgets_to_remember(patch: Patch) -> None:
    patch.setattr(step, "_must_remember", lambda old, new: False)


def epochs_of_standbys_compared(patch: Patch) -> None:
    original = peer._apply

    def apply(now: turn.Turn, advert: Advert) -> None:
        if now.state.role is Role.ACTIVE and advert.epoch > now.state.epoch:
            now.set(epoch=advert.epoch)
            turn.become_yielding(now, Reason.DUAL_ACTIVE)
        else:
            original(now, advert)

    patch.setattr(peer, "_apply", apply)


def edited(name: str, place: str, *texts: str) -> Callable[[Patch], None]:
    """A weakening as in tests.sim.mutant: `texts` are old and new by turns, in the module `place`."""
    edits = tuple(Edit(place, old, new) for old, new in zip(texts[::2], texts[1::2], strict=True))

    def weaken(patch: Patch) -> None:
        code = load(edits)
        for what in ("step", "next_wakeup", "advertise", "initial"):
            patch.setattr(decision, what, getattr(code, what))
        patch.setattr(decision, "InvariantViolated", code.violated)

    weaken.__name__ = name
    return weaken


@dataclass(frozen=True, slots=True)
class Mutant:
    """A weakening, where it shows, and the rules that may say so."""

    weaken: Callable[[Patch], None]
    family: Family
    rule: str
    settle_every: int = 0  # a liveness that is lost is seen only where the faults are switched off


MUTANTS = (
    Mutant(skip_the_grant, BOOT, "I2"),
    Mutant(no_echo_condition, LOSSY, "I2"),
    Mutant(elects_itself, BOOT, "I2"),
    Mutant(timer_takes_a_yield_back, LOSSY, "I2"),
    Mutant(last_grant_survives_frames, DAEMON, "I2"),
    Mutant(epoch_not_raised, YIELD, "I3"),
    Mutant(one_off_is_enough, FENCE, "I2"),
    Mutant(unverified_off, FENCE, "I2"),
    Mutant(unknown_counts_as_off, FENCE, "I2"),
    Mutant(readings_outlive_a_frame, LATE, "I2"),
    Mutant(held_off_is_not_read_again, OPERATOR, "I2"),
    Mutant(half_a_deadtime_is_silence, DAEMON, "I8"),
    Mutant(no_slots, SLOTS, "S4"),
    Mutant(narrow_slots, SLOTS, "S4"),
    Mutant(inert_rule_off, COLD, "I11"),
    Mutant(off_before_the_first_reading, INERT, "I11"),
    Mutant(veto_ignored, OPERATOR, "I15"),
    Mutant(stall_gate_forgotten, DAEMON, "I6"),
    Mutant(short_stall_accuses, DAEMON, "I6"),
    Mutant(stall_keeps_the_service, DAEMON, "S7"),
    Mutant(yield_before_stops_are_confirmed, YIELD, "I7"),
    Mutant(failed_stop_counts_as_stopped, SERVICE, "I7"),
    Mutant(speaks_before_its_clean_start, DAEMON, "I7"),
    Mutant(restart_without_a_stop, DAEMON, "I7"),
    Mutant(forgets_to_remember, DAEMON, "S17"),
    Mutant(epochs_of_standbys_compared, INERT, "S9"),
    Mutant(
        edited(
            "an_echo_from_before_a_pause_counts",
            "hblink.core.step",
            "    turn.set(cleared_at=now)\n    turn.set_peer(advert=None, fresh_floor_at=now)",
            "    turn.set_peer(advert=None, fresh_floor_at=now)",
        ),
        PAUSE,
        "I2",
    ),
    Mutant(
        edited(
            "stop_failed_has_no_bound",
            "hblink.core.liveness",
            "now >= peer.stop_failed_at + settings.stop_failed_fence_ns",
            "now >= peer.stop_failed_at",
        ),
        SERVICE,
        "I8",
    ),
    Mutant(
        edited(
            "a_start_alone_goes_on_after_a_reading_that_was_not_off",
            "hblink.core.fence",
            "if attempt.cause is Reason.START_ALONE and power is not Power.OFF:",
            "if attempt is None:",
        ),
        INERT,
        "I11",
    ),
    Mutant(
        edited(
            "a_lost_service_needs_no_stop",
            "hblink.core.step",
            "finish_start(turn, ok=False)  # the peer",
            "become_standby(turn, Reason.START_FAILED, yielded=True)  # the peer",
        ),
        LOST,
        "I7",
    ),
    Mutant(
        edited(
            "a_link_that_is_lost_is_no_alarm",
            "hblink.core.liveness",
            "if not hears_on(settings, link, now):",
            "if link is None:",
        ),
        CROSSED,
        "S13",
    ),
    Mutant(
        edited(
            "a_direction_that_is_lost_is_no_alarm",
            "hblink.core.liveness",
            "if peer.advert is not None and not heard_on(state, index):",
            "if peer.advert is None:",
        ),
        CROSSED,
        "S13",
    ),
    Mutant(
        edited(
            "a_link_that_is_lost_moves_the_service",
            "hblink.core.policy",
            "    if not state.carrier:\n        return Reason.NO_SERVICE_CARRIER\n",
            "    if not state.carrier or any(not hears_on(settings, link, now) for link in state.links):\n"
            "        return Reason.NO_SERVICE_CARRIER\n",
            "from hblink.core.liveness import ",
            "from hblink.core.liveness import hears_on, ",
        ),
        CROSSED,
        "I12",
    ),
    Mutant(
        edited(
            "a_foreign_answer_is_no_veto",
            "hblink.core.state",
            "if state.holder is Holder.PEER and state.holder_until is not None and now < state.holder_until:",
            "if state.holder is None:",
        ),
        SIGHTED,
        "I15",
    ),
    Mutant(
        edited(
            "standby_is_no_veto",
            "hblink.core.state",
            "if state.standby_ordered:\n",
            "if state.standby_ordered is None:\n",
        ),
        BENCHED,
        "I15",
    ),
    Mutant(
        edited(
            "a_drill_in_maintenance",
            "hblink.core.drill",
            "    if in_maintenance(state):\n        return Reason.MAINTENANCE\n",
            "",
        ),
        DRILL,
        "I8",
    ),
    Mutant(
        edited(
            "a_drill_of_a_peer_that_may_serve",
            "hblink.core.drill",
            "or not peer_is_ready(settings, state, turn.now) ",
            "",
        ),
        DRILL,
        "I8",
    ),
    Mutant(
        edited(
            "maintenance_does_not_forbid_a_fence",
            "hblink.core.alone",
            "    if in_maintenance(state):\n        return _wait_in_maintenance(turn)\n",
            "",
        ),
        MAINTENANCE,
        "S18",
    ),
    Mutant(
        edited(
            "a_maintenance_that_the_peer_may_not_know_keeps_the_service",
            "hblink.core.step",
            "memory.unleased and (memory.maintenance or memory.peer_maintenance)",
            "memory.maintenance or memory.peer_maintenance",
        ),
        MAINTENANCE,
        "I2",
    ),
    Mutant(
        edited("a_maintenance_that_was_heard_is_forgotten", "hblink.core.peer", "maintenance=advert.maintenance,", ""),
        MAINTENANCE,
        "S18",
    ),
    Mutant(
        edited(
            "a_restart_forgets_the_maintenance",
            "hblink.core.step",
            "            maintenance=memory.peer_maintenance,\n",
            "",
        ),
        MAINTENANCE,
        "S18",
    ),
    Mutant(
        edited(
            "a_yield_is_taken_in_maintenance",
            "hblink.core.policy",
            "if advert.yielded and not token and not in_maintenance(state):",
            "if advert.yielded and not token:",
        ),
        HANDOVER,
        "S18",
    ),
    Mutant(
        edited(
            "fences_are_not_capped",
            "hblink.core.fence",
            "return 0 < turn.settings.fence_cap <= len(turn.state.fences)",
            "return turn.now < 0",
        ),
        CAPPED,
        "S15",
    ),
    Mutant(
        edited(
            "the_cap_holds_a_claim",
            "hblink.core.policy",
            "if grant is not None and held is None:",
            "if grant is not None and held is None and not fence_is_capped(turn):",
        ),
        CAPPED,
        "S15",
    ),
    Mutant(
        edited(
            "the_holder_claims_on_a_promise_too",
            "hblink.core.lease",
            " and not holds_token(settings, state.epoch)",
            "",
        ),
        LEASE,
        "I2",
    ),
    Mutant(
        edited(
            "the_watchdog_is_left_out_of_the_promise",
            "hblink.core.lease",
            " + settings.stop_bound_ns + 2 * watchdog_ns",
            "",
        ),
        LEASE,
        "I2",
    ),
    Mutant(
        edited(
            "a_promise_outlives_a_word_that_proves_nothing",
            "hblink.core.peer",
            "        advert=None,\n        promise_ns=None,\n        authentic_at",
            "        advert=None,\n        authentic_at",
        ),
        LEASE,
        "I2",
    ),
    Mutant(
        edited(
            "who_may_have_been_fenced_starts_by_a_fence",
            "hblink.core.fence",
            "StartAlone.FENCE and state.orderly and",
            "StartAlone.FENCE and",
        ),
        BY_FENCE,
        "I11",
    ),
    Mutant(
        edited(
            "starts_by_a_fence_again_and_again",
            "hblink.core.fence",
            "        turn.set(orderly=False)  # once\n",
            "",
        ),
        BY_FENCE,
        "I11",
    ),
    Mutant(
        edited(
            "what_was_sworn_to_be_off_is_switched_on",
            "hblink.core.fence",
            "    if turn.state.sworn_off:\n        turn.set(owes_on=False, power_on_at=None)\n",
            "",
        ),
        OATH,
        "S16",
    ),
    Mutant(
        edited(
            "what_nobody_has_taken_is_never_claimed",
            "hblink.core.policy",
            " and state.peer.echo_sent_at > state.cleared_at:",
            " and state.peer.echo_sent_at > state.cleared_at and now < 0:",
        ),
        BOOT,
        "liveness",
        settle_every=1,
    ),
)


@pytest.mark.usefixtures("no_gc")
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.weaken.__name__)
def test_a_weakened_rule_is_caught_by_name(mutant: Mutant, monkeypatch: Patch) -> None:
    """... and the way to it, pasted into a scenario file, shows the same violation there, and none without it."""
    mutant.weaken(monkeypatch)
    explorer = Explorer(mutant.family)
    report = explorer.run(LIMIT, mutant.settle_every)
    assert report.found is not None, f"survived {report.states} states"
    assert report.found.rule == mutant.rule, explorer.scenario(report.found)
    played = perform(explorer.scenario(report.found))
    assert played.splitlines()[-1] == f"{VIOLATION} {report.found.text}"
    assert perform(played) == played
    monkeypatch.undo()
    assert VIOLATION not in perform(played)


@pytest.mark.usefixtures("no_gc")
@pytest.mark.parametrize(
    ("weaken", "family"),
    [
        (no_echo_condition, LOSSY),
        (timer_takes_a_yield_back, LOSSY),
        (unverified_off, PARTITION),
        (unknown_counts_as_off, PARTITION),
    ],
)
def test_two_owners_are_seen_even_where_no_claim_is_judged(
    weaken: Callable[[Patch], None], family: Family, monkeypatch: Patch
) -> None:
    """I1 on its own: so a claim without a grant is not only against a rule, it is what the rule is there for."""
    weaken(monkeypatch)
    monkeypatch.setattr(rule, "_judge_claim", lambda *_: None)
    explorer = Explorer(family)
    report = explorer.run(LIMIT)
    assert report.found is not None, f"survived {report.states} states"
    assert report.found.rule == "I1", explorer.scenario(report.found)


@pytest.mark.usefixtures("no_gc")
@pytest.mark.parametrize(
    "family",
    sorted({mutant.family for mutant in MUTANTS}, key=lambda family: family.name),
    ids=lambda family: family.name,
)
def test_the_code_as_it_is_is_clean_in_the_same_bounds(family: Family) -> None:
    report = Explorer(family).run(LIMIT // 3)
    assert report.found is None, report.found
