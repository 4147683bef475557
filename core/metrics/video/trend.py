"""How a quantity changes over a video whose length is not known before its end."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from core.metrics.video.curves import CurveBuilder
from core.metrics.video.metric import Curve


class Trend:
    """Values one by one, kept as a curve of bounded size.

    The last quarter is known at the end only, and streams do not tell their length. So what is kept are means over
    equal steps: up to 513 values all of them, and the results are exact. Beyond that a step is at most 1/256 of the
    values, and where a quarter's end cuts a step, that step's mean counts in proportion.
    """

    def __init__(self, first: int = 0) -> None:
        """`first`: the frame of the first value."""
        self._builder = CurveBuilder(first)
        self._count = 0

    def add(self, value: float) -> None:
        self._builder.add(value)
        self._count += 1

    def curve(self) -> Curve:
        return self._builder.curve()

    def mean(self) -> float | None:
        """Of all values; None without any."""
        return self._mean(0, self._count) if self._count else None

    def quarters(self) -> tuple[float, float] | None:
        """Means of the first and of the last quarter of all values, floor(n / 4) but at least one; None below two."""
        if self._count < 2:
            return None
        length = max(1, self._count // 4)
        return self._mean(0, length), self._mean(self._count - length, self._count)

    def slope(self) -> float | None:
        """Least-squares slope per 100 values; None below two."""
        if self._count < 2:
            return None
        begins, ends, values = self._steps()
        weights, middles = ends - begins, (begins + ends) / 2
        offsets = middles - np.average(middles, weights=weights)
        return float(100 * np.sum(weights * offsets * values) / np.sum(weights * offsets**2))

    def _mean(self, begin: int, end: int) -> float:
        """Of the values [begin, end)."""
        begins, ends, values = self._steps()
        overlap = np.clip(np.minimum(ends, end) - np.maximum(begins, begin), 0, None)
        return float(np.average(values, weights=overlap))

    def _steps(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Of each step: the number of its first value, from 0, that after its last, and its mean."""
        curve = self.curve()
        begins = np.arange(len(curve.values), dtype=np.float64) * curve.step
        return begins, np.minimum(begins + curve.step, self._count), np.asarray(curve.values, dtype=np.float64)


def doublings(quarters: tuple[float, float] | None, floor: float) -> float | None:
    """log2 of last quarter over first: 0 for no change, 1 for twice as much, -1 for half.

    A quarter below `floor`, in the values' unit and above 0, counts as `floor`: what begins or ends at nothing has a
    value, too. None if there are no quarters or both are below.
    """
    if quarters is None or max(quarters) < floor:
        return None
    first, last = (max(quarter, floor) for quarter in quarters)
    return math.log2(last / first)


def difference(quarters: tuple[float, float] | None) -> float | None:
    """Last quarter minus first; None if there are none."""
    return None if quarters is None else quarters[1] - quarters[0]
