"""Comparison of variants on the same videos: a table, a chart, and whether expected differences are found."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from core.model.evaluation.metrics.bootstrap import Interval, interval
from core.model.evaluation.metrics.measurements import Measured
from core.model.evaluation.reports.chart import Panel, Point, chart

Better = Literal["higher", "lower"]


@dataclass(frozen=True)
class ComparedMetric:
    """A metric by which variants are compared."""

    short: str
    """Heading of the table's column."""
    name: str
    value: Callable[[Measured], float | None]
    """None for videos that it does not apply to."""
    better: Better = "higher"


@dataclass(frozen=True)
class Expectation:
    """The variant `better` is expected to be better than `worse` by a metric."""

    better: str
    worse: str
    metric: ComparedMetric
    why: str


@dataclass(frozen=True)
class Comparison:
    """Variants by name, each with the figures of the same videos in the same order."""

    title: str
    labels: Mapping[str, str]
    measured: Mapping[str, Sequence[Measured]]
    metrics: Sequence[ComparedMetric]
    expectations: Sequence[Expectation]
    notes: Sequence[str]

    def text(self) -> str:
        """Markdown: table, findings and notes."""
        return "\n\n".join((self.table(), "\n".join(self.findings()), *self.notes))

    def table(self) -> str:
        """A line per variant, a column per metric: mean and 95 % interval over the videos that it applies to."""
        columns = [f"{metric.short} ({metric.better})" for metric in self.metrics]
        lines = [f"| | {' | '.join(columns)} |", f"|---|{'---|' * len(columns)}"]
        for name, label in self.labels.items():
            cells = [_cell(self._mean(name, metric)) for metric in self.metrics]
            lines.append(f"| {label} | {' | '.join(cells)} |")
        return "\n".join(lines)

    def findings(self) -> list[str]:
        """A line per expectation: whether it is met, by the differences of the two variants on the same videos."""
        return [f"- {self._finding(expectation)}" for expectation in self.expectations]

    def _finding(self, expectation: Expectation) -> str:
        better, worse = self.labels[expectation.better], self.labels[expectation.worse]
        what = f"{better} against {worse}, {expectation.metric.name} ({expectation.why})"
        gains = self.gains(expectation)
        if len(gains) == 0:
            return f"{what}: not measured."
        gain = interval(np.asarray(gains), lambda means: means)
        return f"{what}: {verdict(gain)}. Better by {gain} on {len(gains)} videos."

    def gains(self, expectation: Expectation) -> list[float]:
        """By how much one is better than the other, for each video that the metric applies to in both."""
        metric = expectation.metric
        sign = 1 if metric.better == "higher" else -1
        pairs = zip(self.measured[expectation.better], self.measured[expectation.worse], strict=True)
        values = ((metric.value(one), metric.value(other)) for one, other in pairs)
        return [sign * (one - other) for one, other in values if one is not None and other is not None]

    def _mean(self, name: str, metric: ComparedMetric) -> Interval | None:
        values = [value for m in self.measured[name] if (value := metric.value(m)) is not None]
        return interval(np.asarray(values), lambda means: means) if values else None

    def write(self, folder: Path, stem: str) -> None:
        """Write <stem>.md, .json and .png."""
        (folder / f"{stem}.md").write_text(f"# {self.title}\n\n{self.text()}\n", encoding="utf-8")
        rows = {
            name: {
                metric.name: None if (mean := self._mean(name, metric)) is None else asdict(mean)
                for metric in self.metrics
            }
            for name in self.labels
        }
        content = {"title": self.title, "rows": rows, "orderings": self.findings(), "notes": list(self.notes)}
        (folder / f"{stem}.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        chart(self.title, self._panels()).save(folder / f"{stem}.png")

    def _panels(self) -> list[Panel]:
        """A panel per metric, a point per variant."""
        panels: list[Panel] = []
        for metric in self.metrics:
            means = {label: self._mean(name, metric) for name, label in self.labels.items()}
            points = [Point(label, m.value, m.low, m.high) for label, m in means.items() if m is not None]
            if points:
                panels.append(Panel(f"{metric.name}: {metric.better} is better", points))
        return panels


def verdict(gain: Interval) -> str:
    """Whether an expectation is met, judged by the interval of the gain."""
    if gain.low > 0:
        return "confirmed"
    if gain.high < 0:
        return "NOT confirmed, the reverse is"
    return "not clear (the interval contains 0)"


def _cell(mean: Interval | None) -> str:
    return "" if mean is None else str(mean)
