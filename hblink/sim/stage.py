"""What the commands of a scenario file do to a simulated pair.

NODE is alpha or beta, LINK ethernet or serial, TIME such as 250ms or 5s:

    pair [preferred=NODE] [guarantee=at-least-one] [fence=no] [pdu=yes] [failback=TIME] [cap=N] [reset=TIME]
         [lease=WATCHDOG-TIME] [evidence=yes] [by-fence=NODE]
         [other=key|cluster|configuration]                                    only as the first
    boot NODE...    crash NODE    reboot NODE    pause NODE    resume NODE    jump NODE TIME    wall NODE TIME
    power NODE on|off    blackout NODE                                        (power and BMC together)
    unplug LINK    plug LINK    off NODE         (a cable felt to be out; the power button of a system that listens)
    kill NODE    freeze NODE [reading|acting]    thaw NODE    stop NODE    start NODE    name NODE as NODE
    pass TIME    until active NODE TIME    until role NODE ROLE TIME          (at most so long)
    cut [LINK [SENDER]]    delay TIME [LINK [SENDER]]    lose PERMILLE [LINK [SENDER]]    heal
    carrier NODE up|down    upstream NODE PERCENT    holder NODE none|peer|other
    service NODE start|stop good|fails|hangs    service NODE dies    address NODE taken|works|fails
    bmc NODE gone|back|polite|slow TIME|off-takes TIME|says truthful|says_off|says_on|elsewhere
    disk NODE good|lost|read_only|full|rolled_back    runtime NODE works|broken
    switchover NODE    standby NODE    online NODE    maintenance NODE on|off [TIME]    drill NODE    confirm NODE
    key NODE add|activate|remove                                              (the second key; remove: the first)
    replay NODE [LINK]    text NODE LINK    status    refused NODE    account

This module must never decide what is right: it shows what happens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from inspect import signature

from hblink_wire import Key

from hblink.core.value import MS, SECOND, Guarantee, Holder, Role, StartAlone
from hblink.sim.bmc import Truth
from hblink.sim.checker import Violation
from hblink.sim.disk import Disk
from hblink.sim.host import Host
from hblink.sim.network import Weather
from hblink.sim.plan import NEXT_SECRET, Plan, default_plan
from hblink.sim.process import Spot
from hblink.sim.service import Outcome
from hblink.sim.world import World

VIOLATION = "VIOLATION"
_GLANCE_NS = 10 * MS  # how often `until` looks
_GETTY = b"\r\nDebian GNU/Linux 13 alpha ttyS0\r\n\r\nalpha login: "


class Stage:
    """A pair, and how much of its log has been read. Every command returns the lines of what happened meanwhile."""

    def __init__(self) -> None:
        self._world: World | None = None
        self._read = 0
        self._shown: list[str] = []
        self._broken = False

    @property
    def world(self) -> World:
        """The pair: the built-in one unless the first command was `pair`."""
        if self._world is None:
            self._world = World(default_plan())
        return self._world

    def carry_out(self, word: str, arguments: Sequence[str]) -> list[str]:
        """Do one command; nothing more happens once a rule is broken. Raises ValueError or IndexError if it is none."""
        if word not in _COMMANDS:
            raise ValueError(f"there is no command {word}")
        if self._broken:
            return []
        try:
            bound = signature(_COMMANDS[word]).bind(self, *arguments)
        except TypeError as error:
            raise ValueError("wrong number of words") from error
        try:
            _COMMANDS[word](*bound.args)
        except Violation as violation:
            self._broken = True
            self._shown.append(f"{VIOLATION} {violation}")
        lines = self.world.log.lines
        happened = [str(line).rstrip() for line in lines[self._read :]] + self._shown
        self._read, self._shown = len(lines), []
        return happened

    def pair(self, *wishes: str) -> None:
        """Build the pair, other than the built-in one in what is wished."""
        if self._world is not None:
            raise ValueError("the pair is there already")
        plan = default_plan()
        for wish in wishes:
            key, _, value = wish.partition("=")
            plan = _wished(plan, key, value)
        self._world = World(plan)

    def host(self, name: str) -> Host:
        """The machine of that name."""
        for host in self.world.hosts:
            if host.name == name:
                return host
        raise ValueError(f"there is no node {name}")

    def link(self, name: str) -> int:
        """The index of the link of that name."""
        return [link.name for link in self.world.plan.links].index(name)

    def weather(self, weather: Weather, words: Sequence[str], what: str) -> None:
        """Let `[LINK [SENDER]]` suffer; both directions unless a sender is named, all links unless one is."""
        links = [self.link(words[0])] if words else range(len(self.world.plan.links))
        senders = [self.host(words[1]).index] if len(words) > 1 else [0, 1]
        for path in [self.world.network.path(sender, link) for link in links for sender in senders]:
            path.weather = replace(weather)
            path.disturb()
        whose = f" from {words[1]}" if len(words) > 1 else ""
        self.world.log.add("", f"{words[0] if words else 'all links'}{whose}: {what}")

    def heal(self) -> None:
        """Let all links carry again."""
        self.world.network.heal()
        self.world.log.add("", "all links work")

    def wait(self, time: str) -> None:
        """Let time pass."""
        self.world.run_for(duration_ns(time))

    def until(self, what: str, name: str, *words: str) -> None:
        """Let time pass until NODE is active and answers for the address, or has a role; say so if it does not."""
        host, patience_ns = self.host(name), duration_ns(words[-1])
        role = Role.ACTIVE if what == "active" else Role(words[0])
        for _ in range(patience_ns // _GLANCE_NS):
            daemon = host.daemon
            if daemon is not None and daemon.state.role is role and (role is not Role.ACTIVE or host.answers):
                return
            self.world.run_for(_GLANCE_NS)
        self._shown.append(f"{name} is not {role.value} after {words[-1]}")

    def plug(self, link: str, *, out: bool) -> None:
        """Pull a cable out at one end, or put it in again."""
        index = self.link(link)
        self.world.hosts[0].unplugged[index] = out
        self.weather(Weather(cut=out), [link], "unplugged" if out else "plugged in")

    def bmc(self, name: str, what: str, value: str = "") -> None:
        """Let the BMC of NODE be gone, slow, or a liar."""
        host = self.host(name)
        health = host.bmc.health
        match what:
            case "gone" | "back":
                health.reachable = what == "back"
            case "polite":
                health.graceful = True
            case "slow":
                health.latency_ns = duration_ns(value)
            case "off-takes":
                health.off_takes_ns = duration_ns(value)
            case "says":
                self.world.lie(host, Truth(value))
            case _:
                raise ValueError(f"a BMC cannot be {what}")
        self.world.log.add(name, f"BMC {what} {value}".rstrip())

    def service(self, name: str, act: str, outcome: str = "") -> None:
        """Let starts or stops of the service go well, fail or hang from now on; or let it die."""
        kernel = self.host(name).kernel
        if act == "dies":
            kernel.die()
            return
        setattr(kernel, {"start": "start_outcome", "stop": "stop_outcome"}[act], Outcome(outcome))
        self.world.log.add(name, f"from now on every {act} {'is good' if outcome == 'good' else outcome}")

    def address(self, name: str, what: str) -> None:
        """Let another program take the address away, or let it be impossible to add."""
        if what == "taken":
            self.host(name).lose_address()
            return
        self.host(name).kernel.address_works = {"works": True, "fails": False}[what]
        self.world.log.add(name, f"from now on the address {what}")

    def mistake(self, name: str, _as: str, other: str) -> None:
        """Start the daemon of a machine again under that name."""
        self.host(name).mistake(self.host(other).index)

    def key(self, name: str, act: str) -> None:
        """Take one step of a rotation in the keyring file of NODE."""
        host = self.host(name)
        ring = host.keyring
        match act:
            case "add":
                host.turn_key(ring.with_key(Key(2, NEXT_SECRET)))
            case "activate":
                host.turn_key(ring.activated(2))
            case "remove":
                host.turn_key(ring.without(1))
            case _:
                raise ValueError(f"{act} is no step of a rotation")

    def maintain(self, name: str, state: str, time: str | None = None) -> None:
        """Begin or end maintenance at NODE."""
        for_ns = None if time is None else duration_ns(time)
        self.world.maintain(self.host(name), {"on": True, "off": False}[state], for_ns)

    def disk(self, name: str, state: str) -> None:
        """Let the disk of NODE lose the epoch, refuse it, or come back with an old one."""
        self.host(name).store.disk = Disk(state)
        self.world.log.add(name, f"disk {state}")

    def runtime(self, name: str, state: str) -> None:
        """Let the runtime directory of NODE be unwritable."""
        self.host(name).store.runtime_works = state == "works"
        self.world.log.add(name, f"runtime directory {state}")

    def replay(self, name: str, link: str | None = None) -> None:
        """Let every frame that was ever sent, by either node, come in at NODE again; all on LINK, if one is named."""
        frames = list(self.world.network.archive)
        self.world.replay(frames, self.host(name), link=None if link is None else self.link(link))
        moved = "" if link is None else f", all of them on {link}"
        self.world.log.add(name, f"all that was ever sent comes in again{moved}")

    def text(self, name: str, link: str) -> None:
        """Let a login prompt come in at NODE."""
        self.world.noise(self.host(name), self.link(link), _GETTY)
        self.world.log.add(name, f"a login prompt comes in on {link}")

    def status(self) -> None:
        """Show both nodes as they are now."""
        for host in self.world.hosts:
            holds = " and ".join(word for word, there in (("service", host.service), ("VIP", host.answers)) if there)
            self._shown.append(f"{host.name:5}  {_daemon_line(host)}; {holds or 'nothing'} here")

    def refused(self, name: str) -> None:
        """Show how many frames the daemon of NODE refused in this life, by link and reason."""
        daemon = self.host(name).daemon
        if daemon is None:
            raise ValueError("there is no daemon")
        for index, link in enumerate(self.world.plan.links):
            counts = daemon.session.link_report(index, daemon.process.now()).rejected
            words = ", ".join(f"{reason} {count}" for reason, count in sorted(counts.items()))
            self._shown.append(f"{name:5}  refused on {link.name}: {words or 'nothing'}")

    def account(self) -> None:
        """Show what a client and an accountant have seen so far."""
        meter = self.world.meter
        meter.survey()
        gaps_ns = [*meter.gaps_ns, meter.gap_ns()]
        seconds = [f"{ns / SECOND:.3f} s" for ns in (max(gaps_ns), meter.dual_vip_ns, meter.dual_service_ns)]
        self._shown.append(
            f"longest without an answer {seconds[0]}; both answered for {seconds[1]}; both ran for {seconds[2]}"
        )


def duration_ns(text: str) -> int:
    """Read `250ms` or `1.5s` as nanoseconds; ValueError if it is neither."""
    if text.endswith("ms"):
        return round(float(text[:-2]) * MS)
    if text.endswith("s"):
        return round(float(text[:-1]) * SECOND)
    raise ValueError(f"{text} is no time such as 250ms or 5s")


def _wished(plan: Plan, key: str, value: str) -> Plan:
    """The plan, changed in one point; `other` makes something of beta differ from alpha's."""
    first, second = plan.settings
    match key, value:
        case "preferred", name:
            index = plan.names.index(name)
            settings = replace(first, preferred=index), replace(second, preferred=index)
        case "guarantee", name:
            guarantee = Guarantee(name)
            settings = replace(first, guarantee=guarantee), replace(second, guarantee=guarantee)
        case "pdu", "yes":
            return replace(plan, has_pdu=True)
        case "failback", time:
            preferring = replace(first, auto_failback=True, failback_hold_ns=duration_ns(time))
            settings = preferring, replace(preferring, me=1)
        case "cap", number:
            settings = replace(first, fence_cap=int(number)), replace(second, fence_cap=int(number))
        case "reset", time:
            reset_ns = duration_ns(time)
            settings = replace(first, self_reset_ns=reset_ns), replace(second, self_reset_ns=reset_ns)
        case "lease", time:
            settings = replace(first, lease_mode=True), replace(second, lease_mode=True)
            return replace(plan, settings=settings, watchdog_ns=duration_ns(time))
        case "evidence", "yes":
            settings = replace(first, power_loss_evidence=True), replace(second, power_loss_evidence=True)
        case "by-fence", name:
            index = plan.names.index(name)
            allowed = replace(plan.settings[index], start_alone=StartAlone.FENCE)
            settings = (allowed, second) if index == 0 else (first, allowed)
        case "fence", "no":
            settings = replace(first, has_fence=False), replace(second, has_fence=False)
        case "other", "key":
            return replace(plan, secrets=(plan.secrets[0], NEXT_SECRET))
        case "other", "cluster":
            return replace(plan, cluster_ids=(plan.cluster_ids[0], plan.cluster_ids[0] + 1))
        case "other", "configuration":
            return replace(plan, config_digests=(bytes(8), bytes([1] * 8)))
        case _:
            raise ValueError(f"{key}={value} is unknown")
    return replace(plan, settings=settings)


