"""Comparison of variants, each trained with several seeds, on the same videos: whether expected orders are found.

Shapes: K seeds, N videos.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from core.metrics.bootstrap import Interval, Values
from core.model.evaluation.metrics.measurements import Measured
from core.model.evaluation.metrics.power import ExperimentSize, complete_videos, required_size
from core.model.evaluation.metrics.two_levels import two_level_interval
from core.model.evaluation.reports.ablation_claims import EXPLANATIONS
from core.model.evaluation.reports.chart import Panel, Point, chart

Better = Literal["higher", "lower"]
Verdict = Literal["confirmed", "reverse", "not clear", "not measured"]


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

    @property
    def claim(self) -> str:
        """Key of its explanation."""
        return f"{self.better} > {self.worse}: {self.metric.short}"


@dataclass(frozen=True)
class VariantResults:
    """What was measured of a variant."""

    label: str
    by_seed: Mapping[int, Sequence[Measured]]
    """The same videos in the same order for every seed. A variant without weights of its own has the same results for
    all seeds."""
    trained_weights: int | None = None
    """None for what is not a variant."""
    loss: float | None = None
    """Mean over seeds of the last training loss; None if nothing is trained."""


@dataclass(frozen=True)
class Finding:
    """An expectation with what was found."""

    expectation: Expectation
    gain: Interval | None
    """By how much `better` is better, mean over seeds and videos; None if not measured."""
    seeds: int
    videos: int
    required: ExperimentSize | None
    """None if it cannot be computed."""

    @property
    def verdict(self) -> Verdict:
        """Judged by the interval of the gain."""
        return "not measured" if self.gain is None else verdict(self.gain)


@dataclass(frozen=True)
class Comparison:
    """Variants by name."""

    title: str
    variants: Mapping[str, VariantResults]
    metrics: Sequence[ComparedMetric]
    expectations: Sequence[Expectation]
    notes: Sequence[str]
    missing: Sequence[str] = ()
    """Trials that are not finished."""

    def text(self) -> str:
        """Markdown: what is missing, orders, explanations, figures and notes."""
        parts = (self._missing(), self.orders(), "\n".join(self.explanations()), self.table(), *self.notes)
        return "\n\n".join(part for part in parts if part)

    def _missing(self) -> str:
        return f"**Not finished, so not in the figures:** {'; '.join(self.missing)}." if self.missing else ""

    def orders(self) -> str:
        """A line per expectation: the paired difference of the two variants and whether it is as expected."""
        lines = [
            "| expected | difference (95 % interval; above 0: as expected) | verdict | seeds x videos |",
            "|---|---|---|---|",
        ]
        for finding in self.findings():
            gain = "" if finding.gain is None else str(finding.gain)
            what = f"{self._what(finding.expectation)} ({finding.expectation.why})"
            lines.append(f"| {what} | {gain} | {finding.verdict} | {finding.seeds} x {finding.videos} |")
        return "\n".join(lines)

    def explanations(self) -> list[str]:
        """For each measured expectation that is not confirmed: a possible reason and the experiments that decide it."""
        lines: list[str] = []
        for finding in self.findings():
            if finding.verdict in ("confirmed", "not measured"):
                continue
            lines.append(f"- **{self._what(finding.expectation)}: {finding.verdict}.**")
            if (explanation := EXPLANATIONS.get(finding.expectation.claim)) is not None:
                lines.append(f"  Possible reason: {explanation.why}. Test of it: {explanation.experiment}.")
            lines.append(f"  {requirement(finding)}")
        return lines

    def _what(self, expectation: Expectation) -> str:
        labels = [self._label(name) for name in (expectation.better, expectation.worse)]
        return f"{labels[0]} better than {labels[1]}, {expectation.metric.name}"

    def _label(self, name: str) -> str:
        return self.variants[name].label if name in self.variants else name

    def table(self) -> str:
        """A line per variant, a column per metric: mean and 95 % interval over seeds and videos."""
        columns = ["trained weights", "last loss", *(f"{metric.short} ({metric.better})" for metric in self.metrics)]
        lines = [f"| | {' | '.join(columns)} |", f"|---|{'---|' * len(columns)}"]
        for name, results in self.variants.items():
            weights = "" if results.trained_weights is None else f"{results.trained_weights:,}"
            loss = "" if results.loss is None else f"{results.loss:.4f}"
            means = (self._mean(name, metric) for metric in self.metrics)
            cells = [weights, loss, *("" if mean is None else str(mean) for mean in means)]
            lines.append(f"| {results.label} | {' | '.join(cells)} |")
        return "\n".join(lines)

    def findings(self) -> list[Finding]:
        """What was found of each expectation."""
        return [self._finding(expectation) for expectation in self.expectations]

    def _finding(self, expectation: Expectation) -> Finding:
        gains_KN = self.gains(expectation)
        if not np.isfinite(gains_KN).any():
            return Finding(expectation, None, 0, 0, None)
        complete_KN = complete_videos(gains_KN)
        size = required_size(complete_KN) if complete_KN.shape[1] > 1 else None
        videos = int(np.isfinite(gains_KN).any(axis=0).sum())
        return Finding(expectation, two_level_interval(gains_KN), len(gains_KN), videos, size)

    def gains(self, expectation: Expectation) -> Values:
        """By how much one is better than the other, [K, N] by the seeds that both have; NaN where it does not apply."""
        both = [self.variants.get(name) for name in (expectation.better, expectation.worse)]
        if any(results is None for results in both):
            return np.empty((0, 0))
        better, worse = (results.by_seed for results in both if results is not None)
        seeds = [seed for seed in better if seed in worse]
        sign = 1 if expectation.metric.better == "higher" else -1
        metric = expectation.metric
        return sign * (_values(metric, better, seeds) - _values(metric, worse, seeds))

    def _mean(self, name: str, metric: ComparedMetric) -> Interval | None:
        by_seed = self.variants[name].by_seed
        values_KN = _values(metric, by_seed, list(by_seed))
        return two_level_interval(values_KN) if np.isfinite(values_KN).any() else None

    def write(self, folder: Path, stem: str) -> None:
        """Write <stem>.md, .json and .png."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{stem}.md").write_text(f"# {self.title}\n\n{self.text()}\n", encoding="utf-8")
        (folder / f"{stem}.json").write_text(json.dumps(self._content(), indent=2) + "\n", encoding="utf-8")
        chart(self.title, self._panels()).save(folder / f"{stem}.png")

    def _content(self) -> dict[str, Any]:
        rows = {
            name: {
                "seeds": len(results.by_seed),
                "trained_weights": results.trained_weights,
                "last_loss": results.loss,
                **{m.name: None if (mean := self._mean(name, m)) is None else asdict(mean) for m in self.metrics},
            }
            for name, results in self.variants.items()
        }
        orders = [
            {
                "better": finding.expectation.better,
                "worse": finding.expectation.worse,
                "metric": finding.expectation.metric.name,
                "why": finding.expectation.why,
                "gain": None if finding.gain is None else asdict(finding.gain),
                "verdict": finding.verdict,
                "seeds": finding.seeds,
                "videos": finding.videos,
                "required": None if finding.required is None else asdict(finding.required),
            }
            for finding in self.findings()
        ]
        return {
            "title": self.title,
            "missing": list(self.missing),
            "orders": orders,
            "explanations": self.explanations(),
            "rows": rows,
            "notes": list(self.notes),
        }

    def _panels(self) -> list[Panel]:
        """The first metric by variant, then the expected differences, then the other metrics."""
        by_metric = [panel for metric in self.metrics if (panel := self._metric_panel(metric)).points]
        return [*by_metric[:1], *self._gain_panels(), *by_metric[1:]]

    def _metric_panel(self, metric: ComparedMetric) -> Panel:
        means = {results.label: self._mean(name, metric) for name, results in self.variants.items()}
        points = [Point(label, *astuple(mean)) for label, mean in means.items() if mean is not None and mean.is_known]
        return Panel(f"{metric.name}: {metric.better} is better", points)

    def _gain_panels(self) -> list[Panel]:
        """A panel per metric with expectations: how much better, green if confirmed, red if the reverse is."""
        panels: dict[str, list[Point]] = {}
        for finding in self.findings():
            if finding.gain is None or not finding.gain.is_known:
                continue
            expectation = finding.expectation
            label = f"{self._label(expectation.better)} against {self._label(expectation.worse)}"
            is_met = {"confirmed": True, "reverse": False}.get(finding.verdict)
            point = Point(label, *astuple(finding.gain), is_met=is_met)
            panels.setdefault(expectation.metric.name, []).append(point)
        return [Panel(f"better by, {name}: above 0 as expected", points) for name, points in panels.items()]


