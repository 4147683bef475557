"""Bootstrap confidence intervals over clips, or over seeds and clips (Efron 1979, percentile method).

Shapes: K seeds, N clips, R resamples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]

_RESAMPLES = 10_000
_SEED = 0


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3g} ({self.low:.3g} to {self.high:.3g})"


def interval(by_clip: Values, statistic: Callable[[Values], Values]) -> Interval:
    """The value and 95 % interval of a figure computed from means over clips.

    `by_clip` [clips, ...]: measurements of each clip, averaged over seeds, as clips are what is resampled.
    `statistic`: means over clips [resamples, ...] -> the figure [resamples].
    """
    drawn = np.random.default_rng(_SEED).integers(len(by_clip), size=(_RESAMPLES, len(by_clip)))
    resampled = statistic(by_clip[drawn].mean(axis=1))
    low, high = np.percentile(resampled[np.isfinite(resampled)], [2.5, 97.5])
    return Interval(float(statistic(by_clip.mean(axis=0, keepdims=True))[0]), float(low), float(high))


def two_level_interval(values_KN: Values) -> Interval:
    """The mean and 95 % interval of a figure of the same clips made with several seeds; NaN where it does not apply.

    A resample draws seeds and clips with replacement, independently, because all seeds make the same clips (Owen 2007).
    It draws K - 1 of K seeds: drawing K would understate the variance between seeds by the factor (K - 1) / K, a third
    for three (McCarthy and Snowden 1985). With one seed only clips are drawn.
    """
    seeds, clips = values_KN.shape
    rng = np.random.default_rng(_SEED)
    seed_counts_RK = _counts(rng, seeds, max(1, seeds - 1))
    clip_counts_RN = _counts(rng, clips, clips)
    applies_KN = np.isfinite(values_KN)
    totals_R = ((seed_counts_RK @ np.where(applies_KN, values_KN, 0.0)) * clip_counts_RN).sum(axis=1)
    numbers_R = ((seed_counts_RK @ applies_KN) * clip_counts_RN).sum(axis=1)
    drawn_R = numbers_R > 0
    low, high = np.percentile(totals_R[drawn_R] / numbers_R[drawn_R], [2.5, 97.5])
    return Interval(float(values_KN[applies_KN].mean()), float(low), float(high))


def _counts(rng: np.random.Generator, units: int, drawn: int) -> Values:
    """How often each unit is drawn in each resample, [R, units]."""
    return rng.multinomial(drawn, np.full(units, 1 / units), size=_RESAMPLES).astype(np.float64)
