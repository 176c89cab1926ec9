"""The `[[target]]` tables and `[health]`: whom a node asks to find out whether its service port leads anywhere.

It judges the file alone. It must never accept a target whose answer could come from this pair itself: such a probe says
nothing of the network (SAFETY S6, S12).
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address

from hblink.config.document import Findings, Table
from hblink.config.relation import is_address
from hblink.config.value import Config, HealthConfig, TargetConfig, UdpLinkConfig

TARGETS_MAX = 16
METHODS = {"icmp": "icmp", "arp": "arp"}
NOWHERE = IPv4Address(0)  # stands in for an address that is already a problem


def read_health(top: Table) -> HealthConfig:
    """Read `[[target]]` and `[health]`."""
    tables = top.tables("target")
    if len(tables) > TARGETS_MAX:
        top.findings.problem("target", f"there are {len(tables)}, more than {TARGETS_MAX}", "a gateway or two will do")
    table = top.table("health")
    health = HealthConfig(
        targets=tuple(_read_target(each) for each in tables),
        interval_ns=table.duration("interval_ms", 100, 60_000, 500),
        samples=table.integer("samples", 1, 20, 3),
    )
    table.end()
    return health


def judge_health(config: Config, findings: Findings) -> None:
    """Judge the targets against each other, the virtual addresses and the heartbeat links."""
    if not all(config.nodes):
        return  # the pairs of the links are not known
    own = dict(_own_addresses(config))
    carrying = {vip.interface for vip in config.vips}
    seen: dict[tuple[object, str], int] = {}
    for index, target in enumerate(config.health.targets):
        path = f"target[{index}]"
        if not findings.sound(path):
            continue
        key = (target.address, target.interface)
        if target.address in own:
            findings.problem(
                f"{path}.address",
                f"is {target.address}, as is {own[target.address]}",
                "ask a machine that is no part of this pair, such as the gateway",
            )
        elif key in seen:
            findings.problem(f"{path}.address", f"is {target.address}, as is that of target[{seen[key]}]", "each once")
        elif config.vips and target.interface not in carrying:
            findings.warn(
                f"{path}.interface",
                f'"{target.interface}" carries no virtual address',
                "what is reached there says nothing of the service",
            )
        seen.setdefault(key, index)


def _read_target(table: Table) -> TargetConfig:
    text = table.text("address", rule=_wrong_address)
    target = TargetConfig(
        address=ip_address(text) if is_address(text) else NOWHERE,
        interface=table.text("interface", rule=_wrong_interface),
        method=table.choice("type", METHODS, "icmp"),
    )
    if target.method == "arp" and target.address.version == 6:
        table.findings.problem(
            table.at("type"), 'is "arp", and the address is IPv6', 'ARP asks for IPv4; type = "icmp"'
        )
    table.end()
    return target


def _own_addresses(config: Config) -> Iterator[tuple[IPv4Address | IPv6Address, str]]:
    for index, vip in enumerate(config.vips):
        yield vip.address.ip, f"vip[{index}]"
    for index, link in enumerate(config.links):
        if isinstance(link, UdpLinkConfig):
            for node, endpoint in enumerate(link.endpoint):
                if is_address(endpoint):
                    yield ip_address(endpoint), f"link[{index}].endpoint.{config.nodes[node]}"


def _wrong_address(text: str) -> str | None:
    if not is_address(text):
        return f'is "{text}", not an IPv4 or IPv6 address'
    address = ip_address(text)
    if address.is_multicast or address.is_unspecified or address.is_loopback or text == "255.255.255.255":
        return f"is {text}, which is no address of one machine"
    return None


def _wrong_interface(name: str) -> str | None:
    good = 0 < len(name) <= 15 and name.isascii() and not any(c.isspace() or c in "/:" for c in name)
    return None if good and name not in (".", "..") else f'is "{name}", which cannot be the name of an interface'