def _daemon_line(host: Host) -> str:
    daemon = host.daemon
    if daemon is None:
        return "off" if not host.powered else "crashed" if host.crashed else "no daemon"
    state = daemon.state
    why = "" if state.reason.value == "none" else f" ({state.reason.value})"
    says = ", says YIELDED" if state.yielded else ""
    alarms = ", ".join(daemon.words(alarm) for alarm in sorted(state.alarms))
    return f"{state.role.value}{why}, epoch {state.epoch}{says}, alarms: {alarms or 'none'}"


def _boot(stage: Stage, *names: str) -> None:
    for name in names:
        stage.host(name).boot()


def _black_out(stage: Stage, name: str) -> None:
    host = stage.host(name)
    host.bmc.health.reachable = False
    host.switch(False)


_COMMANDS: dict[str, Callable[..., object]] = {
    "pair": Stage.pair,
    "pass": Stage.wait,
    "until": Stage.until,
    "boot": _boot,
    "crash": lambda stage, name: stage.host(name).crash(),
    "reboot": lambda stage, name: stage.host(name).reboot(),
    "pause": lambda stage, name: stage.host(name).pause(),
    "resume": lambda stage, name: stage.host(name).resume(),
    "wall": lambda stage, name, time: stage.host(name).step_wall_clock(duration_ns(time)),
    "name": Stage.mistake,
    "jump": lambda stage, name, time: stage.host(name).jump(duration_ns(time)),
    "power": lambda stage, name, state: stage.host(name).switch({"on": True, "off": False}[state]),
    "blackout": _black_out,
    "kill": lambda stage, name: stage.host(name).kill_daemon(),
    "freeze": lambda stage, name, spot="between": stage.host(name).freeze_daemon(Spot(spot)),
    "thaw": lambda stage, name: stage.host(name).thaw_daemon(),
    "stop": lambda stage, name: stage.world.stop_daemon(stage.host(name)),
    "start": lambda stage, name: stage.host(name).start_daemon(),
    "unplug": lambda stage, link: stage.plug(link, out=True),
    "plug": lambda stage, link: stage.plug(link, out=False),
    "off": lambda stage, name: stage.host(name).shut_down(),
    "cut": lambda stage, *words: stage.weather(Weather(cut=True), words, "cut"),
    "delay": lambda stage, time, *words: stage.weather(Weather(delay_ns=duration_ns(time)), words, f"{time} late"),
    "lose": lambda stage, share, *words: stage.weather(Weather(loss=int(share)), words, f"{share} of 1000 lost"),
    "heal": Stage.heal,
    "carrier": lambda stage, name, state: stage.host(name).set_carrier({"up": True, "down": False}[state]),
    "upstream": lambda stage, name, score: stage.host(name).measure_health(int(score)),
    "holder": lambda stage, name, who: stage.host(name).sight(Holder(who)),
    "service": Stage.service,
    "address": Stage.address,
    "bmc": Stage.bmc,
    "disk": Stage.disk,
    "runtime": Stage.runtime,
    "switchover": lambda stage, name: stage.world.switchover(stage.host(name)),
    "standby": lambda stage, name: stage.world.stand_by(stage.host(name)),
    "online": lambda stage, name: stage.world.go_online(stage.host(name)),
    "maintenance": Stage.maintain,
    "drill": lambda stage, name: stage.world.drill(stage.host(name)),
    "key": Stage.key,
    "confirm": lambda stage, name: stage.world.confirm(stage.host(name)),
    "replay": Stage.replay,
    "text": Stage.text,
    "status": Stage.status,
    "refused": Stage.refused,
    "account": Stage.account,
}
