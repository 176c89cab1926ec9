"""The story: what is done to the pair, and what must come of it. Each step waits for facts with a deadline.

Facts come from where they are true: kernels for addresses, BMCs for fences, the client for gaps, and the nodes' own
status for what they believe.
"""

from __future__ import annotations

import math
import re
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from tests.rig.demo.gauge import Gauge, Status
from tests.rig.demo.stage import Stage, Unmet
from tests.rig.node import Node
from tests.rig.pair import Pair
from tests.rig.setting import VIP
from tests.rig.wait import boottime_ns

STEPS = 6
CUT_S = 4.0  # how long the Ethernet cable stays cut: several times deadtime
BEFORE_NS = 500_000_000  # a gap is looked for from here before its cause, so that it starts at the last answer
SETTLED = ("active", "standby")


class Story:
    """Plays once, on a pair that is switched off; afterwards `gap_ns` is the client's gap in the takeover."""

    def __init__(self, pair: Pair, stage: Stage) -> None:
        self.pair, self.stage = pair, stage
        self.gap_ns = 0
        self._vips = [address for address, _ in pair.setting.vips]
        self._fences = dict.fromkeys(pair.nodes, 0)  # how many there have to be so far
        self._roles: dict[str, str] = {}  # that nobody may leave now
        self.gauge = Gauge(pair, boottime_ns())

    def play(self) -> None:
        """Play it all; raises Unmet, or what the rig raises, at the first thing that goes another way."""
        began_at = boottime_ns()
        self.gauge = Gauge(self.pair, began_at)
        self.stage.begin(self.gauge, began_at)
        active = self.form()
        standby = self.pair.other(active)
        self.cut(active, standby)
        self.mend(active, standby)
        self.crash(active, standby)
        self.come_back(active, standby)
        self.switch_over(standby, active)
        self.judge(active)

    # ---- the steps ----

    def form(self) -> Node:
        """Boot both nodes together; return the one that became active."""
        self._step(1, "THE PAIR FORMS", "Both nodes boot, hear each other on both cables, and agree on one owner.")
        self.stage.rest(1.5)
        started_at = boottime_ns()
        self.pair.start()
        active = self.stage.until(self.pair.active, 30, "a node to hold every address alone")
        standby = self.pair.other(active)
        self._settle(active, standby, 30)
        self.stage.say(f"{active.name} is active, {standby.name} is standby, both heartbeat links are up")
        took_ms = (self._first_answer(active.name, started_at) - started_at) / 1e6
        self.stage.say(f"the client is answered by {active.name}, {took_ms:.0f} ms after the joint cold start")
        self.stage.rest(3, self._nothing_happens)
        return active

    def cut(self, active: Node, standby: Node) -> None:
        """Cut one heartbeat cable: an alarm and nothing else."""
        words = "The serial line still proves that the peer lives: an alarm, and nothing else."
        self._step(2, "ETHERNET HEARTBEAT CABLE CUT", words)
        cut_at = boottime_ns()
        self.pair.cut_ethernet()
        self.stage.say("the Ethernet heartbeat cable is cut, both ways")
        for node in (active, standby):
            alarm = self.stage.until(partial(_link_alarm, node), 20, f"{node.name} to name the link")
            self.stage.say(f"{node.name} raises an alarm: {alarm}")
        left_s = CUT_S - (boottime_ns() - cut_at) / 1e9
        self.stage.hold(left_s, self._nothing_happens)
        gap_ms = self.pair.observer.gap_ns(VIP, cut_at) / 1e6
        text = f"after {CUT_S:.0f} s: same roles, no fence, exactly one owner, longest gap {gap_ms:.0f} ms"
        self._expect(self.pair.active() is active, "exactly one owner during the cut")
        self.stage.say(text)

    def mend(self, active: Node, standby: Node) -> None:
        """Mend the cable: the alarm goes by itself."""
        self._step(3, "ETHERNET CABLE MENDED", "Both links carry again, and the alarms clear by themselves.")
        self.pair.heal()
        self._settle(active, standby, 20)
        self.stage.say("both links are up again, no alarm is left")
        self.stage.rest(2.5, self._nothing_happens)

    def crash(self, active: Node, standby: Node) -> None:
        """Kill the active: its host dies, its BMC lives and goes on saying ON until it is told otherwise."""
        lost, taker = active.name, standby.name
        words = f"Silence proves nothing: {taker} fences {lost}, reads OFF twice, then takes over."
        self._step(4, f"POWER PULLED FROM {lost.upper()}", words)
        active.starts_daemon = False  # when it is switched on again, the story says when it has booted
        self._roles = {}
        crashed_at = boottime_ns()
        active.crash()
        self.stage.say(f"{lost} is dead; its BMC lives on and still says that the power is on", crashed_at)
        self._fences[lost] += 1
        bmc = self.pair.bmc(lost)
        self.stage.until(lambda: bmc.offs == self._fences[lost], 30, f"{taker} to fence {lost}")
        fenced_at = next(command.at for command in reversed(bmc.commands) if not command.on)
        self.stage.say(f"{taker} fences {lost}: power off, {_ms(fenced_at - crashed_at)} after the crash", fenced_at)
        self.stage.until(lambda: self._serves(standby), 30, f"{taker} to take over")
        served_at = self._first_answer(taker, crashed_at)
        self.gap_ns = self.pair.observer.gap_ns(VIP, crashed_at - BEFORE_NS)
        self._expect(fenced_at < served_at, f"the fence of {lost} before {taker} answers")
        self._expect(0 < self.gap_ns < math.inf, "a gap that can be measured")
        self.stage.say(f"{taker} has taken over: the client is answered again", served_at)
        self.stage.say(f"measured by the client: {_ms(self.gap_ns)} without an answer")
        if account := self._account(taker):
            self.stage.say(f"in {taker}'s log: {account}")
        self.stage.rest(3)

    def come_back(self, active: Node, standby: Node) -> None:
        """Let the fenced node boot: the new active has switched it on; it rejoins as standby."""
        lost, taker = active.name, standby.name
        words = f"{taker} switched it on again; it boots, rejoins, and claims nothing back."
        self._step(5, f"{lost.upper()} COMES BACK", words)
        self.stage.until(lambda: active.alive, 20, f"{lost} to be switched on by {taker}")
        on_at = next(command.at for command in reversed(self.pair.bmc(lost).commands) if command.on)
        self.stage.say(f"{lost} was switched on again through its BMC", on_at)
        self.stage.rest(3, self._nothing_happens)
        active.start_daemon()
        self.stage.say(f"{lost} has booted, its daemon starts")
        self._settle(standby, active, 40)
        self._expect(len(set(active.boots)) == 2, f"a new boot id of {lost}")
        self.stage.say(f"{lost} is standby, {taker} stays active; both links are up, no alarm")
        self.stage.rest(3, self._nothing_happens)

    def switch_over(self, active: Node, standby: Node) -> None:
        """Hand the service over as planned, by the operator's command on the active."""
        words = f"hblink switchover: {active.name} releases and says so, {standby.name} claims. No fence."
        self._step(6, "PLANNED SWITCHOVER", words)
        self._roles = {}
        asked_at = boottime_ns()
        self.stage.say(f"{active.name}# hblink switchover")
        with ThreadPoolExecutor(1) as pool:  # the picture goes on meanwhile
            command = pool.submit(active.hblink, "switchover")
            self.stage.until(lambda: self._serves(standby), 20, f"{standby.name} to take over as planned")
            self.stage.until(command.done, 20, "the command to return")
            done = command.result()
        self._expect(done.returncode == 0, f"hblink switchover to succeed: {done.stdout}{done.stderr}")
        self.stage.say(done.stdout.strip())
        gap_ns = self.pair.observer.gap_ns(VIP, asked_at - BEFORE_NS)
        self._settle(standby, active, 30)
        self.stage.say(f"{standby.name} is active, {active.name} is standby, no fence, gap {_ms(gap_ns)}")
        self.stage.rest(3, self._nothing_happens)

    def judge(self, active: Node) -> None:
        """Look back over the whole story."""
        self._nothing_happens()
        dual, overlaps = self.pair.observer.dual(), self.pair.observer.overlaps()
        self._expect(not dual, f"never two answers to one question: {dual[:3]}")
        self._expect(not overlaps, f"never an address on two nodes: {overlaps[:3]}")
        self._expect(self.pair.fences[active.name] == 1 and sum(self.pair.fences.values()) == 1, "exactly one fence")
        self.stage.say("never two owners, never two answers; one fence, for one crash")
        if late := self.pair.observer.late_ms:
            self.stage.say(f"(busy machine: the client itself was late {len(late)} times, by up to {max(late)} ms)")
        self.stage.rest(2)

    # ---- facts ----

    def _step(self, number: int, title: str, words: str) -> None:
        self.stage.step(number, STEPS, title, words)

    def _serves(self, node: Node) -> bool:
        """Whether the client is answered by `node` for every address, and only its kernel has them."""
        observer = self.pair.observer
        return all(observer.owner(vip) == node.name for vip in self._vips) and self.pair.active() is node

    def _settle(self, active: Node, standby: Node, timeout_s: float) -> None:
        """Wait until both nodes agree on their roles with every link up and no alarm; then hold them to it."""
        roles = {active.name: "active", standby.name: "standby"}

        def agreed() -> bool:
            statuses = {name: node.status() for name, node in self.pair.nodes.items()}
            return all(
                status is not None and status["role"] == roles[name] and _is_well(status)
                for name, status in statuses.items()
            )

        self.stage.until(agreed, timeout_s, f"{active.name} active, {standby.name} standby, all links up, no alarm")
        self.stage.until(lambda: self._serves(active), 15, f"{active.name} alone to hold and answer every address")
        self._roles = roles
        self._nothing_happens()

    def _nothing_happens(self) -> None:
        """Raise Unmet if a role changed since both settled, or a fence came that belongs to no step."""
        for name, role in self._roles.items():
            node = self.pair.nodes[name]
            status = node.status() if node.alive else None
            if status is not None:
                self._expect(status["role"] == role, f"{name} stays {role}, it is {status['role']}")
        self._expect(self.pair.fences == self._fences, f"fences {self._fences}, there were {self.pair.fences}")

    def _first_answer(self, node: str, since: int) -> int:
        """When the client had its first echo: later than the first answer to the question who has the address."""

        def first() -> int | None:
            answers = self.pair.observer.seen(VIP, "echo", since)
            return next((answer.at for answer in answers if answer.node == node), None)

        return self.stage.until(first, 10, f"{node} to answer the client")

    def _account(self, node: str) -> str | None:
        """Where the milliseconds of a takeover went, by the log of the node that took over."""
        line = self.gauge.log.last(node, "service is up") or ""
        spent = {name: float(value) for name, value in re.findall(r"(\w+)_ms=([\d.]+)", line)}
        if not {"silence", "fence", "device", "start"} <= spent.keys():
            return None
        return (
            f"{spent['silence']:.0f} ms silence, {spent['fence']:.0f} ms fence "
            f"(BMC: {spent['device']:.0f}), {spent['start']:.0f} ms start"
        )

    @staticmethod
    def _expect(holds: bool, what: str) -> None:
        if not holds:
            raise Unmet(f"is not so: {what}")


def _is_well(status: Status) -> bool:
    ways = [way for link in status["links"] for way in (link["in"], link["out"])]
    return not status["alarms"] and all(way == "up" for way in ways) and status["peer_role"] in SETTLED


def _link_alarm(node: Node) -> str | None:
    """What `node` says of a link that is down, once it names both the link and the pair's state."""
    status = node.status()
    if status is None:
        return None
    codes = [alarm["code"] for alarm in status["alarms"] if alarm["link"] is None]
    links = [alarm["link"] for alarm in status["alarms"] if alarm["link"] is not None]
    return f'link "{links[0]}" is down ({", ".join(codes)})' if links and "degraded" in codes else None


def _ms(duration_ns: int) -> str:
    return f"{duration_ns / 1e6:.0f} ms"
