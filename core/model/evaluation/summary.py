"""What a suite's figures say together: each share or mean with its 95 % interval, beside its target.

Knows figures and numbers; makes and measures no video.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from core.model.evaluation.bootstrap import interval
from core.model.evaluation.measurements import Measured

_Z = 1.96
"""Two-sided 95 % of a normal distribution."""


@dataclass(frozen=True)
class Question:
    """What is asked of every video, and the mean answer aimed at, if any."""

    name: str
    answer: Callable[[Measured], float | None]
    target: float | None = None
    at_most: bool = False


@dataclass(frozen=True)
class Row:
    """One line of the table: `count` answers, their mean and its 95 % interval."""

    name: str
    value: float
    low: float
    high: float
    count: int
    target: float | None = None
    at_most: bool = False

    @property
    def is_met(self) -> bool | None:
        """Whether the value (not its interval) reaches the target; None where none is set."""
        if self.target is None:
            return None
        return self.value <= self.target if self.at_most else self.value >= self.target


def _yes(answer: bool | None) -> float | None:
    return None if answer is None else float(answer)


def _of_two(answer: Callable[[Measured], float | None]) -> Callable[[Measured], float | None]:
    """The same asked of scenes of two objects only."""
    return lambda m: answer(m) if m.video.num_sprites == 2 else None


FIRST_CHUNK = (
    Question("colour right", lambda m: float(m.video.colour_right), 0.95),
    Question("shape right", lambda m: float(m.video.shape_right), 0.90),
    Question("motion right", lambda m: float(m.video.motion_right), 0.90),
    Question("pace right", lambda m: _yes(m.video.pace_right)),
    Question("scenes of two objects: colours right", _of_two(lambda m: float(m.video.colour_right))),
    Question("scenes of two objects: shapes right", _of_two(lambda m: float(m.video.shape_right))),
    Question("scenes of two objects: motions right", _of_two(lambda m: float(m.video.motion_right))),
    Question("likeness of prompt and first chunk (own tower)", lambda m: m.tower.text_likeness_at_start),
)
LONG_VIDEO = (
    Question("right objects in the last chunk's frames", lambda m: m.video.right_objects_at_end, 0.85),
    Question("background kept (correlation)", lambda m: m.video.background_kept, 0.8),
    Question("texture kept (correlation)", lambda m: m.video.texture_kept, 0.8),
    Question("videos without a hard cut", lambda m: _yes(None if m.cuts is None else m.cuts == 0), 0.98),
    Question("motion kept (last chunk over first)", lambda m: m.video.motion_kept, 0.7),
    Question("likeness of last chunk and anchor (own tower)", lambda m: m.tower.anchor_likeness),
    Question("likeness of prompt and last chunk (own tower)", lambda m: m.tower.text_likeness_at_end),
)
SEAMS = (
    Question("step across chunk borders over step inside", lambda m: m.video.seam_ratio, 1.25, at_most=True),
    Question("step across window borders over step inside", lambda m: m.video.window_seam_ratio),
)


def summarise(measured: Sequence[Measured], questions: Sequence[Question]) -> list[Row]:
    """A row per question that any video can answer."""
    rows: list[Row] = []
    for question in questions:
        answers = [answer for m in measured if (answer := question.answer(m)) is not None]
        if answers:
            rows.append(row_of(question.name, answers, question.target, at_most=question.at_most))
    return rows


def row_of(name: str, answers: Sequence[float], target: float | None = None, *, at_most: bool = False) -> Row:
    """The row of these answers; of answers that are all yes or no the interval is that of a share."""
    mean = sum(answers) / len(answers)
    if set(answers) <= {0.0, 1.0}:
        return Row(name, mean, *wilson(mean, len(answers)), len(answers), target, at_most)
    resampled = interval(np.asarray(answers, np.float64), lambda means: means)
    return Row(name, mean, resampled.low, resampled.high, len(answers), target, at_most)


def wilson(share: float, count: int) -> tuple[float, float]:
    """95 % interval of a share of `count` yes-or-no answers (Wilson 1927): right at 0 and 1, too."""
    middle = (share + _Z**2 / (2 * count)) / (1 + _Z**2 / count)
    half = _Z / (1 + _Z**2 / count) * math.sqrt(share * (1 - share) / count + _Z**2 / (4 * count**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def verdict(row: Row) -> str:
    """For people."""
    return {True: "hit", False: "missed", None: ""}[row.is_met]


def as_markdown(rows: Sequence[Row], upper_bounds: Mapping[str, float] | None = None) -> str:
    """The table for people. `upper_bounds`: what true clips give through the autoencoder alone, by figure."""
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
