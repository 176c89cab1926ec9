"""The peer's fence devices as the daemon uses them: a ladder of levels behind the core's ReadPower, PowerOff, PowerOn.

How the ladder maps onto the core's effects, so that S3, S4 and I6 hold level by level:

- Each PowerOff goes to exactly one level. "Not accepted" moves the ladder on, and the core, which decides every `off`
  anew, sends the next PowerOff to the next level (after the last, to the first again). So nothing is sent that the
  core did not decide at that moment, and an earlier level's `off` of unknown outcome makes the attempt doubtful there.
- A level that is not the last is believed to have accepted only when it has been *read* OFF: otherwise the core, which
  after acceptance only reads, would wait for a device that says yes and does nothing. If it is not read OFF within its
  own bound (`attempt_ms`, from its first `off` of this attempt; a reading begun before then may still end), the answer
  is "not accepted". These readings prove nothing; the core's two do.
- After acceptance every ReadPower of the attempt goes to the level that accepted, and to no other: what it does not
  say is UNKNOWN. Two OFF in a row are read at least that device's `off_interval_ms` apart; the core's own interval is
  the shortest of the ladder, and the rest is waited for here.
- Without an accepted `off` (S5, S16) a ReadPower asks the levels in order: the first that says ON or OFF decides. A BMC
  that says OFF under an outlet that is on is off; one that says ON above an outlet that is off has a second supply.
  An OFF of another level than the OFF before it is told as UNKNOWN: two of them are not one device's word twice.
- PowerOn goes to every level that was sent an `off` in this life of the daemon (to all, where none was), last level
  first (the outlet before the BMC behind it), and is accepted when all of these have accepted, one at least.
  When one has not, it goes to the other levels too, which may bring back what a device that is dead by now has switched
  off; it is not accepted for that.
- An effect that names a level (a drill of that one) goes to it and to no other, and "not accepted" moves nothing on.

One request at a time; a command never waits in a queue, where it could outlive its cause: it starts at once, or is
refused because another is under way. This module must never send a command that the core did not ask for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hblink.core.event import PowerCommanded, PowerRead
from hblink.core.value import MS, Power
from hblink.fencing.device import Commanded, FenceReason, Reading
from hblink.fencing.ladder import ROUND_PAUSE_NS, Ladder
from hblink.fencing.level import Level
from hblink.fencing.record import Answer, FenceRecord, OnStep, Readiness, Step
from hblink.loop import Loop, Timer

VERIFY_INTERVAL_NS = 500 * MS  # between readings of a level that has accepted `off` and is not OFF yet
MakeLevel = Callable[[OnStep, Callable[[int], None]], Level]


class _Job:
    """A request of the core on its way through the ladder; `step` is READ, OFF or ON.

    `only` is the level that it is for, None for whichever the ladder says; `alone`: none follows the one that it says.
    """

    __slots__ = (
        "alone", "began_at", "level", "only", "op_id", "over", "rest", "spared", "step", "timer", "unreachable",
    )  # fmt: skip

    def __init__(self, step: Step, op_id: int, only: int | None = None, *, alone: bool = False) -> None:
        self.step = step
        self.op_id = op_id
        self.only = only
        self.alone = alone or only is not None
        self.level = 0
        self.rest: list[int] = []  # the levels still to be asked
        self.unreachable = 0  # how many of those that were asked did not answer at all
        self.spared = False  # an `on` has come to the levels that were sent no `off`
        self.began_at = 0
        self.timer: Timer | None = None
        self.over = False  # answered, or to be answered without being asked any further


class Fence:
    """Answer ReadPower, PowerOff and PowerOn with exactly one event each, and know which levels work.

    `on_event(event, now)` and `on_readiness(ready, now)` are called in later turns of the loop than the request, the
    latter when the answer is another than before: ready is, that one level works. `levels` make a ladder in the order
    given; each is built by `make(on_step, on_ready)`, so that its answers come here.
    """

    def __init__(
        self,
        loop: Loop,
        levels: Sequence[MakeLevel],
        *,
        on_event: Callable[[PowerRead | PowerCommanded, int], None],
        on_readiness: Callable[[bool, int], None],
        on_record: Callable[[FenceRecord, int], None] | None = None,
    ) -> None:
        self._loop = loop
        self._on_event = on_event
        self._on_readiness = on_readiness
        self._on_record = on_record
        self.levels = [self._build(index, make) for index, make in enumerate(levels)]
        self._ready: bool | None = None
        self._job: _Job | None = None
        self._waiting: _Job | None = None  # a reading
        self._closed = False
        self._ladder = Ladder(self.levels)
        self.device_ns = 0  # wall time spent in the core's requests since the start; an attempt is a difference of two

    def _build(self, index: int, make: MakeLevel) -> Level:
        return make(lambda step, answer, now: self._on_step(index, step, answer, now), self._on_level_ready)

    @property
    def proven(self) -> int | None:
        """The level that was read OFF last, from 0; None if none was in this life of the daemon."""
        return self._ladder.proof

    @property
    def readiness(self) -> Readiness:
        """That of the first level that works, else of the first."""
        return next((level.readiness for level in self.levels if level.readiness.ready), self.levels[0].readiness)

    def start(self) -> None:
        """Look at every level now, and from now on about once a minute."""
        self.poll()

    def poll(self) -> bool:
        """Look at the levels now, for readiness alone; False if all are busy (their answers will serve as well)."""
        return any([level.poll() for level in self.levels])

    def read(self, op_id: int, level: int | None = None) -> None:
        """Read the power state: PowerRead. Waits for the core's own request that is under way, not for a poll.

        An older reading that still waits is answered UNKNOWN. `level`, here and below, is the one that is asked, and no
        other; None for the ladder.
        """
        self._drop_waiting()
        job = _Job(Step.READ, op_id, level)
        if self._job is None:
            self._begin_read(job)
        else:
            self._waiting = job

    def off(self, op_id: int, level: int | None = None, *, alone: bool = False) -> None:
        """Command a power-off, starting now: PowerCommanded. Readings under way are ended, answered UNKNOWN.

        `alone`: the attempt rests on OFF readings without a command (S5); the level that gave them is commanded, and
        no other.
        """
        job = _Job(Step.OFF, op_id, level, alone=alone)
        if self._command(job):
            self._begin_off(job)

    def on(self, op_id: int, level: int | None = None) -> None:
        """Command a power-on, starting now: PowerCommanded. Readings under way are ended, answered UNKNOWN."""
        job = _Job(Step.ON, op_id, level)
        if self._command(job):
            self._begin_on(job)

    def end_attempt(self) -> None:
        """The attempt that wanted the peer off is over: kill an `off` that is under way; begin the ladder anew.

        An ipmitool that waits for an unreachable BMC would otherwise power off a peer that is heard again.
        """
        self._ladder.reset()
        if self._job is not None and self._job.step is Step.OFF:
            self._cancel(self._job)

    def suspend(self) -> None:
        """The node has hiccuped: an `off` that waits for the look before it must be decided anew (I6)."""
        job = self._job
        if job is not None and job.step is Step.OFF and self.levels[job.level].looking:
            self._cancel(job)

    def distrust(self, now: int) -> int | None:
        """S14: the peer came back in the kernel boot in which it was called off. Disable the level that said so.

        Returns its index; None if none has said so in this life of the daemon, and then all are disabled.
        """
        proof = self._ladder.proof
        for index, level in enumerate(self.levels):
            if proof in (None, index):
                level.disable("called the peer off, which came back in the same kernel boot", now)
        return proof

    def trust(self) -> None:
        """An operator takes that back: every level may be used again once it has been looked at."""
        for level in self.levels:
            level.enable()

    def close(self) -> None:
        """Kill whatever runs and call nobody back any more. The outcome of a command that ran is unknown."""
        self._closed = True
        self._waiting = None
        if self._job is not None and self._job.timer is not None:
            self._job.timer.cancel()
        for level in self.levels:
            level.close()

    # Whose turn it is

    def _command(self, job: _Job) -> bool:
        """Make way for a command; False if another is under way, and the answer is on its way."""
        self._drop_waiting()
        running = self._job
        if running is not None and running.step is not Step.READ:
            self._later(lambda now: self._answer_busy(job, running, now))
            return False
        if running is not None:
            self._cancel(running)
        self._job = job
        return True

    def _answer_busy(self, job: _Job, running: _Job, now: int) -> None:
        if self._on_record is not None and not self._closed:
            detail = f"{running.step.value} is still under way"
            self._on_record(
                FenceRecord(running.level, job.step, job.op_id, None, False, FenceReason.BUSY, detail, 0), now
            )
        self._answer_command(job, False, now)

    def _drop_waiting(self) -> None:
        job, self._waiting = self._waiting, None
        if job is not None:
            self._later(lambda now: self._answer_read(job, Power.UNKNOWN, now))

    def _cancel(self, job: _Job) -> None:
        """End a job without asking any further; it is answered in a later turn."""
        job.over = True
        if job.timer is not None:
            job.timer.cancel()
        if job.step is Step.OFF and not self.levels[job.level].looking:
            self._ladder.note_sent(job.level)  # before its answer comes: an `on` may not wait for that
        self.levels[job.level].kill()
        self._job = None
        if job.step is Step.READ:
            self._later(lambda now: self._answer_read(job, Power.UNKNOWN, now))
        else:
            self._later(lambda now: self._answer_command(job, False, now))
        self._next_waiting()

    def _next_waiting(self) -> None:
        job, self._waiting = self._waiting, None
        if job is not None:
            self._begin_read(job)

    def _later(self, callback: Callable[[int], None]) -> None:
        self._loop.call_at(self._loop.now(), callback)

    def _answer_read(self, job: _Job, power: Power, now: int) -> None:
        if not self._closed:
            gone = job.unreachable == len(self.levels)
            self._on_event(PowerRead(job.op_id, power, gone), now)

    def _answer_command(self, job: _Job, accepted: bool, now: int) -> None:
        if not self._closed:
            self._on_event(PowerCommanded(job.op_id, accepted), now)

    def _finish(self, job: _Job) -> None:
        job.over = True
        if self._job is job:
            self._job = None
            self._next_waiting()

    # Readings

    def _begin_read(self, job: _Job) -> None:
        """Ask the level that accepted, else all in order; not before the interval after its last OFF is over."""
        self._job = job
        job.rest = self._ladder.readers(job.only)
        earliest_at = self._ladder.earliest_at()
        if earliest_at > self._loop.now():
            job.timer = self._loop.call_at(earliest_at, lambda _now: self._ask_next(job))
        else:
            self._ask_next(job)

    def _ask_next(self, job: _Job) -> None:
        job.timer = None
        if job.rest:
            job.level = job.rest.pop(0)
            self.levels[job.level].read(Step.READ, lambda answer, at: self._on_read(job, answer, at))
        else:
            self._later(lambda at: self._conclude_read(job, Power.UNKNOWN, at))

    def _on_read(self, job: _Job, answer: Reading, now: int) -> None:
        if job.over:
            return
        job.unreachable += answer.reason is FenceReason.UNREACHABLE
        if answer.power is Power.UNKNOWN and job.rest:
            self._ask_next(job)
        else:
            self._conclude_read(job, answer.power, now)

    def _conclude_read(self, job: _Job, power: Power, now: int) -> None:
        if job.over:
            return
        worth = self._ladder.take(job.level, power, now)
        self._finish(job)
        self._answer_read(job, worth, now)

    # Off

    def _begin_off(self, job: _Job) -> None:
        job.level, job.began_at = self._ladder.choose(self._loop.now(), alone=job.alone, only=job.only)
        self.levels[job.level].shoot(lambda answer, at: self._on_off(job, answer, at))

    def _on_off(self, job: _Job, answer: Commanded, now: int) -> None:
        if job.over:
            return
        if not answer.accepted:
            self._refused(job, now, stays_on=False)
        elif job.alone or self._ladder.is_last(job.level):
            self._take_accepted(job, now)
        else:
            self._verify(job, now)

    def _verify(self, job: _Job, now: int) -> None:
        job.timer = None
        if now >= job.began_at + self.levels[job.level].settings.attempt_ns:
            self._refused(job, now, stays_on=True)
            return
        self.levels[job.level].read(Step.VERIFY, lambda answer, at: self._on_verified(job, answer, at))

    def _on_verified(self, job: _Job, answer: Reading, now: int) -> None:
        if job.over:
            return
        if answer.power is Power.OFF:
            self._take_accepted(job, now)
        else:
            job.timer = self._loop.call_at(now + VERIFY_INTERVAL_NS, lambda at: self._verify(job, at))

    def _take_accepted(self, job: _Job, now: int) -> None:
        self._ladder.accept(job.level)
        self._finish(job)
        self._answer_command(job, True, now)

    def _refused(self, job: _Job, now: int, *, stays_on: bool) -> None:
        pause = job.only is None and self._ladder.refuse(job.level, now, stays_on=stays_on)
        if pause and not job.alone:
            job.timer = self._loop.call_at(now + ROUND_PAUSE_NS, lambda at: self._give_up(job, at))
        else:
            self._give_up(job, now)

    def _give_up(self, job: _Job, now: int) -> None:
        job.timer = None
        self._finish(job)
        self._answer_command(job, False, now)

    # On

    def _begin_on(self, job: _Job) -> None:
        job.rest = self._ladder.switches(job.only)
        self._switch_next(job, job.rest != [])

    def _switch_next(self, job: _Job, accepted: bool) -> None:
        if not job.rest and not accepted and job.only is None and not job.spared:
            job.rest, job.spared = self._ladder.spares(), True
        if job.rest:
            job.level = job.rest.pop(0)
            self.levels[job.level].switch_on(lambda answer, _at: self._on_switched(job, accepted, answer))
        else:
            self._later(lambda at: self._conclude_on(job, accepted, at))

    def _on_switched(self, job: _Job, accepted: bool, answer: Commanded) -> None:
        if not job.over:
            self._switch_next(job, accepted and answer.accepted)

    def _conclude_on(self, job: _Job, accepted: bool, now: int) -> None:
        if not job.over:
            self._finish(job)
            self._answer_command(job, accepted, now)

    # What the levels tell

    def _on_step(self, level: int, step: Step, answer: Answer, now: int) -> None:
        job = self._job
        op_id = None if step is Step.POLL or job is None else job.op_id
        if step is Step.OFF:
            self._ladder.note_sent(level)
        if step is not Step.POLL:
            self.device_ns += answer.elapsed_ns
        if self._on_record is None or self._closed:
            return
        accepted = answer.accepted if isinstance(answer, Commanded) else None
        power = None if isinstance(answer, Commanded) else answer.power
        record = FenceRecord(level, step, op_id, power, accepted, answer.reason, answer.detail, answer.elapsed_ns)
        self._on_record(record, now)

    def _on_level_ready(self, now: int) -> None:
        known = [level.readiness.ready for level in self.levels]
        ready = True if True in known else None if None in known else False
        if ready is not None and ready is not self._ready:
            self._ready = ready
            self._on_readiness(ready, now)
