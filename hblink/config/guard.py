"""The [guard] table: the hardware watchdog and the reset of oneself, and how their times go with the others."""

from __future__ import annotations

from pathlib import Path

from hblink.config.document import NS_PER_MS, Findings, Table
from hblink.config.value import Config, GuardConfig
from hblink.core.value import STOP_FAILED_FENCE_NS

NS_PER_S = 1_000_000_000


def read_guard(top: Table) -> GuardConfig:
    """Read [guard]; without it nothing guards this node but its peer."""
    table = top.table("guard")
    device = table.optional_text("watchdog")
    if device is not None and not device.startswith("/dev/"):
        table.findings.problem(table.at("watchdog"), f'"{device}" is not a device', "such as /dev/watchdog0")
    guard = GuardConfig(
        watchdog=None if device is None else Path(device),
        timeout_ns=table.duration("timeout_ms", 1000, 600_000, 10_000),
        self_reset_ns=table.duration("self_reset_ms", 100, 60_000, 5000) if table.has("self_reset_ms") else None,
        lease_mode=table.boolean("lease_mode", False),
    )
    table.end()
    if guard.timeout_ns % NS_PER_S:
        table.findings.problem(table.at("timeout_ms"), "is not whole seconds", "watchdog drivers count in seconds")
    return guard


def judge_guard(config: Config, findings: Findings) -> None:
    """A wedged node should reset before its peer has fenced it, else the guard only adds a second reset."""
    guard = config.guard
    if not config.fences:
        return
    reset_ns = guard.self_reset_ns
    if reset_ns is not None and reset_ns > STOP_FAILED_FENCE_NS and findings.sound("guard.self_reset_ms"):
        bound = STOP_FAILED_FENCE_NS // NS_PER_MS
        findings.warn(
            "guard.self_reset_ms",
            f"is {reset_ns // NS_PER_MS}: a node whose stop fails is fenced by its peer after {bound} ms",
            f"below {bound}, else it adds nothing, or a second reset",
        )
    if guard.watchdog is None:
        return
    off_interval_ns = min(fence.off_interval_ns for fence in config.fences)
    fenced_ns = config.timing.deadtime_ns + off_interval_ns
    if guard.timeout_ns > fenced_ns:
        findings.warn(
            "guard.timeout_ms",
            f"a wedged node resets after {guard.timeout_ns // NS_PER_MS} ms, when its peer may have fenced it already"
            f" (deadtime_ms + off_interval_ms = {fenced_ns // NS_PER_MS} ms)",
            "shorten it, or take the fence as the first line and this as the second",
        )
