"""Looks into videos through PyAV, as a player would. Knows no service."""

from __future__ import annotations

import io
from dataclasses import dataclass

import av
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Probe:
    """What a player finds: frames decoded, codec, size in pixels, and each frame's time in seconds."""

    num_frames: int
    codec: str
    width: int
    height: int
    times: tuple[float, ...]


def frames_of(source: bytes | str) -> NDArray[np.uint8]:
    """All frames, THWC RGB uint8, of a file's bytes or an URL (also an HLS playlist's)."""
    with av.open(io.BytesIO(source) if isinstance(source, bytes) else source, mode="r") as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]).astype(np.uint8)


def probe(source: bytes | str) -> Probe:
    with av.open(io.BytesIO(source) if isinstance(source, bytes) else source, mode="r") as container:
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        times = tuple(round(float(frame.time or 0.0), 6) for frame in frames)
        context = stream.codec_context
        return Probe(len(frames), context.name, context.width, context.height, times)
