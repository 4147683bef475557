"""Percentiles of measured values, and fairness between those who share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that so many percent of all values (at least one) do not exceed (nearest rank): one that was
    measured, never one between two. Of n values every percentile above 100 * (1 - 1/n) is the largest: p99 says more
    than the maximum from 100 values on. Raises IndexError for no values."""
    return sorted(values)[max(0, math.ceil(percent / 100 * len(values)) - 1)]


def jain(values: Sequence[float]) -> float:
    """Jain's fairness index, (sum x)^2 / (n * sum x^2), of values >= 0: 1 if all are equal, 1/n if one has all. 1 if
    all are 0. No unit; the unit of the values does not matter.

    Source: R. Jain, D. Chiu, W. Hawe, A Quantitative Measure of Fairness and Discrimination for Resource Allocation in
    Shared Computer Systems, DEC-TR-301, 1984."""
    squares = sum(value * value for value in values)
    return sum(values) ** 2 / (len(values) * squares) if squares else 1.0


@dataclass(frozen=True)
class Spread:
    """How values are spread: nearest-rank percentiles, in the unit of the values."""

    count: int
    p50: float
    p95: float
    p99: float
    max: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread | None:
        """None of no values."""
        if not values:
            return None
        p50, p95, p99 = (percentile(values, percent) for percent in (50, 95, 99))
        return cls(len(values), p50, p95, p99, max(values))
