"""Every rule is broken once, and something notices; the same schedule with the rule in force is clean."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import hblink.core.step
from hblink.core.event import MaintenanceRequested, SwitchoverRequested
from hblink.core.value import MS, SECOND, Guarantee, Memory, Power, Reason, Role
from tests.sim.duel import Duel, Violation
from tests.sim.fresh import FRESH, Code, Edit, NotApplied, load
from tests.sim.line import AGE_NS, OTHER_RING, Line
from tests.sim.mutant import MUTANTS, Mutant

SCHEDULES: dict[str, Callable[[Code], None]] = {}


def schedule(play: Callable[[Code], None]) -> Callable[[Code], None]:
    SCHEDULES[play.__name__] = play
    return play


# Two cores


@schedule
def first_boot(code: Code) -> None:
    duel = Duel(code)
    duel.settle()
    duel.demand_one_owner()


@schedule
def roll_back_races_claim(code: Code) -> None:
    """Beta becomes able to take the yield in the very instant in which alpha ceases to offer it."""
    duel = Duel(code)
    duel.settle()
    duel.tell(duel.alpha, SwitchoverRequested(7))
    duel.carrier(duel.beta, False)
    duel.run(30 * MS)
    assert duel.alpha.state.yielded
    duel.run(duel.alpha.state.yielded_at + duel.alpha.settings.handover_ns - duel.now)
    duel.carrier(duel.beta, True)
    duel.run(3 * SECOND)
    duel.demand_one_owner()


@schedule
def yield_of_an_old_epoch(code: Code) -> None:
    """Alpha has lost its disk and cannot serve; beta remembers."""
    duel = Duel(code)
    duel.boot(duel.beta, Memory(epoch=2))
    duel.boot(duel.alpha, Memory())
    duel.carrier(duel.alpha, False)
    duel.run(3 * SECOND)
    duel.demand_one_owner()


@schedule
def yield_of_long_ago(code: Code) -> None:
    """Beta becomes able to take a yield that it heard two seconds ago; nothing has been heard since."""
    duel = Duel(code)
    duel.settle()
    duel.tell(duel.alpha, SwitchoverRequested(7))
    duel.carrier(duel.beta, False)
    duel.run(150 * MS)
    duel.cut_links()
    duel.run(2 * SECOND)
    duel.carrier(duel.beta, True)
    duel.run(10 * SECOND)
    duel.demand_one_owner()


@schedule
def yield_before_a_pause(code: Code) -> None:
    """Beta is paused after it heard the yield, and becomes able to take it before it has heard anything again."""
    duel = Duel(code)
    duel.settle()
    duel.tell(duel.alpha, SwitchoverRequested(7))
    duel.carrier(duel.beta, False)
    duel.run(150 * MS)
    duel.cut_links()
    duel.pause(duel.beta, 700 * MS)
    duel.run(710 * MS)
    duel.carrier(duel.beta, True)
    duel.cut_links(False)
    duel.run(10 * SECOND)
    duel.demand_one_owner()


@schedule
def restart_after_a_yield(code: Code) -> None:
    """Alpha's daemon said YIELDED and was killed; its successor has spoken, and beta becomes able to take over."""
    duel = Duel(code)
    duel.settle()
    duel.tell(duel.alpha, SwitchoverRequested(7))
    duel.carrier(duel.beta, False)
    duel.run(150 * MS)
    duel.cut[1] = True  # the new daemon has not heard beta yet, so its frames prove nothing
    duel.restart(duel.alpha)
    duel.run(25 * MS)
    duel.carrier(duel.beta, True)
    duel.cut_links(False)
    duel.run(5 * SECOND)
    duel.demand_one_owner()


@schedule
def switchover(code: Code) -> None:
    duel = Duel(code)
    duel.settle()
    duel.tell(duel.alpha, SwitchoverRequested(7))
    duel.run(3 * SECOND)
    assert duel.beta.runs
    duel.demand_one_owner()


@schedule
def switchover_with_a_failed_stop(code: Code) -> None:
    duel = Duel(code)
    duel.settle()
    duel.alpha.stop_works = False
    duel.tell(duel.alpha, SwitchoverRequested(7))
    duel.run(3 * SECOND)
    duel.alpha.stop_works = True
    duel.run(3 * SECOND)
    duel.demand_one_owner()


