"""Time slices: one column of pixels of a video, frame after frame from left to right.

Motion gives smooth lines, which break at seams between windows. Marks below show where refinement windows begin.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from core.service.domain.engine import FramesTHWC
from core.service.domain.frame_plan import refinement_windows

ROW_HEIGHT_PIXELS = 256
_FRAME_PIXELS = 8
_MARGIN = 28
_LABEL_WIDTH = 110
_GAP = 18
_LABEL_SIZE = 17
_MARK_HEIGHT = 8
_PAPER, _INK, _MARK = (18, 20, 24), (238, 240, 243), (150, 156, 166)


def time_slices(videos: Sequence[FramesTHWC], labels: Sequence[str]) -> Image.Image:
    """One row per video (equal lengths, any size): its middle column over time, with `labels` beside the rows."""
    assert videos, "a picture has at least one row"
    num_frames = len(videos[0])
    width = 2 * _MARGIN + _LABEL_WIDTH + num_frames * _FRAME_PIXELS
    row_height = ROW_HEIGHT_PIXELS + _MARK_HEIGHT + _GAP
    picture = Image.new("RGB", (width, 2 * _MARGIN + len(videos) * row_height - _GAP), _PAPER)
    draw = ImageDraw.Draw(picture)
    for row, (frames_THWC, label) in enumerate(zip(videos, labels, strict=True)):
        top = _MARGIN + row * row_height
        font = ImageFont.load_default(_LABEL_SIZE)
        draw.text((_MARGIN, top + ROW_HEIGHT_PIXELS // 2), label, fill=_INK, font=font, anchor="lm")
        picture.paste(_slice(frames_THWC), (_MARGIN + _LABEL_WIDTH, top))
        for window in refinement_windows(num_frames):
            left = _MARGIN + _LABEL_WIDTH + window.first_frame * _FRAME_PIXELS
            draw.line((left, top + ROW_HEIGHT_PIXELS + 2, left, top + ROW_HEIGHT_PIXELS + _MARK_HEIGHT), fill=_MARK)
    return picture


def _slice(frames_THWC: FramesTHWC) -> Image.Image:
    """The middle column of every frame, resized without smoothing."""
    column_THC = frames_THWC[:, :, frames_THWC.shape[2] // 2]
    size = (len(frames_THWC) * _FRAME_PIXELS, ROW_HEIGHT_PIXELS)
    return Image.fromarray(np.ascontiguousarray(column_THC.transpose(1, 0, 2))).resize(size, Image.Resampling.NEAREST)
