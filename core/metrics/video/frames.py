"""The frames of a video file, one by one, with what the file says of them; the size at which flow is measured."""

from __future__ import annotations

import importlib
import io
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from core.service.domain.engine import FrameHWC
from core.service.video.decode import VideoUnreadable

PUBLISHED_SIZE = 720
"""Height and width at which the StreamingT2V paper measures flow, whatever a video's shape is."""

_VARIES_BY = 0.1
"""Of the mean time between frames. Containers that count milliseconds change it by 3 % at 30 frames a second."""


def resize_as_published(frame: FrameHWC, size: int = PUBLISHED_SIZE) -> FrameHWC:
    """The frame as `size` x `size`, whatever its shape: bilinear, not antialiased, rounded to uint8 (half to even).

    As torchvision's resize does with antialias=False in mawe.py, but for values that float32 puts to the other side of
    a half: pixel centres at halves, edges continued. A frame of that size is returned as it is. Raises ImportError
    without OpenCV.
    """
    if frame.shape[:2] == (size, size):
        return frame
    cv2 = importlib.import_module("cv2")
    # In float32, because OpenCV's own uint8 path rounds the weights to 11 bits.
    resized = cv2.resize(frame.astype(np.float32), (size, size), interpolation=cv2.INTER_LINEAR)
    return np.rint(resized).astype(np.uint8)


def shape_like_before(frame: FrameHWC, before: tuple[int, ...] | None) -> tuple[int, ...]:
    """The frame's shape. Raises ValueError if it is no RGB picture of uint8, or not of the shape of those before."""
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or not frame.size:
        raise ValueError(f"A frame is uint8 [height, width, 3], not {frame.dtype} {list(frame.shape)}.")
    if before is not None and frame.shape != before:
        raise ValueError(
            f"A frame of {frame.shape[1]}x{frame.shape[0]} follows frames of {before[1]}x{before[0]}: "
            "all frames of a video have one size."
        )
    return frame.shape