@schedule
def restart_of_the_active(code: Code) -> None:
    duel = Duel(code)
    duel.settle()
    duel.restart(duel.alpha)
    duel.run(5 * SECOND)
    duel.demand_one_owner()


@schedule
def partition(code: Code) -> None:
    duel = Duel(code)
    duel.settle()
    duel.cut_links()
    duel.run(20 * SECOND)
    assert duel.beta.runs
    duel.demand_one_owner()
    duel.demand_power()


def on_refused(code: Code) -> Duel:
    """Beta serves by a fence, and the device that took `off` does not take the `on` that is to follow."""
    duel = Duel(code)
    duel.settle()
    duel.alpha.takes_on = False
    duel.cut_links()
    duel.run(20 * SECOND)
    assert duel.beta.runs
    return duel


@schedule
def on_refused_before_a_restart(code: Code) -> None:
    duel = on_refused(code)
    duel.restart(duel.beta)
    duel.alpha.takes_on = True
    duel.run(60 * SECOND)
    assert duel.beta.runs
    duel.demand_power()


@schedule
def on_refused_before_a_maintenance(code: Code) -> None:
    duel = on_refused(code)
    duel.tell(duel.beta, MaintenanceRequested(7, on=True))
    duel.alpha.takes_on = True
    duel.run(60 * SECOND)
    assert not duel.alpha.powered, "somebody may be at work there"
    duel.tell(duel.beta, MaintenanceRequested(8, on=False))
    duel.run(60 * SECOND)
    duel.demand_power()


@schedule
def promise_in_the_dark(code: Code) -> None:
    """Beta serves by a fence, is paused, and then cannot serve; nobody has been heard since."""
    duel = Duel(code)
    duel.settle()
    duel.cut_links()
    duel.run(20 * SECOND)
    assert duel.beta.runs
    duel.pause(duel.beta, 900 * MS)
    duel.run(950 * MS)
    duel.carrier(duel.beta, False)
    duel.run(SECOND)
    duel.cut_links(False)
    duel.run(3 * SECOND)
    duel.demand_one_owner()


@schedule
def graceful_off(code: Code) -> None:
    """The device says yes to `off`, alpha goes on, and after that the device says nothing of use."""
    duel = Duel(code)
    duel.settle()
    duel.alpha.off_works = duel.alpha.answers_truth = False
    duel.cut_links()
    duel.run(40 * SECOND)
    assert duel.beta.state.role is Role.BLOCKED
    duel.demand_one_owner()


@schedule
def flickering_off(code: Code) -> None:
    """One reading says OFF, the next one ON again."""
    duel = Duel(code)
    duel.settle()
    duel.alpha.off_works = False
    duel.alpha.reads = [Power.OFF]
    duel.cut_links()
    duel.run(20 * SECOND)
    duel.demand_one_owner()


@schedule
def held_off(code: Code) -> None:
    """Beta has read OFF twice but has no carrier; somebody switches alpha on; then the carrier comes back."""
    duel = Duel(code)
    duel.settle()
    duel.cut_links()
    while duel.beta.witness.offs < 1:
        duel.run(10 * MS)
    duel.carrier(duel.beta, False)
    duel.run(1500 * MS)
    duel.boot(duel.alpha)
    duel.carrier(duel.beta, True)
    duel.run(5 * SECOND)
    duel.cut_links(False)
    duel.run(5 * SECOND)
    duel.demand_one_owner()


@schedule
def frame_between_two_offs(code: Code) -> None:
    """A frame that alpha sent before it died comes seconds late, between the two readings."""
    duel = Duel(code)
    duel.settle()
    duel.alpha.off_takes_ns = 6 * SECOND
    duel.cut_links()
    while duel.beta.witness.offs < 1:
        duel.run(10 * MS)
    duel.deliver(duel.beta, duel.lost[0][-1])
    assert duel.beta.witness.offs == 0
    duel.run(5 * SECOND)
    duel.demand_one_owner()


