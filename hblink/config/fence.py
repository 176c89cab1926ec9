"""The `[[fence]]` tables: which keys each type has, and what must hold between the levels of one node's ladder.

Several tables for one node are levels, tried in the order of the file or by `level`. It must never read a secret, and
never accept a parameter with which a device could switch anything but off and on.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from pathlib import Path

from hblink.config.document import Findings, Table, kind
from hblink.config.relation import is_address, ms
from hblink.config.value import IPMI_PORT, AgentFenceConfig, Config, FenceConfig, IpmiFenceConfig

CIPHER_SUITES = (17, 3)
PRIVILEGES = {"OPERATOR": "OPERATOR", "ADMINISTRATOR": "ADMINISTRATOR"}
POLICIES = {word: word for word in ("always-on", "always-off", "previous")}
LEVELS_MAX = 4
RETRIES_MAX = 5
# What hblink itself says to an agent, and what would make its answer prove something else.
_OWN_PARAMETERS = {
    "action": "hblink asks for off, status and on itself",
    "option": "hblink asks for off, status and on itself",
    "method": "",
}
# What agents call their secrets, and the names that only lead to one: what runs or what is read.
_SECRET = re.compile(
    r"passw(or)?d|passphrase|(^|[_-])pass($|[_-])|secret|community|token|api_?key|hexadecimal_kg", re.I
)
_LEADS_TO_ONE = re.compile(r"[_-](script|file|path)$", re.I)


def read_fence(table: Table, node: int, directory: Path) -> FenceConfig:
    """Read one table, whose key `node` has been read; relative paths start at `directory`."""
    agent = table.choice("type", {"ipmi": False, "agent": True})
    level = table.integer("level", 1, LEVELS_MAX, 1) if table.has("level") else 0
    fence = _read_agent(table, node, level, directory) if agent else _read_ipmi(table, node, level, directory)
    table.end()
    return fence


def _read_ipmi(table: Table, node: int, level: int, directory: Path) -> IpmiFenceConfig:
    host = table.text("host", rule=_wrong_host)
    suite = table.integer("cipher_suite", 0, 255, 17)
    if suite not in CIPHER_SUITES:
        table.findings.problem(table.at("cipher_suite"), f"is {suite}, not 17 or 3", "17 where the BMC has it")
    guid = table.text("guid", "", _wrong_guid)
    serial = table.text("serial", "", _wrong_serial)
    return IpmiFenceConfig(
        node=node,
        level=level,
        host=str(ip_address(host)) if is_address(host) else host,
        port=table.integer("port", 1, 65535, IPMI_PORT),
        user=table.text("user", rule=lambda user: "is longer than 16 characters" if len(user) > 16 else None),
        password_file=directory / table.text("password_file"),
        cipher_suite=suite,
        privilege=table.choice("privilege", PRIVILEGES, "OPERATOR"),
        guid=guid.replace("-", "").lower() or None,
        serial=" ".join(serial.split()) or None,
        restore_policy=table.choice("restore_policy", POLICIES) if table.has("restore_policy") else None,
        off_interval_ns=table.duration("off_interval_ms", 100, 60_000, 1000),
        command_timeout_ns=table.duration("command_timeout_ms", 100, 120_000, 5000),
        attempt_ns=table.duration("attempt_ms", 200, 600_000, 20_000),
        latency_ns=table.duration("latency_ms", 200, 3_600_000, 60_000),
        retries=table.integer("retries", 0, RETRIES_MAX, 0),
    )


def _read_agent(table: Table, node: int, level: int, directory: Path) -> AgentFenceConfig:
    """An agent's `off` waits by itself until it sees OFF (power_timeout, 20 s), so it is given longer than a BMC."""
    secrets = _read_parameters(table.table("secret_files"), numbers=False)
    parameters = _read_parameters(table.table("parameters"), numbers=True)
    for key in secrets.keys() & parameters.keys():
        table.findings.problem(f"{table.path}.secret_files.{key}", "is among the parameters too", "say it once")
    return AgentFenceConfig(
        node=node,
        level=level,
        agent=table.text("agent", rule=_wrong_agent),
        parameters=parameters,
        secret_files={key: directory / name for key, name in secrets.items()},
        off_interval_ns=table.duration("off_interval_ms", 100, 60_000, 1000),
        command_timeout_ns=table.duration("command_timeout_ms", 100, 120_000, 30_000),
        attempt_ns=table.duration("attempt_ms", 200, 600_000, 60_000),
        latency_ns=table.duration("latency_ms", 200, 3_600_000, 60_000),
        retries=table.integer("retries", 0, RETRIES_MAX, 0),
    )


