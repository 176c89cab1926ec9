"""A good configuration for a real pair, and files to put beside it."""

from __future__ import annotations

from pathlib import Path

GOOD = """
cluster = "fw-pair"
cluster_id = 4711
preferred = "beta"
[node.beta]
[node.alpha]
[timing]
deadtime_ms = 1000
[[link]]
name = "direct"
type = "udp"
endpoint.alpha = "10.9.0.1"
endpoint.beta = "10.9.0.2"
interface.alpha = "eth1"
interface.beta = "eth1"
[[link]]
name = "serial"
type = "serial"
endpoint.alpha = "/dev/ttyS1"
endpoint.beta = "/dev/ttyS2"
baud = 115200
[[vip]]
address = "192.0.2.10/32"
interface = "eth0"
[[vip]]
address = "2001:db8::10"
interface = "eth0"
[[fence]]
node = "beta"
type = "ipmi"
host = "10.0.0.12"
user = "fence"
password_file = "ipmi-beta.pass"
attempt_ms = 30000
[[fence]]
node = "alpha"
type = "ipmi"
host = "10.0.0.11"
user = "fence"
password_file = "ipmi-alpha.pass"
"""
WITHOUT_FENCES = GOOD[: GOOD.index("[[fence]]")]
WITHOUT_ALPHA_FENCE = GOOD[: GOOD.rindex("[[fence]]")]


def edited(*edits: tuple[str, str]) -> str:
    text = GOOD
    for old, new in edits:
        assert text.count(old) >= 1, old
        text = text.replace(old, new, 1)
    return text


def secret(path: Path, text: str | bytes, mode: int = 0o600) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    path.chmod(mode)
    return path
