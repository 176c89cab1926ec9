"""Frames out and in on every link: the tick, the session, the deframers, links that come and go.

All frames that are sent together carry one sequence number. A change of what this node says goes out at once, on all
links; a link that cannot take it yet (a serial line still sending) gets it as soon as it can. This module must never
decide anything, and never hold a frame back for a link: what cannot be sent now is composed anew later.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from hblink_wire import Deframer, Rejected, enframe

from hblink.config import LinkConfig, SerialLinkConfig
from hblink.core.event import Event, LinkClosed, LinkOpened
from hblink.core.value import MS, SECOND, Advert
from hblink.links.link import Link, LinkError
from hblink.links.serial import SerialLink
from hblink.links.udp import UdpLink
from hblink.loop import Loop, Timer
from hblink.session import Received, Session

REOPEN_NS = 1 * SECOND
_RESEND_FLOOR_NS = 1 * MS

OnEvent = Callable[[Event, int], None]
OnRejected = Callable[[str, Rejected, int], None]
OnComplaint = Callable[[str, str, int], None]
OnSignal = Callable[[int, bool | None, int], None]


@dataclass(slots=True)
class Channel:
    """One configured link with all that belongs to it."""

    index: int
    config: LinkConfig
    link: Link
    deframer: Deframer | None
    due_at: int = 0
    resend: Timer | None = None
    complaint: str = ""  # why it is not open
    sent: int = 0
    received: int = 0
    told: set[str] = field(default_factory=set)  # reject reasons that have been logged
    mid_frame: bool = False  # a serial line was just opened: what comes first may be the rest of a frame


class Heartbeat:
    """Exchange frames with the peer over all links.

    `say()` returns what this node says now, or None while it must be silent.
    `on_event` gets the core's events in order; they must have passed through `step` when it returns, since grants rest
    on what is echoed afterwards. `on_signal(index, present, now)` gets what is felt of a link's far end: with each of
    its beats, so that two looks in a row fit into deadtime, and when the kernel hints at a change.
    """

    def __init__(
        self,
        loop: Loop,
        links: Sequence[LinkConfig],
        me: int,
        session: Session,
        *,
        say: Callable[[int], Advert | None],
        on_event: OnEvent,
        on_rejected: OnRejected,
        on_complaint: OnComplaint,
        on_signal: OnSignal,
    ) -> None:
        self._loop = loop
        self.session = session
        self._say = say
        self._on_event = on_event
        self._on_rejected = on_rejected
        self._on_complaint = on_complaint
        self._on_signal = on_signal
        self._interval_ns = min(link.keepalive_ns for link in links)
        self._tick: Timer | None = None
        self.channels = [self._channel(index, config, me) for index, config in enumerate(links)]

    def start(self) -> None:
        """Open every link, or report it by name as missing and go on trying; begin to tick."""
        for channel in self.channels:
            self._open(channel)
        now = self._loop.now()
        self._tick = self._loop.call_at(now, self._on_tick)

    def close(self) -> None:
        """Stop ticking and close every link."""
        if self._tick is not None:
            self._tick.cancel()
        for channel in self.channels:
            if channel.resend is not None:
                channel.resend.cancel()
            channel.link.close()

    @property
    def any_open(self) -> bool:
        """Whether at least one link is open."""
        return any(channel.link.is_open for channel in self.channels)

    def send_now(self, now: int) -> None:
        """Say what has changed, on every link, without waiting for the tick."""
        self._send([channel for channel in self.channels if channel.link.is_open], now, urgent=True)

    def _channel(self, index: int, config: LinkConfig, me: int) -> Channel:
        def on_bytes(data: bytes, now: int) -> None:
            self._on_bytes(self.channels[index], data, now)

        def on_serial_bytes(data: bytes, now: int) -> None:
            channel = self.channels[index]
            self._on_bytes(channel, data, now)
            if channel.deframer is not None and isinstance(channel.link, SerialLink):
                channel.link.expect(max(1, channel.deframer.missing))

        def on_closed(reason: str, now: int) -> None:
            self._on_closed(self.channels[index], reason, now)

        if isinstance(config, SerialLinkConfig):
            serial = SerialLink(self._loop, config.endpoint[me], config.baud, on_serial_bytes, on_closed)
            return Channel(index, config, serial, Deframer())

        def on_hint(now: int) -> None:
            self._look(self.channels[index], now)

        local, peer = config.endpoint[me], config.endpoint[1 - me]
        hint = on_hint if config.direct else None
        udp = UdpLink(self._loop, local, peer, config.port, config.interface[me], on_bytes, on_closed, hint)
        return Channel(index, config, udp, None)

    def _open(self, channel: Channel) -> None:
        now = self._loop.now()
        try:
            channel.link.open()
        except LinkError as error:
            if str(error) != channel.complaint:
                self._on_complaint(channel.config.name, str(error), now)
            channel.complaint = str(error)
            self._on_event(LinkClosed(channel.index), now)
            self._loop.call_at(now + REOPEN_NS, lambda _now: self._open(channel))
            return
        channel.complaint = ""
        if channel.deframer is not None:
            channel.deframer = Deframer()  # what was begun before the gap must not be joined to what comes after it
            channel.mid_frame = True
        self._on_event(LinkOpened(channel.index), now)

    def _on_closed(self, channel: Channel, reason: str, now: int) -> None:
        channel.complaint = reason
        self._on_complaint(channel.config.name, reason, now)
        self._on_event(LinkClosed(channel.index), now)
        self._loop.call_at(now + REOPEN_NS, lambda _now: self._open(channel))

    def _on_tick(self, now: int) -> None:
        """Send on the links whose interval has passed; the next tick is counted from now, so none are made up for."""
        self._tick = self._loop.call_at(now + self._interval_ns, self._on_tick)
        # Half a tick of grace, else a tick that is a microsecond early costs a slower link a whole one.
        horizon = now + self._interval_ns // 2
        due = [c for c in self.channels if c.link.is_open and c.due_at <= horizon]
        for channel in due:
            self._look(channel, now)
        self._send(due, now, urgent=False)

    def _look(self, channel: Channel, now: int) -> None:
        self._on_signal(channel.index, channel.link.signal(), now)

    def _send(self, channels: Sequence[Channel], now: int, *, urgent: bool) -> None:
        advert = self._say(now)
        if advert is None or not channels:
            return
        carrier = sum(1 << c.index for c in self.channels if c.link.is_open and c.link.carrier() is not False)
        frames = self.session.compose(advert, [channel.index for channel in channels], now, carrier)
        for channel in channels:
            channel.due_at = now + channel.config.keepalive_ns
            if self._put(channel, frames[channel.index], now):
                channel.sent += 1
            elif urgent:
                self._resend_when_ready(channel, now)

    def _put(self, channel: Channel, frame: bytes, now: int) -> bool:
        return channel.link.send(frame if channel.deframer is None else enframe(frame), now)

    def _resend_when_ready(self, channel: Channel, now: int) -> None:
        """The line is still busy with an older frame: send a new one, of what is true then, when it is free."""
        if channel.resend is not None:
            channel.resend.cancel()
        at = max(channel.link.ready_at, now + _RESEND_FLOOR_NS)
        if at < channel.due_at:
            channel.resend = self._loop.call_at(at, lambda later: self._send([channel], later, urgent=True))

    def _on_bytes(self, channel: Channel, data: bytes, now: int) -> None:
        if channel.deframer is None:
            self._receive(channel, data, now)
            return
        for block in channel.deframer.feed(data):
            if isinstance(block, Rejected):
                self.session.count(channel.index, block)
                if not channel.mid_frame:
                    self._reject(channel, block, now)
            else:
                self._receive(channel, block, now)
            channel.mid_frame = False

    def _receive(self, channel: Channel, data: bytes, now: int) -> None:
        received: Received = self.session.receive(channel.index, data, now)
        for event in received.events:
            channel.received += 1
            self._on_event(event, now)
        if received.reply is not None:
            self._put(channel, received.reply, now)
        if received.rejected is not None:
            self._reject(channel, received.rejected, now)

    def _reject(self, channel: Channel, rejected: Rejected, now: int) -> None:
        """Tell of each reason once for each link; the counters tell the rest."""
        if rejected.reason.value not in channel.told:
            channel.told.add(rejected.reason.value)
            self._on_rejected(channel.config.name, rejected, now)
