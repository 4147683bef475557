"""Videos stored exactly: H.264 of RGB without loss, in Matroska. Written and read with a chunk in memory at most.

Browsers do not play it; what people watch is the service's own kind of MP4 beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.error import FFmpegError

from core.service.domain.engine import FrameHWC, FramesTHWC
from core.service.domain.frame_plan import CHUNK_FRAMES
from core.service.video.decode import VideoUnreadable
from core.service.video.final_video import join_chunks
from core.service.video.segments import encode_chunk


def write_exact(parts: Iterable[FramesTHWC], fps: int | Fraction, file: Path) -> Iterator[FramesTHWC]:
    """Pass parts of a video through, and store their frames as they are. The file is whole when all are taken."""
    with av.open(str(file), "w", format="matroska") as container:
        stream = container.add_stream("libx264rgb", rate=fps)
        codec = stream.codec_context
        codec.options = {"qp": "0", "preset": "veryfast"}
        codec.pix_fmt = "rgb24"
        number = 0
        for part_THWC in parts:
            if number == 0:
                codec.height, codec.width = part_THWC.shape[1:3]
            for frame_HWC in part_THWC:
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame_HWC), format="rgb24")
                frame.pts, frame.time_base = number, 1 / Fraction(fps)
                container.mux(stream.encode(frame))
                number += 1
            yield part_THWC
        container.mux(stream.encode(None))


def read_exact(file: Path) -> Iterator[FrameHWC]:
    """The frames of a video, one after the other. Raises VideoUnreadable."""
    try:
        with av.open(str(file)) as container:
            for frame in container.decode(video=0):
                yield frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)
    except FFmpegError as error:
        raise VideoUnreadable(f"{file} cannot be read: {error.strerror}.") from error


def write_playable(parts: Iterable[FramesTHWC], fps: int | Fraction, file: Path) -> int:
    """Store a video for people, visually lossless; returns the number of its frames.

    Raises FramesNotEncodable for frames with odd sides, VideoUnreadable for a video without frames.
    """
    done = 0

    def chunks() -> Iterator[bytes]:
        nonlocal done
        for index, frames_THWC in enumerate(_rechunked(parts)):
            yield encode_chunk(frames_THWC, fps, index, done).data
            done += len(frames_THWC)

    join_chunks(chunks(), file)
    return done


def _rechunked(parts: Iterable[FramesTHWC]) -> Iterator[FramesTHWC]:
    """The same frames in chunks of 16; the last may be shorter."""
    waiting: list[FrameHWC] = []
    for part_THWC in parts:
        waiting += list(part_THWC)
        while len(waiting) >= CHUNK_FRAMES:
            yield np.stack(waiting[:CHUNK_FRAMES])
            del waiting[:CHUNK_FRAMES]
    if waiting:
        yield np.stack(waiting)
