"""Seconds that the metrics of any video take (core/metrics/video), decoding included, and where they go."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.figures import Figure
from core.metrics.video.all_metrics import cheap_metrics
from core.metrics.video.flow import DIS
from core.metrics.video.frames import VideoFile
from core.metrics.video.metric import Curve, Metric
from core.metrics.video.metric import measure as measure_video
from core.metrics.video.seams import WINDOW_BORDERS
from core.service.domain.engine import FrameHWC
from core.service.video.final_video import join_chunks
from core.service.video.segments import encode_chunk

NUM_FRAMES = 240
SIZE = 720
FPS = 10
CHUNK = 16
TARGET_SECONDS = 45
"""For two cores."""
_STEP = 3
"""Pixels by which the picture moves from frame to frame."""


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


def measure(say: Callable[[str], None]) -> list[Figure]:
    """All metrics of a file of NUM_FRAMES frames at SIZE x SIZE."""
    say(f"metrics of {NUM_FRAMES} frames of {SIZE}x{SIZE}")
    with tempfile.TemporaryDirectory(prefix="longtake-bench-") as folder:
        path = Path(folder) / "video.mp4"
        join_chunks(_encoded(), path)
        began, cpu_began = time.perf_counter(), time.process_time()
        with VideoFile(path) as video:
            timed = [Timed(metric) for metric in cheap_metrics(video.fps, SIZE, WINDOW_BORDERS)]
            result = measure_video(video, timed, DIS)
        seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu_began
    assert result.num_frames == NUM_FRAMES
    ofs = result.values["ofs"]
    rest = [("decoding", seconds - sum(metric.seconds for metric in timed))]
    parts = [(metric.name, metric.seconds) for metric in timed] + rest
    return [
        Figure(
            f"metrics of {NUM_FRAMES} frames of {SIZE}x{SIZE}, flow {DIS}",
            round(seconds, 1),
            "s",
            TARGET_SECONDS,
            note=f"a file whose picture moves by {_STEP} pixels a frame; measured: {ofs}",
        ),
        Figure("CPU time of this process", round(cpu_seconds, 1), "s"),
        *(Figure(f"of this {name}, a frame", round(1000 * part / NUM_FRAMES, 1), "ms") for name, part in parts),
    ]


def _encoded() -> Iterator[bytes]:
    """Chunks of the video."""
    frames = _frames()
    for index in range(NUM_FRAMES // CHUNK):
        yield encode_chunk(np.stack(list(islice(frames, CHUNK))), FPS, index, index * CHUNK).data


def _frames() -> Iterator[FrameHWC]:
    """A camera over coloured blots."""
    width = SIZE + _STEP * NUM_FRAMES
    blots = np.random.default_rng(0).integers(0, 256, (SIZE // 12, width // 12, 3), dtype=np.uint8)
    world = np.asarray(Image.fromarray(blots).resize((width, SIZE), Image.Resampling.BICUBIC))
    for number in range(NUM_FRAMES):
        yield world[:, number * _STEP : number * _STEP + SIZE]
