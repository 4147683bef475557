"""How many seeds and videos an experiment needs: parts of the variance of a paired difference, and its power.

Shapes: K seeds, N videos.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from core.metrics.bootstrap import Values
from core.model.evaluation.metrics.student import t_bound

_FURTHER = 0.84
"""Standard errors beyond the bound of the interval at which it excludes 0 with probability 0.8."""
_MOST = 1_000_000
"""More seeds or videos are as good as no number."""


@dataclass(frozen=True)
class VarianceParts:
    """Variance of a figure measured with several seeds on the same videos."""

    seeds: float | None
    """Between trainings; None: one seed does not show it."""
    videos: float
    """Between videos; with one seed, that of single measurements."""
    rest: float
    """Of single measurements, when seed and video are accounted for."""

    def of_mean(self, seeds: int, videos: int) -> float:
        """Variance of the mean over this many seeds and videos."""
        return (self.seeds or 0.0) / seeds + self.videos / videos + self.rest / (seeds * videos)

    def degrees_of_freedom(self, seeds: int, videos: int) -> float:
        """Of the estimate of that variance (Satterthwaite 1946), at least the smaller number of units minus 1.

        It is a sum of the mean squares of seeds, of videos and (negative) of the rest.
        """
        if self.seeds is None:
            return videos - 1
        of_seeds, of_videos = videos * self.seeds + self.rest, seeds * self.videos + self.rest
        spread = of_seeds**2 / (seeds - 1) + of_videos**2 / (videos - 1) + self.rest**2 / ((seeds - 1) * (videos - 1))
        least = float(min(seeds, videos) - 1)
        return max(least, (of_seeds + of_videos - self.rest) ** 2 / spread) if spread > 0 else least

    def excludes_0(self, mean: float, seeds: int, videos: int) -> bool:
        """Whether the interval of this mean over as many seeds and videos excludes 0 with probability 0.8."""
        deviations = t_bound(self.degrees_of_freedom(seeds, videos)) + _FURTHER
        return abs(mean) >= deviations * math.sqrt(self.of_mean(seeds, videos))


def variance_parts(values_KN: Values) -> VarianceParts:
    """Estimates from the mean squares of a two-way layout with random effects; negative ones are set to 0.

    Needs two videos or more, and no missing values.
    """
    seeds, videos = values_KN.shape
    assert videos > 1, "one video has no variance"
    if seeds == 1:
        return VarianceParts(None, float(values_KN.var(ddof=1)), 0.0)
    by_seed_K, by_video_N = values_KN.mean(axis=1), values_KN.mean(axis=0)
    rest_KN = values_KN - by_seed_K[:, None] - by_video_N + values_KN.mean()
    rest = float((rest_KN**2).sum()) / ((seeds - 1) * (videos - 1))
    return VarianceParts(
        max(0.0, float(by_seed_K.var(ddof=1)) - rest / videos),
        max(0.0, float(by_video_N.var(ddof=1)) - rest / seeds),
        rest,
    )


@dataclass(frozen=True)
class ExperimentSize:
    """Sizes at which the interval of an effect as observed would exclude 0 with probability 0.8."""

    seeds: int | None
    """With the same videos; None: no number is enough."""
    videos: int | None
    """With the same seeds; None: no number is enough."""
    both: tuple[int, int] | None
    """Seeds and videos in the same ratio; None: no number is enough."""


def required_size(values_KN: Values) -> ExperimentSize | None:
    """The size that the observed mean and variance require.

    None for a mean of 0, which no experiment excludes, and for one seed, which does not show the variance of training.
    """
    seeds, videos = values_KN.shape
    mean, parts = float(values_KN.mean()), variance_parts(values_KN)
    if mean == 0 or parts.seeds is None:
        return None

    def videos_of(number: int) -> int:
        return max(2, math.ceil(number * videos / seeds))

    both = _least(lambda number: parts.excludes_0(mean, number, videos_of(number)))
    return ExperimentSize(
        _least(lambda number: parts.excludes_0(mean, number, videos)),
        _least(lambda number: parts.excludes_0(mean, seeds, number)),
        None if both is None else (both, videos_of(both)),
    )


def _least(is_enough: Callable[[int], bool]) -> int | None:
    """The smallest number from 2 on that is enough, as all larger ones are; None if there is none."""
    enough = 2
    while not is_enough(enough):
        enough *= 2
        if enough > _MOST:
            return None
    return bisect.bisect_left(range(enough), True, lo=min(enough, max(2, enough // 2)), key=is_enough)


def complete_videos(values_KN: Values) -> Values:
    """The columns without missing values."""
    return values_KN[:, np.isfinite(values_KN).all(axis=0)]