class VideoFile:
    """A video file, open: `with VideoFile(path) as video: ... for frame in video: ...`.

    Frames are uint8 RGB [height, width, 3], turned upright as the file's rotation says, one in memory at a time. They
    are read once; a second time raises ValueError. Frames are numbered as they come: where their times vary, `varies`
    says so and nothing is repeated or left out. Transparency is ignored, and HDR is not mapped to SDR.
    """

    def __init__(self, source: Path | str | bytes) -> None:
        """A path, a URL (a string) or the file's bytes. Raises VideoUnreadable."""
        # FFmpeg takes what stands before a colon for a protocol, but not in an absolute path.
        path = str(source.absolute() if isinstance(source, Path) else source)
        opened = io.BytesIO(source) if isinstance(source, bytes) else path
        try:
            self._container: InputContainer = av.open(opened, mode="r")
        except (FFmpegError, OSError) as error:
            raise _unreadable(error) from error
        self.num_frames = 0
        """Frames that have been read so far."""
        self.rotation = 0
        """By how much frames are turned, as the file asks: degrees clockwise, 0, 90, 180 or 270; 0 until the first."""
        try:
            self._stream = self._video_stream()
            self.fps = self._rate()
            """Frames per second as the file says, its mean where it varies."""
        except VideoUnreadable:
            self._container.close()
            raise
        self._declared = self._num_declared()
        self._num_whole_packets = self._num_hidden = 0
        self._is_read = False
        self._times = _Times()

    def __enter__(self) -> VideoFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._container.close()

    @property
    def varies(self) -> bool:
        """Whether the time between the frames read so far varies by more than a tenth, and than rounding explains."""
        return self._times.vary

    @property
    def missing_frames(self) -> int:
        """After the last frame: how many more the file says that it has, as one does that was cut off on its way.

        0 where it does not say. Frames that it has and hides, as one does that was trimmed without coding it anew, are
        not missing.
        """
        if self._num_whole_packets >= self._declared:
            return 0
        return max(0, self._declared - self._num_hidden - self.num_frames)

    def __iter__(self) -> Iterator[FrameHWC]:
        """Raises VideoUnreadable: a damaged file, no frames, a size that changes."""
        if self._is_read:
            raise ValueError("The video was read already: open it again.")
        self._is_read = True
        shape: tuple[int, ...] | None = None
        try:
            for frame in self._decoded():
                if shape is not None and frame.shape != shape:
                    raise VideoUnreadable(
                        f"The video cannot be read: frame {self.num_frames} is {frame.shape[1]}x{frame.shape[0]}, "
                        f"those before are {shape[1]}x{shape[0]}."
                    )
                shape = frame.shape
                self.num_frames += 1
                yield frame
        except FFmpegError as error:
            raise _unreadable(error, self.num_frames) from error
        if shape is None:
            raise VideoUnreadable("The video has no frames.")

    def _video_stream(self) -> VideoStream:
        # The cover of an album is no video.
        streams = [
            stream for stream in self._container.streams.video if not stream.disposition & Disposition.attached_pic
        ]
        if not streams:
            raise VideoUnreadable("The file holds no video.")
        streams[0].thread_type = "AUTO"
        return streams[0]

    def _rate(self) -> float:
        rate = self._stream.average_rate or self._stream.guessed_rate
        if not rate or rate <= 0:
            raise VideoUnreadable("The video does not say how many frames it shows in a second.")
        return float(rate)

    def _num_declared(self) -> int:
        """Coded frames that can be read of a whole file; 0 where it does not say."""
        # MP4 counts those that its edit list leaves out; FFmpeg's index does not have them.
        if self._stream.frames and "mp4" in self._container.format.name:
            return len(self._stream.index_entries)
        return self._stream.frames

    def _decoded(self) -> Iterator[FrameHWC]:
        reformatter = VideoReformatter()
        for frame in self._coded():
            self._times.add(frame.pts)
            # The file may ask for any angle.
            self.rotation = round(-frame.rotation / 90) * 90 % 360
            picture: Any = reformatter.reformat(frame, format="rgb24", threads=1).to_ndarray()
            yield np.ascontiguousarray(np.rot90(picture, -(self.rotation // 90)), dtype=np.uint8)

    def _coded(self) -> Iterator[av.VideoFrame]:
        """Decoded frames as they are in the file. Counts what they were decoded from."""
        for packet in self._container.demux(self._stream):
            is_end = packet.dts is None and packet.size == 0
            self._num_whole_packets += not is_end and not packet.is_corrupt
            self._num_hidden += packet.is_discard
            yield from packet.decode()


class _Times:
    """The shortest and the longest time between two frames, and the mean, in ticks of the file's clock."""

    def __init__(self) -> None:
        self._last: int | None = None
        self._count = self._total = self._longest = 0
        self._shortest: int | None = None

    def add(self, time: int | None) -> None:
        """The time of the next frame, in ticks; None where the file has none."""
        if time is not None and self._last is not None:
            step = time - self._last
            self._count += 1
            self._total += step
            self._longest = max(self._longest, step)
            self._shortest = step if self._shortest is None else min(self._shortest, step)
        self._last = time

    @property
    def vary(self) -> bool:
        if self._shortest is None:
            return False
        # A file counts whole ticks, so times may be one tick off, unless ticks are as long as frames.
        rounding = 1 if self._shortest > 1 else 0
        return self._longest - self._shortest > max(rounding, _VARIES_BY * self._total / self._count)


def _unreadable(error: Exception, num_frames: int = 0) -> VideoUnreadable:
    reason = (getattr(error, "strerror", None) or str(error)).rstrip(".")
    after = f" after frame {num_frames - 1}" if num_frames else ""
    return VideoUnreadable(f"The video cannot be read{after}: {reason}.")
