"""Figures of the first frames of a video, in one pass: how stable they are over its length."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from core.metrics.video.metric import Metric, VideoMetrics
from core.model.evaluation.compare.published import prefixes as published_prefixes
from core.service.domain.engine import FrameHWC
from core.service.domain.frame_plan import CHUNK_FRAMES

NAMES = ("mawe_v2", "mawe_v1", "mawe_code", "warp_error", "ofs", "scuts", "clip_score", "tower_score")
"""Values that are also of prefixes."""


@dataclass(frozen=True)
class Measured:
    """A whole video, and its prefixes."""

    whole: VideoMetrics
    prefixes: Mapping[int, Mapping[str, float | int | None]]
    """Values by number of frames and name."""


def prefix_lengths(num_frames: int) -> list[int]:
    """The lengths of the paper, and the whole; of a video that does not reach them all: the ends of its chunks."""
    published = list(published_prefixes().frames)
    lengths = published if num_frames >= published[-1] else range(2 * CHUNK_FRAMES, num_frames, CHUNK_FRAMES)
    return sorted({*lengths, num_frames})


def measure_prefixes(
    frames: Iterable[FrameHWC], metrics: Sequence[Metric], num_frames: int, flow: str | None
) -> Measured:
    """Give each frame to all metrics, and ask them for their values after each prefix."""
    lengths = set(prefix_lengths(num_frames))
    prefixes: dict[int, dict[str, float | int | None]] = {}
    done = 0
    for frame in frames:
        done += 1
        for metric in metrics:
            metric.add(frame)
        if done in lengths:
            prefixes[done] = {name: value for name, value in _values(metrics).items() if name in NAMES}
    whole = VideoMetrics(
        num_frames=done,
        values=_values(metrics),
        curves={name: curve for metric in metrics for name, curve in metric.curves().items()},
        notes=[note for metric in metrics for note in metric.notes()],
        flow=flow,
    )
    return Measured(whole, prefixes)


def _values(metrics: Sequence[Metric]) -> dict[str, float | int | None]:
    return {name: value for metric in metrics for name, value in metric.values().items()}
