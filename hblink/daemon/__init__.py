"""The daemon: the only room that wires the others together."""

from hblink.daemon.start import run_daemon

__all__ = ["run_daemon"]
