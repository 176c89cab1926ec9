"""Fixtures of the namespace tests: a pair of the rig, and its whole report beside every failure."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.netns.situation import QUICK, restore
from tests.rig.pair import Pair
from tests.rig.setting import Setting

PAIRS = pytest.StashKey[list[Pair]]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Put the report of every pair that a failed test had beside the failure, while the pairs still stand."""
    report = yield
    if report.when == "call" and report.failed:
        for pair in item.stash.get(PAIRS, []):
            report.sections.append(("pair", pair.report()))
    return report


@pytest.fixture
def build_pair(request: pytest.FixtureRequest) -> Iterator[Callable[[Setting], Pair]]:
    """Give a function that builds a pair, switched off, from a Setting; it is taken down after the test."""
    with ExitStack() as stack:
        # Not tmp_path: a unix socket's path has at most 107 characters.
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hblink-")))
        pairs: list[Pair] = request.node.stash.setdefault(PAIRS, [])

        def build(setting: Setting) -> Pair:
            pair = stack.enter_context(Pair(directory / f"pair{len(pairs)}", setting))
            pairs.append(pair)
            return pair

        yield build


@pytest.fixture
def pair(build_pair: Callable[[Setting], Pair]) -> Pair:
    """Give a pair with the default Setting whose daemons were started together and of which alpha is active."""
    built = build_pair(Setting())
    built.start()
    built.wait_active("alpha")
    return built


@pytest.fixture(scope="module")
def module_pair() -> Iterator[Pair]:
    """Give a pair for the tests of one module, started together."""
    with tempfile.TemporaryDirectory(prefix="hblink-") as directory, Pair(Path(directory) / "pair", QUICK) as built:
        built.start()
        restore(built)  # on a machine that is busy with others the preferred node may be the slower one
        yield built


@pytest.fixture
def shared(request: pytest.FixtureRequest, module_pair: Pair) -> Pair:
    """Give the module's pair, mended after the test before: alpha is active, beta standby, and all is well."""
    request.node.stash.setdefault(PAIRS, []).append(module_pair)
    restore(module_pair)
    return module_pair
