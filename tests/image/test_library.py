"""The code on Debian 13's own Python and libraries, by its own tests."""

from __future__ import annotations

from pathlib import Path

from tests.image.conftest import TREE, MakeRoot

# These look at the tree with tools that Debian does not have in the versions that the project uses.
OF_THE_TREE = ("tests/unit/test_architecture.py", "tests/unit/test_wheel.py")
TESTS = ("tests/unit", "tests/property", "tests/adapter/test_link_serial.py", "tests/adapter/test_process.py")


def test_the_unit_tests_pass_on_debian_13(make_root: MakeRoot, package: Path) -> None:
    root = make_root("tools")
    root.add(package, "/tmp/hblink.deb")
    root.run("dpkg", "--install", "/tmp/hblink.deb")
    for name in ("hblink", "wire", "tests", "udev", "images", "pyproject.toml", "README.md", "LICENSE"):
        root.add(TREE / name, f"/src/{name}")
    root.run("ln", "-s", "wire", "/src/hblink_wire")
    ignored = [word for path in OF_THE_TREE for word in ("--ignore", path)]
    command = ("cd /src", "mount -t devpts devpts /dev/pts -o ptmxmode=666", "ln -sf pts/ptmx /dev/ptmx")
    test = " ".join(("python3 -m pytest -q -p no:cacheprovider", *ignored, *TESTS))
    said = root.run("sh", "-c", " && ".join((*command, "mkdir -p /sys", "mount -t sysfs sysfs /sys", test)))
    print(said.splitlines()[-1])
    assert " passed" in said
    assert "failed" not in said.splitlines()[-1]
