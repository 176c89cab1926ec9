"""The program: exit codes, what it prints, and what it does not import."""

from __future__ import annotations

import argparse
import io
import json
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hblink.cli import terminal
from hblink.cli.main import COMMANDS, main
from hblink.cli.main import _command as command
from hblink.cli.word import ALARM, REASON
from hblink.config import parse
from hblink.config.secret import load_keyring
from hblink.control.server import ControlServer, Request
from hblink.core.value import AlarmCode, Reason
from hblink.loop import Loop
from tests.rig.scrape import Scrape
from tests.unit.sample import GOOD, WITHOUT_FENCES, edited

Capture = pytest.CaptureFixture[str]
Answer = dict[str, object]
STATUS: Answer = {
    "node": "alpha",
    "peer": "beta",
    "role": "blocked",
    "fence": {
        "configured": True,
        "ready": True,
        "age_ms": 12000,
        "detail": "power is on, 0.05 s",
        "outstanding": False,
    },
}


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CONFIGURATION_DIRECTORY", str(tmp_path))
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    (tmp_path / "hblink.toml").write_text(GOOD)
    return tmp_path


class Daemon:
    """A real control server on a real loop in a thread, with answers of its own."""

    def __init__(self, path: Path) -> None:
        self.asked: list[tuple[str, Answer]] = []
        self.answers: dict[str, Answer] = {"status": {"ok": True, "status": STATUS}}
        self._ending = threading.Event()
        self._loop = Loop()
        self._server = ControlServer(self._loop, path, None, self._handle)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _handle(self, request: Request, _now: int) -> None:
        self.asked.append((request.command, request.argument))
        request.answer(self.answers[request.command])

    def _run(self) -> None:
        while not self._ending.is_set():
            self._loop.run_once(5_000_000)

    def end(self) -> None:
        self._ending.set()
        self._thread.join()
        self._server.close()


@pytest.fixture
def daemon(directory: Path) -> Iterator[Daemon]:
    daemon = Daemon(directory / "hblink.sock")
    yield daemon
    daemon.end()


def fits(text: str) -> bool:
    return all(line.isascii() and len(line) <= terminal.WIDTH for line in text.splitlines())


