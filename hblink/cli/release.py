"""`hblink release`: take the virtual addresses off this node, after a daemon that can no longer do it itself.

The unit runs it whenever the daemon has ended (ExecStopPost=), but in maintenance: there the service is to stay while
the daemon is away (SAFETY S18). It must never work beside a living daemon, which would
put back what is taken away, and never touch an address that is not configured.
"""

from __future__ import annotations

import argparse
import os
import sys

from hblink.cli.check import add_file, print_problems
from hblink.cli.terminal import CONFIGURATION, GOOD, NOT_GOOD
from hblink.config import Config, ConfigError, load
from hblink.control import ControlError, socket_path
from hblink.daemon.daemon import kernel_boot_id
from hblink.daemon.memory import is_in_maintenance
from hblink.loop import Loop, boottime_ns
from hblink.process import PATH


def declare(parser: argparse.ArgumentParser, _name: str) -> None:
    add_file(parser)
    parser.add_argument("--unless-maintenance", action="store_true", help="leave them if the pair is in maintenance")


def run(arguments: argparse.Namespace) -> int:
    """Remove every configured address and read back; 1 if one is left or a daemon lives, 78 without a configuration."""
    try:
        config = load(arguments.file)
    except ConfigError as error:
        print_problems(error.problems, (), sys.stderr)
        print("hblink release: nothing was removed; leased addresses lapse by themselves", file=sys.stderr)
        return CONFIGURATION
    path = socket_path(os.environ)
    if arguments.unless_maintenance and is_in_maintenance(path.parent, kernel_boot_id(), boottime_ns()):
        print("the pair is in maintenance: nothing was removed")
        return GOOD
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        from hblink.control.server import take_lock

        lock = take_lock(path)  # held until the end, so that no daemon starts meanwhile
    except (ControlError, OSError) as error:
        print(f"hblink release: {error}; a running daemon gives up its service by: hblink standby", file=sys.stderr)
        return NOT_GOOD
    try:
        return _release(config)
    finally:
        os.close(lock)


def _release(config: Config) -> int:
    os.environ["PATH"] = PATH  # before the import: old versions of pyroute2 run programs from it when imported
    from hblink.vip.keeper import Vip, VipError, VipKeeper

    vips = [Vip(vip.address, vip.interface) for vip in config.vips]
    keeper = VipKeeper(Loop(), vips, config.timing.lease_ns)
    try:
        held = keeper.present()
        keeper.release()
    except VipError as error:
        print(f"hblink release: {error}", file=sys.stderr)
        return NOT_GOOD
    finally:
        keeper.close()
    for vip in vips:
        if vip in held:
            print(f"removed {vip}")
    return GOOD
