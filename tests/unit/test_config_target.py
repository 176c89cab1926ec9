"""[[target]], [health] and what a node's table may hold: read, bounded, and judged against the rest of the pair."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest

from hblink.config import Config, ConfigError, parse, settings_of

BASE = """
cluster = "fw-pair"
cluster_id = 4711
preferred = "alpha"
guarantee = "at-most-one"
[node.alpha]
{alpha}
[node.beta]
[timing]
{timing}
[[link]]
name = "direct"
type = "udp"
endpoint.alpha = "10.9.0.1"
endpoint.beta = "10.9.0.2"
[[vip]]
address = "192.0.2.10/32"
interface = "eth0"
{rest}
"""
GATEWAY = '[[target]]\naddress = "192.0.2.1"\ninterface = "eth0"\n'


def read(rest: str = "", alpha: str = "", timing: str = "") -> Config:
    return parse(BASE.format(rest=rest, alpha=alpha, timing=timing), Path("/etc/hblink"))


def problems(rest: str = "", alpha: str = "", timing: str = "") -> list[str]:
    with pytest.raises(ConfigError) as raised:
        read(rest, alpha, timing)
    return [str(problem) for problem in raised.value.problems]


def test_targets_are_read_with_their_defaults() -> None:
    config = read(GATEWAY + '[[target]]\naddress = "192.0.2.2"\ninterface = "eth0"\ntype = "arp"\n')
    first, second = config.health.targets
    assert (first.address, first.interface, first.method) == (ip_address("192.0.2.1"), "eth0", "icmp")
    assert second.method == "arp"
    assert (config.health.interval_ns, config.health.samples) == (500_000_000, 3)
    assert settings_of(config, 0).health_hold_ns == 3_000_000_000
    assert read().health.targets == ()


def test_the_times_are_read() -> None:
    config = read(GATEWAY + "[health]\ninterval_ms = 200\nsamples = 5\n", timing="health_hold_ms = 700")
    assert (config.health.interval_ns, config.health.samples) == (200_000_000, 5)
    assert settings_of(config, 1).health_hold_ns == 700_000_000


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        ('[[target]]\ninterface = "eth0"\n', "target[0].address: is missing"),
        ('[[target]]\naddress = "192.0.2.1"\n', "target[0].interface: is missing"),
        (GATEWAY.replace("192.0.2.1", "gateway"), 'target[0].address: is "gateway", not an IPv4 or IPv6 address'),
        (GATEWAY.replace("192.0.2.1", "224.0.0.1"), "target[0].address: is 224.0.0.1, which is no address of one"),
        (GATEWAY.replace("192.0.2.1", "127.0.0.1"), "target[0].address: is 127.0.0.1, which is no address of one"),
        (GATEWAY.replace("192.0.2.1", "192.0.2.10"), "target[0].address: is 192.0.2.10, as is vip[0]"),
        (GATEWAY.replace("192.0.2.1", "10.9.0.2"), "target[0].address: is 10.9.0.2, as is link[0].endpoint.beta"),
        (GATEWAY + GATEWAY, "target[1].address: is 192.0.2.1, as is that of target[0]"),
        (GATEWAY.replace("192.0.2.1", "2001:db8::1") + 'type = "arp"\n', 'target[0].type: is "arp", and the address'),
        (GATEWAY + 'type = "ping"\n', 'target[0].type: is "ping", not one of "icmp", "arp"'),
        (GATEWAY.replace("eth0", "eth 0"), 'target[0].interface: is "eth 0", which cannot be the name'),
        (GATEWAY + "every = 3\n", "target[0].every: is not a known key"),
        ("[health]\nsamples = 0\n", "health.samples: is 0, outside 1..20"),
        ("[health]\ninterval_ms = 1\n", "health.interval_ms: is 1, outside 100..60000"),
        ("[health]\nhold_ms = 1\n", "health.hold_ms: is not a known key"),
    ],
)
def test_each_mistake_is_named(rest: str, expected: str) -> None:
    (found,) = problems(rest)
    assert found.startswith(expected), found


def test_too_many_targets_are_refused() -> None:
    rest = "".join(GATEWAY.replace("192.0.2.1", f"192.0.2.{n}") for n in range(100, 117))
    assert problems(rest) == ["target: there are 17, more than 16 (a gateway or two will do)"]


def test_a_target_on_an_interface_without_a_vip_is_a_warning() -> None:
    config = read(GATEWAY.replace("eth0", "eth3"))
    assert any(warning.path == "target[0].interface" for warning in config.warnings)


def test_the_order_of_targets_means_nothing() -> None:
    other = GATEWAY.replace("192.0.2.1", "192.0.2.2")
    assert read(GATEWAY + other).digest == read(other + GATEWAY).digest
    assert read(GATEWAY).digest != read(other).digest


def test_hardware_addresses_of_a_node_are_read() -> None:
    config = read(alpha='service_macs = ["52:54:00:12:34:56", "52:54:00:AB:cd:ef"]')
    assert config.service_macs == (frozenset({b"\x52\x54\x00\x12\x34\x56", b"\x52\x54\x00\xab\xcd\xef"}), frozenset())
    (found,) = problems(alpha='service_macs = ["52:54:00:12:34"]')
    assert found.startswith('node.alpha.service_macs: holds "52:54:00:12:34", not an Ethernet address'), found
    (found,) = problems(alpha='mac = "52:54:00:12:34:56"')
    assert found.startswith("node.alpha.mac: is not a known key"), found


def test_a_link_local_address_is_another_one_on_another_interface() -> None:
    on0, on1 = (f'[[vip]]\naddress = "fe80::1/128"\ninterface = "{name}"\n' for name in ("eth0", "eth1"))
    assert len(read(on0 + on1).vips) == 3
    (found,) = problems(on0 + on0)
    assert found.startswith("vip[2].address: is fe80::1, as is that of vip[1]"), found
    wide = on1.replace("fe80::1", "192.0.2.10").replace("/128", "/32")
    (found,) = problems(wide)
    assert found.startswith("vip[1].address: is 192.0.2.10, as is that of vip[0]"), found
