"""The text format of Prometheus and of node_exporter's textfile collector, version 0.0.4 ("Exposition formats").

What is not known is left out: a sample without a value, and a family without samples. This module must never know what
a metric means.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from itertools import accumulate
from typing import NamedTuple

from hblink.cli.terminal import clean

Number = Decimal | int  # a bool is 0 or 1


class Sample(NamedTuple):
    """One value, None if it is not known, and what tells it from the others of its family."""

    value: Number | None
    labels: Mapping[str, object]
    suffix: str = ""  # of the parts of a histogram


class Family(NamedTuple):
    """What is told under one name: its kind (gauge, counter, histogram), a line for people, and the samples."""

    kind: str
    name: str
    text: str
    samples: Sequence[Sample]


def gauge(name: str, text: str, value: Number | None) -> Family:
    """What goes up and down, and is told of one thing only."""
    return Family("gauge", name, text, [Sample(value, {})])


def gauges(name: str, text: str, samples: Sequence[Sample]) -> Family:
    """What goes up and down, of several things."""
    return Family("gauge", name, text, samples)


def counters(name: str, text: str, samples: Sequence[Sample]) -> Family:
    """What only grows, until the daemon is started anew; `name` ends in _total."""
    return Family("counter", name, text, samples)


def histogram(name: str, text: str, buckets: Sequence[tuple[Number | None, int]], total: Number | None) -> Family:
    """How many values were above the bound before and up to this one, from low to high; the last bound is None.

    `total` is the sum of the values. The format wants cumulative buckets; they are made so here.
    """
    reached = list(accumulate(count for _, count in buckets))
    samples = [
        Sample(count, {"le": "+Inf" if bound is None else _number(bound)}, "_bucket")
        for (bound, _), count in zip(buckets, reached, strict=True)
    ]
    if reached:
        samples += [Sample(total, {}, "_sum"), Sample(reached[-1], {}, "_count")]
    return Family("histogram", name, text, samples)


# By hand, as the format is the few rules below; prometheus_client would bring its registry, threads and web server into
# an appliance's image for them. The tests read the output with its parser.
def render(families: Iterable[Family]) -> str:
    """Write the families in the order given, each with its HELP and TYPE; the last line ends with a line feed."""
    return "".join(f"{line}\n" for family in families for line in _lines(family))


def _lines(family: Family) -> list[str]:
    samples = [
        f"{family.name}{sample.suffix}{_labels(sample.labels)} {_number(sample.value)}"
        for sample in family.samples
        if sample.value is not None
    ]
    head = [f"# HELP {family.name} {_escaped(family.text)}", f"# TYPE {family.name} {family.kind}"]
    return [*head, *samples] if samples else []


def _labels(labels: Mapping[str, object]) -> str:
    pairs = [f"{name}={_quoted(value)}" for name, value in labels.items()]
    return f"{{{','.join(pairs)}}}" if pairs else ""


def _quoted(value: object) -> str:
    """A label's value; None becomes the empty one, which is as good as no label."""
    text = "" if value is None else _escaped(str(value))
    return '"' + text.replace('"', r"\"") + '"'


def _escaped(text: str) -> str:
    """`text` in printable ASCII, as all that is printed, with backslash and line feed as the format wants them."""
    return r"\n".join(clean(line).replace("\\", r"\\") for line in text.split("\n"))


def _number(value: Number) -> str:
    """The digits of `value`, without exponent and without rounding."""
    return f"{value.normalize():f}" if isinstance(value, Decimal) else str(int(value))
