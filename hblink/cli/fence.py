"""`hblink fence`: what the devices that switch the peer off are fit for, and the operator's own word.

The daemon is asked for everything, so that a device has one client at a time. Nothing is decided here.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from typing import Any

from hblink.cli.act import ACT_TIMEOUT, control_socket, report
from hblink.cli.advice import FENCE_NEXT, FENCE_WARNING_NEXT
from hblink.cli.status import Status, fence_lines, fetch
from hblink.cli.terminal import GOOD, NOT_GOOD, clean, cut, duration, wrap
from hblink.control import ControlError
from hblink.control.client import ask

CONSEQUENCE = """\
You are about to swear that {peer} is OFF: no power, or stopped for good.
{me} will then take over the service without any proof of its own.
If {peer} is alive after all, both nodes own the addresses and write to what
they share. Look at the machine, or pull its power cord first.
Do this on one node only, never on both. It is valid once, for 60 seconds.
Until {peer} is heard again it is switched on by hand alone, never from here.
"""
FORGET = """\
The identity (GUID, serial number) that was learned of {peer}'s fence devices
will be forgotten, and the next one that answers is taken for {peer}'s. Do this
only when {peer}'s board was changed, and hblink.toml has the address of its BMC.
"""
DRILL = """\
{peer} will be switched OFF for real, seen off twice, and switched on again, to
prove that its fence device works. It boots as after a power cut. Until it is
back there is no standby: if {me} fails meanwhile, nobody serves.
It is refused unless {me} serves, {peer} is its standby, and every link is up.
"""
DRILL_LEVEL = "Only level {level} is asked to do it: no other level stands in for it.\n"
WORDS = {"confirm": CONSEQUENCE, "forget": FORGET, "drill": DRILL}
LADDER_TIMEOUT = 1800.0  # seconds; the daemon bounds each part of a drill, and an oath, by the ladder's own bound
STEPS_SHOWN = 12
LEVEL_LINES_MAX = 5  # for each level, so that four fit a screen


def declare(parser: argparse.ArgumentParser, _name: str) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    status = actions.add_parser("status", help="readiness of the peer's fence devices and its age")
    test = actions.add_parser("test", help="look at each device now; sends no command")
    confirm = actions.add_parser("confirm", help="swear that NODE is off, so that this node may take over")
    confirm.add_argument("node", metavar="NODE", help="the peer, which you know to be off")
    drill = actions.add_parser("drill", help="switch the standby NODE off and on for real, to prove the device")
    drill.add_argument("node", metavar="NODE", help="the peer, which is the standby")
    drill.add_argument("--level", type=int, metavar="N", help="prove level N, and no other; else whichever comes first")
    forget = actions.add_parser("forget", help="learn the identity of NODE's fence devices anew")
    forget.add_argument("node", metavar="NODE", help="the peer, whose board was changed")
    for each in (confirm, drill, forget):
        each.add_argument("--yes", action="store_true", help="do not ask")
    for each in (status, test, confirm, drill, forget):
        each.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Carry out the request; 0 if it was done, 1 if it was refused, failed, or nobody answered."""
    try:
        if arguments.action == "status":
            return _show_status(fetch(), arguments.json)
        if arguments.action == "test":
            return show_levels(test_devices(), arguments.json)
        return _swear(fetch(), arguments)
    except ControlError as error:
        print(f"hblink: {error}", file=sys.stderr)
        return NOT_GOOD


def test_devices() -> list[dict[str, Any]]:
    """Let the daemon look at each of the peer's devices now; raise ControlError."""
    answer = ask(control_socket(), {"command": "fence_test"}, ACT_TIMEOUT)
    levels = answer.get("levels")
    if answer.get("ok") is not True or not isinstance(levels, list):
        raise ControlError(f"the fence devices cannot be tested: {clean(answer.get('error', 'no reason given'))}")
    return levels


def show_levels(levels: list[dict[str, Any]], as_json: bool) -> int:
    """Print the levels with what to do about each; 0 if every one is ready."""
    good = bool(levels) and all(level.get("ready") is True for level in levels)
    if as_json:
        print(json.dumps({"ok": good, "levels": levels}))
    else:
        for level in levels:
            print(*level_lines(level), sep="\n")
    return GOOD if good else NOT_GOOD


