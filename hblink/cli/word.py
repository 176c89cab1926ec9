"""Coded reasons and alarms in the operator's words; a code that is not here is shown as it is.

Each text completes "beta: ..." and names a state of affairs, not what to do about it.
"""

from __future__ import annotations

REASON = {
    "none": "no reason given",
    "listening": "listening for the peer before it decides anything",
    "waiting_for_peer": "waiting for the peer, who may own the service",
    "peer_active": "the peer is active",
    "inert": "booted and has not heard its peer since: it takes nothing by itself",
    "inert_peer_on": "booted, has not heard its peer, and the peer's BMC says that it is powered on",
    "inert_peer_unknown": "booted, has not heard its peer, and the peer's BMC does not answer",
    "waiting_for_slot": "waiting for its turn to fence, so that the nodes do not fence each other",
    "yielded": "gave up the service; the peer has not taken it yet",
    "maintenance": "the pair is in maintenance: no takeover, no fence",
    "upstream_lost": "nothing upstream answers this node: it waits a moment before it accuses the peer",
    "no_service_carrier": "no carrier on its service interfaces",
    "start_failed": "the service did not start here",
    "shutting_down": "the daemon is ending",
    "standby_ordered": "an operator said standby: this node takes nothing until hblink online",
    "address_held": "the peer's hardware still answers for a virtual address",
    "epoch_exhausted": "the epoch counter has reached its end",
    "no_fence_device": "there is no device to power off the peer with",
    "fence_failed": "the peer could not be verified to be off",
    "fence_lied": "the peer's fence device said OFF of a peer that never went down: it is not used any more",
    "fence_cap": "the peer was fenced too often within the hour",
    "switchover": "a planned switchover",
    "failback": "the preferred node is ready for the service again",
    "peer_healthier": "the peer reaches more of the upstream targets",
    "stall": "this node was paused for too long",
    "lease_ended": "heard nothing for as long as its lease lasts, and could not read the peer OFF",
    "dual_active": "both nodes were active",
    "stop_failed": "the service could not be stopped",
    "peer_silent": "nothing was heard of the peer",
    "peer_stop_failed": "the peer could not stop its service",
    "start_alone": "starting without a peer",
    "start_by_fence": "starting without a peer, by a fence, as the configuration allows it",
    "not_active": "this node does not own the service",
    "peer_not_ready": "the peer is not ready to take the service",
    "peer_heard": "the peer was heard a moment ago: it is not dead",
    "peer_powered_on": "the peer's BMC says that it is powered on",
    "fence_outstanding": "a fence command of unknown outcome may still take effect",
    "not_blocked": "this node is not blocked: there is nothing to confirm",
    "busy": "another request is being carried out",
    "peer_maintenance": "the peer says maintenance, and has to take it back itself",
    "redundancy_reduced": "a drill needs every link, a ready standby and a ready device",
    "level_not_ready": "that level of the fence does not work now: hblink doctor fence",
    "timed_out": "it did not end in time",
}

ALARM = {
    "link_in_down": "nothing acceptable comes in",
    "link_out_down": "the peer does not accept what is sent",
    "link_missing": "could not be opened",
    "degraded": "a link is down",
    "jeopardy": "one link left",
    "peer_lost": "the peer is lost",
    "peer_late": "the peer is late",
    "half_open": "the peer's frames prove no freshness",
    "blocked": "would have to take over, and may not",
    "inert": "booted and has not heard its peer",
    "dual_active": "both nodes are active",
    "stop_failed": "the service could not be stopped here",
    "peer_stop_failed": "the peer could not stop its service",
    "fence_outstanding": "a fence command may still take effect",
    "fence_lied": "the fence device said OFF of a peer that never went down",
    "maintenance": "MAINTENANCE: no takeover, no fence",
    "standby_ordered": "an operator said standby: no takeover here",
    "address_conflict": "another machine answers for a virtual address",
    "no_service_carrier": "no carrier on the service interfaces",
    "start_failed": "the service did not start here",
    "no_promise": "lease mode without an armed hardware watchdog here",
}

COMPLAINT = {
    "config_differs": "the peer runs another configuration",
    "reload_refused": "the files could not be taken over: the old configuration is in force",
    "fence_not_ready": "the peer could not be switched off: no fence device of it works",
    "fence_level_not_ready": "one of the peer's fence devices does not work",
}

PEER_STATE = {
    "unheard": "not heard yet",
    "running": "",
    "ending": "its daemon is being ended",
    "ended": "its daemon was ended on purpose (restart, upgrade or stop)",
    "restarted": "its daemon has restarted",
    "rebooted": "it has rebooted",
    "silent": "silent without a word",
}


def reason(code: object) -> str:
    """The words for a Reason's value."""
    return REASON.get(str(code), str(code))


def alarm(code: object) -> str:
    """The words for the code of an alarm, of the decision or of the daemon."""
    return ALARM.get(str(code)) or COMPLAINT.get(str(code), str(code))