@schedule
def healed_during_the_attempt(code: Code) -> None:
    duel = Duel(code)
    duel.settle()
    duel.alpha.accepts = duel.alpha.off_works = False
    duel.cut_links()
    duel.run(1500 * MS)
    assert duel.beta.state.role is Role.FENCING
    duel.cut_links(False)
    duel.run(5 * SECOND)
    duel.demand_one_owner()


@schedule
def hiccup_during_the_attempt(code: Code) -> None:
    """The first `off` was refused; beta is paused when the next is due, and the links heal meanwhile."""
    duel = Duel(code)
    duel.settle()
    duel.alpha.accepts = duel.alpha.off_works = False
    duel.cut_links()
    duel.run(2500 * MS)
    assert duel.beta.state.role is Role.FENCING
    duel.cut_links(False)
    duel.pause(duel.beta, 600 * MS)
    duel.run(5 * SECOND)
    duel.demand_one_owner()


@schedule
def short_pause(code: Code) -> None:
    """Half a second of loss, then beta is paused for six tenths and hears nothing of what came meanwhile."""
    duel = Duel(code)
    duel.settle()
    duel.cut_links()
    duel.run(500 * MS)
    duel.cut_links(False)
    duel.pause(duel.beta, 600 * MS)
    duel.run(3 * SECOND)
    assert duel.alpha.runs
    duel.demand_one_owner()


@schedule
def long_pause(code: Code) -> None:
    duel = Duel(code)
    duel.settle()
    duel.alpha.off_works = duel.alpha.answers_truth = False
    duel.pause(duel.alpha, 2 * SECOND)
    duel.run(10 * SECOND)
    duel.demand_one_owner()


@schedule
def restart_in_the_dark(code: Code) -> None:
    """The active's daemon restarts while nobody can be heard, and there is no fence device."""
    duel = Duel(code, has_fence=False)
    duel.settle()
    duel.cut_links()
    duel.run(3 * SECOND)
    duel.restart(duel.alpha)
    duel.run(15 * SECOND)
    duel.cut_links(False)
    duel.run(3 * SECOND)
    duel.demand_one_owner()


@schedule
def restart_of_both(code: Code) -> None:
    duel = Duel(code)
    duel.settle()
    duel.restart(duel.beta)
    duel.restart(duel.alpha)
    duel.run(5 * SECOND)
    duel.demand_one_owner()


@schedule
def switched_on_in_the_middle(code: Code) -> None:
    """Alpha starts alone and its `off` is refused; somebody switches beta on; they cannot hear each other."""
    duel = Duel(code)
    duel.cut_links()
    duel.beta.powered = duel.beta.off_works = duel.beta.accepts = False
    duel.boot(duel.alpha)
    duel.run(11100 * MS)
    duel.boot(duel.beta)
    duel.run(10 * SECOND)
    duel.cut_links(False)
    duel.run(3 * SECOND)
    duel.demand_one_owner()


@schedule
def dark_after_the_first_words(code: Code) -> None:
    """The nodes have adopted each other's sessions, and have not been able to say anything yet."""
    duel = Duel(code)
    duel.boot(duel.alpha)
    duel.boot(duel.beta)
    duel.run(50 * MS)
    duel.cut_links()
    duel.run(100 * SECOND)
    duel.cut_links(False)
    duel.run(3 * SECOND)
    duel.demand_one_owner()


@schedule
def boot_in_the_dark(code: Code) -> None:
    duel = Duel(code)
    duel.cut_links()
    duel.boot(duel.alpha)
    duel.boot(duel.beta)
    duel.run(100 * SECOND)
    assert [node.runs for node in duel.machines] == [False, False]
    duel.cut_links(False)
    duel.run(3 * SECOND)
    duel.demand_one_owner()


@schedule
def flickering_off_at_boot(code: Code) -> None:
    """Each node's device says OFF once, and ON from then on."""
    duel = Duel(code)
    duel.cut_links()
    duel.alpha.reads, duel.beta.reads = [Power.OFF], [Power.OFF]
    duel.boot(duel.alpha)
    duel.boot(duel.beta)
    duel.run(20 * SECOND)
    duel.cut_links(False)
    duel.run(3 * SECOND)
    duel.demand_one_owner()


