"""What a suite's figures say together: each share or mean with its 95 % interval, beside its target.

Knows figures and numbers; makes and measures no video.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from core.model.evaluation.figures import VideoFigures

_Z = 1.96
"""Two-sided 95 % of a normal distribution."""


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    value: float
    low: float
    high: float
    target: float
    at_most: bool
    count: int

    @property
    def is_met(self) -> bool:
        """Whether the value (not its interval) reaches the target."""
        return self.value <= self.target if self.at_most else self.value >= self.target


@dataclass(frozen=True)
class Question:
    """What is asked of every video, and the mean answer aimed at."""

    name: str
    answer: Callable[[VideoFigures], float | None]
    target: float
    at_most: bool = False


FIRST_CHUNK = (
    Question("colour right", lambda f: float(f.colour_right), 0.95),
    Question("shape right", lambda f: float(f.shape_right), 0.90),
    Question("motion right", lambda f: float(f.motion_right), 0.90),
)
LONG_VIDEO = (
    Question("right objects in the last chunk's frames", lambda f: f.right_objects_at_end, 0.85),
    Question("background kept (correlation)", lambda f: f.background_kept, 0.8),
    Question("texture kept (correlation)", lambda f: f.texture_kept, 0.8),
    Question("motion kept (last chunk over first)", lambda f: f.motion_kept, 0.7),
    Question("step across chunk borders over step inside", lambda f: f.seam_ratio, 1.25, at_most=True),
)


def summarise(figures: Sequence[VideoFigures], questions: Sequence[Question]) -> list[Row]:
    """A row per question that any video can answer."""
    rows: list[Row] = []
    for question in questions:
        answers = [answer for f in figures if (answer := question.answer(f)) is not None]
        if answers:
            rows.append(_row(question, answers))
    return rows


def _row(question: Question, answers: Sequence[float]) -> Row:
    mean = sum(answers) / len(answers)
    low, high = wilson(mean, len(answers)) if set(answers) <= {0.0, 1.0} else _normal_interval(answers)
    return Row(question.name, mean, low, high, question.target, question.at_most, len(answers))


def wilson(share: float, count: int) -> tuple[float, float]:
    """95 % interval of a share of `count` yes-or-no answers (Wilson 1927): right at 0 and 1, too."""
    middle = (share + _Z**2 / (2 * count)) / (1 + _Z**2 / count)
    half = _Z / (1 + _Z**2 / count) * math.sqrt(share * (1 - share) / count + _Z**2 / (4 * count**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def _normal_interval(answers: Sequence[float]) -> tuple[float, float]:
    """95 % interval of a mean."""
    count, mean = len(answers), sum(answers) / len(answers)
    variance = sum((answer - mean) ** 2 for answer in answers) / max(1, count - 1)
    half = _Z * math.sqrt(variance / count)
    return mean - half, mean + half


def as_markdown(rows: Sequence[Row]) -> str:
    """The table for people."""
    lines = ["| figure | value | 95 % interval | target | videos |", "|---|---|---|---|---|"]
    for row in rows:
        sign = "<=" if row.at_most else ">="
        mark = "" if row.is_met else " (missed)"
        interval = f"{row.low:.2f} to {row.high:.2f}"
        lines.append(f"| {row.name} | {row.value:.2f} | {interval} | {sign} {row.target:g}{mark} | {row.count} |")
    return "\n".join(lines)