def level_lines(level: Mapping[str, Any]) -> list[str]:
    """One level of the ladder in at most LEVEL_LINES_MAX lines: readiness, identity, what is wrong, what to do."""
    ready = level.get("ready")
    state = "not read yet" if ready is None else "ready" if ready else "NOT READY"
    took = "" if level.get("took_ms") is None else f" in {level['took_ms']:.0f} ms"
    age = "" if level.get("age_ms") is None else f", {duration(level['age_ms'])} ago"
    node = f"{clean(level['node'])} " if level.get("node") else ""
    lines = [cut(f"LEVEL {clean(level.get('level'))} {node}{clean(level.get('name'))}: {state}{took}{age}")]
    if ready is False:
        reason = clean(level.get("reason"))
        lines += wrap(f"{reason}: {clean(level.get('detail'))}", "        ", 2)
        lines += wrap(
            f"-> {FENCE_NEXT.get(reason, 'hblink doctor fence').replace('{peer}', 'the peer')}", "        ", 1
        )
        return lines
    if ready:
        power = clean(level.get("power"))
        facts = ["power not read since a command" if power == "unknown" else f"power {power}"]
        if level.get("guid"):
            facts.append(f"GUID {clean(level['guid'])}")
        if level.get("restore_policy"):
            facts.append(f"restore {clean(level['restore_policy'])}")
        facts += [f"serial number {clean(level['serial'])}"] if level.get("serial") else []
        facts += [f"proven by a {_proof_words(level['proof'])}"] if level.get("proof") else []
        lines += wrap(", ".join(facts), "        ", 2)
    for warning in level.get("warnings") or ():
        lines += wrap(f"warning {clean(warning)}: {FENCE_WARNING_NEXT.get(warning, '')}", "        ", 1)
    return lines[:LEVEL_LINES_MAX]


def proof_line(proof: Mapping[str, Any] | None, peer: str) -> str:
    """When a device was last seen to switch the peer off."""
    if not proof:
        return cut(f"PROOF   none yet; in a quiet hour: hblink fence drill {peer}")
    level = "" if proof.get("level") is None else f", level {clean(proof['level'])}"
    return cut(f"PROOF   {_proof_words(proof)}, in {duration(proof.get('took_ms'))}{level}")


def _proof_words(proof: Mapping[str, Any]) -> str:
    """What it was and how long ago: drill 3 d ago."""
    age = "-" if proof.get("age_s") is None else duration(1000 * proof["age_s"])
    return f"{clean(proof.get('kind'))} {age} ago"


def _show_steps(proof: Mapping[str, Any] | None) -> None:
    """What each step of a drill took, one line each."""
    for step in ((proof or {}).get("steps") or ())[:STEPS_SHOWN]:
        said = f"{clean(step.get('step')):7} {clean(step.get('said')):13} {duration(step.get('ms')):>8}"
        print(cut(f"        level {clean(step.get('level'))} {said}  {clean(step.get('reason'))}"))


def _show_status(status: Status, as_json: bool) -> int:
    fence = status.get("fence") or {}
    if as_json:
        print(json.dumps(fence))
    else:
        print(*fence_lines(status), sep="\n")
        for level in fence.get("levels") or ():
            print(*level_lines(level), sep="\n")
        if fence.get("configured"):
            print(proof_line(fence.get("proof"), clean(status.get("peer"))))
    return GOOD if fence.get("ready") is True else NOT_GOOD


def _swear(status: Status, arguments: argparse.Namespace) -> int:
    """Confirm, drill or forget: the operator says which node is meant, twice."""
    me, peer = clean(status.get("node")), clean(status.get("peer"))
    node: str = arguments.node
    action: str = arguments.action
    if node.lower() != peer.lower():
        what = "is this node itself" if node.lower() == me.lower() else "is no node of this pair"
        print(f"hblink fence {action}: {clean(node)} {what}; the peer is {peer}", file=sys.stderr)
        return NOT_GOOD
    level: int | None = getattr(arguments, "level", None)
    print(WORDS[action].format(me=me, peer=peer), end="", file=sys.stderr)
    if level is not None:
        print(DRILL_LEVEL.format(level=level), end="", file=sys.stderr)
    if not arguments.yes and not _typed(peer):
        print("not confirmed: nothing was done", file=sys.stderr)
        return NOT_GOOD
    proof: Mapping[str, Any] | None = None
    timeout = ACT_TIMEOUT if action == "forget" else LADDER_TIMEOUT
    which = {} if level is None else {"level": level}
    answer = ask(control_socket(), {"command": f"fence_{action}", "node": peer, **which}, timeout)
    words = {
        "confirm": f"confirmation that {peer} is off",
        "drill": f"drill of {peer}" if level is None else f"drill of {peer}, level {level}",
        "forget": f"new identity of {peer}'s fence devices",
    }
    if action == "drill" and answer.get("ok") is True:
        answer["proof"] = proof = (fetch().get("fence") or {}).get("proof")
    code = report(words[action], answer, arguments.json)
    if action == "drill" and code == GOOD and not arguments.json:
        _show_steps(proof)
    return code


def _typed(name: str) -> bool:
    print(f"Type {name} to go on: ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() == name.lower()