def verdict(gain: Interval) -> Literal["confirmed", "reverse", "not clear"]:
    """Whether an expectation is met: only an interval that excludes 0 decides."""
    if gain.low > 0:
        return "confirmed"
    return "reverse" if gain.high < 0 else "not clear"


def requirement(finding: Finding) -> str:
    """How large an experiment the observed effect and variance require, as a sentence."""
    assert finding.gain is not None, "only measured effects have a size"
    if finding.verdict == "reverse":
        return "More seeds or videos of this budget would only confirm the reverse."
    if finding.seeds == 1:
        return "One seed does not show the variance of training, so no size of an experiment follows from it."
    if finding.required is None:
        return "The observed difference is 0 or of one video only, so no size of an experiment follows from it."
    size, effect = finding.required, f"An effect of the observed size ({finding.gain.value:.3g})"
    direction = "" if finding.gain.value > 0 else ", which would be the reverse,"
    seeds = _alternative(size.seeds, "seeds", f"the same {finding.videos} videos")
    videos = _alternative(size.videos, "videos", f"the same number of seeds ({finding.seeds})")
    both = "" if size.both is None else f"; or with {size.both[0]} seeds of {size.both[1]} videos"
    return f"{effect}{direction} would exclude 0 with 80 % probability with {seeds}; or with {videos}{both}."


def _alternative(number: int | None, what: str, fixed: str) -> str:
    return f"no number of {what} with {fixed}" if number is None else f"{number} {what} with {fixed}"


def _values(metric: ComparedMetric, by_seed: Mapping[int, Sequence[Measured]], seeds: Sequence[int]) -> Values:
    """The metric of these seeds and their videos [K, N], NaN where it does not apply."""
    values = [[metric.value(measured) for measured in by_seed[seed]] for seed in seeds]
    return np.array(values, np.float64).reshape(len(seeds), -1) if seeds else np.empty((0, 0))
