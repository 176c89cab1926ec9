"""The programs that hblink is compared with: Debian's own packages, unpacked beside the tree, never installed.

What a package would do to the machine when it is installed (start its daemon, enable it at boot, hook into
networking) must never happen here. So they are fetched by apt with whatever they need and this machine lacks, and
only unpacked; a node of the rig then sees them laid over its /usr and /etc, in its own mount namespace.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.rig.process import ROOT, run

STORE = ROOT / "build" / "peers"
MERGED = ("bin", "sbin", "lib", "lib64")  # directories that Debian has moved below /usr


class PackageError(AssertionError):
    """The packages cannot be had here."""


@dataclass(frozen=True, slots=True)
class Shelf:
    """Unpacked packages: `root` is what is laid over a node's root, `versions` are Debian's, by package."""

    root: Path
    versions: dict[str, str]


def fetch(packages: Sequence[str], store: Path = STORE) -> Shelf:
    """Fetch and unpack `packages` with their dependencies, unless that was done before; return where they are.

    Changes nothing on the machine outside `store`. Raises PackageError with apt's own words.
    """
    root, archives, stamp = store / "root", store / "archives", store / "packages"
    wanted = "\n".join(sorted(packages))
    if not stamp.exists() or stamp.read_text() != wanted:
        shutil.rmtree(store, ignore_errors=True)
        (archives / "partial").mkdir(parents=True)
        root.mkdir()
        _download(packages, archives)
        for archive in sorted(archives.glob("*.deb")):
            run(["dpkg-deb", "--extract", str(archive), str(root)])
        merge(root)
        stamp.write_text(wanted)
    return Shelf(root, {name: _version(name, archives) for name in packages})


def merge(root: Path) -> None:
    """Move what older packages keep in /bin, /sbin and /lib below /usr, where the machine's own root has it."""
    for name in MERGED:
        if (root / name).is_dir():
            shutil.copytree(root / name, root / "usr" / name, symlinks=True, dirs_exist_ok=True)
            shutil.rmtree(root / name)


def upstream(version: str) -> str:
    """Return the upstream part of a Debian version (deb-version(7)): without epoch, revision and snapshot."""
    return re.split(r"[-+~]", version.partition(":")[2] or version)[0]


def _download(packages: Sequence[str], archives: Path) -> None:
    """Let apt choose and fetch. It locks nothing, as it writes to a directory of ours and installs nothing."""
    argv = ["apt-get", "install", "--yes", "--no-install-recommends", "--download-only"]
    options = ["-o", f"Dir::Cache::archives={archives}", "-o", "Debug::NoLocking=true"]
    words = ""
    for first in ([], ["apt-get", "update"]):  # lists of packages that are too old are fetched anew, once
        if first:
            subprocess.run(first, capture_output=True, check=False)
        done = subprocess.run([*argv, *options, *packages], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return
        words = done.stdout + done.stderr
    raise PackageError(
        f"apt-get cannot fetch {' '.join(packages)}; the comparison needs Debian and its mirror\n{words}"
    )


def _version(package: str, archives: Path) -> str:
    """Return the version of what will run: of the unpacked archive, or of the machine's own, if it has the package."""
    for archive in archives.glob(f"{package}_*.deb"):
        return run(["dpkg-deb", "--field", str(archive), "Version"]).strip()
    return run(["dpkg-query", "--show", "--showformat=${Version}", package]).strip()
