"""The steps, in their order: each finds a healthy pair, breaks something, and leaves a healthy pair.

They share reboots: a step that ends with a fenced node waits for its return, and the next one begins there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import partial

from tests.rig.guest import Guest
from tests.rig.setting import NODES
from tests.vm.pair import CABLE, LAN, SERIAL_PORT, VIP
from tests.vm.stage import Stage, other

BOOT_S = 480
DEADTIME_S = 5.0
LEASE_S = 8.0
TIMELY = {"memory_locked": True, "policy": "rr", "priority": 20}  # what the unit asks for, granted


def first_boot(stage: Stage) -> None:
    """Both boot the image as shipped; nothing listens, nothing can be written, and the console says what to do."""
    pair = stage.pair
    for node in NODES:
        pair.power_on(node)
    for node in NODES:
        guest = pair.guests[node]
        stage.wait_boot(node)
        stage.wait(partial(_asks, guest), 240, f"{node} to ask for a configuration")
        assert guest.run("systemctl is-active hblink").output.strip() == "inactive"
        listening = guest.run("ss -Hltun").output
        assert not listening.strip(), f"{node} listens: {listening}"
        assert guest.run("touch /usr/probe").status != 0, "the root can be written to"
        rules = "/usr/lib/udev/rules.d/*hblink*.rules /etc/udev/rules.d/*hblink*.rules"
        verified = guest.run(f"udevadm verify {rules}")
        assert verified.status == 0, verified.output
        assert guest.run("udevadm settle", 240).status == 0
        tested = guest.run("udevadm test /sys/class/tty/ttyS1 2>&1")
        assert "ID_MM_DEVICE_IGNORE=1" in tested.output, tested.output
        named = guest.run(f"readlink -f {SERIAL_PORT}")
        assert named.output.strip() == "/dev/ttyS1", named.output
        pair.install(node)
        mine = stage.record.machine_ids[node] = guest.run("cat /etc/machine-id").output.strip()
        assert re.fullmatch("[0-9a-f]{32}", mine), mine
    assert stage.record.machine_ids["alpha"] != stage.record.machine_ids["beta"]
    stage.audit([])


def cold_start(stage: Stage) -> None:
    """The image is written anew under the kept state; both are switched on together: exactly one serves."""
    pair = stage.pair
    if stage.record.machine_ids:
        for node in NODES:
            pair.lose_power(node)
            pair.update_image(node)
    stage.begin()
    for node in NODES:
        pair.power_on(node)
    owner = stage.settle(timeout_s=2 * BOOT_S)
    # The preferred node hands over where its service port comes up after its peer's, as an emulated boot may have it.
    stage.note("the preferred node serves" if owner == "alpha" else "alpha's service port came later: it yielded")
    for node in NODES:
        guest = pair.guests[node]
        mine = guest.run("cat /etc/machine-id").output.strip()
        assert stage.record.machine_ids.setdefault(node, mine) == mine, "another machine-id than before the update"
        checked = guest.run("hblink check --host")
        assert checked.status == 0, checked.output
        sockets = guest.run("ss -Hltunp").output.splitlines()
        strangers = [line for line in sockets if "hblink" not in line]
        assert not strangers, f"{node} listens: {strangers}"
        refused = guest.run(
            "cp -r /etc/hblink /tmp/console && sed -i 's,/dev/hblink/serial,/dev/ttyS0,' /tmp/console/hblink.toml && "
            "hblink check --host /tmp/console/hblink.toml; rm -r /tmp/console"
        )
        assert "ttyS0" in refused.output, "a port with a console was accepted"
        assert "console" in refused.output, refused.output
        timely = stage.document(node)["timeliness"]
        assert timely.pop("objects_frozen") > 0, timely
        assert timely == TIMELY, timely
        stage.measure_boot(node)
    stage.audit([owner], ["alpha", owner])


def ethernet_cut(stage: Stage) -> None:
    """The direct cable is taken out: an alarm by the link's name on both sides, nothing else."""
    _one_link(stage, "direct", stage.pair.cut_ethernet)


def serial_cut(stage: Stage) -> None:
    """The null modem is cut: the same."""
    _one_link(stage, "serial", stage.pair.cut_serial)


