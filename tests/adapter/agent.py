"""Fence agents as a configuration names them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hblink.core.value import SECOND


@dataclass(frozen=True)
class Agent:
    """What AgentDevice wants to know."""

    agent: str
    parameters: Mapping[str, str]
    secret_files: Mapping[str, Path] = field(default_factory=dict)
    command_timeout_ns: int = 20 * SECOND


def dummy(directory: Path, power: str) -> Agent:
    """fence_dummy with a file, `outlet`, that says `power`."""
    status = directory / "outlet"
    status.write_text(power)
    return Agent("fence_dummy", {"type": "file", "status_file": str(status)})