def test_check_passes_a_good_file_on_any_machine(directory: Path, capsys: Capture) -> None:
    assert main(["check"]) == 0
    out = capsys.readouterr().out
    assert "good, no warnings" in out
    assert "serial           serial    200 ms            6.7 ms    3 %" in out
    assert main(["check", str(directory / "hblink.toml"), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document == {"ok": True, "problems": [], "warnings": [], "digest": parse(GOOD, directory).digest.hex()}


def test_check_lists_problems_with_hints_and_fits_the_screen(directory: Path, capsys: Capture) -> None:
    file = directory / "other.toml"
    file.write_text(edited(("baud = 115200", "baud = 9600\nkeepalive_ms = 100"), ("cluster_id = 4711", "")))
    assert main(["check", str(file)]) == 78
    out = capsys.readouterr().out
    assert "problem  link[1].keepalive_ms\n" in out
    assert "         -> at least 260 at this rate" in out
    assert "2 problems, no warnings" in out
    assert fits(out)
    assert main(["check", str(file), "--json"]) == 78
    document = json.loads(capsys.readouterr().out)
    assert [each["path"] for each in document["problems"]] == ["cluster_id", "link[1].keepalive_ms"]
    assert document["digest"] is None
    file.write_text('guarantee = "at-most-one"\n' + WITHOUT_FENCES)
    assert main(["check", str(file)]) == 0
    assert "warning  fence" in capsys.readouterr().out


def test_check_names_the_file_that_is_not_there(directory: Path, capsys: Capture) -> None:
    assert main(["check", str(directory / "none.toml")]) == 78
    assert "no such file or directory" in capsys.readouterr().out


def test_check_host_also_judges_this_machine(directory: Path, capsys: Capture) -> None:
    (directory / "node").write_text("alpha")
    assert main(["check", "--host", "--json"]) == 78
    paths = {problem["path"] for problem in json.loads(capsys.readouterr().out)["problems"]}
    assert {str(directory / "hblink.keys"), str(directory / "ipmi-beta.pass")} <= paths


def test_key_new_prints_a_line_that_a_keyring_holds(directory: Path, capsys: Capture) -> None:
    assert main(["key", "new"]) == 0
    captured = capsys.readouterr()
    assert captured.out.count("\n") == 1
    assert len(captured.out) < 80
    assert "on both nodes" in captured.err
    keyring = directory / "hblink.keys"
    assert not keyring.exists()
    keyring.write_text(captured.out)
    keyring.chmod(0o600)
    assert load_keyring(keyring).ids == (1,)
    assert main(["key", "new", "--add"]) == 0
    added = capsys.readouterr().out
    assert added.startswith("2 ")
    assert added.split()[1] != captured.out.split()[1]


def test_key_new_write_makes_a_private_file_and_never_overwrites(directory: Path, capsys: Capture) -> None:
    before = os.umask(0)
    try:
        assert main(["key", "new", "--write"]) == 0
    finally:
        os.umask(before)
    keyring = directory / "hblink.keys"
    assert stat.S_IMODE(keyring.stat().st_mode) == 0o600
    line = capsys.readouterr().out
    content = keyring.read_text()
    assert line.split()[1] in content
    assert main(["key", "new", "--write"]) == 1
    assert "not overwritten" in " ".join(capsys.readouterr().err.split())
    assert keyring.read_text() == content
    assert main(["key", "list"]) == 0
    listed = capsys.readouterr().out
    assert "active" in listed
    assert not any(group in listed for group in line.split()[1].split("-"))
    assert main(["key", "new", "--add", "--write"]) == 2


def told(capsys: Capture) -> Answer:
    """The one JSON object that a command printed, and nothing beside it."""
    captured = capsys.readouterr()
    assert captured.err == ""
    document: Answer = json.loads(captured.out)
    return document


def test_key_new_tells_a_program_the_line_and_where_it_is(directory: Path, capsys: Capture) -> None:
    keyring = directory / "hblink.keys"
    assert main(["key", "new", "--write", "--json"]) == 0
    made = told(capsys)
    assert (made["ok"], made["written"], made["id"], made["file"]) == (True, True, 1, str(keyring))
    assert str(made["line"]).split()[1] in keyring.read_text()
    assert str(made["next"]).endswith("(mode 0600) on the other node")
    assert main(["key", "new", "--write", "--json"]) == 1
    refused = told(capsys)
    assert (refused["ok"], refused["written"]) == (False, False)
    assert "not overwritten" in str(refused["error"])
    assert main(["key", "new", "--add", "--json"]) == 0
    added = told(capsys)
    assert (added["id"], added["written"]) == (2, False)


def test_a_step_of_a_rotation_tells_a_program_whether_the_file_has_changed(
    daemon: Daemon, directory: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    keyring = directory / "hblink.keys"

    def step(*words: str, line: str = "") -> tuple[int, Answer]:
        monkeypatch.setattr(sys, "stdin", io.StringIO(line))
        code = main(["key", *words, "--json"])
        return code, told(capsys)

    assert step("new", "--write")[0] == 0
    line = str(step("new", "--add")[1]["line"])
    before = keyring.read_text()
    unknown = "beta is not heard: whether it accepts key 1 is not known"
    assert step("activate", "1") == (1, {"ok": False, "written": False, "error": unknown})
    daemon.answers["reload"] = {"ok": False, "problems": [{"path": "keys", "message": "no", "hint": ""}]}
    assert step("add", line=line) == (1, {**daemon.answers["reload"], "written": False})
    assert keyring.read_text() == before
    daemon.answers["reload"] = {"ok": False, "error": "stopping"}
    code, unread = step("add", line=line)
    assert (code, unread["ok"], unread["written"]) == (1, False, True)
    assert "stopping" in str(unread["error"])
    keyring.write_text(before)
    keys = {"accepted": [1, 2], "active": 1, "peer_accepted": [1], "peer_active": 1}
    daemon.answers["status"] = {"ok": True, "status": {**STATUS, "keys": keys}}
    daemon.answers["reload"] = {"ok": True, "problems": [], "changes": []}
    code, done = step("add", line=line)
    assert (code, done["ok"], done["written"], done["accepted"], done["active"]) == (0, True, True, [1, 2], 1)
    assert done["next"] == "on beta: hblink key add, with the line of key 2"


def test_key_uses_the_keyring_that_the_configuration_names(directory: Path, capsys: Capture) -> None:
    (directory / "hblink.toml").write_text(f'key_file = "ring"\n{GOOD}')
    assert main(["key", "new", "--write"]) == 0
    assert (directory / "ring").exists()
    (directory / "ring").chmod(0o644)
    assert main(["key", "list"]) == 78
    assert "chmod 600" in capsys.readouterr().err
    for words in (["list"], ["activate", "1"]):
        assert main(["key", *words, "--json"]) == 78
        assert "chmod 600" in json.dumps(told(capsys)["problems"])


@pytest.mark.parametrize(
    "words", [["status"], ["metrics"], ["switchover"], ["fence", "status"], ["fence", "confirm", "beta", "--yes"]]
)
def test_no_daemon_is_not_good_and_says_what_to_look_at(directory: Path, capsys: Capture, words: list[str]) -> None:
    assert main(words) == 1
    assert f"no socket at {directory}/hblink.sock; try: systemctl status hblink" in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["no-such"], ["fence"], ["fence", "confirm"], ["key"], ["status", "--no"]])
def test_usage(words: list[str], capsys: Capture) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    assert "usage: hblink" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["maintenance"], ["key", "activate"], ["fence", "drill"]])
def test_a_usage_error_names_the_command_as_it_is_typed(words: list[str], capsys: Capture) -> None:
    with pytest.raises(SystemExit):
        main(words)
    command = " ".join(["hblink", *words])
    usage, *_, error = capsys.readouterr().err.splitlines()
    assert usage.startswith(f"usage: {command} [-h]")
    assert error.startswith(f"{command}: error: ")


