"""The status document as metrics: what is told of it, under which name, in which unit.

Names and labels are part of the interface: dashboards and alerts read them. Durations become seconds and percentages
ratios, exactly. This module must never invent: what the document does not know is not told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any

from hblink.cli.exposition import Family, Number, Sample, counters, gauge, gauges, histogram
from hblink.cli.status import Status

ROLES = ("starting", "standby", "fencing", "claiming", "active", "yielding", "blocked", "halted")
# Whether the peer is heard, by what is known of its daemon.
PEER_HEARD = {
    "unheard": False,
    "running": True,
    "ending": True,
    "ended": False,
    "restarted": True,
    "rebooted": True,
    "silent": False,
}
WAY = {"up": True, "down": False}  # else it is not known
UP = ("hblink_up", "Whether the daemon of this node has told its status.")

Entry = Mapping[str, Any]
Place = tuple[Entry, Mapping[str, object]]  # an entry of the document, and the labels that tell it from the others
Value = Callable[[Entry], Number | None]


def absent() -> list[Family]:
    """All that is known when no daemon answers."""
    return [gauge(*UP, 0)]


def families(status: Status) -> list[Family]:
    """Every metric of the document, in the order in which they are told."""
    rooms = (_node, _orders, _peer, _links, _frames, _vips, _health, _fence, _levels, _guard, _loop)
    return [gauge(*UP, 1), *(family for room in rooms for family in room(status))]


def _node(status: Status) -> Iterator[Family]:
    yield gauges("hblink_build_info", "The version of the daemon.", _info(status, version="version"))
    names = _info(status, node="node", peer="peer", guarantee="guarantee")
    yield gauges("hblink_pair_info", "The names of this node and its peer, and what is guaranteed.", names)
    yield gauge("hblink_uptime_seconds", "Time since the daemon was started.", _seconds(status.get("uptime_ms")))
    yield gauges("hblink_role", "1 for the role of this node, 0 for the others.", _roles(status.get("role")))
    yield gauge("hblink_role_age_seconds", "Time in this role.", _seconds(status.get("since_ms")))
    yield gauge("hblink_active", "Whether this node owns the service.", _is(status, "active"))
    yield gauge("hblink_blocked", "Whether this node would have to take over, and may not.", _is(status, "blocked"))
    yield gauge("hblink_epoch", "The highest epoch that this node knows.", status.get("epoch"))
    text = "Whether what must outlive the daemon could not be read or written."
    yield gauge("hblink_memory_doubtful", text, _has(status, "memory"))
    alarms = _told(_places(status, "alarms", code="code", link="link"), lambda _alarm: 1)
    yield gauges("hblink_alarm", "1 for each alarm that stands; link is empty where it is about none.", alarms)


def _orders(status: Status) -> Iterator[Family]:
    maintenance = _part(status, "maintenance")
    said = [Sample(maintenance.get(where), {"where": where}) for where in ("here", "peer")]
    yield gauges("hblink_maintenance", "Whether maintenance was ordered here, or the peer says so.", said)
    left = _seconds(maintenance.get("ends_ms"))
    yield gauge("hblink_maintenance_left_seconds", "Time until the order of this node ends by itself.", left)
    yield gauge("hblink_standby_ordered", "Whether an operator has said standby here.", status.get("standby_ordered"))


def _peer(status: Status) -> Iterator[Family]:
    yield gauges("hblink_peer_build_info", "The version of the peer's daemon.", _info(status, version="peer_version"))
    heard = PEER_HEARD.get(str(status.get("peer_state")))
    yield gauge("hblink_peer_heard", "Whether fresh frames of the peer come in.", heard)
    age = _seconds(status.get("peer_seen_ms"))
    yield gauge("hblink_peer_last_frame_age_seconds", "Time since the last fresh frame, on whichever link.", age)
    roles = _roles(status.get("peer_role"))
    yield gauges("hblink_peer_role", "1 for the role that the peer has told last, 0 for the others.", roles)
    yield gauge("hblink_peer_epoch", "The epoch that the peer has told last.", status.get("peer_epoch"))
    yield gauge("hblink_config_match", "Whether the peer runs the same configuration.", status.get("config_match"))


def _links(status: Status) -> Iterator[Family]:
    links = _places(status, "links", link="name")
    types = _told(_places(status, "links", link="name", type="type"), lambda _link: 1)
    yield gauges("hblink_link_info", "The links and their types.", types)
    yield gauges("hblink_link_open", "Whether the port or socket is open.", _told(links, _at("open")))
    ways = [
        Sample(WAY.get(str(link.get(way))), {**labels, "direction": way})
        for link, labels in links
        for way in ("in", "out")
    ]
    yield gauges("hblink_link_up", "Whether frames arrive: in here, out at the peer.", ways)
    ages = _told(links, _ms_at("last_ms"))
    yield gauges("hblink_link_last_frame_age_seconds", "Time since the last fresh frame on this link.", ages)
    trips = _told(links, _ms_at("rtt_ms"))
    yield gauges("hblink_link_round_trip_seconds", "Time to the peer and back.", trips)
    heard = [place for place in links if place[0].get("last_ms") is not None]  # before that it says 0
    losses = _told(heard, lambda link: _scaled(link.get("loss_percent"), -2))
    yield gauges("hblink_link_loss_ratio", "Share of the peer's latest frames that did not come in.", losses)


def _frames(status: Status) -> Iterator[Family]:
    links = _places(status, "links", link="name")
    yield gauges("hblink_link_signal", "Whether the hardware at its far end is felt.", _told(links, _at("signal")))
    yield counters("hblink_link_frames_sent_total", "Frames sent.", _told(links, _at("sent")))
    yield counters("hblink_link_frames_accepted_total", "Fresh frames of the peer.", _told(links, _at("received")))
    rejected = [
        Sample(count, {**labels, "reason": reason})
        for link, labels in links
        for reason, count in sorted(_part(link, "rejected").items())
    ]
    yield counters("hblink_link_frames_rejected_total", "Frames and noise that were refused.", rejected)


def _vips(status: Status) -> Iterator[Family]:
    vips = _places(status, "vips", address="address", interface="interface")
    wanted = _told(vips, lambda _vip: _is(status, "active"))
    yield gauges("hblink_vip_wanted", "Whether the address belongs on this node now.", wanted)
    yield gauges("hblink_vip_present", "Whether the kernel of this node has it.", _told(vips, _at("present")))


def _health(status: Status) -> Iterator[Family]:
    health = _part(status, "health")
    answers = _told(_places(health, "targets", address="address", interface="interface"), _at("answers"))
    yield gauges("hblink_target_answers", "Whether the upstream target answers.", answers)
    yield gauge("hblink_health_ratio", "Share of the upstream targets reached.", _scaled(health.get("score"), -2))


def _fence(status: Status) -> Iterator[Family]:
    fence = _part(status, "fence")
    yield gauge("hblink_fence_configured", "Whether a device can switch the peer off.", fence.get("configured"))
    yield gauge("hblink_fence_ready", "Whether one of the levels works.", fence.get("ready"))
    outstanding = fence.get("outstanding")
    yield gauge("hblink_fence_outstanding", "Whether a command may still take effect.", outstanding)
    proof = _part(fence, "proof")
    kind = {"kind": proof.get("kind")}
    age, took = Sample(proof.get("age_s"), kind), Sample(_seconds(proof.get("took_ms")), kind)
    yield gauges(
        "hblink_fence_proof_age_seconds", "Time since the last proof that the devices switch the peer off.", [age]
    )
    yield gauges("hblink_fence_proof_duration_seconds", "How long that drill or takeover took.", [took])
    fences, cap = fence.get("fences_last_hour"), fence.get("fences_per_hour")
    yield gauge("hblink_fences_last_hour", "Fences of a powered-on peer within the hour, up to the cap.", fences)
    yield gauge("hblink_fences_last_hour_cap", "How many of them there may be.", cap)


def _levels(status: Status) -> Iterator[Family]:
    levels = _places(_part(status, "fence"), "levels", level="level", device="name")
    yield gauges("hblink_fence_level_ready", "Whether the device works, by the last look.", _told(levels, _at("ready")))
    ages = _told(levels, _ms_at("age_ms"))
    yield gauges("hblink_fence_level_look_age_seconds", "Time since the last look at the device.", ages)
    took = _told(levels, _ms_at("took_ms"))
    yield gauges("hblink_fence_level_look_duration_seconds", "How long the last look took.", took)
    proven = _told(levels, lambda level: _part(level, "proof").get("age_s"))
    yield gauges("hblink_fence_level_proof_age_seconds", "Time since it was last seen to switch the peer off.", proven)
    warnings = [
        Sample(1, {**labels, "warning": warning}) for level, labels in levels for warning in level.get("warnings") or ()
    ]
    yield gauges("hblink_fence_level_warning", "1 for each warning about the device.", warnings)


def _guard(status: Status) -> Iterator[Family]:
    guard = _part(status, "guard")
    yield gauge("hblink_watchdog_configured", "Whether there is to be a hardware watchdog.", _has(guard, "device"))
    yield gauge("hblink_watchdog_armed", "Whether it is armed.", guard.get("armed"))
    timeout = _seconds(guard.get("timeout_ms"))
    yield gauge("hblink_watchdog_timeout_seconds", "Time after which it resets this machine unless petted.", timeout)
    promises = (("here", guard.get("promise_ms")), ("peer", guard.get("peer_promise_ms")))
    promised = [Sample(_seconds(ms), {"where": where}) for where, ms in promises]
    yield gauges("hblink_lease_promise_seconds", "Lease mode: the time within which a silent node stops.", promised)


def _loop(status: Status) -> Iterator[Family]:
    lateness = _part(status, "lateness_ms")
    buckets = [(_scaled(each["up_to_us"], -6), each["count"]) for each in lateness.get("histogram") or ()]
    total = _seconds(lateness.get("sum"))
    yield histogram("hblink_loop_lateness_seconds", "How late the timers of the daemon ran.", buckets, total)
    longest = _seconds(lateness.get("max"))
    yield gauge("hblink_loop_lateness_max_seconds", "How late the latest of them ran.", longest)
    stalls = [Sample(status.get("stalls"), {})]
    yield counters("hblink_stalls_total", "How often the daemon was late beyond a share of deadtime.", stalls)


def _info(status: Status, **keys: str) -> list[Sample]:
    """1 with what stands at `keys` as labels, nothing if one of them is not known."""
    labels = {label: status.get(key) for label, key in keys.items()}
    return [] if None in labels.values() else [Sample(1, labels)]


def _roles(role: str | None) -> list[Sample]:
    """A sample for each role; none if it is not known, one more if it is a role of another version."""
    names = () if role is None else ROLES if role in ROLES else (*ROLES, role)
    return [Sample(name == role, {"role": name}) for name in names]


def _is(status: Status, role: str) -> bool | None:
    return None if status.get("role") is None else status["role"] == role


def _has(document: Entry, key: str) -> bool | None:
    """Whether something is said at `key`, where null says that there is nothing; None if there is no such key."""
    return document[key] is not None if key in document else None


def _part(document: Entry, key: str) -> Entry:
    part: Entry = document.get(key) or {}
    return part


def _places(document: Entry, key: str, **keys: str) -> list[Place]:
    """The entries of the list at `key`, each with what stands at `keys` in it as labels."""
    entries: list[Entry] = document.get(key) or []
    return [(entry, {label: entry.get(name) for label, name in keys.items()}) for entry in entries]


def _told(places: list[Place], value: Value) -> list[Sample]:
    return [Sample(value(entry), labels) for entry, labels in places]


def _at(key: str) -> Value:
    return lambda entry: entry.get(key)


def _ms_at(key: str) -> Value:
    return lambda entry: _seconds(entry.get(key))


def _seconds(milliseconds: float | None) -> Decimal | None:
    return _scaled(milliseconds, -3)


def _scaled(value: float | None, exponent: int) -> Decimal | None:
    """`value` times ten to the `exponent`, by the digits that the document has."""
    return None if value is None else Decimal(str(value)).scaleb(exponent)