@schedule
def boot_in_the_dark_at_least_one(code: Code) -> None:
    duel = Duel(code, has_fence=False, guarantee=Guarantee.AT_LEAST_ONE)
    duel.cut_links()
    duel.boot(duel.alpha)
    duel.boot(duel.beta)
    duel.run(20 * SECOND)
    duel.carrier(duel.alpha, True)
    duel.run(20 * SECOND)
    assert [node.runs for node in duel.machines] == [False, False]


@schedule
def pause_in_a_partition(code: Code) -> None:
    """Alpha is paused as the links fail, and so serves no more; its device is slow to switch it off."""
    duel = Duel(code)
    duel.settle()
    duel.alpha.off_takes_ns = 5 * SECOND
    duel.cut_links()
    duel.pause(duel.alpha, 900 * MS)
    duel.run(15 * SECOND)
    duel.demand_one_owner()


@schedule
def one_way_first(code: Code) -> None:
    """Only what beta says is lost, so beta hears for half_open_max longer than alpha; and alpha's device is slow."""
    duel = Duel(code)
    duel.settle()
    duel.alpha.off_takes_ns = 18 * SECOND
    duel.cut[1] = True
    duel.pause(duel.alpha, 900 * MS)
    duel.run(35 * SECOND)
    duel.demand_one_owner()


@schedule
def missed_slot(code: Code) -> None:
    """Beta has no carrier in its slot, and gets it back just before alpha's."""
    duel = Duel(code)
    duel.settle()
    duel.alpha.off_takes_ns = 3 * SECOND
    duel.cut_links()
    duel.pause(duel.alpha, 900 * MS)
    duel.carrier(duel.beta, False)
    duel.run(30 * SECOND)
    duel.carrier(duel.beta, True)
    duel.run(10 * SECOND)
    duel.demand_one_owner()


@schedule
def fence_without_carrier(code: Code) -> None:
    duel = Duel(code)
    duel.settle()
    duel.carrier(duel.beta, False)
    duel.cut_links()
    duel.run(10 * SECOND)
    assert duel.alpha.runs
    duel.demand_one_owner()


@schedule
def old_epoch_on_the_disk(code: Code) -> None:
    """Alpha started alone with a new disk; then beta is switched on, whose disk remembers epoch 9."""
    duel = Duel(code)
    duel.beta.powered = False
    duel.beta.memory = Memory(epoch=9)
    duel.boot(duel.alpha)
    duel.run(20 * SECOND)
    assert duel.beta.powered
    duel.demand_one_owner()


def falsely_confirmed(duel: Duel) -> None:
    """The operator swears that alpha is off, and it is not: both are active, apart."""
    duel.settle()
    duel.alpha.accepts = duel.alpha.off_works = duel.alpha.answers_truth = False
    duel.cut_links()
    duel.run(25 * SECOND)
    duel.confirm(duel.beta)
    duel.run(SECOND)
    assert duel.alpha.runs
    assert duel.beta.runs


@schedule
def false_confirmation(code: Code) -> None:
    duel = Duel(code)
    falsely_confirmed(duel)
    duel.cut_links(False)
    duel.run(3 * SECOND)
    duel.demand_one_owner()
    assert duel.beta.runs
    duel.demand_announcement(duel.beta)


@schedule
def both_could_not_stop(code: Code) -> None:
    """Both said STOP_FAILED for long, then both stop at last, in a moment in which they do not hear each other."""
    duel = Duel(code, stop_retry_ns=500 * MS)
    falsely_confirmed(duel)
    duel.alpha.stop_works = duel.beta.stop_works = False
    duel.cut_links(False)
    duel.run(SECOND)
    duel.pause(duel.beta, 900 * MS)
    duel.run(15 * SECOND)
    assert duel.alpha.state.role is duel.beta.state.role is Role.HALTED
    for node in duel.machines:
        node.accepts = node.off_works = node.answers_truth = node.stop_works = True
        node.off_takes_ns = 2 * SECOND
    duel.cut_links()
    duel.run(700 * MS)
    duel.cut_links(False)
    duel.run(5 * SECOND)
    duel.demand_one_owner()


@schedule
def confirmation_against_the_device(code: Code) -> None:
    duel = Duel(code)
    duel.settle()
    duel.alpha.accepts = duel.alpha.off_works = False
    duel.cut_links()
    duel.run(25 * SECOND)
    duel.confirm(duel.beta)
    duel.run(5 * SECOND)
    duel.demand_one_owner()


