"""Small pictures of a video, made while its frames pass: a strip of frames, and an x-t slice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from core.service.domain.engine import FrameHWC, FramesTHWC

STRIP_SUFFIX, SLICE_SUFFIX = ".strip.jpg", ".slice.jpg"
_FRAMES = 8
_SIDE_PIXELS = 128
"""Height of both pictures."""
_SLICE_WIDTH_PIXELS = 8 * _SIDE_PIXELS


class Pictures:
    """Watches the frames of a video of `num_frames` frames."""

    def __init__(self, num_frames: int) -> None:
        self._shown = set(np.linspace(0, num_frames - 1, min(_FRAMES, num_frames)).round().astype(int).tolist())
        self._frames: list[FrameHWC] = []
        self._columns: list[FrameHWC] = []
        self._done = 0

    def watch(self, parts: Iterable[FramesTHWC]) -> Iterator[FramesTHWC]:
        """Pass parts of the video through."""
        for part_THWC in parts:
            for frame_HWC in part_THWC:
                if self._done in self._shown:
                    self._frames.append(frame_HWC.copy())
                self._columns.append(frame_HWC[:, frame_HWC.shape[1] // 2].copy())
                self._done += 1
            yield part_THWC

    def write(self, stem: Path) -> None:
        """Write <stem>.strip.jpg, evenly spaced frames from the first to the last, and <stem>.slice.jpg, the middle
        column of each frame from left to right."""
        strip = np.concatenate(self._frames, axis=1)
        _scaled(strip, strip.shape[1] * _SIDE_PIXELS // strip.shape[0]).save(stem.with_suffix(STRIP_SUFFIX), quality=88)
        _scaled(np.stack(self._columns, axis=1), _SLICE_WIDTH_PIXELS).save(stem.with_suffix(SLICE_SUFFIX), quality=88)


def _scaled(picture_HWC: FrameHWC, width: int) -> Image.Image:
    """Pixels of small pictures stay visible."""
    resampling = Image.Resampling.NEAREST if picture_HWC.shape[0] <= _SIDE_PIXELS else Image.Resampling.LANCZOS
    return Image.fromarray(picture_HWC).resize((max(1, width), _SIDE_PIXELS), resampling)
