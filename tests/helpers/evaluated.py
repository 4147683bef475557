"""Small video files with known content for tests of `longtake evaluate`."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from core.metrics.evaluation.inputs import Source
from core.metrics.evaluation.look import Stamp
from core.metrics.evaluation.results import FileFacts, Measured, StoredCurve
from core.metrics.evaluation.run import Video

HEIGHT, WIDTH = 48, 64


def pan(path: Path, num_frames: int = 24, *, speed: int = 2, seed: int = 0, times: Sequence[int] | None = None) -> Path:
    """A texture that moves `speed` pixels to the right each frame, 12 frames a second. `times`: of the frames, in
    twelfths of a second."""
    texture = (np.random.default_rng(seed).random((HEIGHT // 8, WIDTH // 8, 3)) * 255).astype(np.uint8)
    texture = texture.repeat(8, axis=0).repeat(8, axis=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=12)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(num_frames):
            frame = av.VideoFrame.from_ndarray(np.roll(texture, number * speed, axis=1), "rgb24")
            frame.pts, frame.time_base = (times[number] if times else number), Fraction(1, 12)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def still(path: Path, num_frames: int) -> Path:
    """One picture of 32x32 pixels, without loss, 12 frames a second."""
    picture = (np.random.default_rng(0).random((32, 32, 3)) * 255).astype(np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=12)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "bgr0"
        for number in range(num_frames):
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 12)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def facts(
    sha256: str = "0",
    num_frames: int = 24,
    width: int = WIDTH,
    fps: float = 12,
    varies: bool = False,
    missing_frames: int = 0,
) -> FileFacts:
    """Of a file that nobody has written."""
    return FileFacts(
        sha256=sha256,
        size_bytes=1,
        num_frames=num_frames,
        width=width,
        height=HEIGHT,
        fps=fps,
        varies=varies,
        missing_frames=missing_frames,
    )


def video(name: str, prompt: str | None = None, **of_file: object) -> Video:
    """A video that was looked at; by default each name has bytes of its own."""
    found = facts(**{"sha256": name, **of_file})  # type: ignore[arg-type]
    return Video(Source(name, Path(name), prompt), found, Stamp(0, 1, 0))


def measured(
    flow: str | None = "dis",
    model: str | None = None,
    curve: Sequence[float | None] = (1.0, 2.0),
    **values: float | None,
) -> Measured:
    """With `values` that all come from `flow` and `model`, and a curve of each."""
    return Measured(
        values=dict(values),
        flows=dict.fromkeys(values, flow) if flow else {},
        models=dict.fromkeys(values, model) if model else {},
        curves={name: StoredCurve(step=1, values=tuple(curve)) for name in values},
        notes=(),
    )
