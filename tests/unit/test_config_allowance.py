"""What may be allowed in writing, and what each allowance demands of the rest of the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from hblink.config import Config, ConfigError, parse, settings_of
from hblink.config.value import Profile
from hblink.core.value import SECOND, StartAlone
from tests.unit.sample import GOOD, WITHOUT_ALPHA_FENCE, edited

DIRECTORY = Path("/etc/hblink")
DIRECT = ('interface.beta = "eth1"\n', 'interface.beta = "eth1"\ndirect = true\n')
GUARD = '\n[guard]\nwatchdog = "/dev/watchdog0"\ntimeout_ms = 2000\nlease_mode = true\n'


def top(*lines: str, text: str = GOOD) -> str:
    return "\n".join((*lines, text))


def good(text: str) -> Config:
    return parse(text, DIRECTORY)


def problems(text: str) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        parse(text, DIRECTORY)
    return {problem.path: f"{problem.message} {problem.hint}" for problem in caught.value.problems}


def warnings(config: Config) -> list[str]:
    return [warning.path for warning in config.warnings]


def test_nothing_is_allowed_by_default() -> None:
    config = good(GOOD)
    assert (config.profile, config.power_loss_evidence, config.guard.lease_mode) == (None, False, False)
    settings = settings_of(config, 0)
    assert not settings.lease_mode
    assert not settings.power_loss_evidence
    assert settings.start_alone is StartAlone.BMC_OFF


def test_only_the_named_node_may_start_by_a_fence() -> None:
    config = good(top('start_alone = "fence"', 'start_alone_node = "beta"', text=edited()))
    assert config.nodes == ("alpha", "beta")
    assert [settings_of(config, me).start_alone for me in (0, 1)] == [StartAlone.BMC_OFF, StartAlone.FENCE]
    assert warnings(config) == ["timing.initdead_ms"], "a peer that boots slowly would be fenced"
    slow = edited(("deadtime_ms = 1000", "deadtime_ms = 1000\ninitdead_ms = 60000"))
    assert warnings(good(top('start_alone = "fence"', 'start_alone_node = "beta"', text=slow))) == []


def test_a_start_by_fence_needs_a_name_and_no_other_policy_has_one() -> None:
    assert "missing" in problems(top('start_alone = "fence"'))["start_alone_node"]
    assert "alpha" in problems(top('start_alone = "fence"', 'start_alone_node = "gamma"'))["start_alone_node"]
    assert "leave it out" in problems(top('start_alone = "wait"', 'start_alone_node = "beta"'))["start_alone_node"]


def test_at_least_one_is_refused_for_a_shared_disk_and_warned_of_without_a_profile() -> None:
    wish = 'guarantee = "at-least-one"'
    assert "shared disk" in problems(top(wish, 'profile = "shared-disk"'))["guarantee"]
    assert warnings(good(top(wish))) == ["guarantee"]
    config = good(top(wish, 'profile = "stateless"'))
    assert (config.profile, warnings(config)) == (Profile.STATELESS, [])
    assert "shared-disk" in problems(top('profile = "stateles"'))["profile"]


def test_loss_of_power_is_evidence_where_everything_that_shows_it_is_there() -> None:
    config = good(top("power_loss_evidence = true", 'profile = "stateless"', text=edited(DIRECT)))
    settings = settings_of(config, 0)
    assert settings.power_loss_evidence
    assert settings.power_loss_wait_ns == 5 * SECOND


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (top("power_loss_evidence = true", text=edited(DIRECT)), "stateless"),
        (top("power_loss_evidence = true", 'profile = "shared-disk"', text=edited(DIRECT)), "shared disk"),
        (top("power_loss_evidence = true", 'profile = "stateless"'), "direct"),
        (
            top(
                "power_loss_evidence = true",
                'profile = "stateless"',
                'guarantee = "at-least-one"',
                text=edited(DIRECT),
            ),
            "at-least-one",
        ),
        (
            top(
                "power_loss_evidence = true",
                'profile = "stateless"',
                'guarantee = "at-most-one"',
                text=WITHOUT_ALPHA_FENCE.replace(*DIRECT),
            ),
            "BMC",
        ),
        (
            top(
                "power_loss_evidence = true",
                'profile = "stateless"',
                text=GOOD[: GOOD.index('[[link]]\nname = "serial"')].replace(*DIRECT) + GOOD[GOOD.index("[[vip]]") :],
            ),
            "serial",
        ),
    ],
    ids=["no_profile", "shared_disk", "a_switch_between", "at_least_one", "no_bmc", "no_serial_link"],
)
def test_loss_of_power_is_refused_as_evidence_otherwise(text: str, word: str) -> None:
    assert word in problems(text)["power_loss_evidence"]


def test_the_lease_mode_says_its_price() -> None:
    config = good(GOOD + GUARD)
    assert settings_of(config, 1).lease_mode
    assert "guard.lease_mode" in warnings(config)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (GOOD + "\n[guard]\nlease_mode = true\n", "watchdog"),
        (top('guarantee = "at-least-one"', text=GOOD + GUARD), "at-least-one"),
        (top("power_loss_evidence = true", 'profile = "stateless"', text=edited(DIRECT) + GUARD), "power_loss"),
    ],
    ids=["no_watchdog", "at_least_one", "power_loss_evidence"],
)
def test_the_lease_mode_is_refused_beside_what_would_break_it(text: str, word: str) -> None:
    assert word in problems(text)["guard.lease_mode"]
