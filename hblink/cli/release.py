"""`hblink release`: take the virtual addresses off this node, after a daemon that can no longer do it itself.

The unit runs it whenever the daemon has ended (ExecStopPost=), but in maintenance: there the service is to stay while
the daemon is away (SAFETY S18). It must never work beside a living daemon, which would
put back what is taken away, and never touch an address that is not configured.
"""

from __future__ import annotations

import argparse
import json
import os
import sys

from hblink.cli.check import add_file, listed, print_problems
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
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Remove every configured address and read back; 1 if one is left or a daemon lives, 78 without a configuration."""
    as_json: bool = arguments.json
    try:
        config = load(arguments.file)
    except ConfigError as error:
        if as_json:
            print(json.dumps({"ok": False, "problems": listed(error.problems)}))
            return CONFIGURATION
        print_problems(error.problems, (), sys.stderr)
        print("hblink release: nothing was removed; leased addresses lapse by themselves", file=sys.stderr)
        return CONFIGURATION
    path = socket_path(os.environ)
    if arguments.unless_maintenance and is_in_maintenance(path.parent, kernel_boot_id(), boottime_ns()):
        document = {"ok": True, "removed": [], "maintenance": True}
        print(json.dumps(document) if as_json else "the pair is in maintenance: nothing was removed")
        return GOOD
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        from hblink.control.server import take_lock

        lock = take_lock(path)  # held until the end, so that no daemon starts meanwhile
    except (ControlError, OSError) as error:
        return _refused(f"{error}; a running daemon gives up its service by: hblink standby", as_json)
    try:
        return _release(config, as_json)
    finally:
        os.close(lock)


def _release(config: Config, as_json: bool) -> int:
    os.environ["PATH"] = PATH  # before the import: old versions of pyroute2 run programs from it when imported
    from hblink.vip.keeper import Vip, VipError, VipKeeper

    vips = [Vip(vip.address, vip.interface) for vip in config.vips]
    keeper = VipKeeper(Loop(), vips, config.timing.lease_ns)
    try:
        held = keeper.present()
        keeper.release()
    except VipError as error:
        return _refused(str(error), as_json)
    finally:
        keeper.close()
    removed = [vip for vip in vips if vip in held]
    if as_json:
        addresses = [{"address": str(vip.address), "interface": vip.interface} for vip in removed]
        print(json.dumps({"ok": True, "removed": addresses, "maintenance": False}))
    else:
        print(*(f"removed {vip}\n" for vip in removed), sep="", end="")
    return GOOD


def _refused(why: str, as_json: bool) -> int:
    """Say why not all addresses are known to be gone."""
    if as_json:
        print(json.dumps({"ok": False, "error": why}))
    else:
        print(f"hblink release: {why}", file=sys.stderr)
    return NOT_GOOD