def wall_clock(stage: Stage) -> None:
    """The wall clock of both is stepped by an hour, forwards and backwards: nothing."""
    active = stage.settle()
    stage.begin()
    for node, step in ((active, "+1 hour"), (other(active), "-1 hour")):
        assert stage.pair.guests[node].run(f"date -s '{step}'").status == 0
    stage.measure_load()
    assert stage.document(active)["role"] == "active"
    stage.audit([active])


def state_full_and_switchover(stage: Stage) -> None:
    """The state partition of both is full, and the service is moved by hand, there and back."""
    active = stage.settle()
    for node in NODES:
        filled = stage.pair.guests[node].run("cat /dev/zero >/var/lib/hblink/filler; df /state | tail -n 1")
        assert "100%" in filled.output, filled.output
    stage.begin()
    for mover, target in ((active, other(active)), (active, active)):
        done = stage.pair.guests[mover].run("hblink switchover", 180)
        assert done.status == 0, done.output
        stage.wait_owner(target)
        stage.wait_role(target, ["active"])
        stage.wait_role(other(target), ["standby"])
    stage.audit([active, other(active), active])
    for node in NODES:
        assert stage.pair.guests[node].run("rm /var/lib/hblink/filler; sync").status == 0


def networkd_restarted(stage: Stage) -> None:
    """systemd-networkd of the active is restarted: its addresses are there again at once, and stay there."""
    active = stage.settle()
    stage.begin()
    assert stage.pair.guests[active].run("systemctl restart systemd-networkd", 180).status == 0
    stage.let_pass(DEADTIME_S)
    stage.wait_owner(active)
    stage.audit([active])


def service_unplugged(stage: Stage) -> None:
    """The active's service port loses its carrier: it yields over the heartbeat links, without a fence."""
    active = stage.settle()
    stage.begin()
    stage.pair.guests[active].plug(LAN, False)
    stage.wait_owner(other(active))
    stage.audit([active, other(active)])
    stage.pair.guests[active].plug(LAN, True)
    stage.settle(other(active))


def power_cut(stage: Stage) -> None:
    """The active loses its power; its BMC lives."""
    active = stage.settle()
    stage.begin()
    stage.pair.lose_power(active)
    _taken_over(stage, active)


def daemon_killed(stage: Stage) -> None:
    """kill -9 of the active's daemon: systemd starts it again and it claims anew, or the peer was faster."""
    active = stage.settle()
    uptime_ms = stage.document(active)["uptime_ms"]
    stage.begin()
    stage.pair.guests[active].fire("kill -9 $(systemctl show --property MainPID --value hblink)")
    anew = partial(_began_anew, stage, active, uptime_ms)
    stage.wait(anew, BOOT_S, f"another daemon on {active}")
    stage.let_pass(LEASE_S + DEADTIME_S)
    new = stage.settle()
    moved = new != active
    stage.note("the peer fenced and took over" if moved else "the daemon came back before it was suspected")
    stage.audit([active, other(active)] if moved else [active], offs={active: 1} if moved else {})


def daemon_frozen(stage: Stage) -> None:
    """SIGSTOP of the active's daemon: its addresses are leases, and the peer fences before they lapse or after."""
    active = stage.settle()
    stage.begin()
    stage.pair.guests[active].fire("kill -STOP $(systemctl show --property MainPID --value hblink)")
    _taken_over(stage, active)


def kernel_panic(stage: Stage) -> None:
    """The active's kernel panics."""
    active = stage.settle()
    stage.begin()
    stage.pair.guests[active].fire("echo c >/proc/sysrq-trigger")
    _taken_over(stage, active)


def links_cut(stage: Stage) -> None:
    """Both links are cut: the standby fences and takes over; the victim boots while cut off, and is inert."""
    active, standby = (first := stage.settle()), other(first)
    stage.begin()
    stage.pair.cut_ethernet()
    stage.pair.cut_serial()
    stage.wait_owner(standby)
    stage.wait(lambda: stage.pair.guests[active].alive, 240, f"{active} to be switched on again")
    stage.wait_role(active, ["standby", "blocked"], BOOT_S)
    stage.wait(lambda: str(stage.status(active).get("reason", "")).startswith("inert"), 240, f"{active} to be inert")
    stage.let_pass(2 * DEADTIME_S)
    document = stage.document(active)
    assert document["role"] in ("standby", "blocked"), document
    stage.note(f"{active} came back: {document['reason']}")
    stage.pair.heal()
    stage.settle(standby)
    stage.audit([active, standby], offs={active: 1})


