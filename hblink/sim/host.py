"""A simulated machine: power, kernel boots, clock, disk, runtime directory, the service and its address, the BMC.

All of it goes on, or ends, whatever becomes of the daemon: the kernel lets the address lapse, the BMC obeys. This
module must never decide anything about the service.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from enum import Enum, unique
from random import Random

from hblink.core.value import EPOCH_NONE, Memory
from hblink.sim.bmc import Bmc, Health
from hblink.sim.checker import Checker
from hblink.sim.daemon import Daemon
from hblink.sim.log import Log
from hblink.sim.network import Network
from hblink.sim.plan import Plan
from hblink.sim.timeline import Appointment, Clock, Timeline


@unique
class Disk(Enum):
    """What becomes of the epoch that is written to disk."""

    GOOD = "good"
    LOST = "lost"  # missing, or cannot be read
    READ_ONLY = "read_only"
    ROLLED_BACK = "rolled_back"  # at the next boot an old copy is found


@unique
class Outcome(Enum):
    """What becomes of a start or a stop of the service."""

    GOOD = "good"
    FAILS = "fails"
    HANGS = "hangs"


class Host:
    """One of the two machines. The flags are the truth, whatever anybody believes of it."""

    def __init__(
        self,
        index: int,
        plan: Plan,
        timeline: Timeline,
        random: Random,
        network: Network,
        log: Log,
        checker: Checker,
    ) -> None:
        self.index = index
        self.name = plan.names[index]
        self.plan = plan
        self.timeline = timeline
        self.random = random
        self.network = network
        self.log = log
        self.checker = checker
        self.clock = Clock(timeline.now, plan.clock_base_ns[index], plan.clock_ppm[index])
        self.powered = False
        self.crashed = False
        self.paused = False
        self.boot_id = bytes(16)
        self.daemon: Daemon | None = None
        self.bmc = Bmc(timeline, Health(plan.bmc_latency_ns, plan.off_takes_ns), lambda: self.powered, self.switch)
        self.service = False
        self.vip_until: int | None = None
        self.carrier = True
        self.start_outcome = Outcome.GOOD
        self.stop_outcome = Outcome.GOOD
        self.disk = Disk.GOOD if plan.has_disk[index] else Disk.LOST
        self.runtime_works = True
        self.peer: Host  # set by the world
        self.on_change: Callable[[], None] = lambda: None  # told of every change of power, service or address
        self.said_at = -plan.deadtime_ns * 1000
        self.sent: set[tuple[int, bytes]] = set()  # every frame that was ever put on each link here
        self.heard_in_boot = False
        self.forgot_at: int | None = None
        self.fenced: list[tuple[int, bool]] = []  # when `off` was sent to this machine, and whether its daemon spoke
        self._steady_since = timeline.now
        self._epochs = [EPOCH_NONE]  # that the disk has held, oldest first
        self._runtime: Memory | None = None
        self._runtime_spoilt = False
        self._boot: Appointment | None = None
        self._lapse: Appointment | None = None
        self._vip_left_ns = 0

    # Power and boots

    def switch(self, on: bool) -> None:
        """Switch the power; `on` boots a machine that is off, and does nothing to one that is on."""
        if on == self.powered:
            return
        self.powered = on
        self.log.add(self.name, "power on" if on else "power off")
        self._halt()
        if on:
            self._boot = self.timeline.call_after(self.plan.boot_ns, self.boot)
        self.on_change()

    def crash(self) -> None:
        """The kernel stops; the power stays on."""
        if self.powered and not self.crashed:
            self.log.add(self.name, "kernel crash")
            self._halt()
            self.crashed = True
            self.on_change()

    def reboot(self) -> None:
        """Cold start: everything stops now, and comes back after a boot."""
        if self.powered:
            self.log.add(self.name, "reboot")
            self._halt()
            self._boot = self.timeline.call_after(self.plan.boot_ns, self.boot)
            self.on_change()

    def boot(self) -> None:
        """The kernel and the daemon are up: a new boot id, an empty runtime directory."""
        self._halt()
        self.powered = True
        self.clock = Clock(self.timeline.now, self.plan.clock_base_ns[self.index], self.plan.clock_ppm[self.index])
        self.boot_id = self.random.randbytes(16)
        self._runtime = None
        self._runtime_spoilt = False
        self.heard_in_boot = False
        self.log.add(self.name, "boot")
        self.on_change()
        self.start_daemon()

    def pause(self) -> None:
        """The whole machine stands still, kernel and all (suspend, a paused guest)."""
        if not self._runs:
            return
        self.paused = True
        self.log.add(self.name, "machine paused")
        if self.vip_until is not None:
            self._vip_left_ns = self.vip_until - self.timeline.now
        if self._lapse is not None:
            self._lapse.cancel()
        if self.daemon is not None:
            self.daemon.process.freeze()
        self._unsteady()
        self.on_change()

    def resume(self) -> None:
        """The machine goes on; boot time went on meanwhile, the kernel's timers did not."""
        if not self.paused:
            return
        self.paused = False
        self.log.add(self.name, "machine resumed")
        if self.vip_until is not None:
            self._lease_until(self.timeline.now + self._vip_left_ns)
        self._unsteady()
        self.on_change()
        if self.daemon is not None:
            self.daemon.process.thaw()

    def jump(self, by_ns: int) -> None:
        """Boot time jumps forward."""
        if self._runs:
            self.clock = self.clock.stepped(self.timeline.now, by_ns)
            self.log.add(self.name, f"boot time jumps by {by_ns / 1e9:g} s")
            self._unsteady()
            if self.daemon is not None:
                self.daemon.process.step_clock(self.clock)

    def _halt(self) -> None:
        if self._boot is not None:
            self._boot.cancel()
        if self.daemon is not None:
            self.daemon.kill()
        self.daemon = None
        self.crashed = self.paused = False
        self._remove_vip("")
        self._set_service(False)
        self._unsteady()

    # The daemon's life

    def start_daemon(self) -> None:
        """The daemon starts, with what it remembers."""
        if self._runs and self.daemon is None:
            self.daemon = Daemon(self)
            self._unsteady()
            self.daemon.start(self._recall())

    def kill_daemon(self) -> None:
        """The daemon dies at once; what runs goes on without it."""
        if self.daemon is not None:
            self.log.add(self.name, "daemon killed")
            self.daemon.kill()
            self.daemon = None
            self._unsteady()

    def daemon_ended(self) -> None:
        """The daemon has exited by itself."""
        self.log.add(self.name, "daemon ends")
        self.daemon = None
        self._unsteady()

    def freeze_daemon(self) -> None:
        """The daemon stands still (SIGSTOP); the kernel does not."""
        if self.daemon is not None and not self.daemon.process.frozen:
            self.log.add(self.name, "daemon frozen")
            self.daemon.process.freeze()
            self._unsteady()

    def thaw_daemon(self) -> None:
        """The frozen daemon goes on."""
        if self.daemon is not None and self.daemon.process.frozen and not self.paused:
            self.log.add(self.name, "daemon goes on")
            self._unsteady()
            self.daemon.process.thaw()

    @property
    def _runs(self) -> bool:
        return self.powered and not self.crashed and not self.paused

    @property
    def speaks(self) -> bool:
        """Whether a daemon runs here that sends frames."""
        return self.daemon is not None and not self.daemon.process.frozen and self.daemon.spoken_at is not None

    def steady_for(self, window_ns: int) -> bool:
        """Whether a daemon has been running and speaking here without a pause for `window_ns`."""
        if self.daemon is None or self.daemon.spoken_at is None or not self.speaks:
            return False
        return self.timeline.now - max(self._steady_since, self.daemon.spoken_at) > window_ns

    def _unsteady(self) -> None:
        self._steady_since = self.timeline.now

    # Memory

    def remember(self, memory: Memory) -> None:
        """Write `memory` to the runtime directory, and its epoch to the disk."""
        if self.runtime_works:
            self._runtime = memory
        else:
            self._runtime_spoilt = True
        if self.disk in (Disk.GOOD, Disk.ROLLED_BACK) and memory.epoch != self._epochs[-1]:
            self._epochs.append(memory.epoch)

    def _recall(self) -> Memory:
        memory = Memory(ran=True) if self._runtime_spoilt else self._runtime or Memory()
        on_disk = self._epochs[-1]
        if self.disk is Disk.LOST:
            on_disk = EPOCH_NONE
        elif self.disk is Disk.ROLLED_BACK and self._runtime is None:
            on_disk = self._epochs[self.random.randrange(len(self._epochs))]
            self._epochs.append(on_disk)
        epoch = max(memory.epoch, on_disk)
        if epoch < max(self._epochs) or self.disk in (Disk.LOST, Disk.READ_ONLY):
            self.forgot_at = self.timeline.now
        return replace(memory, epoch=epoch)

    # The service and its address

    def begin_service(self) -> None:
        """A start begins: from now on something may run, whatever becomes of the start."""
        self._set_service(True)

    def service_started(self) -> Outcome:
        """A start has had its time: what became of it."""
        if self.start_outcome is not Outcome.GOOD:
            self.log.add(self.name, f"service start {self.start_outcome.value}")
        return self.start_outcome

    def service_stopped(self) -> Outcome:
        """A stop has had its time: what became of it. One that fails leaves running what runs."""
        if self.stop_outcome is Outcome.GOOD:
            if self.service:
                self.log.add(self.name, "service stopped")
            self._remove_vip("VIP removed")
            self._set_service(False)
        elif self.service:
            self.log.add(self.name, f"service stop {self.stop_outcome.value}")
        else:
            return Outcome.GOOD
        return self.stop_outcome

    def renew_vip(self, lease_ns: int) -> None:
        """Add the address, or renew its lease."""
        if self.vip_until is None:
            self.log.add(self.name, "VIP added")
        self._lease_until(self.timeline.now + lease_ns)
        self.on_change()

    @property
    def answers(self) -> bool:
        """Whether this machine answers for the virtual address."""
        return self.vip_until is not None and self._runs

    def set_carrier(self, up: bool) -> None:
        """The service interface gets or loses carrier; the daemon hears of it a little later."""
        if up == self.carrier:
            return
        self.carrier = up
        self.log.add(self.name, f"service carrier {'up' if up else 'down'}")
        self.timeline.call_after(self.plan.carrier_ns, self._tell_carrier)

    def _tell_carrier(self) -> None:
        if self.daemon is not None:
            self.daemon.carrier_changed()

    def _set_service(self, runs: bool) -> None:
        if runs != self.service:
            self.service = runs
            self.checker.service_changed()
            self.on_change()

    def _lease_until(self, at: int) -> None:
        if self._lapse is not None:
            self._lapse.cancel()
        self.vip_until = at
        self._lapse = self.timeline.call_at(at, lambda: self._remove_vip("VIP lease lapsed"))

    def _remove_vip(self, text: str) -> None:
        if self._lapse is not None:
            self._lapse.cancel()
        if self.vip_until is not None:
            self.vip_until = None
            if text:
                self.log.add(self.name, text)
            self.on_change()