def leaves(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    """The parsers of a command's actions, or its own."""
    below = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return [leaf for action in below for each in action.choices.values() for leaf in leaves(each)] or [parser]


@pytest.mark.parametrize("name", sorted(COMMANDS.keys() - {"run", "metrics"}))  # a daemon, and a format of its own
def test_whatever_a_program_may_read_comes_as_json(name: str) -> None:
    parser = argparse.ArgumentParser(prog=name)
    command(name).declare(parser, name)
    silent = [leaf.prog for leaf in leaves(parser) if "--json" not in leaf.format_usage()]
    assert silent == []


@pytest.mark.parametrize("words", [[], *([name] for name in COMMANDS)])
def test_help_fits_the_screen(words: list[str], capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as caught:
        main([*words, "--help"])
    assert caught.value.code == 0
    out = capsys.readouterr().out
    assert fits(out)
    assert len(out.splitlines()) < terminal.HEIGHT


def test_version(capsys: Capture) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("hblink 0.")


def test_switchover(daemon: Daemon, capsys: Capture) -> None:
    daemon.answers["switchover"] = {"ok": True, "reason": "none"}
    assert main(["switchover"]) == 0
    assert capsys.readouterr().out == "switchover: done\n"
    daemon.answers["switchover"] = {"ok": False, "reason": "peer_not_ready"}
    assert main(["switchover"]) == 1
    refused = "switchover: refused: the peer is not ready to take the service\n  ->  "
    assert capsys.readouterr().out == refused + "is beta up? On beta: systemctl status hblink\n"
    daemon.answers["status"] = {"ok": True, "status": {**STATUS, "peer_role": "standby"}}
    assert main(["switchover"]) == 1
    assert capsys.readouterr().out == refused + "on beta: hblink why\n"
    assert main(["switchover", "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == {**daemon.answers["switchover"], "next": "on beta: hblink why"}


@pytest.mark.parametrize("code", [each.value for each in Reason])
def test_every_refusal_has_a_way_out_that_fits(daemon: Daemon, capsys: Capture, code: str) -> None:
    daemon.answers["standby"] = {"ok": False, "reason": code}
    assert main(["standby"]) == 1
    out = capsys.readouterr().out
    assert fits(out)
    assert "\n  ->  " in out


def test_a_refusal_has_no_way_out_that_nobody_knows(daemon: Daemon, capsys: Capture) -> None:
    daemon.answers["online"] = {"ok": False, "error": "there is no command online"}
    daemon.answers["status"] = {"ok": False, "error": "not now"}
    assert main(["online"]) == 1
    assert capsys.readouterr().out == "online: refused: there is no command online\n"
    daemon.answers["standby"] = {"ok": False, "reason": "busy"}
    assert main(["standby", "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == {"ok": False, "reason": "busy", "next": None}


def test_an_order_of_maintenance_that_the_peer_has_given_too_goes_on(daemon: Daemon, capsys: Capture) -> None:
    daemon.answers["maintenance"] = {"ok": True, "reason": "peer_maintenance"}
    assert main(["maintenance", "off"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "maintenance off: done, but beta has ordered it too, and the pair is still in it",
        "  ->  on beta: hblink maintenance off",
    ]
    assert main(["maintenance", "off", "--json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert answer == {"ok": True, "reason": "peer_maintenance", "next": "on beta: hblink maintenance off"}


def test_fence_status(daemon: Daemon, capsys: Capture) -> None:
    assert main(["fence", "status"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "FENCE   ready, seen 12 s ago",
        "PROOF   none yet; in a quiet hour: hblink fence drill beta",
    ]
    fence = {"configured": True, "ready": False, "detail": "no route to host", "outstanding": True}
    daemon.answers["status"] = {"ok": True, "status": {**STATUS, "fence": fence}}
    assert main(["fence", "status", "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == fence


def test_fence_test_shows_every_level(daemon: Daemon, capsys: Capture) -> None:
    good: Answer = {"level": 1, "name": "ipmi 10.0.0.12", "ready": True, "power": "on", "took_ms": 31.2, "age_ms": 5}
    good |= {"serial": "BOX-1", "proof": {"kind": "drill", "age_s": 7200}}
    bad: Answer = {"level": 2, "name": "fence_apc", "ready": False, "reason": "wrong_password", "detail": "RAKP 2"}
    daemon.answers["fence_test"] = {"ok": True, "levels": [good, bad]}
    assert main(["fence", "test"]) == 1
    out = capsys.readouterr().out
    assert out.splitlines()[0] == "LEVEL 1 ipmi 10.0.0.12: ready in 31 ms, 5 ms ago"
    assert out.splitlines()[1] == "        power on, serial number BOX-1, proven by a drill 2 h ago"
    assert "LEVEL 2 fence_apc: NOT READY" in out
    assert "wrong_password: RAKP 2" in out
    daemon.answers["fence_test"] = {"ok": True, "levels": [good]}
    assert main(["fence", "test", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"ok": True, "levels": [good]}
    daemon.answers["fence_test"] = {"ok": True, "levels": [{**good, "power": "unknown"}]}
    assert main(["fence", "test"]) == 0
    assert "        power not read since a command, serial number BOX-1, proven" in capsys.readouterr().out
    daemon.answers["fence_test"] = {"ok": False, "error": "no fence device is configured"}
    assert main(["fence", "test"]) == 1
    assert "no fence device" in capsys.readouterr().err


def test_fence_drill_explains_itself_wants_the_name_and_shows_the_steps(
    daemon: Daemon, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = [{"level": 1, "step": "off", "said": "accepted", "reason": "ok", "ms": 41.5}]
    proof = {"kind": "drill", "unix_s": 1, "age_s": 7200, "took_ms": 9000, "steps": steps}
    daemon.answers["status"] = {"ok": True, "status": {**STATUS, "fence": {"configured": True, "proof": proof}}}
    daemon.answers["fence_drill"] = {"ok": True, "reason": None}
    monkeypatch.setattr("sys.stdin", io.StringIO("yes\n"))
    assert main(["fence", "drill", "beta"]) == 1
    assert "switched OFF for real" in capsys.readouterr().err
    assert ("fence_drill", {"node": "beta"}) not in daemon.asked
    monkeypatch.setattr("sys.stdin", io.StringIO("beta\n"))
    assert main(["fence", "drill", "beta"]) == 0
    assert daemon.asked[-2] == ("fence_drill", {"node": "beta"})
    assert "        level 1 off     accepted         42 ms  ok" in capsys.readouterr().out
    main(["fence", "status"])
    assert "PROOF   drill 2 h ago, in 9.0 s" in capsys.readouterr().out
    assert main(["fence", "drill", "beta", "--level", "2", "--yes"]) == 0
    assert ("fence_drill", {"node": "beta", "level": 2}) in daemon.asked
    out, err = capsys.readouterr()
    assert "drill of beta, level 2: done" in out
    assert "Only level 2 is asked" in err
    daemon.answers["fence_drill"] = {"ok": False, "reason": "fence_failed"}
    assert main(["fence", "drill", "beta", "--level", "2", "--yes"]) == 1
    assert "drill of beta, level 2: failed: the peer could not be verified" in capsys.readouterr().out
    daemon.answers["fence_drill"] = {"ok": False, "reason": "fence_lied", "begun": True}
    assert main(["fence", "drill", "beta", "--yes"]) == 1
    assert "drill of beta: failed: the peer's fence device said OFF" in capsys.readouterr().out
    daemon.answers["fence_drill"] = {"ok": False, "reason": "fence_lied"}
    assert main(["fence", "drill", "beta", "--yes"]) == 1
    assert "drill of beta: refused: the peer's fence device said OFF" in capsys.readouterr().out
    daemon.answers["fence_drill"] = {"ok": False, "reason": "no_such_level", "error": "there is no level 9"}
    assert main(["fence", "drill", "beta", "--level", "9", "--yes"]) == 1
    assert "refused: there is no level 9" in capsys.readouterr().out
    assert main(["fence", "drill", "alpha", "--yes"]) == 1, "never oneself"
    assert main(["fence", "forget", "gamma", "--yes"]) == 1


def test_fence_confirm_explains_itself_and_wants_the_name(
    daemon: Daemon, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon.answers["fence_confirm"] = {"ok": True, "reason": "none"}
    for typed in ("", "\n", "y\n", "alpha\n"):
        monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
        assert main(["fence", "confirm", "beta"]) == 1
        captured = capsys.readouterr()
        assert "never on both" in captured.err
        assert "beta is OFF" in captured.err
        assert fits(captured.err)
    assert [command for command, _ in daemon.asked] == ["status"] * 4
    monkeypatch.setattr(sys, "stdin", io.StringIO("beta\n"))
    assert main(["fence", "confirm", "beta"]) == 0
    assert daemon.asked[-1] == ("fence_confirm", {"node": "beta"})
    assert capsys.readouterr().out == "confirmation that beta is off: done\n"
    daemon.answers["fence_confirm"] = {"ok": False, "reason": "peer_powered_on"}
    assert main(["fence", "confirm", "BETA", "--yes"]) == 1
    assert "refused: the peer's BMC says that it is powered on" in " ".join(capsys.readouterr().out.split())


def test_fence_confirm_takes_the_peers_name_alone(daemon: Daemon, capsys: Capture) -> None:
    assert main(["fence", "confirm", "alpha", "--yes"]) == 1
    assert "alpha is this node itself; the peer is beta" in capsys.readouterr().err
    assert main(["fence", "confirm", "gamma", "--yes"]) == 1
    assert "gamma is no node of this pair" in capsys.readouterr().err
    assert [command for command, _ in daemon.asked] == ["status", "status"]


def test_status_asks_the_daemon(daemon: Daemon, capsys: Capture) -> None:
    assert main(["status", "--json"]) == 1  # blocked
    assert json.loads(capsys.readouterr().out) == STATUS
    daemon.answers["status"] = {"ok": False, "error": "not now"}
    assert main(["status"]) == 1
    assert "gave no status: not now" in capsys.readouterr().err


def test_metrics_of_a_pair_that_is_not_well_are_a_good_scrape(daemon: Daemon, capsys: Capture) -> None:
    assert main(["metrics"]) == 0
    got = Scrape(capsys.readouterr().out)
    assert (got.value("hblink_up"), got.value("hblink_blocked"), got.value("hblink_fence_ready")) == (1, 1, 1)
    daemon.answers["status"] = {"ok": False, "error": "not now"}
    assert main(["metrics"]) == 1
    captured = capsys.readouterr()
    assert "gave no status: not now" in captured.err
    assert Scrape(captured.out).samples == {("hblink_up", frozenset()): 0}


@pytest.mark.usefixtures("directory")
def test_metrics_without_a_daemon_say_so(capsys: Capture) -> None:
    assert main(["metrics"]) == 1
    assert Scrape(capsys.readouterr().out).samples == {("hblink_up", frozenset()): 0}


def test_metrics_replace_the_textfile(daemon: Daemon, directory: Path, capsys: Capture) -> None:
    collected = directory / "collected"
    collected.mkdir()
    file = collected / "hblink.prom"
    before = os.umask(0o077)
    try:
        assert main(["metrics", "--textfile", str(file)]) == 0
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert Scrape(file.read_text()).value("hblink_up") == 1
    earlier = file.stat().st_ino
    daemon.answers["status"] = {"ok": False, "error": "not now"}
    assert main(["metrics", "--textfile", str(file)]) == 1
    assert Scrape(file.read_text()).samples == {("hblink_up", frozenset()): 0}, "not that of an hour ago"
    assert file.stat().st_ino != earlier, "whoever reads the old one reads it to its end"
    assert list(collected.iterdir()) == [file]
    assert capsys.readouterr().out == ""


# On a file system of its own, of one page, which the old file fills or which cannot be written.
SPOILT = """
mount -t tmpfs -o size=4k tmpfs "$1" && echo old >"$1/hblink.prom" && {how}
"$0" -m hblink.cli.main metrics --textfile "$1/hblink.prom"
echo "$? $(cat "$1/hblink.prom") $(ls -A "$1")"
"""


@pytest.mark.usefixtures("daemon")
@pytest.mark.parametrize(
    ("how", "why"),
    [(":", "No space left on device"), ('mount -o remount,ro "$1"', "Read-only file system")],
    ids=["full", "read-only"],
)
def test_a_textfile_that_cannot_be_written_stays_as_it_was(directory: Path, how: str, why: str) -> None:
    namespace = ("unshare", "--mount", *(() if os.geteuid() == 0 else ("--user", "--map-root-user")))
    script = ("sh", "-c", SPOILT.format(how=how), sys.executable, str(directory / "collected"))
    (directory / "collected").mkdir()
    done = subprocess.run([*namespace, *script], capture_output=True, text=True, timeout=120)
    assert done.stdout == "1 old hblink.prom\n", done.stderr
    assert done.stderr == f"hblink metrics: cannot write {directory}/collected/hblink.prom: {why}\n"


def test_a_textfile_is_a_file_in_a_directory_that_is_there(directory: Path, capsys: Capture) -> None:
    os.mkfifo(directory / "pipe")
    for name, why in (("pipe", "no ordinary file"), ("", "no ordinary file"), ("no/such", "No such file")):
        assert main(["metrics", "--textfile", str(directory / name)]) == 1
        assert why in capsys.readouterr().err
    assert stat.S_ISFIFO((directory / "pipe").stat().st_mode)


def test_run_does_not_start_with_a_bad_configuration(directory: Path) -> None:
    (directory / "hblink.toml").write_text(WITHOUT_FENCES)
    done = subprocess.run([sys.executable, "-m", "hblink.cli.main", "run"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 78
    assert "no guarantee is chosen" in " ".join(done.stderr.split())
    done = subprocess.run(
        [sys.executable, "-O", "-m", "hblink.cli.main", "run"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1
    assert "python -O" in done.stderr


HEAVY = (
    "pyroute2",
    "construct",
    "serial",
    "sdnotify",
    "hblink_wire",
    "hblink.config",
    "hblink.loop",
    "tomllib",
)


@pytest.mark.parametrize(
    "words",
    [
        ["status"],
        ["why"],
        ["events"],
        ["metrics", "--textfile", "hblink.prom"],
        ["fence", "status"],
        ["switchover"],
        ["maintenance", "on"],
    ],
)
def test_what_asks_the_daemon_imports_narrowly(directory: Path, words: list[str]) -> None:
    program = (
        f"import sys; from hblink.cli.main import main; code = main({words!r});"
        f"print([name for name in {HEAVY!r} if name in sys.modules]); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, cwd=directory)
    assert (done.returncode, done.stdout) == (1, "[]\n")


@pytest.mark.usefixtures("directory")
def test_a_reader_that_goes_away_is_no_error() -> None:
    program = [sys.executable, "-m", "hblink.cli.main", "check"]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as checking:
        assert checking.stdout is not None
        assert checking.stderr is not None
        checking.stdout.close()
        assert checking.stderr.read() == ""
        assert checking.wait(120) == 1


def test_every_code_has_words() -> None:
    assert set(REASON) == {reason.value for reason in Reason}
    assert set(ALARM) == {code.value for code in AlarmCode}


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [(None, "-"), (0, "0 ms"), (999, "999 ms"), (1000, "1.0 s"), (9999, "10.0 s"), (12_345, "12 s"), (60_000, "1 min"),
     (243_000, "4 min 3 s"), (7_380_000, "2 h 3 min"), (273_600_000, "3 d 4 h")],
)  # fmt: skip
def test_durations(milliseconds: float | None, text: str) -> None:
    assert terminal.duration(milliseconds) == text


def test_foreign_text_is_made_harmless() -> None:
    clean: Callable[[object], str] = terminal.clean
    assert clean("a\x1b[2Jb\n\u00e9") == "a?[2Jb??"
    assert terminal.wrap("", "HEAD  ") == ["HEAD"]
