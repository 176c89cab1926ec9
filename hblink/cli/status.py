"""`hblink status`: what the daemon says of the pair, on one screen of 80 by 24, or as JSON.

The document comes from the daemon as it is; here it is only shown. It must start fast, so it imports the control client
and nothing of what the daemon needs, and it must show what is wrong before what is right when there is no room for all.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping
from typing import Any

from hblink.cli.advice import text
from hblink.cli.terminal import GOOD, HEIGHT, NOT_GOOD, clean, cut, duration, wrap
from hblink.cli.word import PEER_STATE, alarm, reason
from hblink.control import ControlError, socket_path
from hblink.control.client import ask

Status = dict[str, Any]

TIMEOUT = 3.0  # seconds
WATCH_INTERVAL = 1.0  # seconds
ORDINARY = frozenset({"peer_active"})  # causes, and nothing to mend: a standby's
HOME_AND_CLEAR = "\x1b[H\x1b[J"  # VT100: cursor home, erase to the end of the screen


def declare(parser: argparse.ArgumentParser, _name: str) -> None:
    parser.add_argument("--json", action="store_true", help="print the daemon's document")
    parser.add_argument("--watch", action="store_true", help="show it again each second, until Ctrl-C")


def run(arguments: argparse.Namespace) -> int:
    """Show the status once, or until interrupted; 0 if all is well, 1 if degraded, blocked, or no daemon answers."""
    if not arguments.watch:
        return _show(arguments.json)
    try:
        while True:
            if sys.stdout.isatty():
                print(HOME_AND_CLEAR, end="")
            _show(arguments.json)
            sys.stdout.flush()
            time.sleep(WATCH_INTERVAL)
    except KeyboardInterrupt:
        return GOOD


def fetch() -> Status:
    """Ask the daemon for its status document; raise ControlError."""
    answer = ask(socket_path(os.environ), {"command": "status"}, TIMEOUT)
    status = answer.get("status")
    if not isinstance(status, dict):
        raise ControlError(f"the daemon gave no status: {clean(answer.get('error', 'no reason given'))}")
    return status


def is_good(status: Status) -> bool:
    """Tell whether nothing needs a person: a settled role, no alarm, every link open, the fence not found unusable."""
    fence = status.get("fence") or {}
    links = status.get("links") or []
    return (
        status.get("role") in ("active", "standby")
        and status.get("peer_role") in ("active", "standby")
        and not status.get("alarms")
        and status.get("config_match") is not False
        and all(link.get("open") and "down" not in (link.get("in"), link.get("out")) for link in links)
        and not (fence.get("configured") and fence.get("ready") is False)
        and all(level.get("ready") is not False for level in fence.get("levels") or ())
        and not fence.get("outstanding")
        and all(target.get("answers") for target in _targets(status))
        and not any(is_to_mend(cause) for cause in status.get("causes") or ())
    )


def is_to_mend(cause: Mapping[str, Any]) -> bool:
    """Tell whether a cause needs a person: `status` and `why` agree on it."""
    return cause.get("topic") != "warning" and cause.get("code") not in ORDINARY


def render(status: Status) -> list[str]:
    """Lay the document out in at most 24 lines of at most 79 columns; VIPs and alarms share what room there is."""
    head = _head_lines(status) + _link_lines(status)
    tail = [
        *_health_lines(status),
        *fence_lines(status),
        *_guard_lines(status),
        *_outlook_lines(status),
        _loop_line(status),
    ]
    vips, alarms = _vip_lines(status), _alarm_lines(status) + _weak_lines(status)
    room = HEIGHT - 1 - len(head) - len(tail)  # a line for the prompt
    vip_room = max(min(len(vips), room - min(len(alarms), room // 2)), 1)
    return [*head, *_fit(vips, vip_room), *_fit(alarms, max(room - vip_room, 1)), *tail]


def _targets(status: Status) -> list[Mapping[str, Any]]:
    return list((status.get("health") or {}).get("targets") or [])


def _health_lines(status: Status) -> list[str]:
    """One line on what is reached beyond the service ports, none if nobody is asked."""
    targets = _targets(status)
    if not targets:
        return []
    silent = [
        f"{clean(target.get('address'))} on {clean(target.get('interface'))}"
        + ("" if target.get("answers") is False else " (not known)")
        for target in targets
        if not target.get("answers")
    ]
    text = f"{len(targets) - len(silent)} of {len(targets)} targets answer"
    return [cut(f"{'HEALTH':7} {text}{'; SILENT: ' if silent else ''}{', '.join(silent)}")]


def fence_lines(status: Status) -> list[str]:
    """One or two lines on the device that switches off the peer."""
    fence = status.get("fence") or {}
    if not fence.get("configured"):
        return [cut(f"FENCE   none; guarantee {clean(status.get('guarantee', '?'))}")]
    ready = fence.get("ready")
    readiness = "not read yet" if ready is None else "ready" if ready else "NOT READY"
    levels = fence.get("levels") or ()
    weak = [f"level {level.get('level')} {level.get('reason')}" for level in levels if level.get("ready") is False]
    if ready and weak:
        readiness = f"ready, but {', '.join(weak)}"
    age = "" if fence.get("age_ms") is None else f", seen {duration(fence['age_ms'])} ago"
    outstanding = "; a command of unknown outcome is OUTSTANDING" if fence.get("outstanding") else ""
    warnings = sorted({warning for level in levels for warning in level.get("warnings") or ()})
    warned = f"; warning {', '.join(warnings)}" if warnings else ""
    detail = f": {fence['detail']}" if ready is False and fence.get("detail") else ""
    sworn = "; the peer is SWORN OFF, and switched on by hand" if fence.get("sworn_off") else ""
    return wrap(f"{readiness}{age}{outstanding}{sworn}{warned}{detail}", "FENCE   ", 2)


def _guard_lines(status: Status) -> list[str]:
    """One line on the watchdog, and on what the nodes have promised each other; none where there is no watchdog."""
    guard = status.get("guard") or {}
    if not guard.get("device"):
        return []
    why = f" ({clean(guard['reason'])})" if guard.get("reason") else ""
    armed = f"armed, {duration(guard.get('timeout_ms'))}" if guard.get("armed") else f"NOT ARMED{why}"
    text = f"watchdog {armed}"
    if guard.get("lease_mode"):
        mine, theirs = guard.get("promise_ms"), guard.get("peer_promise_ms")
        words = [duration(ms) if ms else "NO PROMISE" for ms in (mine, theirs)]
        text += f"; lease mode: stops within {words[0]}, peer {words[1]}"
    return [cut(f"GUARD   {text}")]


def _show(as_json: bool) -> int:
    try:
        status = fetch()
    except ControlError as error:
        print(f"hblink: {error}", file=sys.stderr)
        return NOT_GOOD
    print(*([json.dumps(status)] if as_json else render(status)), sep="\n")
    return GOOD if is_good(status) else NOT_GOOD


def _head_lines(status: Status) -> list[str]:
    me = [
        f"{clean(status.get('node')):12} {clean(status.get('role')).upper():9} for {duration(status.get('since_ms'))}",
        f"epoch {clean(status.get('epoch'))}",
        clean(status.get("guarantee")),
        f"hblink {clean(status.get('version'))}",
    ]
    role, seen, match = status.get("peer_role"), status.get("peer_seen_ms"), status.get("config_match")
    peer = [
        f"{clean(status.get('peer')):12} {clean(role or 'unknown').upper():9} "
        + ("never heard" if seen is None else f"heard {duration(seen)} ago"),
        "" if status.get("peer_epoch") is None else f"epoch {clean(status['peer_epoch'])}",
        "" if match is None else "config equal" if match else _difference(status),
        "" if status.get("peer_version") is None else f"hblink {clean(status['peer_version'])}",
    ]
    lines = ["  ".join(part for part in parts if part) for parts in (me, peer)]
    news = PEER_STATE.get(str(status.get("peer_state")), "")
    if news and status.get("peer_state") != "unheard":
        lines.append(f"{'':12} {news}")
    if in_maintenance(status):
        lines.insert(0, _maintenance_line(status))
    if status.get("reason") not in (None, "none"):
        left = "" if status.get("reason_left_ms") is None else f"for {duration(status['reason_left_ms'])} more: "
        lines += wrap(left + reason(status["reason"]), "because      ", 1)
    return [cut(line) for line in lines]


def in_maintenance(status: Status) -> bool:
    """Whether either node has said that the pair is in maintenance."""
    maintenance = status.get("maintenance") or {}
    return bool(maintenance.get("here") or maintenance.get("peer"))


def _maintenance_line(status: Status) -> str:
    """The loudest line of all; when the order ends is known on the node that has it."""
    maintenance = status.get("maintenance") or {}
    ends = maintenance.get("ends_ms")
    where = [clean(status.get(name)) for name, key in (("node", "here"), ("peer", "peer")) if maintenance.get(key)]
    until = f"; ends in {duration(ends)}" if ends is not None else ""
    return f"*** MAINTENANCE ({', '.join(where)}): NO TAKEOVER, NO FENCE{until} ***"


def _difference(status: Status) -> str:
    parts = ", ".join(clean(part) for part in status.get("config_differs") or [])
    return f"CONFIG DIFFERS: {parts}" if parts else "CONFIG DIFFERS"


def _link_lines(status: Status) -> list[str]:
    links = status.get("links") or []
    width = max([4, *(len(clean(link.get("name"))) for link in links)])
    lines = [f"{'LINK':{width}} {'TYPE':6} {'IN':7} {'OUT':7} {'LAST':>8} {'RTT':>8} {'LOSS':>5}  NOTE"]
    for link in links:
        loss = None if link.get("last_ms") is None else link.get("loss_percent")  # of what was never heard it says 0
        rtt = "-" if link.get("rtt_ms") is None else f"{link['rtt_ms']:.1f} ms"
        lines.append(
            f"{clean(link.get('name')):{width}} {clean(link.get('type')):6} {_direction(link, 'in'):7}"
            f" {_direction(link, 'out'):7} {duration(link.get('last_ms')):>8} {rtt:>8}"
            f" {'-' if loss is None else f'{loss} %':>5}  {_note(link)}".rstrip()
        )
    return [cut(line) for line in lines]


def _direction(link: Mapping[str, Any], way: str) -> str:
    """Up in small letters, what needs a look in capitals: no colour is needed to find it."""
    state = clean(link.get(way, "unknown"))
    return "CLOSED" if not link.get("open") else state.upper() if state == "down" else state


def _note(link: Mapping[str, Any]) -> str:
    """What is wrong first; that the far end is felt (modem lines, carrier) last, where there is room for it."""
    signal = link.get("signal")
    rejected = link.get("rejected") or {}
    counts = ", ".join(f"{count} {clean(name)}" for name, count in sorted(rejected.items(), key=lambda item: -item[1]))
    parts = (
        "NO SIGNAL" if signal is False else "",
        clean(link.get("detail") or ""),
        counts,
        "signal" if signal else "",
    )
    return "; ".join(part for part in parts if part)


def _vip_lines(status: Status) -> list[str]:
    """The addresses, those that are not where they belong first."""
    owns = status.get("role") == "active"
    vips = sorted(status.get("vips") or [], key=lambda vip: bool(vip.get("present")) == owns)
    lines = [
        f"{'VIP' if index == 0 else '':7} {clean(vip.get('address')):43} {clean(vip.get('interface')):15}"
        f" {_presence(vip.get('present'), owns)}"
        for index, vip in enumerate(vips)
    ]
    return [cut(line) for line in lines] or ["VIP     none"]


def _presence(present: object, owns: bool) -> str:
    if present is None:
        return "unknown"
    return "here" if present else "MISSING" if owns else "not here"


def _alarm_lines(status: Status) -> list[str]:
    lines = []
    for index, each in enumerate(status.get("alarms") or []):
        link = f"{clean(each['link'])}: " if each.get("link") is not None else ""
        since = duration(each.get("since_ms"))
        lines.append(cut(f"{'ALARM' if index == 0 else '':7} {link}{alarm(clean(each.get('code')))} ({since})"))
    return lines or ["ALARM   none"]


def _weak_lines(status: Status) -> list[str]:
    """What the node has found to be missing and no other line shows; `why` has the commands."""
    found = [
        text("finding", str(cause.get("code")), str(cause.get("detail") or ""))
        for cause in status.get("causes") or []
        if cause.get("kind") == "finding" and cause.get("code") != "target_silent"
    ]
    return [cut(clean(f"{'WEAK' if index == 0 else '':7} {each}")) for index, each in enumerate(found)]


def _outlook_lines(status: Status) -> list[str]:
    outlook = status.get("if_peer_died_now") or {}
    lines = wrap(outlook.get("text", "-"), "IF THE PEER DIED NOW  ", 2)
    if status.get("operator"):
        lines += wrap(status["operator"], "NEXT COMMAND  ", 2)
        if status.get("confirm_hint"):
            lines += wrap(status["confirm_hint"], "              ", 2)
    return lines


def _loop_line(status: Status) -> str:
    lateness = status.get("lateness_ms") or {}
    return cut(
        f"LOOP    stalls {clean(status.get('stalls', '-'))}, "
        f"late {_milliseconds(lateness.get('p99'))} (p99), {_milliseconds(lateness.get('max'))} (longest)"
    )


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} ms"


def _fit(lines: list[str], room: int) -> list[str]:
    if len(lines) <= room:
        return lines
    kept = lines[: max(room - 1, 0)]
    return [*kept, f"{'':7} and {len(lines) - len(kept)} more (--json shows all)"]
