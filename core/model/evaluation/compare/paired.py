"""Methods compared by the videos that they made of the same prompts: means, paired differences, verdicts, ranks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from core.metrics.bootstrap import Interval, interval
from core.metrics.evaluation.means import FEWEST_FOR_INTERVAL

Verdict = Literal[
    "confirmed", "reverse", "not clear", "too few differ", "too few measured", "unequal training", "not measured"
]
FEWEST_PROMPTS = 6
"""Of prompts whose two values differ. Fewer decide nothing: all may agree by chance more often than 1 time in 20 (5
prompts: 2 / 2**5)."""
_MOST_LEFT_OUT = 0.2
"""Of the prompts of which both videos are finished. Where more lack the value, such as MAWE of a video that stands
still, the others are not all that the methods do."""
LEVEL = 0.05
"""A verdict needs a chance of at most this."""
_MOST_EXACT = 13
"""Prompts that differ up to which all patterns of signs are counted: 2**13 = 8192."""
_FLIPS = 10_000
_SEED = 0
_CLOSE = 1e-9
"""Sums of the same numbers in another order differ by less, as a share."""


@dataclass(frozen=True)
class Gain:
    """By how much one method is better than another."""

    interval: Interval | None
    """Mean over prompts with its 95 % interval, in the metric's unit, above 0 if the first is better; None if not
    measured."""
    prompts: int
    """Prompts of which both have a value."""
    differing: int
    """Of these, prompts whose two values differ."""
    chance: float | None
    """Of a mean as far from 0, or farther, if a coin decided which of a prompt's two values is whose; two-sided. None
    if not measured."""
    left_out: int = 0
    """Prompts of which both videos are finished, and one has no value."""

    @property
    def verdict(self) -> Verdict:
        """Whether the first is better: only what has a chance of at most LEVEL decides."""
        if self.interval is None or self.chance is None:
            return "not measured"
        if self.left_out > _MOST_LEFT_OUT * (self.prompts + self.left_out):
            return "too few measured"
        if self.differing < FEWEST_PROMPTS:
            return "too few differ"
        if self.chance > LEVEL:
            return "not clear"
        return "confirmed" if self.interval.value > 0 else "reverse"


NOTHING = Gain(None, 0, 0, None)
"""Of values that are not measured."""


def mean(values: Sequence[float]) -> Interval | None:
    """The mean with its 95 % interval (bootstrap over prompts). No bounds for fewer than FEWEST_FOR_INTERVAL values;
    None for none."""
    if len(values) < FEWEST_FOR_INTERVAL:
        return Interval(float(np.mean(values)), math.nan, math.nan) if values else None
    return _resampled(tuple(values))


@lru_cache(maxsize=4096)
def _resampled(values: tuple[float, ...]) -> Interval:
    """Kept, as several parts of a report ask for the same."""
    return interval(np.asarray(values, np.float64), lambda means: means)


def gain(
    better: Mapping[int, float], worse: Mapping[int, float], finished: int | None = None, *, higher_is_better: bool
) -> Gain:
    """By how much the values of `better` (by prompt) are better than those of `worse`, over the prompts of both.

    `finished`: prompts of which both videos are finished; None: all of them have the value.
    """
    both = sorted(better.keys() & worse.keys())
    sign = 1 if higher_is_better else -1
    differences = [sign * (better[prompt] - worse[prompt]) for prompt in both]
    if not differences:
        return NOTHING
    differing = sum(value != 0 for value in differences)
    left_out = (len(both) if finished is None else finished) - len(both)
    return Gain(mean(differences), len(both), differing, chance_of(tuple(differences)), left_out)


@lru_cache(maxsize=4096)
def chance_of(differences: tuple[float, ...]) -> float:
    """The chance of a mean as far from 0 as theirs, or farther, if each one's sign were a coin's: a permutation test of
    paired values, two-sided. Exact for few prompts, else by _FLIPS random flips, among which the given signs count.
    """
    values = np.asarray([value for value in differences if value != 0], np.float64)  # others have no sign to flip
    if not len(values):
        return 1.0
    if len(values) <= _MOST_EXACT:
        bits = np.arange(2 ** len(values))[:, None] >> np.arange(len(values)) & 1
        signs = 1 - 2 * bits
    else:
        drawn = np.random.default_rng(_SEED).integers(0, 2, size=(_FLIPS - 1, len(values)))
        signs = np.concatenate([np.ones((1, len(values)), np.int64), 1 - 2 * drawn])
    sums = np.abs(signs @ values)
    return float(np.mean(sums >= abs(values.sum()) - _CLOSE * np.abs(values).sum()))


def ranks(means: Mapping[str, float], *, higher_is_better: bool) -> dict[str, int]:
    """The rank of each name, 1 for the best. Equal values share the better rank: 1, 2, 2, 4."""
    return {
        name: 1 + sum(other > value if higher_is_better else other < value for other in means.values())
        for name, value in means.items()
    }
