"""The two pictures of a video in a report, taken while it is measured: a contact sheet, and an x-t slice.

Memory: a few dozen small frames, however long the video is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from core.service.domain.engine import FrameHWC
from core.service.video.contact_sheet import as_jpeg, spritesheet

SHEET_FRAMES, _SHEET_COLUMNS, _SHEET_SIDE = 16, 8, 160
_MOST_SLICE_COLUMNS, _SLICE_HEIGHT = 512, 192


@dataclass(frozen=True)
class Pictures:
    """JPEG files."""

    sheet: bytes
    """SHEET_FRAMES frames, evenly spaced from the first to the last; fewer of a shorter video."""
    slice: bytes
    """One row of pixels of each frame side by side, time to the right."""


class PictureTaker:
    """Takes the pictures of one video, of which the number of frames is known."""

    def __init__(self, num_frames: int) -> None:
        self._chosen = {round(place) for place in np.linspace(0, num_frames - 1, min(num_frames, SHEET_FRAMES))}
        self._every = -(-num_frames // _MOST_SLICE_COLUMNS)
        self._frames: list[FrameHWC] = []
        self._rows: list[FrameHWC] = []
        self._seen = 0

    def add(self, frame: FrameHWC) -> None:
        """The next frame."""
        if self._seen in self._chosen:
            self._frames.append(_small(frame))
        if self._seen % self._every == 0:
            row = frame[frame.shape[0] // 2][:, None]
            size = (1, min(_SLICE_HEIGHT, len(row)))
            self._rows.append(np.asarray(Image.fromarray(row).resize(size, Image.Resampling.BOX)))
        self._seen += 1

    def pictures(self) -> Pictures:
        """Of all frames that were added, at least one."""
        sheet = spritesheet(self._frames, columns=_SHEET_COLUMNS, side=_SHEET_SIDE, gap=2)
        return Pictures(sheet, as_jpeg(Image.fromarray(np.concatenate(self._rows, axis=1))))


def _small(frame: FrameHWC) -> FrameHWC:
    """At most twice as large as it will be shown, so that a sheet needs little memory."""
    picture = Image.fromarray(frame)
    picture.thumbnail((2 * _SHEET_SIDE, 2 * _SHEET_SIDE), Image.Resampling.BOX)
    return np.asarray(picture)
