"""Where the time went: loop lateness, stalls, alarms by age, and the milliseconds of the last takeover.

Books only; nothing here is read by the decision.
"""

from __future__ import annotations

from bisect import bisect_left

from hblink.core.state import State
from hblink.core.value import Alarm, Grant

# Upper bounds of the histogram's buckets, in microseconds.
_BUCKETS_US = (100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000)


class Account:
    """Counters of one daemon's life; instants and durations in nanoseconds."""

    def __init__(self) -> None:
        self.stalls = 0
        self.alarm_since: dict[Alarm, int] = {}
        self._lateness = [0] * (len(_BUCKETS_US) + 1)  # the last one for anything above
        self.lateness_max_ns = 0
        self.lateness_sum_ns = 0
        self._last_heard_at: int | None = None
        self._fencing_at: int | None = None
        self._device_before_ns = 0
        self._activating_at = 0
        self._activated_at = 0

    def note_lateness(self, late_ns: int) -> None:
        """Count how late a timer ran; allocates nothing that stays."""
        self._lateness[bisect_left(_BUCKETS_US, -(-late_ns // 1000))] += 1  # rounded up: no bound is exceeded
        self.lateness_max_ns = max(self.lateness_max_ns, late_ns)
        self.lateness_sum_ns += late_ns

    def lateness_ms(self, share: float) -> float:
        """The bound in milliseconds that this share of the timers kept."""
        wanted = share * sum(self._lateness)
        seen = 0
        for bound, count in zip(_BUCKETS_US, self._lateness, strict=False):
            seen += count
            if seen and seen >= wanted:
                return min(bound / 1000, self.lateness_max_ns / 1e6)
        return self.lateness_max_ns / 1e6

    def lateness_histogram(self) -> list[dict[str, int | None]]:
        """How many timers ran late by up to `up_to_us`, and by more than the bound before; None: without a bound."""
        bounds: tuple[int | None, ...] = (*_BUCKETS_US, None)
        return [{"up_to_us": bound, "count": count} for bound, count in zip(bounds, self._lateness, strict=True)]

    def note_alarm(self, alarm: Alarm, what: str, now: int) -> None:
        """Keep since when each alarm stands."""
        if what == "raised":
            self.alarm_since[alarm] = now
        else:
            self.alarm_since.pop(alarm, None)

    def fencing(self, now: int, device_ns: int) -> None:
        """An `off` is sent; `device_ns` is what the device has cost so far."""
        if self._fencing_at is None:
            self._fencing_at = now
            self._device_before_ns = device_ns

    def activating(self, now: int) -> None:
        """The service is about to be started."""
        self._activating_at = now

    def activated(self, now: int) -> None:
        """The service has been started, or not."""
        self._activated_at = now

    def takeover(self, state: State, now: int, device_ns: int) -> dict[str, float]:
        """Where each millisecond of the way to ACTIVE went, rounded to a tenth; closes the account of this takeover.

        After a fence: `silence_ms` from the last authentic frame to the decision, `fence_ms` from there to the claim,
        of which `device_ms` were the processes that talk to the BMC; always: `start_ms` for the addresses.
        """
        spent = {"start_ms": _ms(self._activated_at - self._activating_at)}
        heard_at = state.peer.authentic_at
        if state.claimed_by is Grant.FENCED and self._fencing_at is not None:
            if heard_at is not None:
                spent["silence_ms"] = _ms(self._fencing_at - heard_at)
                spent["total_ms"] = _ms(now - heard_at)
            spent["fence_ms"] = _ms(self._activating_at - self._fencing_at)
            spent["device_ms"] = _ms(device_ns - self._device_before_ns)
        self._fencing_at = None
        return spent


def _ms(duration_ns: int) -> float:
    return round(duration_ns / 1e6, 1)
