"""The `[[fence]]` tables: levels and their order, agents and what they may not be told, the bounds of a ladder."""

from __future__ import annotations

from pathlib import Path

import pytest

from hblink.config import AgentFenceConfig, Config, ConfigError, IpmiFenceConfig, parse, settings_of
from hblink.config.secret import judge_fence_secrets
from hblink.core.value import MS, SECOND
from tests.unit.sample import GOOD, secret

DIRECTORY = Path("/etc/hblink")
AGENT = """
[[fence]]
node = "beta"
type = "agent"
agent = "fence_apc_snmp"
attempt_ms = 40000
off_interval_ms = 5000
latency_ms = 120000
parameters = { ip = "10.0.0.20", plug = 3, ssl = true, method = "onoff" }
secret_files = { password = "pdu.pass" }
"""


def ladder(*tables: str) -> Config:
    return parse(GOOD + "".join(tables), DIRECTORY)


def problems(text: str) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        parse(text, DIRECTORY)
    return {problem.path: f"{problem.message} -> {problem.hint}" for problem in caught.value.problems}


def test_the_order_in_the_file_is_the_order_of_the_levels() -> None:
    config = ladder(AGENT)
    first, second = config.fences_of(1)
    assert isinstance(first, IpmiFenceConfig)
    assert isinstance(second, AgentFenceConfig)
    assert dict(second.parameters) == {"ip": "10.0.0.20", "plug": "3", "ssl": "1", "method": "onoff"}
    assert dict(second.secret_files) == {"password": DIRECTORY / "pdu.pass"}
    assert (first.name, second.name) == ("ipmi 10.0.0.12", "fence_apc_snmp")
    assert len(config.fences_of(0)) == 1


def test_levels_may_be_numbered_instead() -> None:
    numbered = (GOOD + AGENT).replace('host = "10.0.0.12"', 'host = "10.0.0.12"\nlevel = 2')
    numbered = numbered.replace('agent = "fence_apc_snmp"', 'agent = "fence_apc_snmp"\nlevel = 1')
    config = parse(numbered, DIRECTORY)
    assert [fence.name for fence in config.fences_of(1)] == ["fence_apc_snmp", "ipmi 10.0.0.12"]
    half = numbered.replace("\nlevel = 2", "")
    assert "all of them or none" in problems(half)["fence[0].level"]
    twice = numbered.replace("level = 2", "level = 1")
    assert "each level once" in problems(twice)["fence[2].level"]
    many = GOOD + "".join(AGENT.replace("plug = 3", f"plug = {plug}") for plug in range(4))
    assert "beta has 5 devices" in problems(many)["fence"]


def test_the_order_of_levels_is_part_of_the_digest_and_nothing_else_is() -> None:
    tables = GOOD[GOOD.index("[[fence]]") :]
    head = GOOD[: GOOD.index("[[fence]]")]
    beta, alpha = tables[: tables.rindex("[[fence]]")], tables[tables.rindex("[[fence]]") :]
    digest = parse(head + beta + alpha + AGENT, DIRECTORY).digest
    assert parse(head + alpha + beta + AGENT, DIRECTORY).digest == digest
    assert parse(head + beta + AGENT + alpha, DIRECTORY).digest == digest
    assert parse(head + AGENT + beta + alpha, DIRECTORY).digest != digest
    assert parse(head + alpha + beta, DIRECTORY).digest == parse(head + beta + alpha, DIRECTORY).digest


def test_the_bound_of_an_attempt_is_that_of_the_whole_ladder_and_slots_are_common() -> None:
    alpha, beta = (settings_of(ladder(AGENT), me) for me in (0, 1))
    assert alpha.fence_attempt_ns == beta.fence_attempt_ns == (30 + 5 + 40) * SECOND + 200 * MS
    assert alpha.slot_ns == beta.slot_ns
    assert (alpha.off_interval_ns, alpha.fence_latency_ns) == (1 * SECOND, 120 * SECOND)
    assert (alpha.off_retry_ns, beta.off_retry_ns) == (200 * MS, 2 * SECOND)


