"""What the searches of this directory saw is printed at the end of the run, passed or not."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

LINES = pytest.StashKey[list[str]]()


@pytest.fixture
def explored(request: pytest.FixtureRequest) -> list[str]:
    """Lines for the summary; the caller appends."""
    return request.config.stash.setdefault(LINES, [])


@pytest.fixture
def no_gc() -> Iterator[None]:
    """A search makes millions of small tuples and no cycles: collecting them would take a third of the time."""
    gc.disable()
    yield
    gc.enable()
    gc.collect()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print one line for each family that was explored."""
    for line in config.stash.get(LINES, []):
        terminalreporter.write_line(f"explorer: {line}")