def blocked_and_confirmed(stage: Stage) -> None:
    """The active and its BMC lose power together: the standby says blocked, and goes on at the operator's word."""
    pair = stage.pair
    active, standby = (first := stage.settle()), other(first)
    stage.begin()
    pair.bmcs[active].stop()
    pair.guests[active].power_off()
    document = stage.wait_role(standby, ["blocked"], 480)
    assert document["operator"] == f"hblink fence confirm {active}", document["operator"]
    assert pair.owner() is None
    stage.note(f"blocked: {document['reason']}")
    done = pair.guests[standby].run(f"hblink fence confirm {active} --yes", 240)
    assert done.status == 0, done.output
    stage.wait_owner(standby)
    stage.audit([active, standby])
    pair.bmcs[active].set_power(False)
    pair.bmcs[active].start()
    pair.power_on(active)
    stage.settle(standby, BOOT_S)


def hung_kernel(stage: Stage) -> None:
    """Only one thread runs on the active any more, and its BMC is gone: its own hardware watchdog resets it."""
    pair = stage.pair
    active = stage.settle()
    guest = pair.guests[active]
    armed = partial(_is_armed, stage, active)
    stage.wait(armed, 120, f"the watchdog of {active} to be armed")
    pair.bmcs[active].stop()  # the peer cannot fence it: what resets it is the watchdog
    bites = guest.events().count("WATCHDOG")
    stage.begin()
    guest.fire("echo -1 >/proc/sys/kernel/sched_rt_runtime_us; exec chrt --fifo 99 sh -c 'while :; do :; done'")
    stage.wait(lambda: guest.events().count("WATCHDOG") > bites, 240, f"the watchdog of {active} to bite")
    stage.wait_boot(active)
    # Its peer wants it fenced until it is heard again; a BMC that came back before that would be used.
    stage.wait(lambda: stage.hears(other(active)), BOOT_S, f"{active} to be heard again")
    pair.bmcs[active].start()
    new = stage.settle(timeout_s=BOOT_S)
    stage.note("QEMU saw the watchdog's reset")
    stage.audit([active] if new == active else [active, other(active)])


def failing_stop(stage: Stage) -> None:
    """A stop fails on the active, as another program holds an address, and its BMC is gone: it resets itself."""
    pair = stage.pair
    active = stage.settle()
    guest = pair.guests[active]
    pair.bmcs[active].stop()  # the peer cannot fence it for that
    resets = _resets(guest)
    stage.begin()
    assert guest.run(f"ip address add {VIP} dev {CABLE}").status == 0
    guest.fire("hblink switchover")
    stage.wait(lambda: _resets(guest) > resets, 240, f"{active} to reset itself")
    stage.wait_boot(active)
    stage.wait(lambda: stage.hears(other(active)), BOOT_S, f"{active} to be heard again")
    pair.bmcs[active].start()
    new = stage.settle(timeout_s=BOOT_S)
    stage.audit([active] if new == active else [active, other(active)])


def lease_mode(stage: Stage) -> None:
    """Lease mode on real watchdogs: links and BMCs are gone; the active stops by itself, then the standby serves."""
    pair = stage.pair
    _reconfigure(stage, "echo 'lease_mode = true' >>/etc/hblink/hblink.toml")
    active, standby = (first := stage.settle()), other(first)
    stage.wait(lambda: _promises(stage, active) and _promises(stage, standby), 240, "both nodes to know both promises")
    for node in NODES:
        pair.bmcs[node].stop()
    stage.begin()
    pair.cut_ethernet()
    pair.cut_serial()
    stage.wait_owner(standby, 360)
    document = stage.document(standby)
    assert document["grant"] == "lease", document
    events = pair.guests[active].run("hblink events -n 60").output
    assert "lease_ended" in events, events
    stage.note(f"{stage.document(active)['role']} is what {active} became")
    pair.heal()
    stage.wait(lambda: stage.hears(standby) and stage.hears(active), BOOT_S, "both to hear each other")
    for node in NODES:
        pair.bmcs[node].start()
    stage.settle(standby)
    stage.audit([active, standby])
    _reconfigure(stage, "sed -i /lease_mode/d /etc/hblink/hblink.toml")
    stage.settle()


