"""Virtual addresses in a namespace, with the pyroute2 of this environment and with the oldest one that is supported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.adapter.vip_situation import SITUATIONS
from tests.rig.namespace import Lab

ROOT = Path(__file__).resolve().parents[2]
# Made by `make`: pyroute2 0.7.2, the version of Debian 12.
OLDEST = Path(os.environ.get("HBLINK_OLDEST_PYTHON", ROOT / ".venv-oldest/bin/python"))
INTERPRETERS = {"current": Path(sys.executable), "oldest": OLDEST}


def test_the_oldest_pyroute2_is_really_another_one() -> None:
    assert OLDEST.exists(), f"{OLDEST} is missing: run make, or set HBLINK_OLDEST_PYTHON"
    question = "from importlib.metadata import version; print(version('pyroute2'))"
    versions = {
        name: subprocess.run([python, "-c", question], check=True, capture_output=True, text=True).stdout.split(".")[:2]
        for name, python in INTERPRETERS.items()
    }
    assert versions["oldest"] == ["0", "7"]
    assert versions["current"] != ["0", "7"]


@pytest.mark.parametrize("interpreter", INTERPRETERS)
@pytest.mark.parametrize("situation", SITUATIONS)
def test_situation(rig: Lab, situation: str, interpreter: str) -> None:
    python = INTERPRETERS[interpreter]
    assert python.exists(), f"{python} is missing: run make, or set HBLINK_OLDEST_PYTHON"
    node = rig.namespace("node")
    node.ip(
        "link add eth0 type veth peer name peer0",
        "link add eth1 type veth peer name peer1",
        *(f"link set {name}{n} up" for name in ("eth", "peer") for n in (0, 1)),
        "address add 192.0.2.1/24 dev eth0",
        "address add 2001:db8::1/64 dev eth0 nodad",
        "address add 198.51.100.1/24 dev eth1",
    )
    ended = subprocess.run(
        [*node.enter, python, "-P", Path(__file__).with_name("vip_situation.py"), situation],
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (ended.returncode, ended.stdout) == (0, "as it should be\n"), ended.stderr
