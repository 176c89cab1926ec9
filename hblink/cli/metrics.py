"""`hblink metrics`: what the daemon says of the pair, for Prometheus, on standard output or in a file.

It must start fast, as it is run each minute or at each scrape, and it must never leave half a file, nor an old one
that says that all is well when no daemon answers.
"""

from __future__ import annotations

import argparse
import errno
import os
import sys
from pathlib import Path

from hblink.cli.exposition import render
from hblink.cli.measure import absent, families
from hblink.cli.status import fetch
from hblink.cli.terminal import GOOD, NOT_GOOD
from hblink.control import ControlError


def declare(parser: argparse.ArgumentParser, _name: str) -> None:
    parser.add_argument(
        "--textfile",
        metavar="FILE",
        type=Path,
        help="replace FILE, whole or not at all, for node_exporter's textfile collector; its name ends in .prom",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print or write the metrics; 1 if no daemon answers (hblink_up is 0 then) or FILE cannot be written, else 0.

    A pair that is degraded is no failure of the scrape.
    """
    code = GOOD
    try:
        text = render(families(fetch()))
    except ControlError as error:
        print(f"hblink: {error}", file=sys.stderr)
        text, code = render(absent()), NOT_GOOD
    if arguments.textfile is None:
        print(text, end="")
        return code
    try:
        _replace(arguments.textfile, text.encode("ascii"))
    except OSError as error:
        print(f"hblink metrics: cannot write {arguments.textfile}: {error.strerror}", file=sys.stderr)
        return NOT_GOOD
    return code


def _replace(path: Path, content: bytes) -> None:
    """Make `content` that of `path`, mode 0644, by a temporary file beside it and rename(2). Raises OSError.

    Whoever collects it may not be root, and the directory may be theirs: no name in it is trusted or followed. Not
    fsync(2): what a crash of the machine loses is out of date.
    """
    if path.exists() and not path.is_file():
        raise FileExistsError(errno.EEXIST, "it is there, and no ordinary file")
    temporary = path.with_name(f".{path.name}.{os.getpid()}")  # not *.prom, which would be collected
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(descriptor, 0o644)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
