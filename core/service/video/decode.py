"""Decodes video bytes, files or URLs (also HLS playlists) to frames, all in memory."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from av.error import FFmpegError
from av.video.reformatter import VideoReformatter

from core.service.domain.engine import FramesTHWC
from core.service.domain.errors import LongtakeError

# Otherwise FFmpeg starts a live playlist three chunks before its end. Other formats ignore the option.
_FROM_THE_START = {"live_start_index": "0"}


class VideoUnreadable(LongtakeError):
    """The video cannot be read."""

    code = "video_unreadable"


def decode_frames(source: bytes | Path | str) -> FramesTHWC:
    """All frames of a video: uint8 RGB [frames, height, width, 3]. A str is a URL; a live playlist is read to its end.

    Raises VideoUnreadable, also if there are no frames.
    """
    try:
        frames = [*_frames(source)]
    except FFmpegError as error:
        raise VideoUnreadable(f"The video cannot be read: {error.strerror}.") from error
    if not frames:
        raise VideoUnreadable("The video has no frames.")
    return np.stack(frames)


def _frames(source: bytes | Path | str) -> Iterator[FramesTHWC]:
    opened = io.BytesIO(source) if isinstance(source, bytes) else str(source)
    with av.open(opened, mode="r", options=_FROM_THE_START) as container:
        reformatter = VideoReformatter()
        for frame in container.decode(video=0):
            yield reformatter.reformat(frame, format="rgb24", threads=1).to_ndarray().astype(np.uint8, copy=False)
