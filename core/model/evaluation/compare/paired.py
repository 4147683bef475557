"""Methods compared by the videos that they made of the same prompts: means, paired differences, verdicts, ranks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from core.metrics.bootstrap import Interval, interval

Verdict = Literal["confirmed", "reverse", "not clear", "too few prompts", "not measured"]
FEWEST_PROMPTS = 6
"""Fewer decide nothing: all may agree by chance more often than 1 time in 20 (5 prompts: 2 / 2**5)."""


@dataclass(frozen=True)
class Gain:
    """By how much one method is better than another."""

    interval: Interval | None
    """Mean over prompts with its 95 % interval, in the metric's unit, above 0 if the first is better; None if not
    measured."""
    prompts: int
    """Prompts of which both have a value."""

    @property
    def verdict(self) -> Verdict:
        """Whether the first is better: only an interval that excludes 0 decides."""
        if self.interval is None:
            return "not measured"
        if self.prompts < FEWEST_PROMPTS:
            return "too few prompts"
        if self.interval.low > 0:
            return "confirmed"
        return "reverse" if self.interval.high < 0 else "not clear"


def mean(values: Sequence[float]) -> Interval | None:
    """The mean with its 95 % interval (bootstrap over prompts). No bounds for one value; None for none."""
    if len(values) < 2:
        return Interval(values[0], math.nan, math.nan) if values else None
    return _resampled(tuple(values))


@lru_cache(maxsize=4096)
def _resampled(values: tuple[float, ...]) -> Interval:
    """Kept, as several parts of a report ask for the same."""
    return interval(np.asarray(values, np.float64), lambda means: means)


def gain(better: Mapping[int, float], worse: Mapping[int, float], *, higher_is_better: bool) -> Gain:
    """By how much the values of `better` (by prompt) are better than those of `worse`, over the prompts of both."""
    both = sorted(better.keys() & worse.keys())
    sign = 1 if higher_is_better else -1
    return Gain(mean([sign * (better[prompt] - worse[prompt]) for prompt in both]), len(both))


def ranks(means: Mapping[str, float], *, higher_is_better: bool) -> dict[str, int]:
    """The rank of each name, 1 for the best. Equal values share the better rank: 1, 2, 2, 4."""
    return {
        name: 1 + sum(other > value if higher_is_better else other < value for other in means.values())
        for name, value in means.items()
    }
