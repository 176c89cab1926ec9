"""`hblink check`: every problem of a configuration with its path and a hint; with --host also those of this machine."""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TextIO

from hblink.cli.terminal import CONFIGURATION, GOOD, clean, cut, wrap
from hblink.config import Config, ConfigError, Problem, SerialLinkConfig, load
from hblink.config.relation import FRAME_BASIC, serial_wire_ns


def configuration_directory(environment: Mapping[str, str]) -> Path:
    """Where hblink.toml is: $CONFIGURATION_DIRECTORY (systemd.exec(5): may hold several, by colons) or /etc/hblink."""
    return Path(environment.get("CONFIGURATION_DIRECTORY", "").partition(":")[0] or "/etc/hblink")


def add_file(parser: argparse.ArgumentParser) -> None:
    """Add the argument FILE, the configuration."""
    default = configuration_directory(os.environ) / "hblink.toml"
    parser.add_argument("file", metavar="FILE", nargs="?", type=Path, default=default, help=f"default: {default}")


def declare(parser: argparse.ArgumentParser, _name: str) -> None:
    add_file(parser)
    parser.add_argument(
        "--host", action="store_true", help="also judge this machine: files beside it, interfaces, ports, sleep"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Print what is wrong; 0 if nothing is, else 78. Warnings do not count."""
    path: Path = arguments.file
    config: Config | None = None
    problems: list[Problem] = []
    warnings: list[Problem] = []
    try:
        config = load(path)
    except ConfigError as error:
        problems += error.problems
        warnings += error.warnings
    else:
        warnings += config.warnings
        if arguments.host:
            from hblink.host import judge_host

            findings = judge_host(config, path.parent, socket.gethostname())
            problems += findings.problems
            warnings += findings.warnings
    if arguments.json:
        print(json.dumps(_document(config, problems, warnings)))
    else:
        print_problems(problems, warnings, sys.stdout)
        print(*_summary(path, config, len(problems), len(warnings)), sep="\n")
    return CONFIGURATION if problems else GOOD


def print_problems(problems: Sequence[Problem], warnings: Sequence[Problem], out: TextIO) -> None:
    """Print each finding as its path, what is wrong, and what to do."""
    for word, findings in (("problem", problems), ("warning", warnings)):
        for finding in findings:
            print(cut(f"{word}  {clean(finding.path)}"), file=out)
            print(*wrap(finding.message, " " * 9), sep="\n", file=out)
            if finding.hint:
                print(*wrap(finding.hint, " " * 9 + "-> "), sep="\n", file=out)


def listed(findings: Sequence[Problem]) -> list[dict[str, str]]:
    """Findings as JSON takes them."""
    return [{"path": each.path, "message": each.message, "hint": each.hint} for each in findings]


def _document(config: Config | None, problems: Sequence[Problem], warnings: Sequence[Problem]) -> dict[str, object]:
    digest = None if config is None else config.digest.hex()
    return {"ok": not problems, "problems": listed(problems), "warnings": listed(warnings), "digest": digest}


def _summary(path: Path, config: Config | None, problems: int, warnings: int) -> list[str]:
    if config is None or problems:
        return [cut(f"{_count(problems, 'problem')}, {_count(warnings, 'warning')} in {clean(path)}")]
    lines = [
        cut(f"good, {_count(warnings, 'warning')} in {clean(path)}"),
        cut(
            f"{clean(config.cluster)} ({config.cluster_id}): {' and '.join(config.nodes)}, digest {config.digest.hex()}"
        ),
        f"{_count(len(config.vips), 'virtual address', 'es')}, {_count(len(config.fences), 'fence device')}, "
        f"guarantee {config.guarantee.value}",
        f"{'link':16} {'type':6} {'interval':>9} {'beat on the line':>17} {'load':>6}",
    ]
    for link in config.links:
        interval = f"{link.keepalive_ns / 1e6:.0f} ms"
        if isinstance(link, SerialLinkConfig):
            wire_ns = serial_wire_ns(FRAME_BASIC, link.baud)
            load_percent = 100 * wire_ns / link.keepalive_ns
            lines.append(f"{link.name:16} serial {interval:>9} {wire_ns / 1e6:>14.1f} ms {load_percent:>4.0f} %")
        else:
            lines.append(f"{link.name:16} udp    {interval:>9} {'-':>17} {'-':>6}")
    return lines


def _count(number: int, word: str, plural: str = "s") -> str:
    return f"{number or 'no'} {word}{'' if number == 1 else plural}"
