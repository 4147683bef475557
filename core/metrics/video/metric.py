"""What a metric of a video is: it is given one frame after another, and says values and curves at the end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from core.service.domain.engine import FrameHWC

FlowHW2 = NDArray[np.float32]
"""Optical flow, float32, shape (height, width, 2): the (x, y) shift in pixels of each pixel of the first frame."""


class Flow(Protocol):
    """Optical flow between two frames of the same size."""

    @property
    def name(self) -> str:
        """Such as `dis` or `raft-large`. Values of different flows do not compare, so every result names its flow."""
        ...

    def __call__(self, first: FrameHWC, second: FrameHWC) -> FlowHW2:
        """From the first frame to the second."""
        ...


@dataclass(frozen=True)
class Fact:
    """What readers of a value must know."""

    title: str
    """As in a table's head: "MAWE (code)"."""
    meaning: str
    """One sentence, with the unit."""
    better: str | None = None
    """"lower" or "higher"; None where neither is better."""
    source: str = ""
    """Paper section, program or RFC."""
    decimals: int = 3


@dataclass(frozen=True)
class Curve:
    """A value over a video's frames, from the frame `first` on: the mean over each `step` frames."""

    step: int
    values: Sequence[float]
    first: int = 0
    """1 where a value is of a frame and the one before it, or of the later frames against frame 0."""


class Metric(Protocol):
    """One metric, or several that share their work, of one video."""

    def add(self, frame: FrameHWC) -> None:
        """The next frame. All frames of a video have one size."""
        ...

    def values(self) -> Mapping[str, float | int | None]:
        """By name, such as {"scuts": 0}. None where it says nothing of this video, with a reason in `notes`."""
        ...

    def curves(self) -> Mapping[str, Curve]:
        """By the name of the value that they show over time."""
        ...

    def notes(self) -> Sequence[str]:
        """Sentences: why a value is None, what a reader must know."""
        ...


@dataclass(frozen=True)
class VideoMetrics:
    """All that was measured of one video."""

    num_frames: int
    values: Mapping[str, float | int | None]
    curves: Mapping[str, Curve] = field(default_factory=dict[str, Curve])
    notes: Sequence[str] = ()
    flow: str | None = None
    """The name of the flow of all flow metrics among the values."""


def measure(frames: Iterable[FrameHWC], metrics: Sequence[Metric], flow: str | None = None) -> VideoMetrics:
    """Give each frame to all metrics: one pass over the video."""
    num_frames = 0
    for frame in frames:
        num_frames += 1
        for metric in metrics:
            metric.add(frame)
    return VideoMetrics(
        num_frames=num_frames,
        values={name: value for metric in metrics for name, value in metric.values().items()},
        curves={name: curve for metric in metrics for name, curve in metric.curves().items()},
        notes=[note for metric in metrics for note in metric.notes()],
        flow=flow,
    )
