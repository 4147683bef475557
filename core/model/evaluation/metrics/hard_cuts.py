"""Hard cuts of a clip in memory (core.metrics.video.cuts counts them)."""

from __future__ import annotations

from core.metrics.video.cuts import HardCuts
from core.metrics.video.metric import measure
from core.service.domain.engine import FramesTHWC


def count_cuts(frames_thwc: FramesTHWC, fps: float) -> int | None:
    """Number of cuts in RGB frames; None if the detector is not installed."""
    count = measure(frames_thwc, [HardCuts(fps)]).values["scuts"]
    return None if count is None else int(count)
