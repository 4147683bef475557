"""A comparison of variants on the same videos: a table, a chart, and whether expected orderings come out.

Knows figures of videos and names; makes and measures nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from core.model.evaluation.bootstrap import Interval, interval
from core.model.evaluation.chart import Mark, Panel, chart
from core.model.evaluation.measurements import Measured

Better = Literal["higher", "lower"]


@dataclass(frozen=True)
class Figure:
    """What is compared."""

    short: str
    """Of the table's column."""
    name: str
    answer: Callable[[Measured], float | None]
    better: Better = "higher"


@dataclass(frozen=True)
class Ordering:
    """`better` is expected to stand better than `worse` in a figure."""

    better: str
    worse: str
    figure: Figure
    why: str


@dataclass(frozen=True)
class Comparison:
    """Variants by name, each with the figures of the same videos in the same order."""

    title: str
    labels: Mapping[str, str]
    measured: Mapping[str, Sequence[Measured]]
    figures: Sequence[Figure]
    orderings: Sequence[Ordering]
    notes: Sequence[str]

    def text(self) -> str:
        """Table, orderings and notes."""
        return "\n\n".join((self.table(), "\n".join(self.findings()), *self.notes))

    def table(self) -> str:
        """A line per variant, a column per figure: mean and 95 % interval over the videos that can answer."""
        columns = [f"{figure.short} ({figure.better})" for figure in self.figures]
        lines = [f"| | {' | '.join(columns)} |", f"|---|{'---|' * len(columns)}"]
        for name, label in self.labels.items():
            cells = [_cell(self._mean(name, figure)) for figure in self.figures]
            lines.append(f"| {label} | {' | '.join(cells)} |")
        return "\n".join(lines)

    def findings(self) -> list[str]:
        """A line per ordering: whether it comes out, by the difference of the two on the same videos."""
        return [f"- {self._finding(ordering)}" for ordering in self.orderings]

    def _finding(self, ordering: Ordering) -> str:
        better, worse = self.labels[ordering.better], self.labels[ordering.worse]
        what = f"{better} against {worse}, {ordering.figure.name} ({ordering.why})"
        gains = self.gains(ordering)
        if len(gains) == 0:
            return f"{what}: not measured."
        gain = interval(np.asarray(gains), lambda means: means)
        return f"{what}: {verdict(gain)}. Better by {gain} on {len(gains)} videos."

    def gains(self, ordering: Ordering) -> list[float]:
        """By how much one stands better than the other, video by video; those that answer for both."""
        sign = 1 if ordering.figure.better == "higher" else -1
        pairs = zip(self.measured[ordering.better], self.measured[ordering.worse], strict=True)
        answers = ((ordering.figure.answer(one), ordering.figure.answer(other)) for one, other in pairs)
        return [sign * (one - other) for one, other in answers if one is not None and other is not None]

    def _mean(self, name: str, figure: Figure) -> Interval | None:
        answers = [answer for m in self.measured[name] if (answer := figure.answer(m)) is not None]
        return interval(np.asarray(answers), lambda means: means) if answers else None

    def write(self, folder: Path, stem: str) -> None:
        """<stem>.md, .json and .png."""
        (folder / f"{stem}.md").write_text(f"# {self.title}\n\n{self.text()}\n", encoding="utf-8")
        rows = {
            name: {
                figure.name: None if (mean := self._mean(name, figure)) is None else asdict(mean)
                for figure in self.figures
            }
            for name in self.labels
        }
        content = {"title": self.title, "rows": rows, "orderings": self.findings(), "notes": list(self.notes)}
        (folder / f"{stem}.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        chart(self.title, self._panels()).save(folder / f"{stem}.png")

    def _panels(self) -> list[Panel]:
        """A panel per figure, a mark per variant."""
        panels: list[Panel] = []
        for figure in self.figures:
            means = {label: self._mean(name, figure) for name, label in self.labels.items()}
            marks = [Mark(label, m.value, m.low, m.high) for label, m in means.items() if m is not None]
            if marks:
                panels.append(Panel(f"{figure.name}: {figure.better} is better", marks))
        return panels


def verdict(gain: Interval) -> str:
    """What the interval of a gain says of an expected ordering."""
    if gain.low > 0:
        return "comes out"
    if gain.high < 0:
        return "does NOT come out, the reverse does"
    return "does not come out clearly (the interval holds 0)"


def _cell(mean: Interval | None) -> str:
    return "" if mean is None else str(mean)
