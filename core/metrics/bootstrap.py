"""Bootstrap confidence intervals over clips (Efron 1979, percentile method)."""

from __future__ import annotations

import math
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
        bounds = f"{self.low:.3g} to {self.high:.3g}" if self.is_known else "no interval"
        return f"{self.value:.3g} ({bounds})"

    @property
    def is_known(self) -> bool:
        """False for so few measurements that an interval would mislead: its bounds are NaN."""
        return math.isfinite(self.low) and math.isfinite(self.high)


def interval(by_clip: Values, statistic: Callable[[Values], Values]) -> Interval:
    """The value and 95 % interval of a figure computed from means over clips.

    `by_clip` [clips, ...]: measurements of each clip, averaged over seeds, as clips are what is resampled.
    `statistic`: means over clips [resamples, ...] -> the figure [resamples].
    """
    drawn = np.random.default_rng(_SEED).integers(len(by_clip), size=(_RESAMPLES, len(by_clip)))
    resampled = statistic(by_clip[drawn].mean(axis=1))
    low, high = np.percentile(resampled[np.isfinite(resampled)], [2.5, 97.5])
    return Interval(float(statistic(by_clip.mean(axis=0, keepdims=True))[0]), float(low), float(high))
