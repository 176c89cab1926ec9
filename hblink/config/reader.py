"""From the text of hblink.toml to a Config, section by section: which keys there are, their bounds and their defaults.

It judges the file alone, so that it passes on a build machine; what only the appliance can tell is in `hblink.host`.
It must never stop at the first problem.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_interface
from pathlib import Path

from hblink.config.allowance import judge_allowances, read_allowances
from hblink.config.document import NS_PER_MS, ConfigError, Findings, Problem, Table
from hblink.config.fence import judge_ladders, order, read_fence
from hblink.config.guard import judge_guard, read_guard
from hblink.config.relation import is_address, judge, serial_keepalive_ns
from hblink.config.target import judge_health, read_health
from hblink.config.value import (
    NO_MACS,
    PORT,
    SECTIONS,
    Config,
    LinkConfig,
    SerialLinkConfig,
    Timing,
    UdpLinkConfig,
    VipConfig,
)
from hblink.core.value import Guarantee

LINKS_MAX = 4  # the frame has four bits for them
SERIAL_KEEPALIVE_NS = 200 * NS_PER_MS
BAUDS = (1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200, 230400, 460800, 921600)
NODE_NAME = r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?"
Rule = Callable[[str], str | None]  # what is wrong with a string, or None
NOWHERE = ip_interface("0.0.0.0/32")  # stands in for an address that is already a problem


def load(path: Path) -> Config:
    """Read and judge the file at `path`; relative paths in it start at its directory. Raise ConfigError."""
    try:
        text = path.read_bytes().decode()
    except OSError as error:
        hint = "" if path.exists() else "name the file, or set CONFIGURATION_DIRECTORY"
        raise ConfigError([Problem(str(path), (error.strerror or str(error)).lower(), hint)]) from error
    except UnicodeDecodeError as error:
        raise ConfigError([Problem(str(path), f"byte {error.start} is not UTF-8", "save it as UTF-8")]) from error
    return parse(text, path.parent, str(path))


def parse(text: str, directory: Path, name: str = "hblink.toml") -> Config:
    """Read and judge `text`; raise ConfigError with every problem. A syntax error calls the file `name`."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(
            [Problem(name, f"is not TOML: {error}", "strings are quoted, tables are [in brackets]")]
        ) from error
    findings = Findings()
    config = _read(Table(findings, "", document), directory, findings)
    if findings.problems:
        raise ConfigError(findings.problems, findings.warnings)
    return _sealed(config, document, findings)


def _read(top: Table, directory: Path, findings: Findings) -> Config:
    nodes = _read_nodes(top)
    by_name = {name: index for index, name in enumerate(nodes)} if nodes else {}
    chosen = top.has("guarantee")
    allowances = read_allowances(top, by_name)
    timing = _read_timing(top.table("timing"))
    fences = [read_fence(table, _read_node(table, "node", by_name), directory) for table in top.tables("fence")]
    config = Config(
        cluster=top.text("cluster"),
        cluster_id=top.integer("cluster_id", 1, 65535),
        nodes=nodes or ("", ""),
        preferred=_read_node(top, "preferred", by_name),
        guarantee=top.choice("guarantee", {word.value: word for word in Guarantee}, "at-most-one"),
        key_file=directory / top.text("key_file", "hblink.keys"),
        socket_group=top.optional_text("socket_group"),
        alarm_command=_read_alarm_command(top),
        profile=allowances.profile,
        start_alone=allowances.start_alone,
        power_loss_evidence=allowances.power_loss_evidence,
        power_loss_wait_ns=allowances.power_loss_wait_ns,
        auto_failback=top.choice("auto_failback", {"on": True, "off": False}, "off"),
        fences_per_hour=top.integer("fences_per_hour", 0, 100, 6),
        guard=read_guard(top),
        timing=timing,
        links=_read_links(top, nodes, timing),
        vips=tuple(_read_vip(table) for table in top.tables("vip")),
        fences=order(fences),
        digest=b"",
        health=read_health(top),
        service_macs=_read_service_macs(top, nodes),
    )
    top.end()
    judge(config, fences, chosen, findings)
    judge_ladders(config, fences, findings)
    judge_health(config, findings)
    judge_guard(config, findings)
    judge_allowances(config, findings)
    return config


def _sealed(config: Config, document: dict[str, object], findings: Findings) -> Config:
    tables = {name: number for number, name in SECTIONS.items()}
    tables["target"] = tables["health"]
    parts: dict[int, dict[str, object]] = {number: {} for number in SECTIONS}
    for key, content in document.items():
        parts[tables.get(key, 1)][key] = content
    sections = {number: _digest(part)[:4] for number, part in parts.items()}
    return replace(config, digest=_digest(document), sections=sections, warnings=tuple(findings.warnings))


