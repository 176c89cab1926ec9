"""The status document: the daemon as `hblink status --json` shows it, and what it would do if the peer died now.

Reads everything, changes nothing. Keys are part of the interface: programs read them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hblink.config import UdpLinkConfig
from hblink.core.liveness import alarms_of, heard_on, hears_on, is_fresh, is_silent, slot_index
from hblink.core.state import State, veto
from hblink.core.value import OWNING, Guarantee, Reason, Role, Settings
from hblink.daemon.heartbeat import Channel
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
        "grant": None if state.claimed_by is None else state.claimed_by.value,
        "since_ms": (now - state.role_at) // 1_000_000,
        "epoch": state.epoch,
        "yielded": state.yielded,
        "version": daemon.who.version,
        "guarantee": settings.guarantee.value,
        "peer_role": None if advert is None else advert.role.value,
        "peer_epoch": None if advert is None else advert.epoch,
        "peer_seen_ms": _age_ms(state.peer.fresh_at, now),
        "peer_version": None if peer is None else peer.software_version,
        "config_match": None if peer is None or peer.config_digest is None else peer.config_digest == config.digest,
        "links": [_link(daemon, channel, now) for channel in daemon.heartbeat.channels],
        "vips": _vips(daemon),
        "fence": _fence(daemon, now),
        "alarms": [
            {
                "code": alarm.code,
                "link": config.links[alarm.link].name if alarm.link >= 0 else None,
                "since_ms": _age_ms(daemon.account.alarm_since.get(alarm), now),
            }
            for alarm in sorted(alarms_of(settings, state, now))
        ],
        "if_peer_died_now": _forecast(daemon, now),
        "operator": f"hblink fence confirm {peer_name}" if blocked else None,
        "confirm_hint": _hint(state, peer_name) if blocked else None,
        "memory": daemon.memory.complaint or daemon.memory.writer.last_error or None,
        "stalls": daemon.account.stalls,
        "lateness_ms": {
            "max": round(daemon.account.lateness_max_ns / 1e6, 3),
            "p99": daemon.account.lateness_ms(0.99),
        },
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
    outstanding = daemon.state.outstanding_until is not None
    if daemon.fence is None:
        return {"configured": False, "ready": None, "age_ms": None, "detail": "no fence device", "outstanding": False}
    readiness = daemon.fence.readiness
    return {
        "configured": True,
        "ready": readiness.ready,
        "age_ms": _age_ms(readiness.at, now),
        "detail": readiness.detail,
        "outstanding": outstanding,
    }


def _forecast(daemon: Daemon, now: int) -> dict[str, str]:
    """What would happen if the peer died now, going by the same questions that the policy asks."""
    state, settings = daemon.state, daemon.settings
    peer = daemon.config.nodes[settings.peer]
    if state.role in OWNING:
        return {"code": "keep", "text": "goes on serving; nothing to take over"}
    if state.role in (Role.STARTING, Role.YIELDING, Role.HALTED):
        return {"code": "busy", "text": f"is {state.role.value}; decides when that has ended"}
    if not state.heard:
        text = f"inert: has not heard {peer} since it booted; starts alone only if its BMC reads OFF"
        return {"code": "inert", "text": text}
    forbidden = veto(state, now)
    if forbidden is not None:
        return {"code": "forbidden", "text": f"would not take over: {forbidden.value}"}
    if not settings.has_fence:
        if settings.guarantee is Guarantee.AT_LEAST_ONE:
            wait = settings.lease_ns + settings.lease_margin_ns
            return {"code": "takeover", "text": f"no fence device: would take over unproven after {_s(wait)} s"}
        return {"code": "blocked", "text": f"no fence device: would block until: hblink fence confirm {peer}"}
    if daemon.fence is not None and daemon.fence.readiness.ready is False:
        text = f"the BMC of {peer} does not work ({daemon.fence.readiness.detail}): would block"
        return {"code": "blocked", "text": text}
    return {"code": "takeover", "text": f"would fence {peer} and take over in about {_s(_estimate(settings, state))} s"}


def _estimate(settings: Settings, state: State) -> int:
    """Detection, this node's slot, the interval of the two readings; the BMC's own time comes on top."""
    return settings.deadtime_ns + slot_index(settings, state) * settings.slot_ns + settings.off_interval_ns


def _hint(state: State, peer: str) -> str:
    if state.reason is Reason.INERT_PEER_ON:
        return f"{peer} is powered on: reconnect a link, or switch {peer} off at its power button first"
    return f"make sure that {peer} is switched off; never do this on both nodes"


def _age_ms(at: int | None, now: int) -> int | None:
    return None if at is None else max(0, now - at) // 1_000_000


def _s(duration_ns: int) -> str:
    return f"{duration_ns / 1e9:.1f}"
