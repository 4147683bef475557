"""Metrics over all videos of a suite: each share or mean with its 95 % interval and its target."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from core.metrics.bootstrap import interval
from core.model.evaluation.metrics.measurements import Measured

_Z = 1.96
"""Two-sided 95 % of a normal distribution."""


@dataclass(frozen=True)
class Metric:
    """A figure that is averaged over videos, and the target for its mean, if any."""

    name: str
    value: Callable[[Measured], float | None]
    """None for videos that it does not apply to."""
    target: float | None = None
    at_most: bool = False
    """Whether the target is an upper limit."""


@dataclass(frozen=True)
class Row:
    """One line of the table: a metric's mean over `count` videos with its 95 % interval."""

    name: str
    value: float
    low: float
    high: float
    count: int
    target: float | None = None
    at_most: bool = False

    @property
    def is_met(self) -> bool | None:
        """Whether the value (not its interval) reaches the target; None without target."""
        if self.target is None:
            return None
        return self.value <= self.target if self.at_most else self.value >= self.target


def _as_number(flag: bool | None) -> float | None:
    return None if flag is None else float(flag)


def _of_two(value: Callable[[Measured], float | None]) -> Callable[[Measured], float | None]:
    """The same for scenes of two objects only."""
    return lambda m: value(m) if m.video.num_sprites == 2 else None


FIRST_CHUNK = (
    Metric("colour right", lambda m: float(m.video.colour_right), 0.95),
    Metric("shape right", lambda m: float(m.video.shape_right), 0.90),
    Metric("motion right", lambda m: float(m.video.motion_right), 0.90),
    Metric("pace right", lambda m: _as_number(m.video.pace_right)),
    Metric("scenes of two objects: colours right", _of_two(lambda m: float(m.video.colour_right))),
    Metric("scenes of two objects: shapes right", _of_two(lambda m: float(m.video.shape_right))),
    Metric("scenes of two objects: motions right", _of_two(lambda m: float(m.video.motion_right))),
    Metric("likeness of prompt and first chunk (own tower)", lambda m: m.tower.text_likeness_at_start),
)
LONG_VIDEO = (
    Metric("right objects in the last chunk's frames", lambda m: m.video.right_objects_at_end, 0.85),
    Metric("background kept (correlation)", lambda m: m.video.background_kept, 0.8),
    Metric("texture kept (correlation)", lambda m: m.video.texture_kept, 0.8),
    Metric("videos without a hard cut", lambda m: _as_number(None if m.cuts is None else m.cuts == 0), 0.98),
    Metric("motion kept (last chunk over first)", lambda m: m.video.motion_kept, 0.7),
    Metric("likeness of last chunk and anchor (own tower)", lambda m: m.tower.anchor_likeness),
    Metric("likeness of prompt and last chunk (own tower)", lambda m: m.tower.text_likeness_at_end),
)
SEAMS = (
    Metric("step across chunk borders over step inside", lambda m: m.video.seam_ratio, 1.25, at_most=True),
    Metric("step across window borders over step inside", lambda m: m.video.window_seam_ratio),
)


def summarise(measured: Sequence[Measured], metrics: Sequence[Metric]) -> list[Row]:
    """A row for each metric that applies to any of the videos."""
    rows: list[Row] = []
    for metric in metrics:
        values = [value for m in measured if (value := metric.value(m)) is not None]
        if values:
            rows.append(row_of(metric.name, values, metric.target, at_most=metric.at_most))
    return rows


def row_of(name: str, values: Sequence[float], target: float | None = None, *, at_most: bool = False) -> Row:
    """The row of these values; the interval is Wilson's if all are 0 or 1, else bootstrapped."""
    mean = sum(values) / len(values)
    if set(values) <= {0.0, 1.0}:
        return Row(name, mean, *wilson(mean, len(values)), len(values), target, at_most)
    resampled = interval(np.asarray(values, np.float64), lambda means: means)
    return Row(name, mean, resampled.low, resampled.high, len(values), target, at_most)


def wilson(share: float, count: int) -> tuple[float, float]:
    """95 % interval of a share of `count` yes-or-no values (Wilson 1927); valid for shares of 0 and 1, too."""
    middle = (share + _Z**2 / (2 * count)) / (1 + _Z**2 / count)
    half = _Z / (1 + _Z**2 / count) * math.sqrt(share * (1 - share) / count + _Z**2 / (4 * count**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def verdict(row: Row) -> str:
    """The word for the table."""
    return {True: "hit", False: "missed", None: ""}[row.is_met]


def as_markdown(rows: Sequence[Row], upper_bounds: Mapping[str, float] | None = None) -> str:
    """The table in Markdown. `upper_bounds`: values of true clips through the autoencoder alone, by metric name."""
    bounds = upper_bounds or {}
    lines = [
        "| figure | value | 95 % interval | target | | autoencoder only | answers |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        target = "" if row.target is None else f"{'<=' if row.at_most else '>='} {row.target:g}"
        bound = f"{bounds[row.name]:.2f}" if row.name in bounds else ""
        interval = f"{row.low:.2f} to {row.high:.2f}"
        lines.append(
            f"| {row.name} | {row.value:.2f} | {interval} | {target} | {verdict(row)} | {bound} | {row.count} |"
        )
    return "\n".join(lines)