@schedule
def confirmation_of_a_live_peer(code: Code) -> None:
    duel = Duel(code, has_fence=False)
    duel.settle()
    duel.confirm(duel.beta)
    duel.run(SECOND)
    duel.demand_one_owner()


@schedule
def confirmation_and_a_failed_start(code: Code) -> None:
    """The confirmed node fails to start, and its hold-back ends before the confirmation would have."""
    duel = Duel(code, has_fence=False, start_hold_ns=5 * SECOND)
    duel.settle()
    duel.alpha.powered = duel.alpha.runs = False
    duel.run(3 * SECOND)
    duel.beta.start_works = False
    duel.confirm(duel.beta)
    duel.run(20 * SECOND)
    assert duel.beta.state.epoch == 3


@schedule
def confirmation_and_a_late_frame(code: Code) -> None:
    """A veto holds the confirmation unused, and a frame of the dead peer comes late."""
    duel = Duel(code, has_fence=False)
    duel.settle()
    duel.cut_links()
    duel.run(3 * SECOND)
    duel.carrier(duel.beta, False)
    duel.confirm(duel.beta)
    assert duel.beta.witness.confirmed_until
    duel.deliver(duel.beta, duel.lost[0][-1])
    duel.carrier(duel.beta, True)
    duel.run(5 * SECOND)
    duel.demand_one_owner()


@schedule
def confirmation_held_too_long(code: Code) -> None:
    """A veto holds the confirmation unused for longer than it counts."""
    duel = Duel(code, has_fence=False)
    duel.settle()
    duel.cut_links()
    duel.run(3 * SECOND)
    duel.carrier(duel.beta, False)
    duel.confirm(duel.beta)
    duel.run(70 * SECOND)
    duel.carrier(duel.beta, True)
    duel.run(5 * SECOND)
    duel.demand_one_owner()


@schedule
def confirmation_and_a_pause(code: Code) -> None:
    """A veto holds the confirmation unused, and in a short pause frames of the peer may have been lost."""
    duel = Duel(code, has_fence=False)
    duel.settle()
    duel.cut_links()
    duel.run(3 * SECOND)
    duel.carrier(duel.beta, False)
    duel.confirm(duel.beta)
    duel.pause(duel.beta, 300 * MS)
    duel.run(SECOND)
    duel.carrier(duel.beta, True)
    duel.run(5 * SECOND)
    duel.demand_one_owner()


@schedule
def late_off_before_the_claim(code: Code) -> None:
    """The first `off` stays without an answer, the second one works; then alpha is back and could be handed over to."""
    duel = Duel(code)
    duel.settle()
    duel.alpha.accepts = False
    duel.alpha.off_takes_ns = 40 * SECOND
    duel.cut_links()
    duel.run(1500 * MS)
    duel.alpha.accepts = True
    duel.alpha.off_takes_ns = 50 * MS
    duel.run(10 * SECOND)
    duel.cut_links(False)
    duel.run(5 * SECOND)
    assert duel.beta.runs
    duel.tell(duel.beta, SwitchoverRequested(7))
    duel.run(SECOND)
    assert duel.beta.runs


@schedule
def late_off(code: Code) -> None:
    """An `off` without an answer is still on its way when the links have healed and beta has been given the service."""
    duel = Duel(code)
    duel.settle()
    duel.alpha.accepts = False
    duel.alpha.off_takes_ns = 40 * SECOND
    duel.cut_links()
    duel.run(1500 * MS)
    duel.cut_links(False)
    duel.run(2 * SECOND)
    duel.tell(duel.beta, SwitchoverRequested(7))
    duel.run(2 * SECOND)
    assert duel.beta.runs
    duel.tell(duel.beta, SwitchoverRequested(8))
    duel.run(2 * SECOND)
    assert duel.beta.runs