def _digest(document: dict[str, object]) -> bytes:
    """Hash the content in a canonical form: keys sorted, and the lists whose order means nothing sorted too.

    The order of fences means something only between those of one node: a ladder whose levels have no numbers.
    """
    canonical = dict(document)
    for key in ("vip", "target"):
        if isinstance(entries := canonical.get(key), list):
            canonical[key] = sorted(entries, key=_canonical)
    if isinstance(entries := canonical.get("fence"), list):
        nodes = [str(entry.get("node")) for entry in entries]
        ordered = len(set(nodes)) == len(nodes) or all("level" in entry for entry in entries)
        canonical["fence"] = sorted(entries, key=_canonical if ordered else lambda entry: str(entry.get("node")))
    return hashlib.sha256(_canonical(canonical).encode()).digest()[:8]


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def _read_nodes(top: Table) -> tuple[str, str] | None:
    """Read the names of the two nodes, sorted; None if they are not two good ones."""
    table = top.table("node", required=True)
    names = sorted(table.keys())
    bad = [name for name in names if len(name) > 63 or re.fullmatch(NODE_NAME, name) is None]
    for name in bad:
        top.findings.problem(table.at(name), "is not a host name", "letters, digits and hyphens, at most 63")
    if top.findings.has("node"):  # missing, or no table
        return None
    if len(names) != 2:
        top.findings.problem("node", f"names {len(names)} nodes, not two", "[node.alpha] and [node.beta]")
        return None
    if names[0].lower() == names[1].lower():
        top.findings.problem("node", f"{names[0]} and {names[1]} differ in case only", "host names ignore case")
        return None
    return None if bad else (names[0], names[1])


def _read_service_macs(top: Table, nodes: tuple[str, str] | None) -> tuple[frozenset[bytes], frozenset[bytes]]:
    """Read what a node's frames cannot say, such as the other address of a bond; judge the nodes' tables as a whole."""
    if top.findings.has("node"):  # missing, or no table
        return NO_MACS
    table = top.table("node")
    macs = {name: _read_macs(table.table(name)) for name in sorted(table.keys())}
    return NO_MACS if nodes is None else (macs[nodes[0]], macs[nodes[1]])


def _read_macs(table: Table) -> frozenset[bytes]:
    texts = table.texts("service_macs")
    table.end()
    for text in texts:
        if re.fullmatch(r"([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}", text) is None:
            table.findings.problem(
                table.at("service_macs"), f'holds "{text}", not an Ethernet address', "such as 52:54:00:12:34:56"
            )
            return frozenset()
    return frozenset(bytes.fromhex(text.replace(":", "")) for text in texts)


def _read_node(table: Table, key: str, by_name: dict[str, int]) -> int:
    if not by_name:  # the nodes are a problem already
        table.text(key)
        return 0
    return table.choice(key, by_name)


def _read_alarm_command(top: Table) -> tuple[str, ...]:
    command = top.texts("alarm_command")
    if command and not command[0].startswith("/"):
        top.findings.problem("alarm_command", f'"{command[0]}" is not an absolute path', "the daemon has its own PATH")
    return command


