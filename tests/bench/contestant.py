"""Who takes part in the comparison: how each is started on a node, when it has settled, how its service is moved.

A contestant gets the same two nodes, cables and client as every other, and one address to keep on the service LAN.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.bench import peer
from tests.bench.package import Shelf
from tests.netns.situation import is_well
from tests.rig.node import HBLINK, Node
from tests.rig.pair import Pair
from tests.rig.process import send
from tests.rig.setting import NODES, VIP, Setting

OBSERVE_INTERVAL_MS = 2.0
SETTING = Setting(vips=((VIP, peer.INTERFACE),), observe_interval_ms=OBSERVE_INTERVAL_MS, off_interval_ms=1000)
Program = Callable[[Node, str, Shelf], str]  # node, its serial port, unpacked packages: the command to run


@dataclass(frozen=True, slots=True)
class Contestant:
    """One contestant.

    `patience_s` is longer than the longest time that it may need to notice a fault and act. `program` is None for
    hblink, which the rig starts itself. `bmc_s` is how long its BMC takes to switch off.
    """

    name: str
    package: str | None = None
    has_cables: bool = False
    patience_s: float = 10.0
    program: Program | None = None
    is_settled: Callable[[Pair], bool] = lambda _pair: True
    move: Callable[[Node], None] | None = None
    setting: Setting = field(default_factory=lambda: SETTING)
    bmc_s: float = 0.0

    @property
    def title(self) -> str:
        """What it is, in a line."""
        return TITLES[self.name]

    def prepare(self, pair: Pair, shelf: Shelf) -> None:
        """Make the nodes of `pair`, which are off, run this contestant when they boot."""
        for index, name in enumerate(NODES):
            pair.bmc(name).off_delay_s = self.bmc_s
            node = pair.nodes[name]
            node.program = (*HBLINK, "run")  # each contestant is scheduled as the machine schedules everybody
            if self.program is not None:
                command = self.program(node, pair.nullmodem.paths[index], shelf)
                script = peer.start_script(name, shelf.root, _own(node), command)
                node.program = ("sh", str(_write(node.directory / "start", script)))


def _own(node: Node) -> Path:
    """Return the directory whose etc and usr lie over those of the node."""
    return node.directory / "overlay"


def _write(path: Path, text: str, mode: int = 0o600) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def _accounts(node: Node) -> None:
    for name in ("etc", "usr"):
        (_own(node) / name).mkdir(parents=True)
    for name, text in peer.ACCOUNTS.items():
        _write(_own(node) / "etc" / name, text, 0o644)


# ---- hblink ----


def _hblink_settled(pair: Pair) -> bool:
    return all(is_well(node) for node in pair.nodes.values())


def _hblink_move(node: Node) -> None:
    done = node.hblink("switchover")
    assert done.returncode == 0, done.stdout + done.stderr


def _hblink(name: str, setting: Setting = SETTING, bmc_s: float = 0.0) -> Contestant:
    return Contestant(
        name,
        has_cables=True,
        patience_s=12 + bmc_s,
        is_settled=_hblink_settled,
        move=_hblink_move,
        setting=setting,
        bmc_s=bmc_s,
    )


# ---- keepalived ----


def _keepalived(advert_s: float) -> Contestant:
    def program(node: Node, _port: str, _shelf: Shelf) -> str:
        _accounts(node)
        _write(_own(node) / "etc/keepalived/keepalived.conf", peer.keepalived_conf(node.name, advert_s))
        return "/usr/sbin/keepalived --dont-fork --log-console --vrrp"

    name = f"keepalived-{advert_s:g}"
    return Contestant(name, "keepalived", patience_s=3 + 5 * advert_s, program=program, move=_stop)


def _stop(node: Node) -> None:
    node.kill_daemon(signal.SIGTERM)


# ---- heartbeat ----


def _heartbeat(name: str, keepalive_ms: int, deadtime_ms: int, patience_s: float, stonith: bool = False) -> Contestant:
    def program(node: Node, port: str, _shelf: Shelf) -> str:
        _accounts(node)
        directory = _own(node) / "etc/ha.d"
        password = None
        if stonith:
            password = node.configuration / f"ipmi-{NODES[1 - NODES.index(node.name)]}.pass"
            plugin = f"usr/lib/stonith/plugins/external/{peer.STONITH}"
            _write(_own(node) / plugin, peer.stonith_plugin(), 0o755)
        _write(directory / "ha.cf", peer.ha_cf(node.name, port, keepalive_ms, deadtime_ms, password), 0o644)
        _write(directory / "haresources", peer.haresources(), 0o644)
        _write(directory / "authkeys", peer.authkeys())
        return "/usr/libexec/heartbeat/heartbeat -f"

    return Contestant(
        name,
        "heartbeat",
        has_cables=True,
        patience_s=patience_s,
        program=program,
        is_settled=_heartbeat_settled,
        move=_heartbeat_move,
    )


def _heartbeat_settled(pair: Pair) -> bool:
    """Whether both nodes say which resources they hold, and not that a transition is under way."""
    said = {node.run("cl_status", "rscstatus").stdout.strip() for node in pair.nodes.values()}
    return said <= {"all", "none", "local", "foreign"}


def _heartbeat_move(node: Node) -> None:
    done = node.run("/usr/share/heartbeat/hb_standby", "all")
    assert done.returncode == 0, done.stdout + done.stderr


# ---- ucarp ----


def _ucarp_program(node: Node, _port: str, _shelf: Shelf) -> str:
    _accounts(node)
    up, down = (
        _write(node.directory / name, peer.address_script(verb), 0o700)
        for name, verb in (("up", "add"), ("down", "del"))
    )
    return " ".join(peer.ucarp(node.name, up, down))


def _ucarp_move(node: Node) -> None:
    """Demote the master (SIGUSR2, ucarp(8))."""
    assert node.daemon_pid is not None
    send(node.daemon_pid, signal.SIGUSR2)


TITLES = {
    "hblink": "hblink with its defaults (deadtime 1 s, OFF read twice, 1 s apart); the BMC (ipmi_sim) acts at once",
    "hblink-quick": "hblink with deadtime 300 ms, the OFF readings 100 ms apart, and the same BMC",
    "hblink-bmc4": "hblink with its defaults and a BMC that takes 4 s to switch off; real ones take 4 to 15 s",
    "heartbeat": "Heartbeat on the same two cables as hblink, keepalive 100 ms, deadtime 300 ms, without STONITH",
    "heartbeat-stonith": "Heartbeat likewise, with the same BMC as its STONITH device (off, read until OFF, on)",
    "keepalived-1": "keepalived on the service LAN, an advertisement each second; a planned move is SIGTERM",
    "keepalived-0.1": "keepalived on the service LAN, an advertisement each 100 ms",
    "keepalived-0.01": "keepalived on the service LAN, an advertisement each 10 ms, its minimum",
    "ucarp": "ucarp on the service LAN with its defaults, an advertisement each second; a planned move is SIGUSR2",
}


def contestants() -> Mapping[str, Contestant]:
    """Return all contestants by name, in the order of the tables."""
    quick = replace(
        SETTING,
        timing={"deadtime_ms": 300},
        ethernet_keepalive_ms=50,
        serial_keepalive_ms=100,
        off_interval_ms=100,
    )
    every = [
        _hblink("hblink"),
        _hblink("hblink-quick", quick),
        _hblink("hblink-bmc4", bmc_s=4.0),
        _heartbeat("heartbeat", 100, 300, patience_s=15),
        _heartbeat("heartbeat-stonith", 100, 300, patience_s=25, stonith=True),
        _keepalived(1),
        _keepalived(0.1),
        _keepalived(0.01),
        Contestant("ucarp", "ucarp", patience_s=10, program=_ucarp_program, move=_ucarp_move),
    ]
    return {each.name: each for each in every}
