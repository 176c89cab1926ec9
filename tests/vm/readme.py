"""What a run leaves behind for people: a summary table, and the marked block of images/README.md."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from tests.rig.setting import NODES
from tests.vm.scenario import TAKEOVERS
from tests.vm.stage import Record, Result

BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"


def summary(results: Sequence[Result], seconds: float) -> str:
    """Return the table of all steps as Markdown."""
    lines = [
        "| step | result | time [s] | answered by | without an answer [s] | fences | notes |",
        "|---|---|---:|---|---:|---|---|",
    ]
    for result in results:
        paths = {" → ".join(path) or "nobody" for path in result.path.values()}
        fences = ", ".join(f"{count} x {node}" for node, count in result.fences.items() if count) or "none"
        verdict = "FAILED" if result.error else "ok"
        notes = "; ".join([*result.notes, *result.error.splitlines()[:1]]).replace("|", "/")
        cells = [
            result.name,
            verdict,
            f"{result.seconds:.0f}",
            " / ".join(sorted(paths)),
            f"{result.gap_ms / 1000:.1f}",
        ]
        lines.append(f"| {' | '.join([*cells, fences, notes])} |")
    return "\n".join([*lines, "", f"{len(results)} steps in {seconds / 60:.1f} minutes", ""])


def fill(path: Path, image: Path, record: Record, results: Sequence[Result]) -> None:
    """Write the figures of a whole run between the marks of the README at `path`."""
    text = path.read_text()
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    assert tail, f"{path} has no marked block"
    path.write_text(f"{head}{BEGIN}\n{_figures(image, record, results)}{END}{tail}")


def _figures(image: Path, record: Record, results: Sequence[Result]) -> str:
    used_mib = image.stat().st_blocks * 512 / 2**20
    rows = [
        ("image, as allocated / as addressed [MiB]", f"{used_mib:.0f} / {image.stat().st_size / 2**20:.0f}"),
        ("power on to READY, both booting [s]", _each(record.ready_s, "{:.0f}")),
        ("resident memory of the daemon [MiB]", _each(record.memory_mib, "{:.1f}")),
        ("processor time of the daemon [% of an emulated core]", _each(record.load_percent, "{:.1f}")),
    ]
    by_name = {result.name: result for result in results}
    for name, words in TAKEOVERS.items():
        rows.append((f"no answer from the VIP: {words} [s]", f"{by_name[name].gap_ms / 1000:.1f}"))
    table = "".join(f"| {what} | {value} |\n" for what, value in rows)
    head = (
        f"One run of `make test-vm` with {os.cpu_count()} cores: software emulation, deadtime 5 s, lease 8 s, 0.5 s\n"
        "between the OFF readings, beats every 0.5 s and 1 s. No claim of speed: `make bench` makes those.\n\n"
    )
    return f"{head}| figure | alpha / beta |\n|---|---:|\n{table}"


def _each(values: dict[str, float], form: str) -> str:
    return " / ".join(form.format(values[node]) for node in NODES)