def orderly_end(stage: Stage) -> None:
    """A standby that may start by a fence is rebooted in order, beside its active peer: it knows that afterwards."""
    node = other(stage.settle())
    policy = f"""1i start_alone = "fence"\\nstart_alone_node = "{node}\""""
    _reconfigure(stage, f"sed -i '{policy}' /etc/hblink/hblink.toml")
    guest = stage.pair.guests[node]
    if stage.settle() == node:
        assert guest.run("hblink switchover", 180).status == 0
    active = stage.settle(other(node))
    stage.begin()
    resets = _resets(guest)
    guest.fire("systemctl reboot")
    stage.wait(lambda: _resets(guest) > resets, 240, f"{node} to reboot")
    stage.wait_boot(node)
    stage.settle(active, BOOT_S)
    remembered = guest.run("cat /run/hblink/memory.json").output
    assert json.loads(remembered)["orderly"] is True, remembered
    stage.audit([active])
    _reconfigure(stage, "sed -i /start_alone/d /etc/hblink/hblink.toml")
    stage.settle()


def _resets(guest: Guest) -> int:
    """How often the machine has been reset since it was switched on, by its watchdog or by itself."""
    return sum(event in ("RESET", "WATCHDOG") for event in guest.events())


def _began_anew(stage: Stage, node: str, uptime_ms: int) -> bool:
    """Whether a daemon answers that has not been up for so long."""
    return bool(stage.status(node).get("uptime_ms", uptime_ms) < uptime_ms)


def _is_armed(stage: Stage, node: str) -> bool:
    return stage.status(node).get("guard", {}).get("armed") is True


def _promises(stage: Stage, node: str) -> bool:
    guard = stage.status(node).get("guard", {})
    return bool(guard.get("promise_ms") and guard.get("peer_promise_ms"))


def _reconfigure(stage: Stage, command: str) -> None:
    """Change the configuration of both nodes by `command`, and start both daemons anew, one after the other."""
    for node in (other(first := stage.settle()), first):
        changed = stage.pair.guests[node].run(f"{command} && hblink check && systemctl restart hblink", 240)
        assert changed.status == 0, changed.output
        stage.settle(timeout_s=BOOT_S)


def _asks(guest: Guest) -> bool:
    return b"has no configuration yet" in guest.console_log.read_bytes()


def _one_link(stage: Stage, name: str, cut: Callable[[], None]) -> None:
    active = stage.settle()
    stage.begin()
    cut()
    for node in NODES:
        stage.wait(partial(stage.is_down, node, name), 240, f"{node} to name {name}")
    stage.let_pass(DEADTIME_S)
    assert stage.document(active)["role"] == "active"
    stage.pair.heal()
    assert stage.settle(active) == active
    stage.audit([active])


def _taken_over(stage: Stage, active: str) -> None:
    """The standby fences the active once, serves, and the active comes back as its standby."""
    stage.wait_owner(other(active))
    stage.settle(other(active), BOOT_S)
    stage.audit([active, other(active)], offs={active: 1})


STEPS: list[Callable[[Stage], None]] = [
    first_boot,
    cold_start,
    ethernet_cut,
    serial_cut,
    wall_clock,
    state_full_and_switchover,
    networkd_restarted,
    service_unplugged,
    power_cut,
    daemon_killed,
    daemon_frozen,
    kernel_panic,
    links_cut,
    blocked_and_confirmed,
    hung_kernel,
    failing_stop,
    lease_mode,
    orderly_end,
]
# The steps whose gap is the time of a takeover, as the table calls them.
TAKEOVERS = {
    "service_unplugged": "service port of the active unplugged (yield, no fence)",
    "power_cut": "power of the active cut",
    "daemon_frozen": "daemon of the active frozen (SIGSTOP)",
    "kernel_panic": "kernel panic of the active",
    "links_cut": "both heartbeat links cut",
}
