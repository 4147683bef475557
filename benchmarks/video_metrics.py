"""Seconds that the metrics of any video take (core/metrics/video), decoding included, and where they go."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.figures import Figure
from core.metrics.video.all_metrics import cheap_metrics
from core.metrics.video.flow import DIS
from core.metrics.video.frames import VideoFile
from core.metrics.video.metric import Curve, Metric, VideoMetrics
from core.metrics.video.metric import measure as measure_video
from core.metrics.video.seams import WINDOW_BORDERS
from core.service.domain.engine import FrameHWC
from core.service.video.final_video import join_chunks
from core.service.video.segments import encode_chunk

FPS = 10
CHUNK = 16
_STEP = 3
"""Pixels by which the picture moves from frame to frame."""


@dataclass(frozen=True)
class Scale:
    """How much is measured."""

    num_frames: int = 240
    """Whole chunks."""
    size: int = 720
    target_seconds: float | None = 45
    """For two cores; None: there is no target for this scale."""


class Timed:
    """A metric, and the seconds that its frames took."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric
        self.seconds = 0.0

    @property
    def name(self) -> str:
        return type(self._metric).__name__

    def add(self, frame: FrameHWC) -> None:
        began = time.perf_counter()
        self._metric.add(frame)
        self.seconds += time.perf_counter() - began

    def values(self) -> Mapping[str, float | int | None]:
        return self._metric.values()

    def curves(self) -> Mapping[str, Curve]:
        return self._metric.curves()

    def notes(self) -> Sequence[str]:
        return self._metric.notes()


def measure(say: Callable[[str], None], scale: Scale = Scale()) -> list[Figure]:
    """All metrics of a file of square frames."""
    title = f"metrics of {scale.num_frames} frames of {scale.size}x{scale.size}"
    say(title)
    with tempfile.TemporaryDirectory(prefix="longtake-bench-") as folder:
        path = Path(folder) / "video.mp4"
        join_chunks(_encoded(scale), path)
        began, cpu_began = time.perf_counter(), time.process_time()
        with VideoFile(path) as video:
            timed = [Timed(metric) for metric in cheap_metrics(video.fps, scale.size, WINDOW_BORDERS)]
            result = measure_video(video, timed, DIS)
        seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu_began
    assert result.num_frames == scale.num_frames
    rest = [("decoding", seconds - sum(metric.seconds for metric in timed))]
    parts = [(metric.name, metric.seconds) for metric in timed] + rest
    return [
        Figure(
            f"{title}, flow {DIS}",
            round(seconds, 1),
            "s",
            scale.target_seconds,
            note=f"a file whose picture moves by {_STEP} pixels a frame; measured: {_ofs_text(result)}",
        ),
        Figure("CPU time of this process", round(cpu_seconds, 1), "s"),
        *(Figure(f"of this {name}, a frame", round(1000 * part / scale.num_frames, 1), "ms") for name, part in parts),
    ]


def _ofs_text(result: VideoMetrics) -> str:
    ofs = result.values["ofs"]
    return "no OFS" if ofs is None else f"OFS {ofs:.2f}"


def _encoded(scale: Scale) -> Iterator[bytes]:
    """Chunks of the video."""
    frames = _frames(scale)
    for index in range(scale.num_frames // CHUNK):
        yield encode_chunk(np.stack(list(islice(frames, CHUNK))), FPS, index, index * CHUNK).data


def _frames(scale: Scale) -> Iterator[FrameHWC]:
    """A camera over coloured blots."""
    size, width = scale.size, scale.size + _STEP * scale.num_frames
    blots = np.random.default_rng(0).integers(0, 256, (size // 12, width // 12, 3), dtype=np.uint8)
    world = np.asarray(Image.fromarray(blots).resize((width, size), Image.Resampling.BICUBIC))
    for number in range(scale.num_frames):
        yield world[:, number * _STEP : number * _STEP + size]
