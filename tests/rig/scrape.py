"""What a scraper makes of `hblink metrics`: prometheus_client's parser, and the rules that it is lax about.

Used by tests of every level; it must never accept what Prometheus or node_exporter would refuse.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise

from prometheus_client.parser import text_string_to_metric_families

_NAME = r"hblink_[a-z]+(?:_[a-z]+)*"
_LABEL = r'[a-z]+="(?:[^"\\\n]|\\\\|\\"|\\n)*"'
_LINE = re.compile(rf"({_NAME})(?:\{{{_LABEL}(?:,{_LABEL})*\}})? -?[0-9]+(?:\.[0-9]+)?")
_PARTS = {"histogram": ("_bucket", "_sum", "_count"), "gauge": ("",), "counter": ("",)}


class Scrape:
    """The text, read: `kinds` has the type of each family in order; ask `value` and `labelled` for samples."""

    def __init__(self, text: str) -> None:
        assert text.endswith("\n")
        self.kinds = _judge_lines(text.splitlines())
        self.samples: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
        for family in text_string_to_metric_families(text):
            assert family.documentation, family.name
            assert family.samples, f"{family.name} has no sample"
            for sample in family.samples:
                key = (sample.name, frozenset(sample.labels.items()))
                assert key not in self.samples, f"{key} is there twice"
                self.samples[key] = sample.value
        for name, kind in self.kinds.items():
            assert kind != "counter" or name.endswith("_total"), name
            assert not name.endswith(("_ms", "_us", "_percent")), f"{name} is in no base unit"
            if kind == "histogram":
                self._judge_histogram(name)

    def value(self, name: str, **labels: str) -> float | None:
        """The value of one sample, None if there is none with just these labels."""
        return self.samples.get((name, frozenset(labels.items())))

    def labelled(self, name: str) -> dict[tuple[str, ...], float]:
        """The samples of that name by the values of their labels, in the order of the labels' names."""
        return {
            tuple(value for _, value in sorted(labels)): number
            for (each, labels), number in self.samples.items()
            if each == name
        }

    def _judge_histogram(self, name: str) -> None:
        buckets = list(self.labelled(f"{name}_bucket").items())
        bounds = [float(bound) for (bound,), _ in buckets]
        assert all(low < high for low, high in pairwise(bounds)), bounds
        assert all(low <= high for (_, low), (_, high) in pairwise(buckets)), "buckets are cumulative"
        assert bounds[-1] == float("inf")
        assert buckets[-1][1] == self.value(f"{name}_count")
        assert self.value(f"{name}_sum") is not None


def _judge_lines(lines: Iterable[str]) -> dict[str, str]:
    """Hold each line to the grammar, and each family to one HELP, one TYPE and one group; return the types."""
    kinds: dict[str, str] = {}
    helped = ""
    for line in lines:
        assert line.isascii()
        assert line.isprintable()
        if line.startswith("# HELP "):
            helped = line.split(" ")[2]
            assert helped not in kinds, f"{helped} is told in two groups"
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name == helped
            assert name not in kinds
            kinds[name] = kind
        else:
            matched = _LINE.fullmatch(line)
            assert matched, line
            assert matched[1] in {helped + part for part in _PARTS[kinds[helped]]}, f"{line} is in a foreign group"
    return kinds
