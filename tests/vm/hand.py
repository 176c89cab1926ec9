"""`make vm`: the two guests, configured, with both consoles and a prompt for faults in one terminal (tmux).

Log in as root, without a password. What the prompt breaks is what the steps of `make test-vm` break.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import TextIO

from tests.rig.process import ROOT
from tests.rig.setting import NODES
from tests.vm.pair import LAN, GuestPair, build_image

BUILD = ROOT / "build" / "vm"
HELP = """\
cut ethernet|serial   take the direct cable out, or cut the null modem
unplug NODE           take the service cable of NODE out
heal                  mend every cable
power NODE            cut the power of NODE (its BMC lives)
button NODE           switch NODE on
bmc NODE off|on       take the BMC of NODE away, or give it back
owner                 who answers for the addresses, as a client sees it
quit                  end both guests
"""


def main() -> int:
    """Start everything, give the terminal to tmux, and end everything when tmux has ended."""
    missing = _missing()
    if missing:
        print(f"make vm: {missing}", file=sys.stderr)
        return 1
    BUILD.mkdir(parents=True, exist_ok=True)
    print("make vm: building the image if it is not there (a minute or two)", flush=True)
    image = build_image(BUILD / "image", BUILD / "image.log")
    output = BUILD / "hand"
    shutil.rmtree(output, ignore_errors=True)
    with GuestPair(output, image) as pair, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
        for node in NODES:
            pair.provision(node)
            pair.power_on(node)
        prompt = pair.sockets / "prompt"
        door.bind(str(prompt))
        door.listen()
        server = ["tmux", "-L", f"hblink-vm-{os.getpid()}"]

        def leave() -> None:
            subprocess.run([*server, "kill-session"], check=False)

        threading.Thread(target=_serve, args=(door, pair, leave), daemon=True).start()
        client = [sys.executable, "-m", "tests.vm.console"]
        panes = [shlex.join([*client, str(pair.guests[node].console)]) for node in NODES]
        words = [*server, "new-session", panes[0], ";", "split-window", "-v", panes[1], ";"]
        words += ["split-window", "-v", "-l", "8", shlex.join([*client, str(prompt), "--line"]), ";"]
        words += ["set", "-g", "mouse", "on"]
        return subprocess.run(words, cwd=ROOT, check=False).returncode


def _missing() -> str | None:
    """Say in one line what keeps this from working here."""
    if os.geteuid() != 0:
        return "needs root, for a network namespace and its bridge: sudo make vm"
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return "needs a terminal: it shows the consoles of both guests"
    if shutil.which("tmux") is None:
        return "needs tmux: apt-get install tmux"
    return None


def _serve(door: socket.socket, pair: GuestPair, leave: Callable[[], None]) -> None:
    """Answer the prompt until the socket is closed."""
    with contextlib.suppress(OSError):
        while True:
            peer, _ = door.accept()
            with peer, peer.makefile("r") as lines, peer.makefile("w") as sink:
                _prompt(lines, sink, pair, leave)


def _prompt(lines: TextIO, sink: TextIO, pair: GuestPair, leave: Callable[[], None]) -> None:
    print(HELP, end="rig> ", file=sink, flush=True)
    for line in lines:
        words = line.split()
        if words == ["quit"]:
            leave()
            return
        try:
            answer = _obey(words, pair) if words else ""
        except AssertionError as error:
            answer = str(error)
        print(answer, end="\nrig> " if answer else "rig> ", file=sink, flush=True)


def _obey(words: list[str], pair: GuestPair) -> str:
    match words:
        case ["cut", "ethernet"]:
            pair.cut_ethernet()
        case ["cut", "serial"]:
            pair.cut_serial()
        case ["heal"]:
            pair.heal()
        case ["owner"]:
            return pair.owner() or "nobody"
        case ["unplug", node] if node in NODES:
            pair.guests[node].plug(LAN, False)
        case ["power", node] if node in NODES:
            pair.lose_power(node)
        case ["button", node] if node in NODES:
            pair.power_on(node)
        case ["bmc", node, "off"] if node in NODES:
            pair.bmcs[node].stop()
        case ["bmc", node, "on"] if node in NODES:
            pair.bmcs[node].start()
        case _:
            return HELP.rstrip()
    return ""


if __name__ == "__main__":
    sys.exit(main())
