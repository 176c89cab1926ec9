"""The peer's fence device as the daemon uses it: one client at a time, the core's requests first, readiness by polling.

BMCs have few session slots, and a client killed in mid-session holds one until the BMC times it out (often 60 s). So
the device is polled about once a minute, never beside another request. The one exception is worth its slot: a poll or a
reading that runs when `off` or `on` is wanted is killed, and the command starts in the same turn.

A command never waits in a queue, where it could outlive its cause: it starts at once, or is refused because another
command is under way. This module must never send a command that the core did not ask for, or send one twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, unique

from hblink.core.event import PowerCommanded, PowerRead
from hblink.core.value import SECOND, Power
from hblink.fencing.device import Commanded, FenceDevice, FenceReason, Reading, Running
from hblink.loop import Loop, Timer

POLL_INTERVAL_NS = 60 * SECOND


@unique
class Request(Enum):
    """What the device is asked, and by whom."""

    POLL = "poll"  # a reading for readiness alone
    READ = "read"
    OFF = "off"
    ON = "on"


_COMMANDS = frozenset({Request.OFF, Request.ON})


@dataclass(frozen=True, slots=True)
class Readiness:
    """What the last answer of the device (a poll's or another's) tells of its use; `ready` is None before the first.

    `power` is the last reading, UNKNOWN if that failed or a command came since. `at` is when the answer came.
    """

    ready: bool | None = None
    at: int | None = None
    power: Power = Power.UNKNOWN
    reason: FenceReason | None = None
    detail: str = "not asked yet"


@dataclass(frozen=True, slots=True)
class FenceRecord:
    """One answer, for the log. `op_id` is None for a poll; `accepted` is None for readings, `power` for commands.

    `elapsed_ns` is the wall time of the request's process, which is what the BMC itself costs.
    """

    request: Request
    op_id: int | None
    power: Power | None
    accepted: bool | None
    reason: FenceReason
    detail: str
    elapsed_ns: int


class _Job:
    """A request on its way through the device."""

    __slots__ = ("op_id", "request", "running")

    def __init__(self, request: Request, op_id: int | None) -> None:
        self.request = request
        self.op_id = op_id
        self.running: Running | None = None


class Fence:
    """Answer the core's ReadPower, PowerOff and PowerOn with exactly one event each, and know whether the device works.

    `on_event(event, now)` and `on_readiness(ready, now)` are called in later turns of the loop than the request, the
    latter only when the answer is another than before. `node` is this node's index: the two nodes poll half an interval
    apart, since their BMCs may share a controller.
    """

    def __init__(
        self,
        loop: Loop,
        device: FenceDevice,
        *,
        node: int,
        on_event: Callable[[PowerRead | PowerCommanded, int], None],
        on_readiness: Callable[[bool, int], None],
        on_record: Callable[[FenceRecord, int], None] | None = None,
        poll_interval_ns: int = POLL_INTERVAL_NS,
    ) -> None:
        self._loop = loop
        self._device = device
        self._on_event = on_event
        self._on_readiness = on_readiness
        self._on_record = on_record
        self._poll_interval_ns = poll_interval_ns
        self._phase_ns = node * poll_interval_ns // 2
        self._poll_timer: Timer | None = None
        self._running: _Job | None = None
        self._waiting: _Job | None = None  # a reading
        self._closed = False
        self.readiness = Readiness()
        self.device_ns = 0  # wall time spent in the core's requests since the start; an attempt is a difference of two

    def start(self) -> None:
        """Poll now, and from now on."""
        self.poll()

    def poll(self) -> bool:
        """Look at the device now, for readiness alone; False if it is busy (its answer will serve as well)."""
        if self._closed or self._running is not None:
            return False
        self._begin(_Job(Request.POLL, None))
        return True

    def read(self, op_id: int) -> None:
        """Read the power state: PowerRead. Waits for the core's own request that is under way, not for a poll.

        An older reading that still waits is answered UNKNOWN.
        """
        self._drop_waiting()
        job = _Job(Request.READ, op_id)
        if self._running is None:
            self._begin(job)
        elif self._running.request is Request.POLL:
            self._displace(job)
        else:
            self._waiting = job

    def off(self, op_id: int) -> None:
        """Command a power-off, starting now: PowerCommanded. Readings under way are ended, answered UNKNOWN."""
        self._command(_Job(Request.OFF, op_id))

    def on(self, op_id: int) -> None:
        """Command a power-on, starting now: PowerCommanded. Readings under way are ended, answered UNKNOWN."""
        self._command(_Job(Request.ON, op_id))

    def withdraw_off(self) -> None:
        """Kill an `off` that is under way and no longer wanted: not accepted, its outcome unknown.

        An ipmitool that waits for an unreachable BMC would otherwise power off a peer that is heard again.
        """
        if self._running is not None and self._running.request is Request.OFF:
            self._kill(self._running)

    def close(self) -> None:
        """Kill whatever runs and call nobody back any more. The outcome of a command that ran is unknown."""
        self._closed = True
        self._waiting = None
        if self._poll_timer is not None:
            self._poll_timer.cancel()
        if self._running is not None:
            self._kill(self._running)

    def _command(self, job: _Job) -> None:
        self._drop_waiting()
        if self._running is None:
            self._begin(job)
        elif self._running.request not in _COMMANDS:
            self._displace(job)
        else:
            busy = Commanded(False, FenceReason.BUSY, f"{self._running.request.value} is still under way", 0)
            self._later(lambda now: self._on_commanded(job, busy, now))

    def _drop_waiting(self) -> None:
        job, self._waiting = self._waiting, None
        if job is not None:
            cancelled = Reading(Power.UNKNOWN, FenceReason.CANCELLED, "gave way before it began", 0)
            self._later(lambda now: self._on_read(job, cancelled, now))

    def _displace(self, job: _Job) -> None:
        """Start `job` in place of what runs: once SIGKILL is sent, that sends no further packet."""
        if self._running is not None:
            self._kill(self._running)
        self._begin(job)

    def _kill(self, job: _Job) -> None:
        if job.running is not None:
            job.running.kill()

    def _later(self, callback: Callable[[int], None]) -> None:
        self._loop.call_at(self._loop.now(), callback)

    def _begin(self, job: _Job) -> None:
        self._running = job
        if job.request is Request.OFF:
            job.running = self._device.power_off(lambda answer, now: self._on_commanded(job, answer, now))
        elif job.request is Request.ON:
            job.running = self._device.power_on(lambda answer, now: self._on_commanded(job, answer, now))
        else:
            job.running = self._device.read_power(lambda answer, now: self._on_read(job, answer, now))

    def _on_read(self, job: _Job, answer: Reading, now: int) -> None:
        self._settle(job, answer, answer.power, None, now)
        if job.op_id is not None and not self._closed:
            self._on_event(PowerRead(job.op_id, answer.power), now)

    def _on_commanded(self, job: _Job, answer: Commanded, now: int) -> None:
        self._settle(job, answer, None, answer.accepted, now)
        if job.op_id is not None and not self._closed:
            self._on_event(PowerCommanded(job.op_id, answer.accepted), now)

    def _settle(
        self, job: _Job, answer: Reading | Commanded, power: Power | None, accepted: bool | None, now: int
    ) -> None:
        """Take note of an answer, and give the device to the next; the event goes out after this."""
        if job.op_id is not None:
            self.device_ns += answer.elapsed_ns
        if self._running is job:
            self._running = None
        if self._closed:
            return
        if self._on_record is not None:
            record = FenceRecord(
                job.request, job.op_id, power, accepted, answer.reason, answer.detail, answer.elapsed_ns
            )
            self._on_record(record, now)
        if answer.reason not in (FenceReason.CANCELLED, FenceReason.BUSY):
            self._take_readiness(power or Power.UNKNOWN, answer, now)
        if self._running is None:
            waiting, self._waiting = self._waiting, None
            if waiting is not None:
                self._begin(waiting)
        self._schedule_poll(now)

    def _take_readiness(self, power: Power, answer: Reading | Commanded, now: int) -> None:
        before = self.readiness.ready
        ready = answer.reason is FenceReason.OK
        self.readiness = Readiness(ready, now, power, answer.reason, answer.detail)
        if ready is not before:
            self._on_readiness(ready, now)

    def _schedule_poll(self, now: int) -> None:
        """One interval after any answer, half of it while the device does not work; the first time, the phase too."""
        if self._poll_timer is not None:
            self._poll_timer.cancel()
        wait_ns = self._poll_interval_ns if self.readiness.ready else self._poll_interval_ns // 2
        phase_ns, self._phase_ns = self._phase_ns, 0
        self._poll_timer = self._loop.call_at(now + wait_ns + phase_ns, self._on_poll_due)

    def _on_poll_due(self, now: int) -> None:
        if not self.poll():
            self._schedule_poll(now)
