"""What stands beside hblink.toml: secrets that nobody else may read, and which node this is."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from hblink_wire.key import Keyring, format_keyring, new_key

from hblink.config import Config, ConfigError, parse
from hblink.config.secret import load_keyring, node_index, read_password, read_secret
from tests.unit.sample import GOOD, secret


@pytest.fixture
def config() -> Config:
    return parse(GOOD, Path("/etc/hblink"))


def test_a_secret_that_is_ones_own_alone_is_read_as_it_is(tmp_path: Path) -> None:
    assert read_secret(secret(tmp_path / "s", "two\nlines\n")) == "two\nlines\n"
    assert read_secret(secret(tmp_path / "r", "read-only", 0o400)) == "read-only"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601, 0o644])
def test_a_secret_that_others_can_touch_is_refused(tmp_path: Path, mode: int) -> None:
    path = secret(tmp_path / "s", "hunter2", mode)
    with pytest.raises(ConfigError, match=f"mode {mode:04o}") as caught:
        read_secret(path)
    assert caught.value.problems[0].path == str(path)
    assert caught.value.problems[0].hint == f"chmod 600 {path}"


def test_a_secret_of_another_user_is_refused(tmp_path: Path) -> None:
    path = secret(tmp_path / "s", "hunter2")
    os.chown(path, 12345, -1)
    with pytest.raises(ConfigError, match="belongs to uid 12345"):
        read_secret(path)


def test_what_is_no_plain_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)
    for path, word in (
        (tmp_path / "fifo", "plain file"),
        (tmp_path, "plain file"),
        (tmp_path / "none", "no such file"),
    ):
        with pytest.raises(ConfigError, match=word):
            read_secret(path)


def test_a_refusal_never_quotes_the_secret(tmp_path: Path) -> None:
    for content in (b"hunter2\xff", b"hunter2" * 10_000):
        with pytest.raises(ConfigError) as caught:
            read_secret(secret(tmp_path / "s", content))
        assert "hunter2" not in str(caught.value)
        assert caught.value.__cause__ is None
    with pytest.raises(ConfigError) as caught:
        load_keyring(secret(tmp_path / "k", "1 hunter2-hunter2"))
    assert "hunter2" not in str(caught.value)


def test_a_password_is_one_line_that_ipmi_can_carry(tmp_path: Path) -> None:
    assert read_password(secret(tmp_path / "p", "pass word \r\n")) == "pass word "
    for text, word in (("", "one line"), ("\n", "one line"), ("a\nb\n", "one line"), ("x" * 21, "20 bytes")):
        with pytest.raises(ConfigError, match=word):
            read_password(secret(tmp_path / "p", text))


def test_a_keyring_is_read(tmp_path: Path) -> None:
    ring = Keyring((new_key(3, random.Random(1).randbytes(32)),), 3)
    assert load_keyring(secret(tmp_path / "k", format_keyring(ring))) == ring
    with pytest.raises(ConfigError, match="no key"):
        load_keyring(secret(tmp_path / "k", "# nothing\n"))
    with pytest.raises(ConfigError, match="hblink key new --write"):
        load_keyring(tmp_path / "none")


@pytest.mark.parametrize(("hostname", "index"), [("alpha", 0), ("beta", 1), ("BETA.example.org", 1)])
def test_the_host_name_says_which_node_this_is(config: Config, tmp_path: Path, hostname: str, index: int) -> None:
    assert node_index(config, tmp_path, hostname) == index


def test_the_file_node_goes_before_the_host_name(config: Config, tmp_path: Path) -> None:
    (tmp_path / "node").write_text("beta\n")
    assert node_index(config, tmp_path, "alpha") == 1
    (tmp_path / "node").write_text("gamma\n")
    with pytest.raises(ConfigError, match=r'/node: "gamma" is not a node of fw-pair \(write alpha or beta into'):
        node_index(config, tmp_path, "alpha")
    with pytest.raises(ConfigError, match=r'host name: "nas" is not a node of fw-pair \(write alpha or beta into'):
        node_index(config, tmp_path / "none", "nas")
