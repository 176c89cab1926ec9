"""hblink.toml: every problem is found, by its path, and nothing else is."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_interface
from pathlib import Path

import pytest
from hblink_wire.layout import FRAME_MAX, FRAME_MIN
from hblink_wire.serial import serial_length

from hblink.config import (
    Config,
    ConfigError,
    IpmiFenceConfig,
    SerialLinkConfig,
    UdpLinkConfig,
    load,
    parse,
    settings_of,
)
from hblink.config.relation import FRAME_BASIC, SERIAL_OVERHEAD, serial_keepalive_ns, serial_wire_ns
from hblink.config.relation import FRAME_MAX as FRAME_LONGEST
from hblink.core.value import MS, SECOND, Guarantee, StartAlone
from tests.unit.sample import GOOD, WITHOUT_ALPHA_FENCE, WITHOUT_FENCES, edited

DIRECTORY = Path("/etc/hblink")

THIRD_LINK = """
[[link]]
name = "third"
type = "udp"
endpoint.alpha = "10.8.0.1"
endpoint.beta = "10.8.0.2"
interface.alpha = "eth2"
"""


def good(*edits: tuple[str, str]) -> Config:
    return parse(edited(*edits), DIRECTORY)


def problems(text: str) -> dict[str, str]:
    """Message and hint by path; a path that has two problems fails the test."""
    with pytest.raises(ConfigError) as caught:
        parse(text, DIRECTORY)
    found = caught.value.problems
    assert len({problem.path for problem in found}) == len(found), found
    return {problem.path: f"{problem.message} -> {problem.hint}" for problem in found}


def test_a_good_file_becomes_typed_values() -> None:
    config = good()
    assert (config.cluster, config.cluster_id, config.nodes, config.preferred) == (
        "fw-pair",
        4711,
        ("alpha", "beta"),
        1,
    )
    assert config.guarantee is Guarantee.AT_MOST_ONE
    assert config.key_file == DIRECTORY / "hblink.keys"
    assert (config.socket_group, config.alarm_command) == (None, ())
    assert config.start_alone == (StartAlone.BMC_OFF, StartAlone.BMC_OFF)
    assert config.timing.warntime_ns == 500 * MS
    assert config.links == (
        UdpLinkConfig("direct", ("10.9.0.1", "10.9.0.2"), 100 * MS, ("eth1", "eth1"), 1694),
        SerialLinkConfig("serial", ("/dev/ttyS1", "/dev/ttyS2"), 200 * MS, 115200),
    )
    assert [vip.address for vip in config.vips] == [ip_interface("192.0.2.10/32"), ip_interface("2001:db8::10/128")]
    assert [fence.node for fence in config.fences] == [0, 1]
    (beta,) = config.fences_of(1)
    assert isinstance(beta, IpmiFenceConfig)
    assert (beta.host, beta.attempt_ns, beta.password_file) == ("10.0.0.12", 30 * SECOND, DIRECTORY / "ipmi-beta.pass")
    assert config.warnings == ()


def test_what_is_written_down_is_taken() -> None:
    config = good(
        ("cluster_id = 4711", 'cluster_id = 1\nsocket_group = "hblink"\nstart_alone = "wait"\nkey_file = "/k/ring"\n'
         'alarm_command = ["/bin/page", "me"]\nguarantee = "at-least-one"'),
        ("baud = 115200", "baud = 9600"),
    )  # fmt: skip
    assert (config.socket_group, config.key_file) == ("hblink", Path("/k/ring"))
    assert config.start_alone == (StartAlone.WAIT, StartAlone.WAIT)
    assert (config.alarm_command, config.guarantee) == (("/bin/page", "me"), Guarantee.AT_LEAST_ONE)
    assert config.links[1].keepalive_ns == 260 * MS  # what a line of 9600 baud can carry


@pytest.mark.parametrize(
    ("old", "new", "path", "word"),
    [
        ('cluster = "fw-pair"', "", "cluster", "missing"),
        ('cluster = "fw-pair"', "cluster = 7", "cluster", "not a string"),
        ('cluster = "fw-pair"', 'cluster = ""', "cluster", "empty"),
        ('cluster = "fw-pair"', 'cluster = "a\\u001bb"', "cluster", "cannot be printed"),
        ("cluster_id = 4711", "cluster_id = 0", "cluster_id", "outside 1..65535"),
        ("cluster_id = 4711", "cluster_id = true", "cluster_id", "a boolean"),
        ("cluster_id = 4711", "cluster_id = 1.0", "cluster_id", "a float"),
        ("cluster_id = 4711", "cluster_id = 1979-05-27", "cluster_id", "a date"),
        ('preferred = "beta"', 'preferred = "bet"', "preferred", "did you mean beta?"),
        ("[node.beta]", "[node.gamma]\n[node.delta]\n[node.beta]", "node", "names 4 nodes"),
        ("[node.beta]", "[node.be_ta]", "node.be_ta", "not a host name"),
        ("[node.beta]", "[node.Alpha]", "node", "differ in case only"),
        ("[node.beta]", "[node.beta]\nweight = 3", "node.beta.weight", "not a known key"),
        ("cluster_id = 4711", 'cluster_id = 1\nguarantee = "at-most"', "guarantee", "at-most-one"),
        ("cluster_id = 4711", 'cluster_id = 1\nstart_alone = "yes"', "start_alone", "bmc-off"),
        ("cluster_id = 4711", 'cluster_id = 1\nalarm_command = "mail"', "alarm_command", "list of strings"),
        ("cluster_id = 4711", 'cluster_id = 1\nalarm_command = ["mail"]', "alarm_command", "absolute"),
        ("cluster_id = 4711", "cluster_id = 1\ncluster_it = 1", "cluster_it", "not a known key"),
        ("[timing]", "[timing]\nkeepalive = 3", "timing.keepalive", "did you mean keepalive_ms?"),
        ("deadtime_ms = 1000", 'deadtime_ms = "1s"', "timing.deadtime_ms", "not a whole number"),
        ("deadtime_ms = 1000", "warntime_ms = 1000", "timing.warntime_ms", "not below deadtime_ms"),
        ("deadtime_ms = 1000", "warntime_ms = 50", "timing.warntime_ms", "below keepalive_ms"),
        ("deadtime_ms = 1000", "deadtime_ms = 500\nwarntime_ms = 250", "timing.deadtime_ms", "3 intervals of link[1]"),
        ("deadtime_ms = 1000", "keepalive_ms = 350\nwarntime_ms = 500", "timing.deadtime_ms", "at least 1050"),
        ("deadtime_ms = 1000", "initdead_ms = 1999", "timing.initdead_ms", "at least 2000"),
        ("deadtime_ms = 1000", "lease_ms = 1000", "timing.lease_ms", "2000..10000"),
        ("deadtime_ms = 1000", "lease_ms = 11000", "timing.lease_ms", "2000..10000"),
        ("deadtime_ms = 1000", "lease_ms = 2500", "timing.lease_ms", "whole seconds"),
        ("deadtime_ms = 1000", "deadtime_ms = 4000", "timing.lease_ms", "not above deadtime_ms"),
        ("deadtime_ms = 1000", "handover_ms = 1000", "timing.handover_ms", "not above deadtime_ms"),
        ("deadtime_ms = 1000", "half_open_max_ms = 900", "timing.half_open_max_ms", "not above deadtime_ms"),
        ('type = "udp"', "", "link[0].type", "missing"),
        ('type = "udp"', 'type = "upd"', "link[0].type", "did you mean udp?"),
        ('name = "direct"', 'name = "serial"', "link[1].name", "as is that of link[0]"),
        ('name = "direct"', 'name = "a b"', "link[0].name", "not up to 16 letters"),
        ('endpoint.beta = "10.9.0.2"', 'endpoint.beta = "peer"', "link[0].endpoint.beta", "not an IPv4"),
        ('endpoint.beta = "10.9.0.2"', 'endpoint.beta = "224.0.0.1"', "link[0].endpoint.beta", "no address of one"),
        ('endpoint.beta = "10.9.0.2"', 'endpoint.beta = "10.9.0.1"', "link[0].endpoint", "both nodes have"),
        ('endpoint.beta = "10.9.0.2"', 'endpoint.beta = "fd00::2"', "link[0].endpoint", "two families"),
        ('endpoint.beta = "10.9.0.2"', "", "link[0].endpoint.beta", "missing"),
        ('endpoint.beta = "10.9.0.2"', 'endpoint.bta = "10.9.0.2"\nendpoint.beta = "10.9.0.3"', "link[0].endpoint.bta",
         "not a known key"),
        ('interface.beta = "eth1"', 'interface.beta = "a-name-that-is-long"', "link[0].interface.beta", "cannot be"),
        ('interface.beta = "eth1"', "direct = true", "link[0].direct", 'named for beta -> add interface.beta = "..."'),
        ('interface.alpha = "eth1"\ninterface.beta = "eth1"', "direct = true", "link[0].direct", "alpha and beta"),
        ('interface.beta = "eth1"', 'interface.beta = "a b"\ndirect = true', "link[0].interface.beta", "cannot be"),
        ('interface.beta = "eth1"', 'interface.beta = "eth1"\ndirect = "yes"', "link[0].direct", "not true or false"),
        ("baud = 115200", "baud = 115200\ndirect = true", "link[1].direct", "not a known key"),
        ('interface.beta = "eth1"', "port = 70000", "link[0].port", "outside 1..65535"),
        ('endpoint.beta = "/dev/ttyS2"', 'endpoint.beta = "ttyS2"', "link[1].endpoint.beta", "absolute path"),
        ("baud = 115200", "baud = 115201", "link[1].baud", "not a usual rate"),
        ("baud = 115200", "baud = 9600\nkeepalive_ms = 250", "link[1].keepalive_ms", "at least 260"),
        ("baud = 115200", "baud = 115200\nparity = 1", "link[1].parity", "not a known key"),
        ("[[vip]]", THIRD_LINK.replace("10.8.0", "10.9.0").replace(".2\"", '.3"') + "[[vip]]",
         "link[2].endpoint.alpha", "one socket for each link"),
        ("[[vip]]", '[[link]]\nname="s"\ntype="serial"\nendpoint={alpha="/dev/ttyS1", beta="/dev/x"}\n[[vip]]',
         "link[2].endpoint.alpha", "is the port of link[1]"),
        ('"192.0.2.10/32"', '"192.0.2.10/24"', "vip[0].address", "allow_prefix"),
        ('"2001:db8::10"', '"2001:db8::10/64"', "vip[1].address", "allow_prefix"),
        ('"192.0.2.10/32"', '"192.0.2.300"', "vip[0].address", "not an address"),
        ('"192.0.2.10/32"', '"127.0.0.1"', "vip[0].address", "cannot be moved"),
        ('"192.0.2.10/32"', '"10.9.0.2"', "vip[0].address", "as is link[0].endpoint.beta"),
        ('"192.0.2.10/32"', '"2001:DB8:0::10/128"', "vip[1].address", "as is that of vip[0]"),
        ('"192.0.2.10/32"\ninterface = "eth0"', '"192.0.2.10/32"', "vip[0].interface", "missing"),
        ('node = "beta"', 'node = "gamma"', "fence[0].node", 'not one of "alpha", "beta"'),
        ('type = "ipmi"', 'type = "pdu"', "fence[0].type", 'not one of "ipmi", "agent"'),
        ('host = "10.0.0.12"', 'host = "10.0.0.11"', "fence[1].host", "switch itself off"),
        ('host = "10.0.0.12"', 'host = "10.9.0.2"', "fence[0].host", "address of the BMC"),
        ('host = "10.0.0.12"', 'host = "192.0.2.10"', "fence[0].host", "as is vip[0]"),
        ('host = "10.0.0.12"', 'host = "-x"', "fence[0].host", "neither an address nor a host name"),
        ('user = "fence"', 'user = "a-name-of-seventeen"', "fence[0].user", "longer than 16"),
        ('password_file = "ipmi-beta.pass"', "", "fence[0].password_file", "missing"),
        ("attempt_ms = 30000", "cipher_suite = 2", "fence[0].cipher_suite", "not 17 or 3"),
        ("attempt_ms = 30000", 'privilege = "USER"', "fence[0].privilege", "OPERATOR"),
        ("attempt_ms = 30000", "attempt_ms = 5999", "fence[0].attempt_ms", "5000 + 1000"),
        ("attempt_ms = 30000", "latency_ms = 4000", "fence[0].latency_ms", "below command_timeout_ms"),
        ("attempt_ms = 30000", 'password = "secret"', "fence[0].password", "not a known key"),
    ],
)  # fmt: skip
def test_each_problem_is_named_by_its_path(old: str, new: str, path: str, word: str) -> None:
    found = problems(edited((old, new)))
    assert list(found) == [path]
    assert word in found[path]


def test_a_link_is_direct_only_where_that_is_written_down() -> None:
    declared = good(('interface.beta = "eth1"', 'interface.beta = "eth1"\ndirect = true'))
    plain = good()
    assert [getattr(link, "direct", None) for link in declared.links] == [True, None]
    assert [getattr(link, "direct", None) for link in plain.links] == [False, None]
    assert declared.digest != plain.digest
    assert {number for number in plain.sections if plain.sections[number] != declared.sections[number]} == {3}


def test_all_problems_are_listed_at_once() -> None:
    found = problems(
        edited(
            ("cluster_id = 4711", "cluster_id = 99999"),
            ("deadtime_ms = 1000", "deadtime_ms = 300\nwarntime_ms = 400\nlease_ms = false"),
            ('endpoint.alpha = "10.9.0.1"', "endpoint.alpha = 10"),
            ("baud = 115200", 'baud = "fast"'),
            ('interface = "eth0"', "interface = []"),
            ("attempt_ms = 30000", "attempt_ms = 1000"),
        )
    )
    assert set(found) == {
        "cluster_id",
        "timing.warntime_ms",
        "timing.lease_ms",
        "link[0].endpoint.alpha",
        "link[1].baud",
        "vip[0].interface",
        "fence[0].attempt_ms",
    }


def test_the_parts_that_must_be_there() -> None:
    assert set(problems("")) == {"cluster", "cluster_id", "node", "preferred", "link"}
    text = edited(("[[vip]]", THIRD_LINK * 3 + "[[vip]]"))
    with pytest.raises(ConfigError) as caught:
        parse(text, DIRECTORY)
    assert "link: there are 5, more than 4" in [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("text", "path"),
    [("link = 3", "link"), ("[link]", "link"), ("node = 3", "node"), ("timing = []", "timing"), ("vip = [1]", "vip")],
)
def test_a_key_of_the_wrong_shape(text: str, path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text, DIRECTORY)
    assert any(problem.path == path and "is" in problem.message for problem in caught.value.problems)


def test_what_is_not_toml_says_where(tmp_path: Path) -> None:
    assert "line 2" in problems("cluster = 'a'\ncluster_id 5")["hblink.toml"]
    file = tmp_path / "hblink.toml"
    with pytest.raises(ConfigError, match="no such file"):
        load(file)
    file.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="byte 0 is not UTF-8"):
        load(file)
    file.write_text("=")
    with pytest.raises(ConfigError, match=f"{file}: is not TOML"):
        load(file)
    file.write_text(GOOD)
    assert load(file).key_file == tmp_path / "hblink.keys"


def test_no_fence_device_needs_a_chosen_guarantee() -> None:
    assert "alpha and beta" in problems(WITHOUT_FENCES)["fence"]
    assert "off alpha, and" in problems(WITHOUT_ALPHA_FENCE)["fence"]
    for guarantee in Guarantee:
        config = parse(f'guarantee = "{guarantee.value}"\n{WITHOUT_FENCES}', DIRECTORY)
        assert config.guarantee is guarantee
        unproven = ["guarantee"] if guarantee is Guarantee.AT_LEAST_ONE else []
        assert [warning.path for warning in config.warnings] == ["fence", *unproven]
        assert not settings_of(config, 0).has_fence


def test_warnings_do_not_fail() -> None:
    one_link = GOOD[: GOOD.index('[[link]]\nname = "serial"')] + GOOD[GOOD.index("[[vip]]") :]
    assert [str(warning.path) for warning in parse(one_link, DIRECTORY).warnings] == ["link"]
    shared = edited(("[[vip]]", THIRD_LINK.replace("eth2", "eth1") + "[[vip]]"))
    assert [warning.path for warning in parse(shared, DIRECTORY).warnings] == ["link[2].interface.alpha"]
    assert [warning.path for warning in good(('host = "10.0.0.12"', 'host = "bmc-b"')).warnings] == ["fence[0].host"]
    tight = good(("attempt_ms = 30000", "attempt_ms = 8000"))
    assert [warning.path for warning in tight.warnings] == ["fence[0].attempt_ms"]
    no_vip = GOOD[: GOOD.index("[[vip]]")] + GOOD[GOOD.index("[[fence]]") :]
    assert [warning.path for warning in parse(no_vip, DIRECTORY).warnings] == ["vip"]


def test_a_wide_prefix_and_a_link_local_endpoint_can_be_asked_for() -> None:
    wide = good(('"192.0.2.10/32"', '"192.0.2.10/24"\nallow_prefix = true'))
    assert wide.vips[0].address == ip_interface("192.0.2.10/24")
    local = (('"10.9.0.1"', '"fe80::1"'), ('"10.9.0.2"', '"fe80::2"'))
    assert good(*local).links[0].endpoint == ("fe80::1", "fe80::2")
    assert list(problems(edited(*local, ('interface.alpha = "eth1"', "")))) == ["link[0].endpoint.alpha"]


def test_the_digest_covers_meaning_and_not_looks() -> None:
    digest = good().digest
    assert len(digest) == 8
    blocks = GOOD[GOOD.index("[[vip]]") :].split("[[")[1:]
    reordered = GOOD[: GOOD.index("[[vip]]")] + "".join(f"[[{block}" for block in reversed(blocks))
    commented = "# a comment\n" + reordered.replace(" = ", "    =  ").replace("[node.beta]", "[node.beta]  # right")
    assert parse(commented, Path("/elsewhere")).digest == digest
    assert good(("deadtime_ms = 1000", "deadtime_ms = 1001")).digest != digest
    assert good(('"10.9.0.1"', '"10.9.0.3"')).digest != digest


def test_the_order_of_links_is_part_of_the_digest() -> None:
    """Their number on the wire is their place in the file."""
    start, middle, end = (GOOD.index(mark) for mark in ("[[link]]", '[[link]]\nname = "serial"', "[[vip]]"))
    swapped = parse(GOOD[:start] + GOOD[middle:end] + GOOD[start:middle] + GOOD[end:], DIRECTORY)
    assert [link.name for link in swapped.links] == ["serial", "direct"]
    assert swapped.digest != good().digest


def test_settings_are_those_of_the_peers_device_and_the_slots_are_common() -> None:
    config = good(("attempt_ms = 30000", "attempt_ms = 30000\noff_interval_ms = 3000\nlatency_ms = 90000"))
    alpha, beta = settings_of(config, 0), settings_of(config, 1)
    assert (alpha.me, alpha.peer, alpha.preferred, alpha.links) == (0, 1, 1, 2)
    assert (alpha.off_interval_ns, alpha.fence_latency_ns) == (3 * SECOND, 90 * SECOND)
    assert (beta.off_interval_ns, beta.fence_latency_ns) == (1 * SECOND, 60 * SECOND)
    skew_ms = 5000 + 2 * 1000 + 200 + 1000  # half_open_max, two deadtimes, the slowest interval, the memory's grain
    assert alpha.slot_ns == beta.slot_ns == skew_ms * MS + (2 + 30) * SECOND
    slow = good(("deadtime_ms = 1000", "deadtime_ms = 2000\nlease_ms = 8000"))
    assert settings_of(slow, 0).slot_skew_ns == (10_000 + 2 * 2000 + 200 + 1000) * MS


def test_one_device_only_and_the_slots_are_common_still() -> None:
    config = parse(f'guarantee = "at-most-one"\n{WITHOUT_ALPHA_FENCE}', DIRECTORY)
    alpha, beta = settings_of(config, 0), settings_of(config, 1)
    assert (alpha.has_fence, beta.has_fence) == (True, False)
    assert alpha.slot_ns == beta.slot_ns


def test_the_budget_of_a_serial_line_is_that_of_the_frame() -> None:
    assert (FRAME_BASIC, FRAME_LONGEST) == (FRAME_MIN, FRAME_MAX)
    for length in (FRAME_BASIC, FRAME_LONGEST):
        assert length + SERIAL_OVERHEAD == serial_length(length)
    assert serial_wire_ns(FRAME_BASIC, 9600) == 80_208_333
    for baud in (1200, 9600, 19200, 115200):
        assert serial_keepalive_ns(baud) >= 2 * serial_wire_ns(FRAME_BASIC, baud)
        assert serial_keepalive_ns(baud) >= serial_wire_ns(FRAME_LONGEST, baud)


def test_warnings_are_no_part_of_what_a_configuration_is() -> None:
    config = good()
    assert replace(config, warnings=()) == config == good(("[timing]", "# no more\n[timing]"))
