"""What is measured of jobs whose times are known, simulated or real. Times are seconds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from benchmarks.scheduling.workload import PLAYED_SECONDS


def jain(values: Sequence[float]) -> float:
    """Jain's fairness index, (sum x)^2 / (n * sum x^2): 1 if all are equal, 1/n if one has all. 1 if all are 0."""
    squares = sum(value * value for value in values)
    return sum(values) ** 2 / (len(values) * squares) if squares else 1.0


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that so many percent of all values (at least one) do not exceed."""
    return sorted(values)[max(0, math.ceil(percent / 100 * len(values)) - 1)]


def stalls(committed_at: Sequence[float], played_seconds: float = PLAYED_SECONDS) -> tuple[int, float]:
    """How often a viewer had to wait, and how long in all, who began with the first chunk, watches each chunk for
    `played_seconds`, and goes on as soon as a late chunk is there."""
    seen_at, count, seconds = committed_at[0] + played_seconds, 0, 0.0
    for at in committed_at[1:]:
        if (late := at - seen_at) > 1e-9:
            count, seconds = count + 1, seconds + late
        seen_at = max(seen_at, at) + played_seconds
    return count, seconds


def fairness(served: Mapping[str, float], shares: Mapping[str, float]) -> float:
    """Jain's index of served seconds divided by share (1 if there is none)."""
    return jain([seconds / shares.get(owner, 1.0) for owner, seconds in served.items()])
