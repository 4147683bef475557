"""Confidence intervals of means over seeds and videos: Student's t with the variance of both levels.

Resampling three seeds would understate them: a resample of two seeds is one of the extremes once in nine times.

Shapes: K seeds, N videos.
"""

from __future__ import annotations

import math

import numpy as np

from core.metrics.bootstrap import Interval, Values
from core.model.evaluation.metrics.power import complete_videos, variance_parts
from core.model.evaluation.metrics.student import t_bound


def two_level_interval(values_KN: Values) -> Interval:
    """The mean and 95 % interval of a figure of the same videos made with several seeds; NaN where it does not apply.

    The variance is that of seeds, of videos and of the rest; its degrees of freedom are Satterthwaite's (1946). Videos
    with a missing value count in the mean only. With one seed the interval is over videos alone; of one video it is
    over seeds alone; of a single measurement it is not known (NaN).
    """
    applies_KN = np.isfinite(values_KN)
    mean, seeds = float(values_KN[applies_KN].mean()), len(values_KN)
    complete_KN = complete_videos(values_KN)
    if complete_KN.shape[1] > 1:
        parts = variance_parts(complete_KN)
        videos = max(2, int(applies_KN.sum()) // seeds)
        variance, freedom = parts.of_mean(seeds, videos), parts.degrees_of_freedom(seeds, videos)
    else:
        # Too few videos to tell the parts apart.
        by_seed = [
            float(row[applies].mean()) for row, applies in zip(values_KN, applies_KN, strict=True) if any(applies)
        ]
        variance = float(np.var(by_seed, ddof=1)) / len(by_seed) if len(by_seed) > 1 else math.nan
        freedom = max(1.0, len(by_seed) - 1.0)
    half = t_bound(freedom) * math.sqrt(variance)
    return Interval(mean, mean - half, mean + half)
