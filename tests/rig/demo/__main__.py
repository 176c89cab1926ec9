"""`python -m tests.rig.demo`, which is `make demo`: set the stage, play the story, tidy up, and say how it went.

An ordinary user plays it as root of a user namespace of its own (user_namespaces(7)), where the kernel allows that.

Exit status 0 only if every part of the story happened; 1 if one did not, or if something that it needs is missing;
130 after Ctrl-C. The last line is `demo: ok gap=<ms> ms` in the first case, and the reason in the others.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.rig.demo.stage import Interrupted, Stage
from tests.rig.demo.story import Story
from tests.rig.pair import Pair
from tests.rig.setting import Setting

PROGRAMS = ("ip", "bridge", "ss", "nsenter", "unshare", "setpriv", "ipmitool", "ipmi_sim")
# Root inside and nobody else: network namespaces, veth, bridges, packet sockets and ptys work; real-time scheduling and
# locked memory do not, and are not needed to show what is shown.
USER_NAMESPACE = ("unshare", "--user", "--map-root-user", "--net", "--mount", "--propagation", "private")
PREPARE = 'mount -t tmpfs tmpfs /run && mkdir /run/netns && exec "$@"'
GOOD, NOT_GOOD, INTERRUPTED = 0, 1, 130
FAILURES = (AssertionError, OSError, subprocess.SubprocessError)  # what the story, the rig and its programs raise
REMOVED = "demo: interrupted; everything that it made was removed"


def missing() -> str | None:
    """Say in one line what this machine lacks for the demo, if anything."""
    lacking = [program for program in PROGRAMS if shutil.which(program) is None]
    return f"programs are missing: {' '.join(lacking)} (`make demo` installs them)" if lacking else None


def enter_user_namespace() -> str:
    """Begin anew as root of a user namespace with its own /run; return in one line why that cannot be, if it cannot."""
    words = [*USER_NAMESPACE, "sh", "-ec", PREPARE, "sh", sys.executable, "-m", "tests.rig.demo"]
    trial = subprocess.run(
        [*USER_NAMESPACE, "sh", "-ec", PREPARE, "sh", "true"], capture_output=True, text=True, check=False
    )
    if trial.returncode == 0:
        os.execvp(words[0], words)
    why = (trial.stderr.strip().splitlines() or ["no reason given"])[-1]
    return f"a user namespace is missing ({why}): run it as root, or see user_namespaces(7)"


def play(stage: Stage, directory: Path) -> tuple[int, list[str]]:
    """Play the story in `directory`; return the exit status and the last lines. What was made is removed by then."""
    report = ""
    try:
        with contextlib.ExitStack() as stack:
            pair = Pair(directory / "pair", Setting())
            stack.callback(pair.close)
            stack.callback(stage.leave)  # comes first: nothing interrupts the tidying up
            story = Story(pair, stage)
            try:
                story.play()
            except FAILURES:
                report = pair.report(30)
                raise
    except Interrupted:
        return INTERRUPTED, [REMOVED]
    except FAILURES as error:
        if stage.interrupted:  # the same Ctrl-C hit a program of the rig
            return INTERRUPTED, [REMOVED]
        words = str(error) or type(error).__name__
        return NOT_GOOD, [report, f"--- {words}", "", f"demo: FAILED: {words.splitlines()[0]}"]
    return GOOD, [f"demo: ok gap={story.gap_ns / 1e6:.0f} ms"]


def main() -> int:
    """Run the demo."""
    lack = missing()
    if lack is None and os.geteuid() != 0:
        lack = enter_user_namespace()
    if lack is not None:
        print(f"demo: {lack}")
        return NOT_GOOD
    stage = Stage(sys.stdout)
    stage.listen()
    # Not below the working directory: a unix socket's path has at most 107 characters.
    with tempfile.TemporaryDirectory(prefix="hblink-demo-") as directory:
        status, lines = play(stage, Path(directory))
    try:
        print("", *lines, sep="\n", flush=True)
    except OSError:  # whoever read this has gone; Python's own last flush is not to stumble over that again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NOT_GOOD
    return status


if __name__ == "__main__":
    sys.exit(main())
