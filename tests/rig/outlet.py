"""An outlet above a BMC: a second way to switch the same machine, behind a fence agent of the rig's own.

The agent carries out what it is told through the chassis program of the machine's BMC, in `sh`, with the directory of
the outlet as its parameter `status_file`.
"""

from __future__ import annotations

from pathlib import Path

_AGENT = """\
#!/bin/sh
while IFS='=' read -r key value; do
    case "$key" in
    action) action=$value ;;
    status_file) cd "$value" || exit 1 ;;
    esac
done
if test -e dead; then
    echo "Failed: Unable to connect/login to fencing device" >&2
    exit 1
fi
case "$action" in
status)
    case "$(./chassis 0x20 get power)" in
    power:1) echo "Status: ON" ;;
    power:0) echo "Status: OFF" && exit 2 ;;
    *) exit 1 ;;
    esac
    ;;
off)
    ./chassis 0x20 set power 0 || exit 1
    if test -e dies; then touch dead; fi
    ;;
on) ./chassis 0x20 set power 1 || exit 1 ;;
*) exit 1 ;;
esac
"""


def write_agent(directory: Path) -> Path:
    """Write the agent, `fence_outlet`, and return its path."""
    path = directory / "fence_outlet"
    path.write_text(_AGENT)
    path.chmod(0o700)
    return path


class Outlet:
    """The outlet in `directory` of the machine that the program `chassis` switches.

    Faults: `dead` (the agent cannot reach it), `dies` (it is dead as soon as it has switched off).
    """

    def __init__(self, directory: Path, chassis: Path) -> None:
        directory.mkdir()
        self.directory = directory
        (directory / "chassis").symlink_to(chassis)

    def fail(self, fault: str) -> None:
        """Let it have that fault from now on."""
        (self.directory / fault).touch()

    def mend(self) -> None:
        """Take every fault away."""
        for fault in ("dead", "dies"):
            (self.directory / fault).unlink(missing_ok=True)