@schedule
def echo_from_before_a_pause(code: Code) -> None:
    """Alpha holds the token and is paused; beta's answer waits in its socket, and echoes what came before."""
    duel = Duel(code)
    duel.boot(duel.beta)
    duel.boot(duel.alpha)
    while duel.beta.state.peer.fresh_at is None:
        duel.run(MS)
    duel.cut[1] = True
    duel.run(150 * MS)
    assert duel.alpha.state.role is Role.STANDBY
    waiting = duel.lost[1][-1]
    duel.pause(duel.alpha, 700 * MS)
    duel.run(701 * MS)
    duel.deliver(duel.alpha, waiting)
    duel.cut_links(False)
    duel.run(3 * SECOND)
    duel.demand_one_owner()


@schedule
def partition_during_a_stop(code: Code) -> None:
    """Two owners see each other for a moment; the one that has to stop takes long over it, in the dark again."""
    duel = Duel(code)
    falsely_confirmed(duel)
    duel.alpha.stop_takes_ns = 1900 * MS
    duel.cut_links(False)
    duel.run(300 * MS)
    duel.cut_links()
    duel.run(30 * SECOND)
    duel.cut_links(False)
    duel.run(5 * SECOND)
    duel.demand_one_owner()


@schedule
def halted_under_fence(code: Code) -> None:
    """Both could not stop; beta can at last and fences alpha for it, slowly; then alpha can too, and hears nothing."""
    duel = Duel(code)
    falsely_confirmed(duel)
    duel.alpha.stop_works = duel.beta.stop_works = False
    duel.cut_links(False)
    duel.run(SECOND)
    duel.pause(duel.beta, 900 * MS)
    duel.run(15 * SECOND)
    assert duel.alpha.state.role is duel.beta.state.role is Role.HALTED
    for node in duel.machines:
        node.accepts = node.off_works = node.answers_truth = True
    duel.alpha.off_takes_ns = 4 * SECOND
    duel.beta.stop_works = True
    while duel.beta.state.role is not Role.FENCING:
        duel.run(10 * MS)
    duel.cut_links()
    duel.alpha.stop_works = True
    duel.run(15 * SECOND)
    duel.cut_links(False)
    duel.run(5 * SECOND)
    duel.demand_one_owner()


@schedule
def halted_for_a_moment(code: Code) -> None:
    """Alpha's stop fails once and works when it is tried again."""
    duel = Duel(code)
    duel.settle()
    duel.alpha.stop_works = False
    duel.tell(duel.alpha, SwitchoverRequested(7))
    duel.run(500 * MS)
    assert duel.alpha.state.role is Role.HALTED
    duel.alpha.stop_works = True
    duel.run(5 * SECOND)
    duel.demand_one_owner()


@schedule
def switched_on_for_a_moment(code: Code) -> None:
    """Beta is off and read so; after alpha's `off` its device says ON once, as if somebody had pressed the button."""
    duel = Duel(code)
    duel.beta.powered = False
    duel.beta.reads = [None, None, Power.ON]
    duel.boot(duel.alpha)
    duel.run(20 * SECOND)
    assert duel.alpha.state.reason is Reason.INERT_PEER_ON
    duel.run(60 * SECOND)
    duel.demand_one_owner()


@schedule
def blinking_off(code: Code) -> None:
    """The device takes the command, says OFF for a moment, and then ON again: the host has never been off."""
    duel = Duel(code)
    duel.settle()
    duel.alpha.off_works = False
    duel.cut_links()
    while duel.beta.state.role is not Role.FENCING:
        duel.run(10 * MS)
    duel.alpha.blinks_until = duel.now + 500 * MS
    duel.run(30 * SECOND)
    duel.demand_one_owner()


@schedule
def partition_in_maintenance(code: Code) -> None:
    duel = Duel(code)
    duel.settle()
    duel.tell(duel.alpha, MaintenanceRequested(7, True))
    duel.run(SECOND)
    duel.cut_links()
    duel.run(30 * SECOND)
    assert duel.alpha.runs
    duel.demand_one_owner()


@schedule
def restart_in_maintenance(code: Code) -> None:
    """Beta's daemon is restarted in the dark, for longer than a whole round of slots."""
    duel = Duel(code)
    duel.settle()
    duel.tell(duel.alpha, MaintenanceRequested(7, True))
    duel.run(SECOND)
    duel.cut_links()
    duel.restart(duel.beta)
    duel.run(120 * SECOND)
    duel.cut_links(False)
    duel.run(3 * SECOND)
    duel.demand_one_owner()


