"""`make test-vm`: build the image, boot two guests, do every step, audit, and keep what was seen.

One line for each step while it runs. Everything goes to build/vm/run: disks' logs, journals, consoles, flight records,
what the observer saw, and a summary. The table in images/README.md is filled in when every step has passed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import sys
import time
from dataclasses import asdict
from pathlib import Path

from hblink.cli.main import main as hblink
from tests.rig.process import ROOT
from tests.rig.setting import NODES
from tests.vm import readme
from tests.vm.pair import GuestPair, build_image
from tests.vm.scenario import STEPS, first_boot
from tests.vm.stage import Record, Result, Stage

BUILD = ROOT / "build" / "vm"
LIMIT_S = 25 * 60


def main(argv: list[str] | None = None) -> int:
    """Run all steps, or those named; return 0 if every one passed."""
    parser = argparse.ArgumentParser(prog="make test-vm", description=__doc__)
    parser.add_argument("steps", nargs="*", help="only these, after cold_start of a pair configured from outside")
    parser.add_argument("--image", type=Path, help="use this image, and build none")
    parser.add_argument("--output", type=Path, default=BUILD / "run", help="where to keep what was seen")
    arguments = parser.parse_args(argv)
    if os.geteuid() != 0:
        print("make test-vm: needs root, for network namespaces and for the owners of files in the image")
        return 1
    began = time.monotonic()
    shutil.rmtree(arguments.output, ignore_errors=True)
    arguments.output.mkdir(parents=True)
    image = arguments.image
    if image is None:
        _say(began, "building the image")
        BUILD.mkdir(parents=True, exist_ok=True)
        image = build_image(BUILD / "image", arguments.output / "image.log")
    wanted = [step for step in STEPS if not arguments.steps or step.__name__ in ("cold_start", *arguments.steps)]
    results: list[Result] = []
    record = Record()
    with GuestPair(arguments.output, image) as pair:
        if first_boot not in wanted:
            for node in NODES:
                pair.provision(node)
        for number, step in enumerate(wanted, 1):
            stage = Stage(pair, step.__name__, record)
            results.append(stage.result)
            _say(began, f"{number:2}/{len(wanted)} {step.__name__}: {(step.__doc__ or '').splitlines()[0]}")
            started = time.monotonic()
            try:
                step(stage)
            except AssertionError as failure:
                stage.result.error = str(failure) or repr(failure)
                (arguments.output / "failure.txt").write_text(f"{failure}\n{pair.report(200)}\n")
                print(f"FAILED {step.__name__}: {failure}\n{pair.report()}", flush=True)
            stage.result.seconds = time.monotonic() - started
            _say(began, f"      {_outcome(stage.result)}")
            if stage.result.error:
                break  # the next step needs a healthy pair
    replayed = [_replay(arguments.output / node) for node in NODES]
    passed = len(results) == len(wanted) and not any(result.error for result in results) and all(replayed)
    seconds = time.monotonic() - began
    table = readme.summary(results, seconds)
    (arguments.output / "summary.md").write_text(table)
    document = {"seconds": seconds, "record": asdict(record), "steps": [asdict(result) for result in results]}
    (arguments.output / "summary.json").write_text(json.dumps(document, indent=1))
    for disk in arguments.output.glob("*.raw"):
        disk.unlink()
    print(table)
    if passed and len(wanted) == len(STEPS):
        readme.fill(ROOT / "images" / "README.md", image, record, results)
    verdict = "all steps passed" if passed else "NOT PASSED"
    _say(began, f"{verdict}; logs, flight records and summary are in {arguments.output}")
    return 0 if passed else 1


def _outcome(result: Result) -> str:
    if result.error:
        return f"FAILED after {result.seconds:.0f} s"
    path = " -> ".join(next(iter(result.path.values()), [])) or "nobody"
    fences = ", ".join(f"{count} x off {node}" for node, count in result.fences.items() if count) or "no fence"
    return "; ".join([f"ok in {result.seconds:.0f} s: {path}", fences, *result.notes])


def _replay(directory: Path) -> bool:
    """Feed a guest's flight record through the same core again; what that prints is kept beside it."""
    torn = (directory / "flight.jsonl").read_text(encoding="ascii", errors="replace").splitlines()
    whole = directory / "flight-whole.jsonl"
    # A power cut may leave the last line of a life unfinished, and the next life's head behind it.
    lines = [line[max(line.find('{"flight"'), 0) :] for line in torn if line.endswith("}")]
    whole.write_text("".join(f"{line}\n" for line in lines), encoding="ascii")
    with (
        (directory / "replay.txt").open("w") as sink,
        contextlib.redirect_stdout(sink),
        contextlib.redirect_stderr(sink),
    ):
        status = hblink(["replay", str(whole)])
    last = (directory / "replay.txt").read_text().splitlines()[-1:]
    print(f"flight record of {directory.name}: {''.join(last)}", flush=True)
    return status == 0


def _say(began: float, text: str) -> None:
    print(f"[{time.monotonic() - began:6.1f} s] {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
