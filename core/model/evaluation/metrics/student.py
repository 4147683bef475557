"""Quantiles of Student's t distribution, for any degrees of freedom."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

_POINTS = 20_001
_LIKE_NORMAL = 1e5
"""Degrees of freedom from which the distribution is normal in all digits shown."""


@lru_cache  # a report asks hundreds of times for a few of them
def t_bound(degrees_of_freedom: float, share: float = 0.95) -> float:
    """The t with P(|T| < t) = `share`, for 1 or more degrees of freedom.

    With t = sqrt(df) tan(angle) the density is proportional to cos(angle) ** (df - 1), which is summed numerically.
    """
    assert degrees_of_freedom >= 1, "the sum needs a finite density"
    freedom = min(degrees_of_freedom, _LIKE_NORMAL)
    # Beyond ten standard deviations nothing is left.
    angles = np.linspace(0, min(math.pi / 2, 10 / math.sqrt(freedom)) if freedom > 50 else math.pi / 2, _POINTS)
    density = np.cos(angles) ** (freedom - 1)
    sums = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    angle = float(np.interp(share * sums[-1], sums, angles))
    return math.sqrt(freedom) * math.tan(angle)
