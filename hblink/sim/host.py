"""A simulated machine: power, kernel boots, clocks, carrier, the BMC, and the daemon's lives on it.

All of it goes on, or ends, whatever becomes of the daemon: the BMC obeys, the kernel boots. What runs here is in
hblink.sim.service, what is remembered in hblink.sim.disk. This module must never decide anything about the service.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from hblink_wire import Key, Keyring

from hblink.core.value import Holder, Memory
from hblink.sim.bmc import Bmc, Health
from hblink.sim.checker import Checker
from hblink.sim.daemon import Daemon
from hblink.sim.disk import Disk, Store
from hblink.sim.log import Log
from hblink.sim.network import Network
from hblink.sim.plan import Plan
from hblink.sim.process import Spot
from hblink.sim.service import Service
from hblink.sim.timeline import Appointment, Clock, Timeline
from hblink.sim.watchdog import Watchdog


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
        self.switched_at = timeline.now  # on or off
        self.up = False  # a kernel runs
        self.crashed = False
        self.paused = False
        self.shuts_down = False
        self.boot_id = bytes(16)
        self.daemon: Daemon | None = None
        self.bmc = Bmc(
            timeline, Health(plan.bmc_latency_ns, plan.off_takes_ns), lambda: self.powered, self.switch, self.shut_down
        )
        self.carrier = True
        self.outlet = True  # whether the outlet of the PDU feeds the machine and its BMC
        self.pdu = Bmc(timeline, Health(plan.bmc_latency_ns, 0), lambda: self.outlet, self.feed, lambda: None)
        self.health: int | None = None  # share of the upstream targets that answer; None: there are no targets
        self.holder = Holder.NONE  # who else is seen to answer for the address
        self.guarded = plan.watchdog_ns is not None  # whether a hardware watchdog is said to be armed
        self.watchdog = None if plan.watchdog_ns is None else Watchdog(timeline, plan.watchdog_ns, self._bitten)
        self.unplugged = [False] * len(plan.links)  # cables that are out, so that nothing is felt through them
        self.fenced_since_end = False  # `off` was sent to this machine since its last orderly end
        self.identity = index  # who the daemon here believes to be
        self.keyring = Keyring((Key(1, plan.secrets[index]),), 1)
        self.boot_ns = plan.boot_ns
        self.store = Store(random, Disk.GOOD if plan.has_disk[index] else Disk.LOST)
        self.kernel = Service(
            timeline,
            note=lambda text: log.add(self.name, text),
            on_run=checker.service_changed,
            on_change=lambda: self.on_change(),
        )
        self.peer: Host  # set by the world
        self.on_change: Callable[[], None] = lambda: None  # told of every change of power, service or address
        self.said_at = -plan.deadtime_ns * 1000
        self.sent: set[tuple[int, bytes]] = set()  # every frame that was ever put on each link here
        self.heard_in_boot = False
        self.forgot_at: int | None = None
        self.fenced: list[tuple[int, bool]] = []  # when `off` was sent to this machine, and whether its daemon spoke
        self.suspected_at: list[int] = []  # when the peer raised peer_lost although this daemon spoke
        self._steady_since = timeline.now
        self._boot: Appointment | None = None

    # Power and boots

    def switch(self, on: bool) -> None:
        """Switch the power; `on` boots a machine that is off, and does nothing to one that is on."""
        if on == self.powered or (on and not self.outlet):
            return
        self.powered = on
        self.switched_at = self.timeline.now
        self.log.add(self.name, "power on" if on else "power off")
        self._halt()
        if on:
            self._boot = self.timeline.call_after(self.boot_ns, self.boot)
        self.on_change()

    def feed(self, on: bool) -> None:
        """Switch the outlet that feeds the machine and its BMC."""
        self.outlet = self.bmc.fed = on
        self.switch(on)

    def reset(self) -> None:
        """The machine resets itself, at once and without a sync."""
        if self._runs:
            self.log.add(self.name, "resets itself")
            self.reboot()

    def _bitten(self) -> None:
        self.log.add(self.name, "watchdog resets the machine")
        self.reboot()

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
            self._boot = self.timeline.call_after(self.boot_ns, self.boot)
            self.on_change()

    def boot(self) -> None:
        """The kernel and the daemon are up: a new boot id, an empty runtime directory."""
        self._halt()
        self.powered = self.up = True
        self.clock = Clock(self.timeline.now, self.plan.clock_base_ns[self.index], self.plan.clock_ppm[self.index])
        self.boot_id = self.random.randbytes(16)
        self.store.boot()
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
        self.kernel.pause()
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
        self.kernel.resume()
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
        self.up = self.crashed = self.paused = self.shuts_down = False
        self.kernel.end()
        if self.watchdog is not None:
            self.watchdog.stop()
        self._unsteady()

    # The daemon's life

    def start_daemon(self) -> None:
        """The daemon starts, with what it remembers."""
        if self._runs and self.daemon is None:
            self.daemon = Daemon(self)
            self._unsteady()
            self.daemon.start(self._recall())

    def shut_down(self) -> None:
        """Somebody has pressed the power button: the system ends its daemon, then switches itself off."""
        if self._runs:
            self.log.add(self.name, "shuts down")
            self.shuts_down = True
            if self.daemon is not None:
                self.daemon.shut_down()
            boot_id = self.boot_id
            self.timeline.call_after(self.plan.shutdown_ns, lambda: self._shut(boot_id))

    def _shut(self, boot_id: bytes) -> None:
        if self.boot_id == boot_id and self._runs:
            self.switch(False)

    def _recall(self) -> Memory:
        memory = self.store.recall()
        if self.store.forgetful:
            self.forgot_at = self.timeline.now
        return memory

    def kill_daemon(self) -> None:
        """The daemon dies at once; what runs goes on without it."""
        if self.daemon is not None:
            self.log.add(self.name, "daemon killed")
            self.daemon.kill()
            self.daemon = None
            self._unsteady()

    def daemon_ended(self, *, clean: bool, orderly: bool) -> None:
        """The daemon has exited by itself; its magic close ends the watchdog if nothing was left to run.

        `orderly`: an active peer was heard until then, who fences nobody for silence.
        """
        self.log.add(self.name, "daemon ends")
        if self.watchdog is not None and clean:
            self.watchdog.stop()
        if orderly and self.shuts_down:
            self.store.note_orderly_end()
            self.fenced_since_end = False
        self.daemon = None
        self._unsteady()

    def freeze_daemon(self, spot: Spot = Spot.BETWEEN) -> None:
        """The daemon stands still (SIGSTOP), at once or as soon as it comes by `spot`; the kernel does not."""
        if self.daemon is not None and not self.daemon.process.frozen:
            self.log.add(self.name, "daemon frozen" if spot is Spot.BETWEEN else f"daemon to be frozen {spot.value}")
            self.daemon.process.freeze(spot)
            self._unsteady()

    def thaw_daemon(self) -> None:
        """The frozen daemon goes on."""
        if self.daemon is not None and self.daemon.process.stands and not self.paused:
            self.log.add(self.name, "daemon goes on")
            self._unsteady()
            self.daemon.process.thaw()

    @property
    def _runs(self) -> bool:
        return self.up and not self.paused

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

    def turn_key(self, keyring: Keyring) -> None:
        """The keyring file is another one from now on, and the daemon is told to read it."""
        if not (self.trusts(self.peer) and self.peer.trusts(self)):
            self._unsteady()  # until now they were strangers
        self.keyring = keyring
        ids = ", ".join(f"{key.id}{'*' if key.id == keyring.active_id else ''}" for key in keyring.keys)
        self.log.add(self.name, f"keyring {ids}")
        if self.daemon is not None:
            self.daemon.turn_key(keyring)

    def mistake(self, identity: int) -> None:
        """The daemon is started again, and believes to be the node of that index."""
        if identity != self.identity:
            self.identity = identity
            self.log.add(self.name, f"the node name is {self.plan.names[identity]} from now on")
            self.kill_daemon()
            self.start_daemon()

    def step_wall_clock(self, by_ns: int) -> None:
        """The time of day jumps. There is nothing in a node that reads it, and so nothing to tell."""
        self.log.add(self.name, f"wall clock steps by {by_ns / 1e9:g} s")

    def trusts(self, other: Host) -> bool:
        """Whether what `other` signs now is accepted here."""
        return self.keyring.get(other.keyring.active_id) == other.keyring.active

    # What runs here, and what is seen of it

    @property
    def service(self) -> bool:
        """Whether anything of the service runs here."""
        return self.kernel.running

    @property
    def answers(self) -> bool:
        """Whether this machine answers for the virtual address."""
        return self.kernel.vip_until is not None and self._runs

    def lose_address(self) -> None:
        """Another program removes the address; the daemon hears of it a little later."""
        if self.kernel.lose_address():
            self._tell(lambda daemon: daemon.address_removed())

    def measure_health(self, score: int | None) -> None:
        """The upstream targets answer to so many per cent from now on."""
        self.health = score
        self.log.add(self.name, "no upstream targets" if score is None else f"upstream {score} %")
        self._tell(lambda daemon: daemon.senses.health_measured())

    def sight(self, holder: Holder) -> None:
        """Somebody else is seen to answer for the address from now on, or nobody."""
        self.holder = holder
        self.log.add(self.name, f"address also held by: {holder.value}")
        self._tell(lambda daemon: daemon.senses.address_sighted())

    def feels(self, link: int) -> bool:
        """Whether the hardware of the peer is felt on that link: DTR of its open port, carrier of a running machine."""
        peer = self.peer
        if self.unplugged[link] or peer.unplugged[link]:
            return False
        is_serial = self.plan.links[link].baud is not None
        return peer.daemon is not None if is_serial else peer.up or peer.crashed

    def guard(self, armed: bool) -> None:
        """A hardware watchdog is armed, or is not any more."""
        self.guarded = armed
        self._tell(lambda daemon: daemon.senses.guard_changed())

    def set_carrier(self, up: bool) -> None:
        """The service interface gets or loses carrier; the daemon hears of it a little later."""
        if up == self.carrier:
            return
        self.carrier = up
        self.log.add(self.name, f"service carrier {'up' if up else 'down'}")
        self._tell(lambda daemon: daemon.senses.carrier_changed())

    def _tell(self, what: Callable[[Daemon], None]) -> None:
        """Let the daemon hear of something as soon as the kernel has told it."""

        def tell() -> None:
            if self.daemon is not None:
                what(self.daemon)

        self.timeline.call_after(self.plan.carrier_ns, tell)