def _read_parameters(table: Table, *, numbers: bool) -> dict[str, str]:
    """Read what an agent is told: strings, and numbers and booleans if `numbers` (1 and 0, as agents want them).

    `numbers` are for parameters, of which none is a secret; without, each is the name of a secret's file.
    """
    read: dict[str, str] = {}
    names = table.keys()
    for key in names:
        value = table.plain(key)
        path = table.at(key)
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", key):
            table.findings.problem(path, "is no name of a parameter", "fence_AGENT -o metadata lists them")
        elif key in _OWN_PARAMETERS and not (key == "method" and value == "onoff"):
            hint = _OWN_PARAMETERS[key] or 'cycle proves nothing; leave it out, or method = "onoff"'
            table.findings.problem(path, "must not be set", hint)
        elif numbers and _SECRET.search(key) and not _LEADS_TO_ONE.search(key):
            table.findings.problem(
                path,
                "is a secret in clear text",
                f'secret_files = {{ {key} = "FILE" }}; the file holds it alone, mode 0600',
            )
        elif isinstance(value, str) and value.isprintable() and value:
            read[key] = value
        elif numbers and isinstance(value, (bool, int)):
            read[key] = str(int(value))
        else:
            offer = "a string, a number or a boolean" if numbers else "the name of a file"
            table.findings.problem(path, f"is {kind(value)}, not {offer}", "")
    return read


def order(fences: list[FenceConfig]) -> tuple[FenceConfig, ...]:
    """Sort by node, and each node's by `level`, else in the order of the file."""
    return tuple(sorted(fences, key=lambda fence: (fence.node, fence.level)))


def judge_ladders(config: Config, fences: list[FenceConfig], findings: Findings) -> None:
    """Judge each device's durations, and each node's levels against each other; `fences` are in the file's order."""
    for index, fence in enumerate(fences):
        _judge_timing(f"fence[{index}]", fence, findings)
        _judge_agent(fences, index, findings)
    if not all(config.nodes):
        return  # which they are is a problem already
    for node, name in enumerate(config.nodes):
        mine = [index for index, fence in enumerate(fences) if fence.node == node]
        if not findings.sound(*(f"fence[{index}].node" for index in mine)):
            continue
        if len(mine) > LEVELS_MAX:
            findings.problem("fence", f"{name} has {len(mine)} devices, more than {LEVELS_MAX}", "")
        levels: dict[int, int] = {}
        for index in mine:
            path, level = f"fence[{index}].level", fences[index].level
            if not findings.sound(path):
                continue
            if level == 0 and any(fences[other].level for other in mine):
                findings.problem(path, f"is missing, and other devices of {name} have one", "all of them or none")
            elif level and level in levels:
                findings.problem(path, f"is {level}, as is that of fence[{levels[level]}]", "each level once")
            levels.setdefault(level, index)


def _judge_agent(fences: list[FenceConfig], index: int, findings: Findings) -> None:
    later = fences[index]
    if not isinstance(later, AgentFenceConfig) or not findings.sound(f"fence[{index}]"):
        return
    for earlier, fence in enumerate(fences[:index]):
        same = isinstance(fence, AgentFenceConfig) and (fence.agent, fence.parameters) == (
            later.agent,
            later.parameters,
        )
        if same:
            findings.problem(
                f"fence[{index}].parameters",
                f"are those of fence[{earlier}]: both would switch the same machine",
                "each node has its own device, or its own outlet (plug, port) of one",
            )


def _judge_timing(path: str, fence: FenceConfig, findings: Findings) -> None:
    """Judge a device's own durations against each other."""
    timeout, interval = ms(fence.command_timeout_ns), ms(fence.off_interval_ns)
    timed = findings.sound(f"{path}.command_timeout_ms", f"{path}.off_interval_ms", f"{path}.attempt_ms")
    if timed and fence.attempt_ns < fence.command_timeout_ns + fence.off_interval_ns:
        findings.problem(
            f"{path}.attempt_ms",
            f"is {ms(fence.attempt_ns)}, less than command_timeout_ms + off_interval_ms ({timeout} + {interval})",
            "an attempt is one command and two readings, an interval apart",
        )
    elif (
        timed
        and isinstance(fence, IpmiFenceConfig)
        and fence.attempt_ns < 3 * fence.command_timeout_ns + (fence.off_interval_ns)
    ):
        findings.warn(
            f"{path}.attempt_ms",
            f"is {ms(fence.attempt_ns)}: one command and two readings that each take command_timeout_ms do not fit",
            f"{3 * timeout + interval} would do",
        )
    sound = findings.sound(f"{path}.latency_ms", f"{path}.command_timeout_ms")
    if sound and fence.latency_ns < fence.command_timeout_ns:
        findings.problem(
            f"{path}.latency_ms",
            f"is {ms(fence.latency_ns)}, below command_timeout_ms ({timeout})",
            "a command that was given up may still be carried out",
        )


def _wrong_host(host: str) -> str | None:
    good = is_address(host) or re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?", host)
    return None if good else f'is "{host}", neither an address nor a host name'


def _wrong_guid(guid: str) -> str | None:
    good = re.fullmatch(r"[0-9A-Fa-f]{32}", guid.replace("-", ""))
    return None if good else f'is "{guid}", not 32 hexadecimal digits; hblink doctor fence shows it'


def _wrong_serial(serial: str) -> str | None:
    good = serial.isascii() and serial.isprintable() and serial.strip()
    return None if good else f"is {serial!r}, not printable ASCII; hblink doctor fence shows it"


def _wrong_agent(agent: str) -> str | None:
    good = re.fullmatch(r"(/[A-Za-z0-9._/-]*/)?fence_[A-Za-z0-9_]+", agent)
    return None if good else f'is "{agent}", not the name of a fence agent such as fence_apc_snmp, or its path'