def _read_timing(table: Table) -> Timing:
    deadtime_ns = table.duration("deadtime_ms", 100, 60_000, 1000)
    timing = Timing(
        keepalive_ns=table.duration("keepalive_ms", 10, 10_000, 100),
        warntime_ns=table.duration("warntime_ms", 10, 60_000, deadtime_ns // 2 // NS_PER_MS),
        deadtime_ns=deadtime_ns,
        initdead_ns=table.duration("initdead_ms", 200, 600_000, 10_000),
        lease_ns=table.duration("lease_ms", 1, 3_600_000, 4000),
        handover_ns=table.duration("handover_ms", 200, 300_000, 5000),
        half_open_max_ns=table.duration("half_open_max_ms", 200, 600_000, 5 * deadtime_ns // NS_PER_MS),
        health_hold_ns=table.duration("health_hold_ms", 0, 600_000, 3000),
        failback_hold_ns=table.duration("failback_hold_ms", 0, 86_400_000, 60_000),
    )
    table.end()
    return timing


def _read_links(top: Table, nodes: tuple[str, str] | None, timing: Timing) -> tuple[LinkConfig, ...]:
    tables = top.tables("link")
    if not tables and top.findings.sound("link"):
        top.findings.problem("link", "there is none", "add [[link]]: a direct cable, and a null modem beside it")
    if len(tables) > LINKS_MAX:
        top.findings.problem("link", f"there are {len(tables)}, more than {LINKS_MAX}", "")
    return tuple(_read_link(table, nodes, timing) for table in tables)


def _read_link(table: Table, nodes: tuple[str, str] | None, timing: Timing) -> LinkConfig:
    serial = table.choice("type", {"udp": False, "serial": True})
    name = table.text("name", rule=_wrong_name)
    link: LinkConfig
    if not table.findings.sound(table.at("type")):
        table.ignore_rest()
        link = UdpLinkConfig(name, ("", ""), timing.keepalive_ns, (None, None), PORT)
    elif serial:
        baud = _read_baud(table)
        default_ns = max(SERIAL_KEEPALIVE_NS, serial_keepalive_ns(baud))
        link = SerialLinkConfig(
            name=name,
            endpoint=_read_pair(table.table("endpoint", required=True), nodes, _wrong_port),
            keepalive_ns=table.duration("keepalive_ms", 10, 10_000, default_ns // NS_PER_MS),
            baud=baud,
        )
    else:
        endpoint = _read_pair(table.table("endpoint", required=True), nodes, _wrong_endpoint)
        interface = _read_pair(table.table("interface"), nodes, _wrong_interface, required=False)
        link = UdpLinkConfig(
            name=name,
            endpoint=(_canonical_address(endpoint[0]), _canonical_address(endpoint[1])),
            keepalive_ns=table.duration("keepalive_ms", 10, 10_000, timing.keepalive_ns // NS_PER_MS),
            interface=(interface[0] or None, interface[1] or None),
            port=table.integer("port", 1, 65535, PORT),
            direct=table.boolean("direct", False),
        )
    table.end()
    return link


def _read_baud(table: Table) -> int:
    baud = table.integer("baud", 1, 4_000_000, 115200)
    if baud in BAUDS:
        return baud
    table.findings.problem(
        table.at("baud"), f"is {baud}, not a usual rate", "such as " + ", ".join(map(str, BAUDS[3:8]))
    )
    return 115200


def _read_pair(table: Table, nodes: tuple[str, str] | None, rule: Rule, required: bool = True) -> tuple[str, str]:
    """Read one string for each node, by index; empty ones where something is wrong, or absent and not required."""
    if nodes is None or not table.findings.sound(table.path):
        return ("", "")
    default = None if required else ""
    pair = (table.text(nodes[0], default, rule), table.text(nodes[1], default, rule))
    table.end()
    return pair


def _read_vip(table: Table) -> VipConfig:
    address = _read_vip_address(table)
    vip = VipConfig(address, table.text("interface", rule=_wrong_interface))
    table.end()
    return vip


def _read_vip_address(table: Table) -> IPv4Interface | IPv6Interface:
    """Read a virtual address. S10: one with a network of its own may take a host address with it when it goes."""
    may_have_prefix = table.boolean("allow_prefix", False)
    text = table.text("address", rule=_wrong_vip)
    if not table.findings.sound(table.at("address")):
        return NOWHERE
    address = ip_interface(text)
    if address.network.prefixlen != address.max_prefixlen and not may_have_prefix:
        table.findings.problem(
            table.at("address"),
            f"has the prefix /{address.network.prefixlen}, not /{address.max_prefixlen}",
            "a wider one can take the host's own address with it; allow_prefix = true where promote_secondaries is 1",
        )
    return address


def _canonical_address(text: str) -> str:
    return str(ip_address(text)) if is_address(text) else text


def _wrong_name(name: str) -> str | None:
    good = len(name) <= 16 and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name)
    return None if good else f'is "{name}", not up to 16 letters, digits, dots, hyphens'


def _wrong_interface(name: str) -> str | None:
    good = len(name) <= 15 and name.isascii() and not re.search(r"[\s/:]", name) and name not in (".", "..")
    return None if good else f'is "{name}", which cannot be the name of an interface'


def _wrong_port(port: str) -> str | None:
    return None if port.startswith("/") else f'is "{port}", not the absolute path of a serial port'


def _wrong_endpoint(text: str) -> str | None:
    if not is_address(text):
        return f'is "{text}", not an IPv4 or IPv6 address'
    address = ip_address(text)
    if address.is_multicast or address.is_unspecified or text == "255.255.255.255":
        return f"is {text}, which is no address of one node"
    return None


def _wrong_vip(text: str) -> str | None:
    try:
        address = ip_interface(text)
    except ValueError:
        return f'is "{text}", not an address such as 192.0.2.10/32 or 2001:db8::10/128'
    if address.ip.is_multicast or address.ip.is_unspecified or address.ip.is_loopback:
        return f"is {address.ip}, which cannot be moved between two nodes"
    return None
