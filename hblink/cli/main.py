"""The program `hblink`: find the command, import what it needs and nothing else, and return its exit code.

It must start fast on a slow core: a command's module is imported only when that command is given.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any, Protocol, cast

from hblink.cli.terminal import GOOD, NOT_GOOD

COMMANDS = {
    "run": "be the daemon, in the foreground (systemd: Type=notify)",
    "check": "list every problem of the configuration",
    "status": "show roles, links, addresses, fence, and the next failover",
    "events": "show what happened, when and why",
    "why": "say why it is not active or would not take over, and what to do",
    "metrics": "print the state of this node for Prometheus",
    "switchover": "move the service to the other node",
    "standby": "give the service to the peer, and stay away from it",
    "online": "be ready for the service again after standby or a failed start",
    "maintenance": "forbid takeover and fence while people work on the pair",
    "reload": "read addresses, targets and keys again, keeping the role",
    "release": "take the addresses off this node, where no daemon runs",
    "fence": "show, test or drill the fence devices; swear that the peer is off",
    "doctor": "find out what is wrong with the fence devices",
    "key": "make, list and rotate the keys that sign the heartbeats",
    "sim": "simulate the pair under random faults",
    "replay": "feed a flight record through the decision again",
}

# Commands that do not have a module of their own name.
_MODULE = {"switchover": "act", "standby": "act", "online": "act", "maintenance": "act"}


class Command(Protocol):
    """What a command's module offers."""

    def declare(self, parser: argparse.ArgumentParser, name: str, /) -> None:
        """Add the arguments of the command `name`."""

    def run(self, arguments: argparse.Namespace, /) -> int:
        """Carry it out; return the exit code."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command with the arguments of the process, or with `argv`; return its exit code (2 for usage: exit)."""
    words = list(sys.argv[1:] if argv is None else argv)
    parser = _Parser(prog="hblink", usage="hblink [-h] [--version] COMMAND ...")
    parser.add_argument("--version", action="store_true", help="print the version")
    # prog: without it each command would be called by the whole of the usage above.
    parsers = parser.add_subparsers(
        dest="command", metavar="COMMAND", prog="hblink", parser_class=argparse.ArgumentParser
    )
    chosen = next((word for word in words if not word.startswith("-")), None)
    command: Command | None = None
    for name, text in COMMANDS.items():
        own = parsers.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        if name == chosen:
            command = _command(name)
            command.declare(own, name)
    arguments = parser.parse_args(words)
    if arguments.version:
        return _print_version()
    if command is None:
        parser.error("a COMMAND is missing")
    try:
        code = command.run(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return 130  # 128 + SIGINT, as a shell would say
    except BrokenPipeError:  # the reader of the pipe has gone: let the interpreter's last flush go nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NOT_GOOD
    return code


class _Parser(argparse.ArgumentParser):
    """The program's own help, a line for each command, so that all of them fit one screen."""

    def format_help(self) -> str:
        lines = [f"  {name:11} {text}" for name, text in COMMANDS.items()]
        head = "usage: hblink [-h] [--version] COMMAND ...   (not the amateur-radio software)"
        return "\n".join([head, *lines, "exit: 0 good, 1 not good (degraded, refused), 2 usage, 78 configuration", ""])


def _command(name: str) -> Command:
    module: Any = importlib.import_module(f"hblink.cli.{_MODULE.get(name, name)}")
    return cast(Command, module)


def _print_version() -> int:
    from importlib.metadata import version

    print(f"hblink {version('hblink')}")
    return GOOD


if __name__ == "__main__":
    sys.exit(main())
