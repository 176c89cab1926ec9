"""What a pair of the rig is configured with, and the one hblink.toml that both of its nodes get.

The addresses are those reserved for documentation (RFC 5737, RFC 3849) on the service networks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.rig.bmc import CIPHER_SUITE, USER
from tests.rig.node import Interface
from tests.rig.observer import Vip

NODES = ("alpha", "beta")
CLIENT = "client"
CLUSTER_ID = 4711
HEARTBEAT_INTERFACE = "hb0"
HEARTBEAT_ADDRESS = {"alpha": "10.9.0.1", "beta": "10.9.0.2"}
BMC_ADDRESS = {"alpha": "10.10.0.11", "beta": "10.10.0.12"}
# Service networks by interface: the IPv4 and IPv6 prefix, each to be completed with a host number.
SERVICE = {"lan0": ("192.0.2.", "2001:db8:1::"), "lan1": ("198.51.100.", "2001:db8:2::")}
HOST = {"client": 1, "alpha": 101, "beta": 102}
VIP_HOST = 10
# The VIPs: one of each family on each service network; the first is the one that demo and benchmarks look at.
VIPS = tuple(
    (f"{prefix}{VIP_HOST}/{32 if family == 0 else 128}", interface)
    for interface, prefixes in SERVICE.items()
    for family, prefix in enumerate(prefixes)
)
VIP = VIPS[0][0]


@dataclass(frozen=True, slots=True)
class Setting:
    """A pair's configuration; `timing` holds keys of [timing], `top` of the file's head, `fence_extra` of [[fence]],
    `fence_of` of that of one node.

    `vips` are (address with prefix, interface). With `fence` off there is no [[fence]], and `guarantee` must be given.
    """

    preferred: str = "alpha"
    guarantee: str | None = None
    fence: bool = True
    timing: Mapping[str, int] = field(default_factory=lambda: {"deadtime_ms": 1000})
    top: Mapping[str, str | int] = field(default_factory=dict)
    vips: tuple[tuple[str, str], ...] = VIPS
    baud: int = 115200
    ethernet_keepalive_ms: int | None = None
    serial_keepalive_ms: int | None = None
    off_interval_ms: int = 300
    fence_extra: Mapping[str, str | int] = field(default_factory=dict)
    fence_of: Mapping[str, Mapping[str, str | int]] = field(default_factory=dict)
    outlets: str | None = None  # a directory: each node's second level is `outlet` with the file outlet-NODE there
    outlet: str = "fence_dummy"
    observe_interval_ms: float = 10
    relay: bool = False  # the direct cable runs through a relay that can lose frames
    direct: bool = False  # the direct cable is declared as one: its carrier counts as the far end's signal
    modem_lines: bool = False  # the null modem's ports have modem lines
    targets: tuple[tuple[str, str], ...] = ()  # [[target]]: (address, interface)
    health: Mapping[str, int] = field(default_factory=dict)  # keys of [health]

    def toml(self, ports: tuple[str, str]) -> str:
        """Return hblink.toml; `ports` are the serial ports of alpha and beta."""
        head: dict[str, str | int] = {"cluster": "rig", "cluster_id": CLUSTER_ID, "preferred": self.preferred}
        if self.guarantee is not None:
            head["guarantee"] = self.guarantee
        ethernet: dict[str, str | int] = {"name": "direct", "type": "udp"}
        if self.direct:
            ethernet["direct"] = True
        serial: dict[str, str | int] = {"name": "serial", "type": "serial", "baud": self.baud}
        for node, port in zip(NODES, ports, strict=True):
            ethernet[f"endpoint.{node}"] = HEARTBEAT_ADDRESS[node]
            ethernet[f"interface.{node}"] = HEARTBEAT_INTERFACE
            serial[f"endpoint.{node}"] = port
        for link, keepalive_ms in ((ethernet, self.ethernet_keepalive_ms), (serial, self.serial_keepalive_ms)):
            if keepalive_ms is not None:
                link["keepalive_ms"] = keepalive_ms
        parts = [
            _table(None, {**head, **self.top}),
            *(_table(f"[node.{node}]", {}) for node in NODES),
            _table("[timing]", self.timing),
            _table("[[link]]", ethernet),
            _table("[[link]]", serial),
            *(_table("[[vip]]", {"address": address, "interface": interface}) for address, interface in self.vips),
        ]
        parts += [_table("[[target]]", {"address": address, "interface": name}) for address, name in self.targets]
        parts += [_table("[health]", self.health)] if self.health else []
        if self.fence:
            parts += [_table("[[fence]]", self._fence(node)) for node in NODES]
        if self.outlets is not None:
            parts += [_table("[[fence]]", self._outlet(node)) for node in NODES]
        return "\n".join(parts)

    def observed(self) -> list[Vip]:
        """Return the VIPs as the observer wants them."""
        return [
            Vip(address.split("/")[0], interface, SERVICE[interface][":" in address] + str(HOST["client"]))
            for address, interface in self.vips
        ]

    def _fence(self, node: str) -> dict[str, str | int]:
        return {
            "node": node,
            "type": "ipmi",
            "host": BMC_ADDRESS[node],
            "user": USER,
            "password_file": f"ipmi-{node}.pass",
            "cipher_suite": CIPHER_SUITE,
            "off_interval_ms": self.off_interval_ms,
            **self.fence_extra,
            **self.fence_of.get(node, {}),
        }

    def _outlet(self, node: str) -> dict[str, str | int]:
        return {
            "node": node,
            "type": "agent",
            "agent": self.outlet,
            "parameters.type": "file",
            "parameters.status_file": f"{self.outlets}/outlet-{node}",
            "off_interval_ms": self.off_interval_ms,
            "command_timeout_ms": 5000,
            "attempt_ms": 8000,
            "latency_ms": 5000,
        }


def interfaces(node: str) -> list[Interface]:
    """Return the interfaces of a node with its own addresses."""
    number = HOST[node]
    service = [
        Interface(name, (f"{prefixes[0]}{number}/24", f"{prefixes[1]}{number}/64"))
        for name, prefixes in SERVICE.items()
    ]
    heartbeat = Interface(HEARTBEAT_INTERFACE, (f"{HEARTBEAT_ADDRESS[node]}/24",))
    return [*service, heartbeat, Interface("mgmt0", (f"10.10.0.{number}/24",))]


def _table(header: str | None, entries: Mapping[str, str | int]) -> str:
    lines = [] if header is None else [header]
    for key, value in entries.items():
        lines.append(f"{key} = {json.dumps(value)}")
    return "\n".join(lines) + "\n"
