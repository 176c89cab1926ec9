"""The Debian package: clean for lintian, complete in its dependencies, and gone without a trace after a purge."""

from __future__ import annotations

import re
import stat
from pathlib import Path

from tests.image.conftest import TREE, MakeRoot, Root, run


def entries(root: Root) -> set[str]:
    """Every file and directory that carries the product's name."""
    found = root.run("find", "/", "-xdev", "-iname", "*hblink*", "-not", "-path", "/proc/*", "-not", "-path", "/tmp/*")
    return {line for line in found.split() if not line.startswith("/var/lib/dpkg/info/")}


def test_lintian_finds_nothing(make_root: MakeRoot, package: Path) -> None:
    root = make_root("tools")
    root.add(package, "/tmp/hblink.deb")
    judge = ("lintian", "--allow-root", "--fail-on", "error,warning", "-EIL", "+pedantic")
    assert root.run(*judge, "/tmp/hblink.deb") == ""


def test_the_version_is_that_of_the_project(package: Path) -> None:
    match = re.search(r'^version = "(.+)"$', (TREE / "pyproject.toml").read_text(), re.MULTILINE)
    assert match is not None
    assert run(("dpkg-deb", "--field", str(package), "Version")).strip() == match[1]


def test_the_dependencies_are_those_of_the_project(package: Path) -> None:
    depends = run(("dpkg-deb", "--field", str(package), "Depends"))
    for name in ("python3-serial", "python3-construct", "python3-pyroute2", "python3-sdnotify"):
        assert re.search(rf"\b{name}\b", depends), depends
    assert run(("dpkg-deb", "--field", str(package), "Recommends")).strip() == "ipmitool"


def test_it_installs_alone_works_and_leaves_nothing(make_root: MakeRoot, package: Path) -> None:
    """In a root that has nothing but Debian's minimum, so that a missing dependency shows."""
    root = make_root("base")
    root.add(package, "/tmp/hblink.deb")
    root.run("apt-get", "install", "-qq", "-y", "--no-install-recommends", "/tmp/hblink.deb")

    assert root.run("hblink", "--version").startswith("hblink ")
    assert "release" in root.run("hblink", "--help")
    root.add(TREE / "images/hblink.service", "/tmp/hblink.service")
    root.run("cmp", "/tmp/hblink.service", "/usr/lib/systemd/system/hblink.service")
    root.run("test", "-L", "/etc/systemd/system/multi-user.target.wants/hblink.service")
    root.run("udevadm", "verify", "/usr/lib/udev/rules.d/62-hblink.rules")
    assert root.run("getent", "group", "hblink").startswith("hblink:x:")
    assert root.run("stat", "-c", "%a %U:%G", "/etc/hblink").strip() == "750 root:hblink"
    # the example is one that this very program takes
    root.run("sh", "-c", "cp /usr/share/doc/hblink/examples/hblink.toml /tmp/ && hblink check /tmp/hblink.toml")
    root.run("sh", "-c", "umask 077; hblink key new --write && test -s /etc/hblink/hblink.keys")
    mode = (root.path / "etc/hblink/hblink.keys").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600

    root.run("sh", "-c", "mkdir -p /var/lib/hblink /run/hblink && touch /var/lib/hblink/epoch /etc/hblink/node")
    root.run("dpkg", "--purge", "hblink")
    assert entries(root) == set()
    assert "hblink" not in (root.path / "etc/group").read_text()
    assert "hblink" not in (root.path / "etc/gshadow").read_text()


def test_a_removal_keeps_the_keys(make_root: MakeRoot, package: Path) -> None:
    root = make_root("tools")
    root.add(package, "/tmp/hblink.deb")
    root.run("dpkg", "--install", "/tmp/hblink.deb")
    root.run("sh", "-c", "hblink key new --write")
    root.run("dpkg", "--remove", "hblink")
    assert (root.path / "etc/hblink/hblink.keys").stat().st_size > 0
    root.run("dpkg", "--purge", "hblink")
    assert not (root.path / "etc/hblink").exists()
