"""Mean and variance of numbers that come one by one."""

from __future__ import annotations

import math


class Moments:
    """Welford's algorithm (1962): exact to rounding, also where the mean is large beside the deviation."""

    def __init__(self) -> None:
        self.count = 0
        self.mean = 0.0
        self._squares = 0.0

    def add(self, value: float) -> None:
        self.count += 1
        before = value - self.mean
        self.mean += before / self.count
        self._squares += before * (value - self.mean)

    @property
    def variance(self) -> float:
        """Of the numbers themselves (divided by their count); 0 without any."""
        return self._squares / self.count if self.count else 0.0

    @property
    def std(self) -> float:
        return math.sqrt(self.variance)
