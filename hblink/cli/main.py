"""The program `hblink`: find the command, import what it needs and nothing else, and return its exit code.

It must start fast on a slow core: a command's module is imported only when that command is given.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Protocol

from hblink.cli.terminal import GOOD, NOT_GOOD

COMMANDS = {
    "run": "be the daemon, in the foreground (systemd: Type=notify)",
    "check": "list every problem of the configuration",
    "status": "show roles, links, addresses, fence, and what if the peer died now",
    "switchover": "move the service to the other node",
    "fence": "show the fence device, or confirm that the peer is off",
    "key": "make a key, or list the keyring",
    "sim": "simulate the pair under random faults",
    "replay": "feed a flight record through the decision again",
}


class Command(Protocol):
    """What a command's module offers."""

    def declare(self, parser: argparse.ArgumentParser, name: str, /) -> None:
        """Add the arguments of the command `name`."""

    def run(self, arguments: argparse.Namespace, /) -> int:
        """Carry it out; return the exit code."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command with the arguments of the process, or with `argv`; return its exit code (2 for usage: exit)."""
    words = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(
        prog="hblink",
        description="Availability of a two-node appliance. Not the amateur-radio software of that name.",
        epilog="exit: 0 good, 1 not good (degraded, refused), 2 usage, 78 configuration",
    )
    parser.add_argument("--version", action="store_true", help="print the version")
    parsers = parser.add_subparsers(dest="command", metavar="COMMAND")
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


def _command(name: str) -> Command:
    if name == "run":
        from hblink.cli import run

        return run
    if name == "check":
        from hblink.cli import check

        return check
    if name == "status":
        from hblink.cli import status

        return status
    if name == "key":
        from hblink.cli import key

        return key
    if name == "sim":
        from hblink.cli import sim

        return sim
    if name == "replay":
        from hblink.cli import replay

        return replay
    from hblink.cli import act

    return act


def _print_version() -> int:
    from importlib.metadata import version

    print(f"hblink {version('hblink')}")
    return GOOD


if __name__ == "__main__":
    sys.exit(main())
