"""Frames for tests of video files: each encodes its own number, so that a lost or doubled frame is found."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def numbered_frames(count: int, first_frame: int = 0, size: int = 64) -> npt.NDArray[np.uint8]:
    """`count` frames THWC whose grey level is a function of the frame's number, with a red square on them."""
    frames_THWC = np.empty((count, size, size, 3), np.uint8)
    for offset in range(count):
        frames_THWC[offset] = grey_of(first_frame + offset)
    frames_THWC[:, : size // 4, : size // 4] = (230, 20, 20)
    return frames_THWC


def grey_of(frame: int) -> int:
    """Neighbours differ by 40 levels or more: no encoder can mix them up."""
    return 30 + (frame % 5) * 45


def numbers_are_in_order(frames_THWC: npt.NDArray[np.uint8], first_frame: int = 0) -> bool:
    """Whether these are the numbered frames from `first_frame` on, none missing, none twice."""
    seen = frames_THWC[:, -16:, -16:].mean(axis=(1, 2, 3))
    wanted = np.array([grey_of(first_frame + offset) for offset in range(len(frames_THWC))])
    return bool(np.abs(seen - wanted).max() < 8)
