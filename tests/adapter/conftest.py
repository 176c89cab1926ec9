"""What the adapter tests share."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from hblink.loop import Loop
from tests.adapter.loopback_bmc import Bmc, loopback_bmc
from tests.adapter.stage import Clock, run_until
from tests.rig.namespace import Lab, lab


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> Iterator[None]:
    """Handle SIGINT as the daemon does, so that children do not inherit that it is ignored.

    A shell gives that to what it starts in the background, and what is ignored at its start a shell cannot trap.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def rig() -> Iterator[Lab]:
    """Makes namespaces that are gone after the test."""
    with lab() as made:
        yield made


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bmc]:
    """A real ipmi_sim on loopback, for the tests of one module."""
    with loopback_bmc(tmp_path_factory.mktemp("bmc")) as bmc:
        yield bmc


@pytest.fixture
def bmc(simulator: Bmc) -> Bmc:
    """The module's BMC as it was in the beginning."""
    simulator.reset()
    return simulator


@pytest.fixture
def clock() -> Clock:
    """The clock of `loop`."""
    return Clock()


@pytest.fixture
def loop(clock: Clock) -> Iterator[Loop]:
    """A loop all of whose children are reaped in the end."""
    loop = Loop(clock)
    yield loop
    run_until(loop, lambda: not loop._selector.get_map(), "every child reaped")
