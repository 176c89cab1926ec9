"""The whole pair: two nodes, their cables, their BMCs, a client that watches, and every fault that a test may want.

    client ---+--- lan0, lan1 (bridges) ---+--- alpha === hb0, null modem === beta
              BMCs of both, and the nodes' mgmt0, on a bridge of their own: cut separately

Faults of the cables are silent (carrier and modem lines stay up) unless `unplug_ethernet` or `unplug_serial` is used.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from hblink_wire.key import SECRET_LENGTH, Keyring, format_keyring, new_key

from tests.rig.bmc import Bmc
from tests.rig.modemlines import ModemLines
from tests.rig.namespace import Lab, Namespace
from tests.rig.node import Node
from tests.rig.nullmodem import Direction, NullModem
from tests.rig.observer import Observer
from tests.rig.relay import Relay
from tests.rig.setting import (
    BMC_ADDRESS,
    CLIENT,
    HEARTBEAT_ADDRESS,
    HEARTBEAT_INTERFACE,
    HOST,
    NODES,
    SERVICE,
    Setting,
    interfaces,
)
from tests.rig.wait import boottime_ns, log_end, wait_until

T = TypeVar("T")
# The hardware address of nobody: what is sent there leaves the node and is dropped by the other.
NOWHERE = "02:00:00:00:00:99"
BRIDGES = (*SERVICE, "mgmt")


class Pair:
    """Two nodes, switched off; `start` boots both. Use as a context, or call `close`.

    `directory` is made for this pair and holds everything it writes; the caller removes it.
    """

    def __init__(self, directory: Path, setting: Setting | None = None) -> None:
        self.directory = directory
        self.setting = Setting() if setting is None else setting
        self._stack = contextlib.ExitStack()
        self._cut: set[int] = set()  # senders on the Ethernet cable whose frames are lost
        self._unplugged = False
        directory.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as undo:
            undo.callback(self._stack.close)
            self._build()
            undo.pop_all()

    def __enter__(self) -> Pair:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End every process, remove every namespace; a second call does nothing."""
        self._stack.close()

    # ---- parts ----

    def _build(self) -> None:
        lab = Lab()
        self._stack.callback(lab.close)
        self.switch = lab.namespace("switch")
        self.client = lab.namespace(CLIENT)
        spaces = {node: lab.namespace(node) for node in NODES}
        bmc_spaces = {node: lab.namespace(f"bmc-{node}") for node in NODES}
        self._cable(lab, spaces, bmc_spaces)
        self.nullmodem = NullModem(baud=self.setting.baud)
        self._stack.callback(self.nullmodem.close)
        self.modem_lines = ModemLines(self.directory, self.nullmodem.paths) if self.setting.modem_lines else None
        self.nodes: dict[str, Node] = {}
        for node in NODES:
            made = Node(node, spaces[node], self.directory / node, interfaces(node))
            self.nodes[node] = made
            self._stack.callback(made.close)
            made.cabling = self._connect
            if self.modem_lines is not None:
                made.environment.update(self.modem_lines.environment)
        self.alpha, self.beta = (self.nodes[node] for node in NODES)
        for name, made in self.nodes.items():  # closed first: nobody fences anybody while the rig ends
            bmc = Bmc(bmc_spaces[name], self.directory / f"bmc-{name}", BMC_ADDRESS[name], made.switch)
            self._stack.callback(bmc.close)
            bmc.start()
            made.bmc = bmc
        self._configure()
        self.observer = Observer(
            self.client,
            spaces,
            {_mac(node, interface): node for node in NODES for interface in SERVICE},
            self.setting.observed(),
            self.directory / "observer.jsonl",
            interval_ms=self.setting.observe_interval_ms,
        )
        self._stack.callback(self.observer.close)

    def _cable(self, lab: Lab, spaces: dict[str, Namespace], bmc_spaces: dict[str, Namespace]) -> None:
        ends = {**spaces, CLIENT: self.client}
        lines = []
        for bridge in BRIDGES:
            lines += [f"link add {bridge} type bridge stp_state 0 forward_delay 0 mcast_snooping 0"]
            lines += [f"link set {bridge} up"]
        for interface in SERVICE:
            lines += [
                line
                for name, end in ends.items()
                for line in _port(interface, name, interface, _mac(name, interface), end)
            ]
        for node in NODES:
            lines += _port("mgmt", node, "mgmt0", _mac(node, "mgmt"), spaces[node])
            lines += _port("mgmt", f"bmc-{node}", "lan0", _mac(f"bmc-{node}", "mgmt"), bmc_spaces[node])
        self.switch.ip(*lines)
        first, second = (f"{HEARTBEAT_INTERFACE} address {_mac(node, HEARTBEAT_INTERFACE)}" for node in NODES)
        if self.setting.relay:
            self._cable_relay(lab, spaces, (first, second))
        else:
            spaces["alpha"].ip(f"link add {first} type veth peer name {second} netns {spaces['beta'].name}")
        for node, space in bmc_spaces.items():
            space.ip(f"address add {BMC_ADDRESS[node]}/24 dev lan0", "link set lan0 up")
        for interface, (four, six) in SERVICE.items():
            self.client.ip(
                f"link set {interface} up",
                f"address add {four}{HOST[CLIENT]}/24 dev {interface}",
                f"address add {six}{HOST[CLIENT]}/64 dev {interface}",
            )

    def _cable_relay(self, lab: Lab, spaces: dict[str, Namespace], ends: tuple[str, str]) -> None:
        """Make the direct cable of two pieces with a relay between them."""
        cable = lab.namespace("cable")
        for node, end in zip(NODES, ends, strict=True):
            spaces[node].ip(f"link add {end} type veth peer name {node} netns {cable.name}")
            cable.ip(f"link set {node} up")
        self.relay = Relay(cable.enter, (NODES[0], NODES[1]))
        self._stack.callback(self.relay.close)

    def _configure(self) -> None:
        toml = self.setting.toml(self.nullmodem.paths)
        keys = format_keyring(Keyring((new_key(1, os.urandom(SECRET_LENGTH)),), 1))
        for node in self.nodes.values():
            node.write("hblink.toml", toml, 0o644)
            node.write("hblink.keys", keys)
            for name, other in self.nodes.items():
                assert other.bmc is not None
                node.write(f"ipmi-{name}.pass", f"{other.bmc.password}\n")

    # ---- life ----

    def start(self) -> None:
        """Boot both nodes, then start both daemons together: a joint cold start."""
        for node in self.nodes.values():
            node.boot(daemon=False)
        for node in self.nodes.values():
            node.start_daemon()

    def bmc(self, node: str) -> Bmc:
        """Return the BMC of a node."""
        found = self.nodes[node].bmc
        assert found is not None
        return found

    @property
    def fences(self) -> dict[str, int]:
        """How many commands to switch off each node's BMC has had."""
        return {name: self.bmc(name).offs for name in NODES}

    @property
    def logs(self) -> list[Path]:
        """The daemons' logs."""
        return [node.log for node in self.nodes.values()]

    def wait(self, condition: Callable[[], T | None], timeout_s: float, what: str) -> T:
        """Wait for `condition`, showing the ends of both daemons' logs when it does not come."""
        return wait_until(condition, timeout_s, what, logs=self.logs, interval_s=0.02)

    def held(self) -> dict[str, set[str]]:
        """Return which VIPs each node's kernel holds now."""
        return {name: node.has(*self._vips) for name, node in self.nodes.items()}

    def active(self) -> Node | None:
        """Return the node whose kernel holds every VIP while the other's holds none."""
        held = self.held()
        holders = [name for name, vips in held.items() if vips]
        return self.nodes[holders[0]] if len(holders) == 1 and len(held[holders[0]]) == len(self._vips) else None

    @property
    def _vips(self) -> list[str]:
        return [address for address, _ in self.setting.vips]

    def wait_active(self, name: str | None = None, timeout_s: float = 60) -> Node:
        """Wait until one node (`name`, if given) alone holds all VIPs and the client is answered by it for each."""

        def settled() -> Node | None:
            node = self.active()
            if node is None or (name is not None and node.name != name):
                return None
            return node if all(self.observer.owner(vip) == node.name for vip in self._vips) else None

        return self.wait(settled, timeout_s, f"{name or 'a node'} to be active")

    def other(self, node: Node) -> Node:
        """Return the other node."""
        return self.beta if node is self.alpha else self.alpha

    # ---- faults ----

    def cut_ethernet(self, direction: Direction = Direction.BOTH) -> None:
        """Lose every unicast frame of that direction of the direct cable; the carrier stays. Survives reboots."""
        self._cut |= set(direction.sources)
        for node in self.nodes.values():
            self._connect_ethernet(node)

    def unplug_ethernet(self) -> None:
        """Take the direct cable out: both ends lose their carrier (beta's interface is set down). Survives reboots."""
        self._unplugged = True
        self._connect_ethernet(self.beta)

    def cut_serial(self, direction: Direction = Direction.BOTH) -> None:
        """Lose every byte of that direction of the null modem."""
        self.nullmodem.cut(direction)

    def unplug_serial(self) -> None:
        """Take the null modem out: no byte crosses, and both ends lose the other's lines, if there are any."""
        self.cut_serial()
        if self.modem_lines is not None:
            self.modem_lines.cut(True)

    def cut_links(self) -> None:
        """Cut both heartbeat links at once, both ways."""
        self.cut_serial()
        self.cut_ethernet()

    def cut_bmc(self, node: str) -> None:
        """Make the BMC of `node` unreachable for everybody."""
        self.switch.ip(f"link set mgmt-bmc-{node} down")

    def cut_service(self, node: str, interface: str = "lan0") -> None:
        """Unplug a service interface of `node`: it loses its carrier."""
        self.switch.ip(f"link set {interface}-{node} down")

    def heal(self) -> None:
        """Mend every cable: Ethernet, serial, BMCs, service."""
        self._cut.clear()
        self._unplugged = False
        self.nullmodem.heal()
        if self.modem_lines is not None:
            self.modem_lines.cut(False)
        for node in self.nodes.values():
            with node.steady():
                if node.alive:
                    node.namespace.ip(f"link set {HEARTBEAT_INTERFACE} up")
        for node in self.nodes.values():
            self._connect_ethernet(node)
        self._plug([*(f"mgmt-bmc-{node}" for node in NODES), *self._service_ports(*NODES)])

    def heal_bmc(self, node: str) -> None:
        """Make the BMC of `node` reachable again."""
        self._plug([f"mgmt-bmc-{node}"])

    def lose_power(self, node: str) -> None:
        """Cut the power of `node` and of its BMC together."""
        self.cut_bmc(node)
        self.nodes[node].power_off()

    def ethernet_packets(self) -> dict[str, int]:
        """Return how many packets each node has received on the direct cable, dropped ones included."""
        return {name: node.namespace.packets(HEARTBEAT_INTERFACE)[0] for name, node in self.nodes.items()}

    def report(self, lines: int = 60) -> str:
        """Return what helps to understand a failed test: logs, kernel addresses, power commands, order of VIPs."""
        now = boottime_ns()
        parts = [log_end(log, lines) for log in self.logs]
        for name, node in self.nodes.items():
            parts.append(f"--- {name}: {'up' if node.alive else 'down'}, addresses {node.addresses()}")
            bmc = self.bmc(name)
            commands = [f"{'on' if command.on else 'off'} {_ago(command.at, now)}" for command in bmc.commands]
            parts.append(f"    BMC: power {'on' if bmc.power else 'off'}, readings {bmc.readings}, commands {commands}")
        parts.append("--- VIPs in the kernels")
        parts += [
            f"    {_ago(change.at, now)} {change.node} {'+' if change.present else '-'} {change.vip}"
            for change in self.observer.held()
        ]
        return "\n".join(parts)

    def _service_ports(self, *nodes: str) -> list[str]:
        return [f"{interface}-{node}" for interface in SERVICE for node in nodes]

    def _plug(self, ports: list[str]) -> None:
        """Plug ports of the switch in, and wait until those whose other end is up forward."""
        self.switch.ip(*(f"link set {port} up" for port in ports))

        def forward() -> bool:  # a BMC may switch a node off meanwhile
            dead = set(self._service_ports(*(name for name, node in self.nodes.items() if not node.alive)))
            return self.switch.forwarding() >= set(ports) - dead

        wait_until(forward, 15, f"{ports} to forward")

    # ---- cables as a booting node finds them ----

    def _connect(self, node: Node) -> None:
        self.nullmodem.flush(NODES.index(node.name))
        self._connect_ethernet(node)

    def _connect_ethernet(self, node: Node) -> None:
        """Send the node's frames to nobody, or to its peer again; a link that is down forgets its neighbours."""
        index = NODES.index(node.name)
        peer = f"{HEARTBEAT_ADDRESS[NODES[1 - index]]} dev {HEARTBEAT_INTERFACE}"
        with node.steady():
            if not _is_up(node):
                return
            if self._unplugged and node is self.beta:
                node.namespace.ip(f"link set {HEARTBEAT_INTERFACE} down")
            elif index in self._cut:
                node.namespace.ip(f"neighbour replace {peer} lladdr {NOWHERE} nud permanent")
            else:
                node.namespace.ip(
                    f"neighbour replace {peer} lladdr {_mac(NODES[1 - index], HEARTBEAT_INTERFACE)} nud reachable"
                )


def _is_up(node: Node) -> bool:
    return HEARTBEAT_ADDRESS[node.name] + "/24" in node.addresses()[HEARTBEAT_INTERFACE]


def _ago(at: int, now: int) -> str:
    return f"{(at - now) / 1e9:+.3f} s"


def _mac(owner: str, network: str) -> str:
    """Return the hardware address of `owner` on `network`: locally administered, the same in every run."""
    owners = (*NODES, CLIENT, "bmc-alpha", "bmc-beta")
    networks = (*BRIDGES, HEARTBEAT_INTERFACE)
    return f"02:00:00:00:{networks.index(network) + 1:02x}:{owners.index(owner) + 1:02x}"


def _port(bridge: str, label: str, interface: str, mac: str, end: Namespace) -> list[str]:
    """Return the lines that plug `interface` of namespace `end` into `bridge`, as port `bridge-label`."""
    port = f"{bridge}-{label}"
    return [
        f"link add {port} type veth peer name {interface} address {mac} netns {end.name}",
        f"link set {port} master {bridge} up",
    ]
