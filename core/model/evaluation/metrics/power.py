"""How many seeds and videos an experiment needs: parts of the variance of a paired difference, and its power.

Shapes: K seeds, N videos.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from core.model.evaluation.metrics.bootstrap import Values

_DEVIATIONS = 1.96 + 0.84
"""Standard errors from 0 at which a 95 % interval excludes 0 with probability 0.8, for a normal distribution."""


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
    """Sizes at which an effect as observed would exclude 0 with probability 0.8 (normal approximation)."""

    seeds: int | None
    """With the same videos; None: no number is enough."""
    videos: int | None
    """With the same seeds; None: no number is enough."""
    both: tuple[int, int]
    """Seeds and videos, both larger by the same factor."""


def required_size(values_KN: Values) -> ExperimentSize | None:
    """The size that the observed mean and variance require; None for a mean of 0, which no experiment excludes."""
    seeds, videos = values_KN.shape
    mean, parts = float(values_KN.mean()), variance_parts(values_KN)
    if mean == 0:
        return None
    allowed = (mean / _DEVIATIONS) ** 2
    between_seeds = parts.seeds or 0.0
    # factor f: fixed / f + rest / f**2 = allowed
    fixed, rest = between_seeds / seeds + parts.videos / videos, parts.rest / (seeds * videos)
    factor = (fixed + math.sqrt(fixed**2 + 4 * allowed * rest)) / (2 * allowed)
    more_seeds = (
        None if parts.seeds is None else _count(parts.seeds + parts.rest / videos, allowed, parts.videos / videos)
    )
    more_videos = _count(parts.videos + parts.rest / seeds, allowed, between_seeds / seeds)
    return ExperimentSize(more_seeds, more_videos, (_ceil(seeds * factor), _ceil(videos * factor)))


def _count(each: float, allowed: float, fixed: float) -> int | None:
    """The smallest n with each / n + fixed <= allowed."""
    return _ceil(each / (allowed - fixed)) if allowed > fixed else None


def _ceil(number: float) -> int:
    """Rounded up, at least 1."""
    return max(1, math.ceil(number))


def complete_videos(values_KN: Values) -> Values:
    """The columns without missing values."""
    return values_KN[:, np.isfinite(values_KN).all(axis=0)]
