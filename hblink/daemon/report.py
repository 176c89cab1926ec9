"""The status document: the daemon as `hblink status --json` shows it.

Reads everything, changes nothing. Keys are part of the interface: programs read them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hblink.config import UdpLinkConfig
from hblink.core.liveness import alarms_of, heard_on, hears_on, is_fresh, is_silent
from hblink.core.value import Role
from hblink.daemon.forecast import forecast
from hblink.daemon.heartbeat import Channel
from hblink.daemon.outlook import causes, confirm_hint, reason_left_ms
from hblink.session import PeerReport
from hblink.vip.keeper import VipError

if TYPE_CHECKING:
    from hblink.daemon.daemon import Daemon


def status_document(daemon: Daemon, now: int) -> dict[str, object]:
    """Describe the node at `now`; every key is always there."""
    state, settings, config = daemon.state, daemon.settings, daemon.config
    advert = state.peer.advert
    peer = daemon.session.peer_report()
    peer_name = config.nodes[settings.peer]
    blocked = state.role is Role.BLOCKED
    return {
        "node": config.nodes[settings.me],
        "peer": peer_name,
        "role": state.role.value,
        "reason": state.reason.value,
        "reason_left_ms": reason_left_ms(daemon, now),
        "grant": None if state.claimed_by is None else state.claimed_by.value,
        "since_ms": (now - state.role_at) // 1_000_000,
        "uptime_ms": _age_ms(daemon.started_at, now),
        "epoch": state.epoch,
        "yielded": state.yielded,
        "version": daemon.who.version,
        "standby_ordered": state.standby_ordered,
        "maintenance": _maintenance(daemon, now),
        "guarantee": settings.guarantee.value,
        "peer_state": daemon.peer.state(now).value,
        "peer_role": None if advert is None else advert.role.value,
        "peer_epoch": None if advert is None else advert.epoch,
        "peer_seen_ms": _age_ms(state.peer.fresh_at, now),
        "peer_version": None if peer is None else peer.software_version,
        "config_match": None if peer is None or peer.config_digest is None else peer.config_digest == config.digest,
        "config_differs": None if (differs := daemon.peer.differences()) is None else list(differs),
        "keys": _keys(daemon, peer if daemon.is_peer_fresh(now) else None),
        "links": [_link(daemon, channel, now) for channel in daemon.heartbeat.channels],
        "vips": _vips(daemon),
        "health": daemon.health.document(),
        "guard": daemon.guard.document(),
        "fence": _fence(daemon, now),
        "alarms": _alarms(daemon, now),
        "if_peer_died_now": forecast(settings, state, peer_name, daemon.fence.complaint(), now),
        "causes": [cause.document() for cause in causes(daemon, now)],
        "operator": f"hblink fence confirm {peer_name}" if blocked else None,
        "confirm_hint": confirm_hint(state, peer_name) if blocked else None,
        "memory": "; ".join(filter(None, (daemon.memory.complaint, *daemon.memory.writer.errors))) or None,
        "followers": daemon.history.followers,
        "stalls": daemon.account.stalls,
        "timeliness": daemon.timeliness,
        "lateness_ms": {
            "max": round(daemon.account.lateness_max_ns / 1e6, 3),
            "p99": daemon.account.lateness_ms(0.99),
            "sum": round(daemon.account.lateness_sum_ns / 1e6, 3),
            "histogram": daemon.account.lateness_histogram(),
        },
    }


def _maintenance(daemon: Daemon, now: int) -> dict[str, object]:
    """Whether maintenance was ordered on this node, or the peer says it, and when the order of this node ends."""
    state = daemon.state
    until = state.maintenance_until
    ends_ms = None if until is None else max(0, until - now) // 1_000_000
    return {"here": state.maintenance, "peer": state.peer.maintenance, "ends_ms": ends_ms}


def _alarms(daemon: Daemon, now: int) -> list[dict[str, object]]:
    """The alarms of the decision, then the daemon's own."""
    alarms: list[dict[str, object]] = [
        {
            "code": alarm.code,
            "link": daemon.config.links[alarm.link].name if alarm.link >= 0 else None,
            "since_ms": _age_ms(daemon.account.alarm_since.get(alarm), now),
        }
        for alarm in sorted(alarms_of(daemon.settings, daemon.state, now))
    ]
    alarms += [
        {"code": complaint.value, "link": None, "since_ms": _age_ms(since, now), "detail": detail}
        for complaint, (since, detail) in daemon.notices.complaints.items()
    ]
    return alarms


def _keys(daemon: Daemon, peer: PeerReport | None) -> dict[str, object]:
    """The ids of the keys that each node accepts and signs with; those of the peer are None while it is not heard."""
    ring = daemon.session.keyring
    return {
        "accepted": list(ring.ids),
        "active": ring.active_id,
        "peer_accepted": None if peer is None or not peer.key_ids else list(peer.key_ids),
        "peer_active": None if peer is None or not peer.key_id else peer.key_id,
    }


def _link(daemon: Daemon, channel: Channel, now: int) -> dict[str, object]:
    state, settings = daemon.state, daemon.settings
    report = daemon.session.link_report(channel.index, now)
    fresh = is_fresh(settings, state, now)
    heard = hears_on(settings, state.links[channel.index], now)
    inward = "up" if heard else "down" if state.peer.fresh_at is not None or is_silent(settings, state, now) else None
    outward = None if not fresh or state.peer.advert is None else "up" if heard_on(state, channel.index) else "down"
    return {
        "name": channel.config.name,
        "type": "udp" if isinstance(channel.config, UdpLinkConfig) else "serial",
        "open": channel.link.is_open,
        "in": inward or "unknown",
        "out": outward or "unknown",
        "signal": state.links[channel.index].signal,
        "last_ms": _age_ms(report.accepted_at, now),
        "rtt_ms": None if report.round_trip_ns is None else round(report.round_trip_ns / 1e6, 2),
        "loss_percent": report.rx_loss,
        "sent": channel.sent,
        "received": report.accepted,
        "rejected": dict(report.rejected),
        "detail": channel.complaint,
    }


def _vips(daemon: Daemon) -> list[dict[str, object]]:
    try:
        present = daemon.service.present()
    except VipError:
        present = None
    return [
        {
            "address": str(vip.address),
            "interface": vip.interface,
            "present": None if present is None else vip in present,
        }
        for vip in daemon.service.vips
    ]


def _fence(daemon: Daemon, now: int) -> dict[str, object]:
    state = daemon.state
    stands = {"outstanding": state.outstanding_until is not None, "sworn_off": state.sworn_off}
    fence = daemon.fence.fence
    if fence is None:
        none = {"configured": False, "ready": None, "age_ms": None, "detail": "no fence device"}
        return {**none, **stands, "levels": [], "proof": None, **_fences(daemon)}
    return {
        "configured": True,
        "ready": fence.readiness.ready,
        "age_ms": _age_ms(fence.readiness.at, now),
        "detail": fence.readiness.detail,
        **stands,
        "levels": daemon.fence.documents(now),
        "proof": daemon.fence.proof(),
        **_fences(daemon),
    }


def _fences(daemon: Daemon) -> dict[str, object]:
    """The fences of the powered-on peer within the hour, and their cap; None without a cap, as nobody counts then."""
    cap = daemon.settings.fence_cap
    return {"fences_last_hour": len(daemon.state.fences) if cap else None, "fences_per_hour": cap or None}


def _age_ms(at: int | None, now: int) -> int | None:
    return None if at is None else max(0, now - at) // 1_000_000
