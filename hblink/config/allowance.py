"""What an operator may allow in writing, beyond what is safe for every service, and what each allowance demands.

A service with a shared disk loses data when two nodes run it, so nothing here that may lead there is accepted for it.
Every allowance is off by default; this module must never turn one on.
"""

from __future__ import annotations

from dataclasses import dataclass

from hblink.config.document import Findings, Table
from hblink.config.value import Config, IpmiFenceConfig, Profile, SerialLinkConfig, UdpLinkConfig
from hblink.core.value import Guarantee, StartAlone

# A peer that boots a little later than this node must not be taken for one that hangs.
BY_FENCE_INITDEAD_NS = 60_000_000_000

PROOF_NS = 2_000_000_000  # for three readings of a BMC that takes its time


@dataclass(frozen=True, slots=True)
class Allowances:
    """What the top of the file allows; `start_alone` is of each node."""

    profile: Profile | None
    start_alone: tuple[StartAlone, StartAlone]
    power_loss_evidence: bool
    power_loss_wait_ns: int


def read_allowances(top: Table, by_name: dict[str, int]) -> Allowances:
    """Read profile, start_alone and power_loss_evidence."""
    profiles = {word.value: word for word in Profile}
    return Allowances(
        profile=top.choice("profile", profiles) if top.has("profile") else None,
        start_alone=_read_start_alone(top, by_name),
        power_loss_evidence=top.boolean("power_loss_evidence", False),
        power_loss_wait_ns=top.duration("power_loss_wait_ms", 2000, 600_000, 5000),
    )


def _read_start_alone(top: Table, by_name: dict[str, int]) -> tuple[StartAlone, StartAlone]:
    """S5: a fence of a peer that is on may be allowed to one node only, by name."""
    policy = top.choice("start_alone", {word.value: word for word in StartAlone}, StartAlone.BMC_OFF.value)
    if policy is not StartAlone.FENCE:
        if top.has("start_alone_node"):
            top.text("start_alone_node")
            top.findings.problem("start_alone_node", 'has a meaning only with start_alone = "fence"', "leave it out")
        return policy, policy
    if not by_name:  # the nodes are a problem already
        top.text("start_alone_node", "-")
        return StartAlone.BMC_OFF, StartAlone.BMC_OFF
    node = top.choice("start_alone_node", by_name)
    first, second = (policy if node == index else StartAlone.BMC_OFF for index in (0, 1))
    return first, second


def judge_allowances(config: Config, findings: Findings) -> None:
    """Refuse what does not go together, and say what is risked."""
    if config.guarantee is Guarantee.AT_LEAST_ONE and findings.sound("guarantee", "profile"):
        _judge_at_least_one(config, findings)
    if StartAlone.FENCE in config.start_alone and findings.sound("start_alone", "start_alone_node"):
        _judge_by_fence(config, findings)
    if config.power_loss_evidence and findings.sound("power_loss_evidence", "profile", "link"):
        _judge_power_loss(config, findings)
    if config.guard.lease_mode and findings.sound("guard"):
        _judge_lease_mode(config, findings)


def _judge_at_least_one(config: Config, findings: Findings) -> None:
    if config.profile is Profile.SHARED_DISK:
        findings.problem(
            "guarantee",
            'is "at-least-one" of a service with a shared disk: two owners would destroy what is on it',
            'write guarantee = "at-most-one"',
        )
    elif config.profile is None:
        findings.warn(
            "guarantee",
            'is "at-least-one": when links and fence fail together, both nodes serve at the same time',
            'profile = "stateless" says that this is meant, and that there is no shared disk',
        )


def _judge_by_fence(config: Config, findings: Findings) -> None:
    if config.timing.initdead_ns < BY_FENCE_INITDEAD_NS and findings.sound("timing.initdead_ms"):
        findings.warn(
            "timing.initdead_ms",
            f"is {config.timing.initdead_ns // 1_000_000}: a peer that boots more slowly would be fenced while it does",
            f'with start_alone = "fence" at least {BY_FENCE_INITDEAD_NS // 1_000_000}',
        )


def _judge_power_loss(config: Config, findings: Findings) -> None:
    """Everything that could tell a loss of power from a cut must be there, and two owners must be bearable."""

    def refuse(reason: str, hint: str) -> None:
        findings.problem("power_loss_evidence", reason, hint)

    if config.profile is not Profile.STATELESS:
        refuse(
            "needs a service without a shared disk: it is evidence, no proof, and may make two owners",
            'write profile = "stateless" if that is so, else give each node a second fence device on another supply',
        )
    if config.guarantee is Guarantee.AT_LEAST_ONE:
        refuse('has no use with guarantee = "at-least-one", which asks for less', "leave it out")
    silent = [link.name for link in config.links if isinstance(link, UdpLinkConfig) and not link.direct]
    media = {type(link) for link in config.links}
    if silent or media != {SerialLinkConfig, UdpLinkConfig}:
        refuse(
            "needs a serial link, a direct Ethernet cable, and no link that goes on when the peer's power goes"
            + (f": {', '.join(silent)}" if silent else ""),
            "direct = true in the [[link]] of a cable without a switch",
        )
    ladders = [config.fences_of(node) for node in (0, 1)]
    if not all(ladder and all(isinstance(fence, IpmiFenceConfig) for fence in ladder) for ladder in ladders):
        refuse(
            "needs the BMC of each node, and no fence agent: that they go away is part of the evidence",
            'add [[fence]] type = "ipmi"; with a second device on another supply it is not needed',
        )


def _judge_lease_mode(config: Config, findings: Findings) -> None:
    def refuse(reason: str, hint: str) -> None:
        findings.problem("guard.lease_mode", reason, hint)

    if config.guard.watchdog is None:
        refuse("needs a hardware watchdog on both nodes: who hangs must be reset", "add watchdog, timeout_ms")
    if config.guarantee is Guarantee.AT_LEAST_ONE:
        refuse('does not go with guarantee = "at-least-one", whose owner never stops', "choose one of them")
    if config.power_loss_evidence:
        refuse("does not go with power_loss_evidence, which may make two owners", "choose one of them")
    slowest_ns = max((fence.off_interval_ns for fence in config.fences), default=0)
    least_ns = config.timing.deadtime_ns + slowest_ns + PROOF_NS
    if config.timing.lease_ns < least_ns and findings.sound("timing"):
        findings.warn(
            "timing.lease_ms",
            f"is {config.timing.lease_ns // 1_000_000}: too short to read a peer OFF twice before the lease ends",
            f"deadtime_ms + off_interval_ms and time for three readings: at least {least_ns // 1_000_000}",
        )
    findings.warn(
        "guard.lease_mode",
        "stops the service of an active node that hears nothing for lease_ms and cannot read its peer OFF,"
        " in maintenance too",
        "that is its price: it lets the other node take over where no fence works",
    )
