"""What only the appliance itself can tell of a configuration: files beside it, interfaces, ports, kernel settings.

It looks and never changes anything: no port is opened, no packet sent, no BMC asked. `check` on a build machine does
without it, but for the one question that the daemon asks at its end.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

from hblink.config import Config, ConfigError, IpmiFenceConfig, SerialLinkConfig, UdpLinkConfig
from hblink.config.document import Findings
from hblink.config.secret import judge_fence_secrets, load_keyring, node_index
from hblink.guard.watchdog import SOFTDOG
from hblink.links.console import console_use
from hblink.process import PATH

SYSTEMCTL_S = 2.0
SLEEP_TARGETS = ("sleep.target", "suspend.target", "hibernate.target", "hybrid-sleep.target")
UNIT_DIRECTORIES = ("etc/systemd/system", "run/systemd/system")


def is_shutting_down() -> bool:
    """Whether systemd is taking this machine down (systemctl(1), is-system-running); False where it is not asked."""
    try:
        asked = subprocess.run(
            ("systemctl", "is-system-running"),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=SYSTEMCTL_S,
            check=False,
            env={"PATH": PATH},
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return asked.stdout.strip() == b"stopping"


def judge_host(config: Config, directory: Path, hostname: str, root: Path = Path("/")) -> Findings:
    """Judge this machine against `config`, whose directory is `directory`; `root` is where /sys, /proc, /etc are.

    What depends on which node this is, is left out when that is not known; that itself is a problem.
    """
    findings = Findings()
    _collect(findings, load_keyring, config.key_file)
    _judge_fences(config, findings)
    try:
        me = node_index(config, directory, hostname)
    except ConfigError as error:
        findings.problems.extend(error.problems)
    else:
        _judge_links(config, me, root, findings)
    _judge_vips(config, root, findings)
    _judge_sleep(root, findings)
    _judge_watchdog(config, root, findings)
    return findings


def _collect(findings: Findings, read: Callable[[Path], object], path: Path) -> None:
    try:
        read(path)
    except ConfigError as error:
        findings.problems.extend(error.problems)


def _judge_fences(config: Config, findings: Findings) -> None:
    for index, fence in enumerate(config.fences):
        findings.problems.extend(judge_fence_secrets(fence))
        ipmi = isinstance(fence, IpmiFenceConfig)
        program = "ipmitool" if isinstance(fence, IpmiFenceConfig) else fence.agent
        if shutil.which(program, path=PATH) is None:
            hint = "install ipmitool" if ipmi else "apt-cache search fence-agents; hblink looks in " + PATH
            findings.problem(f"fence[{index}]", f"there is no {program}", hint)


def _judge_links(config: Config, me: int, root: Path, findings: Findings) -> None:
    name = config.nodes[me]
    for index, link in enumerate(config.links):
        if isinstance(link, SerialLinkConfig):
            _judge_port(f"link[{index}].endpoint.{name}", link.endpoint[me], findings)
        elif isinstance(link, UdpLinkConfig) and (interface := link.interface[me]) is not None:
            _judge_interface(f"link[{index}].interface.{name}", interface, root, findings)


def _judge_port(path: str, port: str, findings: Findings) -> None:
    try:
        status = os.stat(port)
    except OSError as error:
        findings.problem(
            path, f"{port}: {(error.strerror or str(error)).lower()}", "ls -l /dev/serial/by-path /dev/ttyS*"
        )
        return
    if not stat.S_ISCHR(status.st_mode):
        findings.problem(path, f"{port} is not a serial port", "")
    elif (use := console_use(port)) is not None:
        findings.problem(path, f"{port} is a console: {use}", "a heartbeat port is nothing else; use another one")


def _judge_vips(config: Config, root: Path, findings: Findings) -> None:
    for index, vip in enumerate(config.vips):
        _judge_interface(f"vip[{index}].interface", vip.interface, root, findings)
        address = vip.address
        wide = address.version == 4 and address.network.prefixlen != address.max_prefixlen
        if wide and not promotes_secondaries(vip.interface, root):
            findings.problem(
                f"vip[{index}].address",
                f"has the prefix /{address.network.prefixlen}, and promote_secondaries is 0 on {vip.interface}",
                f"write {address.ip}/32, or sysctl net.ipv4.conf.{vip.interface}.promote_secondaries=1",
            )


def _judge_interface(path: str, interface: str, root: Path, findings: Findings) -> None:
    if not (root / "sys/class/net" / interface).exists():
        findings.problem(path, f"there is no interface {interface}", "ip -brief link")


def promotes_secondaries(interface: str, root: Path = Path("/")) -> bool:
    """Tell whether the kernel keeps other addresses of `interface` when the first of a network goes (S10).

    It does where net.ipv4.conf.all or that of the interface reads other than 0 (ip-sysctl).
    """
    directory = root / "proc/sys/net/ipv4/conf"
    return any(_read(directory / name / "promote_secondaries") not in ("", "0") for name in ("all", interface))


def _judge_sleep(root: Path, findings: Findings) -> None:
    """S3: a machine that suspends reads as OFF and comes back as owner, so OFF is proof only where it cannot."""
    offered = _read(root / "sys/power/state")
    open_targets = [target for target in SLEEP_TARGETS if not _is_masked(target, root)]
    if offered and open_targets:
        findings.problem(
            "host",
            f"the kernel can sleep ({offered}), and {', '.join(open_targets)} would let it",
            "systemctl mask " + " ".join(SLEEP_TARGETS),
        )


def _judge_watchdog(config: Config, root: Path, findings: Findings) -> None:
    """The lease mode rests on a timer beside the processor (S2e); softdog is one of the kernel that may hang."""
    device = config.guard.watchdog
    if device is None:
        return
    if not (root / device.relative_to("/")).exists():
        hint = "ls /dev/watchdog*; modprobe the driver of the board"
        findings.problem("guard.watchdog", f"there is no {device}", hint)
    name = "watchdog0" if device.name == "watchdog" else device.name
    if config.guard.lease_mode and _read(root / "sys/class/watchdog" / name / "identity") == SOFTDOG:
        findings.problem(
            "guard.lease_mode",
            f"{device} is softdog, which hangs with the kernel: the peer could not rely on it",
            "load the driver of the board's own watchdog, and blacklist softdog",
        )


def _is_masked(unit: str, root: Path) -> bool:
    """systemd.unit(5): a unit is masked by a link to /dev/null in its place."""
    for directory in UNIT_DIRECTORIES:
        link = root / directory / unit
        if link.is_symlink():
            return os.readlink(link) == "/dev/null"
    return False


def _read(path: Path) -> str:
    try:
        return path.read_text("ascii", "replace").strip()
    except OSError:
        return ""
