"""What must hold between values: the one place where timers, links, addresses and fences are judged against each other.

It reads values and adds findings; it must never change a value, touch the machine, or judge a value that is already
known to be bad (`Findings.sound`), so that one mistake gives one finding.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

from hblink.config.document import NS_PER_MS, Findings
from hblink.config.value import (
    Config,
    FenceConfig,
    IpmiFenceConfig,
    LinkConfig,
    SerialLinkConfig,
    Timing,
    UdpLinkConfig,
)

FRAME_BASIC = 72  # bytes, without TLVs
FRAME_MAX = 240
# CRC-16, the COBS code byte (one for each 254 bytes, so one), and a delimiter at each end.
SERIAL_OVERHEAD = 2 + 1 + 2
BITS_PER_BYTE = 10  # 8N1: a start bit, eight data bits, a stop bit

BEATS = 3  # deadtime is at least this many intervals of every link: two lost beats are no suspicion
LEASE_MIN_NS = 2_000 * NS_PER_MS
LEASE_MAX_NS = 10_000 * NS_PER_MS


def serial_wire_ns(frame_bytes: int, baud: int) -> int:
    """How long a frame of `frame_bytes` occupies a serial line at `baud`, in nanoseconds."""
    return (frame_bytes + SERIAL_OVERHEAD) * BITS_PER_BYTE * 1_000_000_000 // baud


def serial_keepalive_ns(baud: int) -> int:
    """The shortest interval that a serial line can carry, in whole 10 ms.

    An ordinary beat takes at most half of it (WIRE, Budget), and the longest frame fits into it, so that no beat is
    ever skipped because the one before is still on the line.
    """
    least_ns = max(2 * serial_wire_ns(FRAME_BASIC, baud), serial_wire_ns(FRAME_MAX, baud))
    step_ns = 10 * NS_PER_MS
    return -(-least_ns // step_ns) * step_ns


def judge(config: Config, fences: list[FenceConfig], chosen_guarantee: bool, findings: Findings) -> None:
    """Judge everything that involves more than one value.

    `fences` are in the order of the file, which `config.fences` need not be; `chosen_guarantee` tells whether the
    operator wrote the guarantee down.
    """
    _judge_timing(config.timing, findings)
    for index, link in enumerate(config.links):
        _judge_interval(f"link[{index}]", link, config.timing, findings)
    if not all(config.nodes):
        return  # what follows goes by node, and which they are is a problem already
    _judge_links(config, findings)
    _judge_vips(config, findings)
    _judge_fences(config, fences, findings)
    _judge_guarantee(config, fences, chosen_guarantee, findings)


def _judge_timing(timing: Timing, findings: Findings) -> None:
    def relate(key: str, holds: bool, others: tuple[str, ...], message: str, hint: str) -> None:
        if not holds and findings.sound(f"timing.{key}", *(f"timing.{other}" for other in others)):
            findings.problem(f"timing.{key}", message, hint)

    dead = ms(timing.deadtime_ns)
    relate(
        "warntime_ms",
        timing.warntime_ns < timing.deadtime_ns,
        ("deadtime_ms",),
        f"is {ms(timing.warntime_ns)}, not below deadtime_ms ({dead})",
        "a warning comes before the verdict; leave it out for half of deadtime_ms",
    )
    relate(
        "warntime_ms",
        timing.warntime_ns >= timing.keepalive_ns,
        ("keepalive_ms",),
        f"is {ms(timing.warntime_ns)}, below keepalive_ms ({ms(timing.keepalive_ns)})",
        "every beat would come late",
    )
    relate(
        "initdead_ms",
        timing.initdead_ns >= 2 * timing.deadtime_ns,
        ("deadtime_ms",),
        f"is {ms(timing.initdead_ns)}, less than twice deadtime_ms ({dead})",
        f"a peer that boots at the same time needs longer: at least {2 * dead}",
    )
    relate(
        "lease_ms",
        LEASE_MIN_NS <= timing.lease_ns <= LEASE_MAX_NS and timing.lease_ns % 1_000_000_000 == 0,
        (),
        f"is {ms(timing.lease_ns)}, not 2000..10000 in whole seconds",
        "the kernel counts address lifetimes in seconds",
    )
    relate(
        "lease_ms",
        timing.lease_ns > timing.deadtime_ns,
        ("deadtime_ms",),
        f"is {ms(timing.lease_ns)}, not above deadtime_ms ({dead})",
        "an address must outlive every pause that is no suspicion; aim at two to four times deadtime_ms",
    )
    relate(
        "handover_ms",
        timing.handover_ns > timing.deadtime_ns,
        ("deadtime_ms",),
        f"is {ms(timing.handover_ns)}, not above deadtime_ms ({dead})",
        "a peer that dies in the middle of a handover must be noticed before it is given up",
    )
    relate(
        "half_open_max_ms",
        timing.half_open_max_ns > timing.deadtime_ns,
        ("deadtime_ms",),
        f"is {ms(timing.half_open_max_ns)}, not above deadtime_ms ({dead})",
        "a half-open peer is given longer than a silent one",
    )


def _judge_interval(path: str, link: LinkConfig, timing: Timing, findings: Findings) -> None:
    interval = ms(link.keepalive_ns)
    own = findings.sound(f"{path}.keepalive_ms", f"{path}.baud", f"{path}.type", "timing.keepalive_ms")
    if own and isinstance(link, SerialLinkConfig) and link.keepalive_ns < (least := serial_keepalive_ns(link.baud)):
        findings.problem(
            f"{path}.keepalive_ms",
            f"is {interval}, too short for {link.baud} baud: a beat of {FRAME_BASIC} bytes takes "
            f"{serial_wire_ns(FRAME_BASIC, link.baud) / 1e6:.1f} ms of line, the longest "
            f"{serial_wire_ns(FRAME_MAX, link.baud) / 1e6:.1f} ms",
            f"at least {ms(least)} at this rate, or a faster one",
        )
    if own and findings.sound("timing.deadtime_ms") and timing.deadtime_ns < BEATS * link.keepalive_ns:
        findings.problem(
            "timing.deadtime_ms",
            f"is {ms(timing.deadtime_ns)}, less than {BEATS} intervals of {path} ({interval} ms each)",
            f"at least {BEATS * interval}, or a shorter keepalive_ms on that link",
        )


def _judge_links(config: Config, findings: Findings) -> None:
    links = config.links
    if len(links) == 1 and findings.sound("link"):
        findings.warn("link", "a pair on one link", "a second one on another medium, such as a null-modem cable")
    for index, link in enumerate(links):
        path = f"link[{index}]"
        if isinstance(link, UdpLinkConfig) and findings.sound(f"{path}.endpoint", f"{path}.type"):
            _judge_addresses(path, link, config.nodes, findings)
        if isinstance(link, UdpLinkConfig) and link.direct and findings.sound(f"{path}.interface"):
            _judge_direct(path, link, config.nodes, findings)
        for earlier in range(index):
            if links[earlier].name == link.name and findings.sound(f"{path}.name", f"link[{earlier}].name"):
                findings.problem(f"{path}.name", f'is "{link.name}", as is that of link[{earlier}]', "names are unique")
            _judge_two_links(config, earlier, index, findings)


def _judge_addresses(path: str, link: UdpLinkConfig, nodes: tuple[str, str], findings: Findings) -> None:
    first, second = (ip_address(endpoint) for endpoint in link.endpoint)
    for node, address in enumerate((first, second)):
        if address.version == 6 and address.is_link_local and link.interface[node] is None:
            findings.problem(
                f"{path}.endpoint.{nodes[node]}",
                f"is {address}, link-local: it means nothing without an interface",
                f'add interface.{nodes[node]} = "..."',
            )
    if first == second:
        findings.problem(f"{path}.endpoint", f"both nodes have {first}", "each node has its own address on a link")
    elif first.version != second.version:
        findings.problem(f"{path}.endpoint", f"{first} and {second} are of two families", "both IPv4 or both IPv6")


def _judge_direct(path: str, link: UdpLinkConfig, nodes: tuple[str, str], findings: Findings) -> None:
    bare = [name for name, interface in zip(nodes, link.interface, strict=True) if interface is None]
    if bare:
        findings.problem(
            f"{path}.direct",
            f"is true, and no interface is named for {' and '.join(bare)}",
            "; ".join(f'add interface.{name} = "..."' for name in bare)
            + ": its carrier is what tells of the other end",
        )


def _judge_two_links(config: Config, earlier: int, later: int, findings: Findings) -> None:
    one, two = config.links[earlier], config.links[later]
    path = f"link[{later}]"
    if type(one) is not type(two) or not findings.sound(path, f"link[{earlier}]"):
        return
    for node, name in enumerate(config.nodes):
        same_end = one.endpoint[node] == two.endpoint[node]
        at = f"{path}.endpoint.{name}"
        if isinstance(one, UdpLinkConfig) and isinstance(two, UdpLinkConfig):
            if same_end and one.port == two.port:
                findings.problem(at, f"and port {two.port} are those of link[{earlier}]", "one socket for each link")
            elif same_end or (two.interface[node] is not None and one.interface[node] == two.interface[node]):
                shared = at if same_end else f"{path}.interface.{name}"
                findings.warn(
                    shared, f"is shared with link[{earlier}]: one fault takes both", "use another interface and cable"
                )
        elif same_end:
            findings.problem(at, f"is the port of link[{earlier}]", "one port for each link")


def _judge_vips(config: Config, findings: Findings) -> None:
    endpoints = dict(_endpoint_addresses(config, findings))
    if not config.vips and findings.sound("vip"):
        findings.warn("vip", "no virtual address: nothing would move to the peer", "add [[vip]]")
    seen: dict[tuple[str, str], int] = {}
    for index, vip in enumerate(config.vips):
        path = f"vip[{index}].address"
        if not findings.sound(path):
            continue
        ip = str(vip.address.ip)
        is_bound = vip.address.version == 6 and vip.address.is_link_local
        place = (ip, vip.interface if is_bound else "")  # a link-local address is another one on another interface
        if place in seen:
            findings.problem(path, f"is {ip}, as is that of vip[{seen[place]}]", "each address once")
        elif ip in endpoints:
            findings.problem(
                path, f"is {ip}, as is {endpoints[ip]}", "a heartbeat must not depend on an address that moves"
            )
        seen.setdefault(place, index)


def _judge_fences(config: Config, fences: list[FenceConfig], findings: Findings) -> None:
    vips = {str(vip.address.ip): f"vip[{index}]" for index, vip in enumerate(config.vips)}
    endpoints = dict(_endpoint_addresses(config, findings))
    for index, fence in enumerate(fences):
        path = f"fence[{index}]"
        for earlier in range(index):
            _judge_two_fences(fences, earlier, index, findings)
        if not isinstance(fence, IpmiFenceConfig) or not findings.sound(f"{path}.host"):
            continue
        moving = endpoints.get(fence.host) or vips.get(fence.host)
        if moving is not None:
            findings.problem(
                f"{path}.host",
                f"is {fence.host}, as is {moving}",
                "give the address of the BMC, not one of the nodes' own: it must answer when the node is dead",
            )
        if not is_address(fence.host):
            findings.warn(
                f"{path}.host",
                f'"{fence.host}" is a name',
                "give the address: a name server may be down when it counts",
            )


def _judge_two_fences(fences: list[FenceConfig], earlier: int, later: int, findings: Findings) -> None:
    one, two = fences[earlier], fences[later]
    path = f"fence[{later}]"
    ipmi = isinstance(one, IpmiFenceConfig) and isinstance(two, IpmiFenceConfig)
    if not ipmi or not findings.sound(f"{path}.node", f"fence[{earlier}].node"):
        return
    assert isinstance(one, IpmiFenceConfig)
    assert isinstance(two, IpmiFenceConfig)
    if (one.host, one.port) == (two.host, two.port) and findings.sound(f"{path}.host", f"fence[{earlier}].host"):
        same = one.node == two.node
        findings.problem(
            f"{path}.host",
            f"and port {two.port} are those of fence[{earlier}]"
            + (": a second level" if same else ": a node that fences its peer would switch itself off"),
            "a second level is another device" if same else "each node has its own BMC",
        )


def _judge_guarantee(config: Config, fences: list[FenceConfig], chosen: bool, findings: Findings) -> None:
    if not findings.sound("guarantee", *(f"fence[{index}].node" for index in range(len(fences)))):
        return
    bare = [name for index, name in enumerate(config.nodes) if not config.fences_of(index)]
    if not bare:
        return
    who = " and ".join(bare)
    if not chosen:
        findings.problem(
            "fence",
            f"no device can switch off {who}, and no guarantee is chosen",
            'add [[fence]], or write guarantee = "at-most-one" (blocks until an operator confirms) or "at-least-one" '
            "(both may serve in a partition)",
        )
    else:
        findings.warn(
            "fence", f"no device can switch off {who}", f"what then happens is the guarantee: {config.guarantee.value}"
        )


def _endpoint_addresses(config: Config, findings: Findings) -> Iterator[tuple[str, str]]:
    """Each address of a UDP link in its canonical form, with the path that names it."""
    for index, link in enumerate(config.links):
        if isinstance(link, UdpLinkConfig) and findings.sound(f"link[{index}].endpoint", f"link[{index}].type"):
            for node, endpoint in enumerate(link.endpoint):
                yield str(ip_address(endpoint)), f"link[{index}].endpoint.{config.nodes[node]}"


def is_address(text: str) -> bool:
    """Tell whether `text` is a literal IPv4 or IPv6 address."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def ms(duration_ns: int) -> int:
    """Whole milliseconds of a duration, for messages."""
    return duration_ns // NS_PER_MS
