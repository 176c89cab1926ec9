"""`hblink run`: the daemon, in the foreground."""

from __future__ import annotations

import argparse
import os
import sys

from hblink.cli.check import add_file, print_problems
from hblink.cli.terminal import CONFIGURATION, NOT_GOOD
from hblink.config import ConfigError
from hblink.control import ControlError
from hblink.process import PATH


def declare(parser: argparse.ArgumentParser, _name: str) -> None:
    add_file(parser)
    parser.add_argument("--flight", metavar="PATH", help="append each step of the decision to PATH, as JSON lines")


def run(arguments: argparse.Namespace) -> int:
    """Run the daemon until it ends; 78 with every problem if the configuration cannot be used."""
    if not __debug__:
        print("hblink: does not run under python -O: its assertions are part of its safety", file=sys.stderr)
        return NOT_GOOD
    os.environ["PATH"] = PATH  # before the import: old versions of pyroute2 run programs from it when imported
    from hblink.daemon import run_daemon

    try:
        return run_daemon(arguments.file, arguments.flight)
    except ConfigError as error:
        print_problems(error.problems, (), sys.stderr)
        return CONFIGURATION
    except ControlError as error:
        print(f"hblink: {error}", file=sys.stderr)
        return NOT_GOOD