@schedule
def yield_in_maintenance(code: Code) -> None:
    """Alpha has yielded, and beta cannot take it yet; before it can, maintenance begins: alpha takes it back by (c)."""
    duel = Duel(code)
    duel.settle()
    duel.tell(duel.alpha, SwitchoverRequested(7))
    duel.carrier(duel.beta, False)
    duel.run(150 * MS)
    assert duel.alpha.state.yielded
    duel.tell(duel.beta, MaintenanceRequested(8, True))
    duel.carrier(duel.beta, True)
    duel.run(20 * SECOND)
    assert duel.alpha.runs
    duel.demand_one_owner()


@schedule
def maintenance_in_the_dark(code: Code) -> None:
    """Maintenance is ordered while nothing that alpha says arrives."""
    duel = Duel(code, has_fence=False)
    duel.settle()
    duel.cut[0] = True
    duel.tell(duel.alpha, MaintenanceRequested(7, True))
    duel.run(300 * MS)
    duel.cut_links(False)
    duel.run(SECOND)
    assert duel.alpha.state.unleased
    duel.demand_one_owner()


@schedule
def maintenance_ends_in_the_dark(code: Code) -> None:
    """The links fail during a maintenance, and heal just after it has been ended at beta."""
    duel = Duel(code)
    duel.settle()
    duel.tell(duel.beta, MaintenanceRequested(7, True))
    duel.run(SECOND)
    duel.cut_links()
    duel.run(1500 * MS)
    duel.tell(duel.beta, MaintenanceRequested(8, False))
    duel.run(300 * MS)
    duel.cut_links(False)
    duel.run(3 * SECOND)
    assert duel.alpha.runs
    duel.demand_one_owner()


def fenced_once(duel: Duel) -> None:
    """Alpha is fenced, comes back, is given the service again, and the links fail again."""
    duel.settle()
    duel.cut_links()
    duel.run(10 * SECOND)
    assert duel.beta.runs
    duel.cut_links(False)
    duel.run(10 * SECOND)
    duel.tell(duel.beta, SwitchoverRequested(7))
    duel.run(3 * SECOND)
    assert duel.alpha.runs


@schedule
def flapping(code: Code) -> None:
    duel = Duel(code, fence_cap=1)
    fenced_once(duel)
    duel.cut_links()
    duel.run(60 * SECOND)
    assert duel.beta.state.reason is Reason.FENCE_CAP
    duel.cut_links(False)
    duel.run(5 * SECOND)
    duel.demand_one_owner()


@schedule
def flapping_and_a_restart(code: Code) -> None:
    duel = Duel(code, fence_cap=1)
    fenced_once(duel)
    duel.restart(duel.beta)
    duel.run(3 * SECOND)
    duel.cut_links()
    duel.run(60 * SECOND)
    duel.cut_links(False)
    duel.run(5 * SECOND)
    duel.demand_one_owner()


@schedule
def lying_device(code: Code) -> None:
    """The device says OFF of a host that goes on: both run, until they hear each other; then one is told a liar."""
    duel = Duel(code)
    duel.lies = True
    duel.settle()
    duel.alpha.off_works = False
    duel.alpha.blinks_until = duel.now + 60 * SECOND
    duel.cut_links()
    duel.run(10 * SECOND)
    assert duel.alpha.runs
    assert duel.beta.runs
    duel.cut_links(False)
    duel.run(5 * SECOND)
    duel.demand_one_owner()
    duel.demand_distrust(duel.beta)


# Two sessions


@schedule
def held_back(code: Code) -> None:
    """A frame comes three seconds late; meanwhile the hearer went on speaking."""
    line = Line(code)
    line.talk()
    late = line.send(1)[0]
    for _ in range(30):
        line.now += 100 * MS
        line.send(0)
    line.deliver(late.data, 0, 0)


@schedule
def echo_of_an_earlier_life(code: Code) -> None:
    """The hearer's daemon restarts, and its numbers come to where the old ones were."""
    line = Line(code)
    line.talk()
    late = line.send(1)[0]
    line.restart(0)
    for _ in range(8):
        line.now += 10 * MS
        line.send(0)
    line.deliver(late.data, 0, 0)


@schedule
def reflected(code: Code) -> None:
    line = Line(code)
    line.talk()
    line.deliver(line.send(0)[0].data, 0, 0)