@pytest.mark.parametrize(
    ("old", "new", "path", "word"),
    [
        ('method = "onoff"', 'method = "cycle"', "parameters.method", "cycle proves nothing"),
        ('method = "onoff"', 'action = "reboot"', "parameters.action", "itself"),
        ('method = "onoff"', 'option = "off"', "parameters.option", "itself"),
        ("plug = 3", "plug = 3.5", "parameters.plug", "a float"),
        ("plug = 3", 'plug = "a\\nb"', "parameters.plug", "not a string"),
        ("plug = 3", 'snmp_priv_passwd = "word"', "parameters.snmp_priv_passwd", 'snmp_priv_passwd = "FILE"'),
        ("plug = 3", '"plug\\nport" = 3', "parameters.plug\nport", "no name of a parameter"),
        ('password = "pdu.pass"', "password = 3", "secret_files.password", "the name of a file"),
        ('password = "pdu.pass"', 'ip = "pdu.pass"', "secret_files.ip", "say it once"),
        ('"fence_apc_snmp"', '"/bin/sh"', "agent", "name of a fence agent"),
        ('"fence_apc_snmp"', '"fence_apc; reboot"', "agent", "name of a fence agent"),
        ("latency_ms = 120000", "latency_ms = 1000", "latency_ms", "below command_timeout_ms"),
        ("latency_ms = 120000", "retries = 6", "retries", "outside 0..5"),
        ("latency_ms = 120000", "host = 3", "host", "not a known key"),
        ("attempt_ms = 40000", "attempt_ms = 30000", "attempt_ms", "less than command_timeout_ms"),
    ],
)
def test_what_an_agent_must_not_be_told(old: str, new: str, path: str, word: str) -> None:
    assert old in AGENT
    assert word in problems(GOOD + AGENT.replace(old, new))[f"fence[2].{path}"]


@pytest.mark.parametrize(
    ("key", "is_secret"),
    [
        *((key, True) for key in ("passwd", "password", "pass", "snmp_priv_passwd", "community", "hexadecimal_kg")),
        *((key, True) for key in ("secret_key", "apikey", "token", "PASSWORD", "ssl-passphrase")),
        *((key, False) for key in ("passwd_script", "password_script", "snmp_priv_passwd_script", "identity_file")),
        *((key, False) for key in ("token_file", "snmp_auth_prot", "snmp_priv_prot", "privlvl", "key", "access_key")),
        *((key, False) for key in ("login", "username", "auth", "auth_url", "bypass", "tlskey")),
    ],
)
def test_a_secret_of_an_agent_has_a_file_of_its_own(key: str, is_secret: bool) -> None:
    """The names are those of fence-agents' metadata, and some alike."""
    text = GOOD + AGENT.replace("plug = 3", f'"{key}" = "hunter2"').replace("{ password", "{ other")
    if not is_secret:
        agent = parse(text, DIRECTORY).fences_of(1)[1]
        assert isinstance(agent, AgentFenceConfig)
        assert agent.parameters[key] == "hunter2"
        return
    found = problems(text)
    assert list(found) == [f"fence[2].parameters.{key}"]
    assert "hunter2" not in str(found)


def test_two_levels_or_two_nodes_never_share_a_device() -> None:
    again = '[[fence]]\nnode = "beta"\ntype = "ipmi"\nhost = "10.0.0.12"\nuser = "u"\npassword_file = "p"\n'
    assert "a second level is another device" in problems(GOOD + again)["fence[2].host"]
    other = AGENT.replace('node = "beta"', 'node = "alpha"')
    assert "switch the same machine" in problems(GOOD + AGENT + other)["fence[3].parameters"]
    assert len(ladder(AGENT, other.replace("plug = 3", "plug = 4")).fences) == 4


@pytest.mark.parametrize(
    ("line", "path", "word"),
    [
        ('guid = "xyz"', "guid", "32 hexadecimal digits"),
        ('serial = "S\\u00e9"', "serial", "printable ASCII"),
        ('serial = "  "', "serial", "printable ASCII"),
        ('restore_policy = "on"', "restore_policy", "always-on"),
        ("level = 0", "level", "outside 1..4"),
        ("level = 5", "level", "outside 1..4"),
    ],
)
def test_keys_of_a_bmc(line: str, path: str, word: str) -> None:
    assert word in problems(GOOD.replace("attempt_ms = 30000", line))[f"fence[0].{path}"]


def test_an_identity_is_written_as_bmcs_show_it() -> None:
    keys = 'guid = "A1234567-89AB-CDEF-A123-456789ABCDEF"\nserial = " S42  X100"'
    (beta,) = parse(GOOD.replace("attempt_ms = 30000", keys), DIRECTORY).fences_of(1)
    assert (beta.guid, beta.serial) == ("a123456789abcdefa123456789abcdef", "S42 X100")


def test_secrets_of_agents_are_judged_like_passwords(tmp_path: Path) -> None:
    config = parse(GOOD + AGENT, tmp_path)
    agent = config.fences_of(1)[1]
    assert "no such file" in str(judge_fence_secrets(agent)[0])
    secret(tmp_path / "pdu.pass", "a community string that is longer than twenty bytes\n")
    assert judge_fence_secrets(agent) == ()
    secret(tmp_path / "pdu.pass", "word\n", 0o644)
    assert "chmod 600" in str(judge_fence_secrets(agent)[0])
    secret(tmp_path / "pdu.pass", "two\naction=on\n")
    assert "one line" in str(judge_fence_secrets(agent)[0])
