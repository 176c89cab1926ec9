"""What the adapter tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.rig.namespace import Lab, lab


@pytest.fixture
def rig() -> Iterator[Lab]:
    """Makes namespaces that are gone after the test."""
    with lab() as made:
        yield made
