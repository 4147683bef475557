"""What is measured of jobs whose times are known, simulated or real. Times are seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.scheduling.workload import PLAYED_SECONDS
from core.metrics.delivery.spread import jain
from core.metrics.delivery.viewer import watch


def stalls(committed_at: Sequence[float], played_seconds: float = PLAYED_SECONDS) -> tuple[int, float]:
    """How often a viewer had to wait, and how long in all, who began with the first chunk, watches each chunk for
    `played_seconds`, and goes on as soon as a late chunk is there."""
    viewing = watch(committed_at, [played_seconds] * len(committed_at))
    return len(viewing.stalls), viewing.stalled_seconds


def fairness(served: Mapping[str, float], shares: Mapping[str, float]) -> float:
    """Jain's index of served seconds divided by share (1 if there is none)."""
    return jain([seconds / shares.get(owner, 1.0) for owner, seconds in served.items()])
