"""What to do next about each coded cause: one command for every reason, role, alarm, fence reason, fence warning,
complaint and finding.

The words for a code say a state of affairs (`hblink.cli.word`); what stands here is the operator's next step. A test
holds the tables against the code's own enumerations, and each command against the program.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hblink.cli.word import ALARM, COMPLAINT, REASON

# {me}, {peer} and {link} are filled in. A text that does not begin with a program's name is something to do by hand.
REASON_NEXT = {
    "none": "hblink status",
    "listening": "hblink status --watch",
    "waiting_for_peer": "hblink status --watch",
    "peer_active": "hblink switchover",
    "inert": "reconnect a link, or switch {peer} off, then: hblink fence confirm {peer}",
    "inert_peer_on": "reconnect a link, or switch {peer} off at its button: hblink fence confirm {peer}",
    "inert_peer_unknown": "hblink fence status; if {peer} is off: hblink fence confirm {peer}",
    "waiting_for_slot": "hblink status --watch",
    "yielded": "hblink status --watch",
    "maintenance": "hblink maintenance off, on the node where it was ordered",
    "upstream_lost": "hblink status --watch; ping the gateway",
    "no_service_carrier": "ip -brief link; plug in the cable, check the switch",
    "start_failed": "hblink events -n 40; mend it, then: hblink online",
    "shutting_down": "systemctl status hblink",
    "standby_ordered": "hblink online",
    "address_held": "wait; is {peer} off? hblink fence status",
    "epoch_exhausted": "stop both daemons, remove the file epoch in both state directories, start them",
    "no_fence_device": "make sure that {peer} is off, then: hblink fence confirm {peer}",
    "fence_failed": "make sure that {peer} is off, then: hblink fence confirm {peer}",
    "fence_lied": "replace the fence device of {peer}, prove it: hblink fence test; hblink online",
    "fence_cap": "find out why {peer} fails: hblink events -n 0; then: hblink online",
    "switchover": "hblink status --watch",
    "failback": "hblink status --watch",
    "peer_healthier": "ping the gateway; check the service network of {me}",
    "stall": "hblink events -n 40; what kept this machine? journalctl -k",
    "lease_ended": "reconnect a link; hblink fence status",
    "dual_active": "hblink events -n 40",
    "stop_failed": "hblink events -n 40; ip address; take the address away by hand",
    "peer_silent": "hblink status --watch",
    "peer_stop_failed": "on {peer}: hblink why",
    "start_alone": "hblink status --watch",
    "start_by_fence": "hblink events -f",
    "not_active": "on {peer}: hblink status",
    "peer_not_ready": "on {peer}: hblink why",
    "peer_heard": "hblink status",
    "peer_powered_on": "switch {peer} off at its power button",
    "fence_outstanding": "wait until hblink status says no more OUTSTANDING",
    "not_blocked": "hblink status",
    "busy": "hblink status --watch",
    "peer_maintenance": "on {peer}: hblink maintenance off",
    "redundancy_reduced": "mend first what this names: hblink why",
    "level_not_ready": "hblink doctor fence",
    "timed_out": "hblink events -n 40",
}

ROLE_NEXT = {
    "starting": "hblink status --watch",
    "standby": "hblink status",
    "fencing": "hblink events -f",
    "claiming": "hblink status --watch",
    "active": "hblink status",
    "yielding": "hblink status --watch",
    "blocked": "make sure that {peer} is off, then: hblink fence confirm {peer}",
    "halted": "hblink events -n 40; ip address; take the address away by hand",
}

ALARM_NEXT = {
    "link_in_down": "check the cable of {link}; hblink status",
    "link_out_down": "check the cable of {link}; on {peer}: hblink status",
    "link_missing": "hblink status names the error; hblink check --host",
    "degraded": "hblink status names the link; check its cable",
    "jeopardy": "mend the other link before anything else; hblink status",
    "peer_lost": "is {peer} up? On {peer}: systemctl status hblink",
    "peer_late": "on {peer}: hblink events -n 40",
    "half_open": "check both directions of each link; hblink status",
    "blocked": "make sure that {peer} is off, then: hblink fence confirm {peer}",
    "inert": "reconnect a link, or switch {peer} off, then: hblink fence confirm {peer}",
    "dual_active": "hblink events -n 40, on both nodes",
    "stop_failed": "hblink events -n 40; ip address; take the address away by hand",
    "peer_stop_failed": "on {peer}: hblink why",
    "fence_outstanding": "wait; hblink fence status",
    "fence_lied": "replace the fence device of {peer}, prove it: hblink fence test; hblink online",
    "maintenance": "hblink maintenance off, on the node where it was ordered",
    "standby_ordered": "hblink online",
    "address_conflict": "find that machine by its address in: hblink events -n 40",
    "no_service_carrier": "ip -brief link; plug in the cable, check the switch",
    "start_failed": "hblink events -n 40; mend it, then: hblink online",
    "no_promise": "hblink events -n 40 names the error; hblink check --host",
}

# Nothing else switches on what a person swore to be off.
SWORN_OFF_NEXT = "when the work on {peer} is done, switch it on by hand"

FENCE_NEXT = {
    "ok": "hblink fence status",
    "no_program": "apt install ipmitool fence-agents, whichever is configured",
    "unreadable_password": "hblink check --host",
    "unreachable": "ping the BMC of {peer}; hblink doctor fence",
    "timed_out": "hblink doctor fence",
    "wrong_user": "correct user of the [[fence]] of {peer}, then restart the daemon",
    "wrong_password": "correct the password file of the [[fence]] of {peer}",
    "wrong_cipher": "correct cipher_suite of the [[fence]] of {peer}, then restart the daemon",
    "low_privilege": "give the BMC's user the privilege OPERATOR; hblink doctor fence",
    "no_session": "end other IPMI sessions to the BMC of {peer}; hblink doctor fence",
    "bad_answer": "hblink doctor fence",
    "bad_parameter": "correct the [[fence]] of {peer}; hblink check",
    "wrong_device": "check host, guid and serial of the [[fence]] of {peer}; hblink doctor fence",
    "own_device": "check host of the [[fence]] of {peer}: it is this node's own BMC",
    "lied": "do not trust this device: replace it; hblink fence status",
    "stays_on": "hblink doctor fence; test it in a quiet hour: hblink fence drill {peer}",
    "busy": "hblink fence status",
    "cancelled": "hblink fence status",
}

# Each fits one line of the screen behind its name.
FENCE_WARNING_NEXT = {
    "slow": "answers late: raise command_timeout_ms or reset the BMC",
    "restore_policy": "set it on the BMC, or in [[fence]]",
    "no_identity": "tells no GUID or serial: is it the peer's?",
}

FENCE_WARNING = {
    "slow": "the peer's fence device takes more than half of command_timeout_ms",
    "restore_policy": "what the peer's BMC does when power comes back is not what is wanted",
    "no_identity": "the peer's BMC tells neither GUID nor serial number to know it by",
}

FINDING = {
    "peer_not_able": "the peer says that it could not take over",
    "peer_fence_not_ready": "the peer could not switch this node off",
    "memory_in_doubt": "what must survive a restart cannot be read or written",
    "target_silent": "something upstream does not answer",
}

FINDING_NEXT = {
    "peer_not_able": "on {peer}: hblink why",
    "peer_fence_not_ready": "on {peer}: hblink fence status",
    "memory_in_doubt": "df; ls -ld /run/hblink /var/lib/hblink",
    "target_silent": "ping it from {me}; hblink status",
}
COMPLAINT_NEXT = {
    "config_differs": "make hblink.toml the same on both nodes, then on both: hblink reload",
    "reload_refused": "hblink check; then: hblink reload",
    "fence_not_ready": "hblink doctor fence",
    "fence_level_not_ready": "hblink doctor fence",
}

# Where what comes next depends on which node has ordered the maintenance, and on whether the peer can be asked.
MAINTENANCE_NEXT = {
    "here": "hblink maintenance off",
    "peer": "on {peer}: hblink maintenance off",
    "both": "hblink maintenance off, on both nodes",
    "silent": "make sure that {peer} is dead, then here: hblink maintenance off",
}

_TEXT: Mapping[str, Mapping[str, str]] = {
    "reason": REASON,
    "alarm": ALARM,
    "fence_warning": FENCE_WARNING,
    "finding": FINDING,
    "complaint": COMPLAINT,
}
_NEXT: Mapping[str, Mapping[str, str]] = {
    "reason": REASON_NEXT,
    "role": ROLE_NEXT,
    "alarm": ALARM_NEXT,
    "fence": FENCE_NEXT,
    "fence_warning": FENCE_WARNING_NEXT,
    "finding": FINDING_NEXT,
    "complaint": COMPLAINT_NEXT,
}


def text(kind: str, code: str, detail: str = "") -> str:
    """The words for a cause; a code that this version does not know is shown as it is."""
    if kind == "role":
        return f"is {code} at this moment"
    if kind == "fence":
        return f"the peer's fence device does not work: {detail or code}"
    words = _TEXT.get(kind, {}).get(code, code)
    return f"{words}: {detail}" if detail else words


def following(kind: str, code: str, me: str, peer: str, link: str | None) -> str:
    """The next command for a cause."""
    template = _NEXT.get(kind, {}).get(code, "hblink events -n 40")
    return template.format(me=me, peer=peer, link=link or "the link")


def following_in(status: Mapping[str, Any], kind: str, code: str, link: str | None = None) -> str:
    """The next command for a cause on the node, and in the situation, of a status document."""
    me, peer = str(status.get("node")), str(status.get("peer"))
    silent = status.get("peer_role") is None
    if code == "maintenance":
        return MAINTENANCE_NEXT[_ordered_on(status.get("maintenance") or {}, silent)].format(peer=peer)
    if code == "peer_not_ready" and silent:
        kind, code = "alarm", "peer_lost"
    if (kind, code) == ("alarm", "peer_lost") and (status.get("fence") or {}).get("sworn_off"):
        return SWORN_OFF_NEXT.format(peer=peer)
    return following(kind, code, me, peer, link)


def _ordered_on(maintenance: Mapping[str, Any], silent: bool) -> str:
    """Where maintenance is to be taken back; a peer that is silent cannot take back what it has ordered."""
    if not maintenance.get("peer"):
        return "here"
    if silent:
        return "silent"
    return "both" if maintenance.get("here") else "peer"
