"""A Debian 13 root, the package built in it, and throw-away copies of a root to install it in."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

TREE = Path(__file__).resolve().parents[2]


def run(argv: Sequence[str], timeout_s: float = 1800) -> str:
    """Run a program that has to succeed; return what it said."""
    finished = subprocess.run(argv, capture_output=True, text=True, timeout=timeout_s, check=False)
    assert finished.returncode == 0, f"{' '.join(argv)}\n{finished.stdout}{finished.stderr}"
    return finished.stdout


@dataclass(frozen=True, slots=True)
class Root:
    """A Debian 13 root that may be written to: an overlay on a cached one, which stays as it is."""

    path: Path
    written: Path  # what has been changed in it

    def run(self, *argv: str, timeout_s: float = 1800) -> str:
        """Run a program inside, in its own mount and process namespace with /proc; it has to succeed."""
        script = 'mount -t proc proc "$0/proc" && exec chroot "$0" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"'
        inside = ("env", "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive", "TERM=dumb", *argv)
        return run(
            ("unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", script, str(self.path), *inside),
            timeout_s,
        )

    def add(self, source: Path, target: str) -> None:
        """Copy a file or a directory of this machine to `target` inside."""
        destination = self.path / target.lstrip("/")
        destination.parent.mkdir(parents=True, exist_ok=True)
        run(("cp", "-r", "--preserve=mode", str(source), str(destination)))


MakeRoot = Callable[[str], Root]


@pytest.fixture
def make_root(tmp_path: Path) -> Iterator[MakeRoot]:
    """Give throw-away roots of a kind that images/debian-root knows."""
    mounted: list[Path] = []

    def make(kind: str) -> Root:
        lower = run((str(TREE / "images/debian-root"), kind)).strip()
        place = tmp_path / f"{kind}-{len(mounted)}"
        upper, work, merged = (place / name for name in ("upper", "work", "merged"))
        for directory in (upper, work, merged):
            directory.mkdir(parents=True)
        run(
            (
                "mount",
                "-t",
                "overlay",
                "overlay",
                "-o",
                f"lowerdir={lower},upperdir={upper},workdir={work}",
                str(merged),
            )
        )
        mounted.append(merged)
        (merged / "etc/resolv.conf").unlink(missing_ok=True)
        (merged / "etc/resolv.conf").write_bytes(Path("/etc/resolv.conf").read_bytes())
        return Root(merged, upper)

    yield make
    for path in mounted:
        run(("umount", str(path)))


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, built from the tree as it is."""
    out = tmp_path_factory.mktemp("deb")
    run((str(TREE / "images/build-deb"), str(out)))
    (built,) = out.glob("hblink_*_all.deb")
    return built