@schedule
def moved(code: Code) -> None:
    line = Line(code)
    line.talk()
    line.deliver(line.send(1)[0].data, 0, 1)


@schedule
def altered(code: Code) -> None:
    """One bit of each octet in turn, the MAC left as it was."""
    line = Line(code)
    line.talk()
    data = line.send(1)[0].data
    for place in range(len(data)):
        line.deliver(data[:place] + bytes((data[place] ^ 1,)) + data[place + 1 :], 0, 0)


@schedule
def foreign_key(code: Code) -> None:
    line = Line(code)
    line.talk()
    stranger = line.session(1, OTHER_RING)
    line.deliver(line.speak(stranger)[0], 0, 0)


@schedule
def earlier_life_held_back(code: Code) -> None:
    """A frame of a daemon that was never adopted comes after its successor was."""
    line = Line(code)
    for sent in line.send(0):
        line.deliver(sent.data, 1, sent.link)
    late = line.send(1)[0]
    line.restart(1)
    line.talk()
    assert line.now - late.at < AGE_NS
    line.deliver(late.data, 0, 0)


@schedule
def retired(code: Code) -> None:
    """A frame of a daemon that was adopted comes after its successor was."""
    line = Line(code)
    line.talk()
    late = line.send(1)[0]
    line.restart(1)
    line.talk(12)
    line.deliver(late.data, 0, 0)


@schedule
def repeated(code: Code) -> None:
    line = Line(code)
    line.talk()
    again = line.send(1)[0]
    line.deliver(again.data, 0, 0)
    line.deliver(again.data, 0, 0)


@schedule
def overtaken(code: Code) -> None:
    """On the slower link, an older frame comes after a newer one."""
    line = Line(code)
    line.talk()
    older = line.send(1)[1]
    line.deliver(line.send(1)[0].data, 0, 0)
    line.deliver(older.data, 0, 1)


@schedule
def overtaken_long_ago(code: Code) -> None:
    line = Line(code)
    line.talk()
    older = line.send(1)[1]
    line.talk(60, links=(0,))
    line.deliver(older.data, 0, 1)


@schedule
def first_words(code: Code) -> None:
    Line(code).talk(2)


# The tests


@pytest.mark.parametrize("play", SCHEDULES.values(), ids=SCHEDULES.keys())
def test_the_schedule_is_clean_with_the_rules_in_force(play: Callable[[Code], None]) -> None:
    play(load())


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_caught(mutant: Mutant) -> None:
    with pytest.raises(Violation) as caught:
        SCHEDULES[mutant.schedule](load(mutant.edits))
    assert caught.value.rule == mutant.rule, str(caught.value)


def test_every_schedule_serves_a_mutant_and_no_mutant_is_there_twice() -> None:
    assert {mutant.schedule for mutant in MUTANTS} == set(SCHEDULES)
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
    assert len({mutant.edits for mutant in MUTANTS}) == len(MUTANTS)
    assert len(MUTANTS) >= 25


@pytest.mark.parametrize(
    ("place", "old", "new"),
    [
        ("hblink.core.policy", "this text stands nowhere", "x"),
        ("hblink.core.policy", "return True", "return False"),  # more than once
        ("hblink.core.fence", "OFFS_NEEDED = 2", "OFFS_NEEDED  =  2"),  # the same program
        ("hblink.core.value", "SECOND = 1", "SECOND = 2"),  # not executed anew
    ],
)
def test_a_weakening_that_does_not_apply_is_an_error(place: str, old: str, new: str) -> None:
    with pytest.raises(NotApplied):
        load((Edit(place, old, new),))


def test_no_module_that_decides_is_left_out() -> None:
    vocabulary = {"hblink.core.value", "hblink.core.event", "hblink.core.effect", "hblink.core.__init__"}
    room = Path(hblink.core.step.__file__).parent
    assert {f"hblink.core.{path.stem}" for path in room.glob("*.py")} - vocabulary <= set(FRESH)


def test_the_shipped_modules_stay_as_they_are() -> None:
    before = [sys.modules[name] for name in FRESH]
    load(MUTANTS[-1].edits)
    assert [sys.modules[name] for name in FRESH] == before
