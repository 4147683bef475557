"""Seams: does a video move at the borders of its windows as it moves inside them?"""

from __future__ import annotations

import math
from dataclasses import dataclass

from core.metrics.video.moments import Moments
from core.service.domain.frame_plan import CHUNK_FRAMES, NEW_FRAMES_PER_WINDOW


@dataclass(frozen=True)
class Borders:
    """Where the windows of a video begin, or whatever else it is made of one after another.

    At the frames `first`, `first + step`, `first + 2 * step` and so on, counted from 0.

    Raises ValueError below 1.
    """

    first: int
    step: int

    def __post_init__(self) -> None:
        if self.first < 1 or self.step < 1:
            raise ValueError(f"Windows begin at whole frames from 1 on, not at {self.first} and every {self.step}.")

    def begins(self, frame: int) -> bool:
        """Whether a window, other than the video's first, begins with this frame."""
        return frame >= self.first and (frame - self.first) % self.step == 0

    def __str__(self) -> str:
        return f"every {self.step} frames from {self.first} on"


WINDOW_BORDERS = Borders(CHUNK_FRAMES, NEW_FRAMES_PER_WINDOW)
"""Of StreamingT2V: every 8 frames from 16 on."""


class Seams:
    """The seam score, and the deviation of the whole video's motion.

    m_t: the mean length of the flow from frame t - 1 to frame t, in pixels. B: the frames that begin a window; I: all
    other frames but the first.

    - `score`: sqrt(mean over B of (m_t - mean_I)^2) / sqrt(mean over I of (m_t - mean_I)^2), where mean_I is the mean
      of m_t over I. From 0; 1 where borders move like any other pair of frames; no unit. Deviations are from the
      inside's mean, not from the borders' own, so that a jump or a halt that is the same at every border counts in
      full.
    - `flow_std`: standard deviation of m_t over all frames but the first, pixels; from 0. The refinement table of
      arXiv 2403.14773v2 (section 9): 8.72 for independent chunks, 6.01 with shared noise, 3.32 with randomized
      blending, of the authors' flow.
    """

    def __init__(self, borders: Borders | None) -> None:
        self._borders = borders
        self._all, self._at_borders, self._inside = Moments(), Moments(), Moments()

    def add(self, frame: int, motion: float) -> None:
        """m_t of the pair whose second frame is this one, counted from 0."""
        self._all.add(motion)
        at_border = self._borders is not None and self._borders.begins(frame)
        (self._at_borders if at_border else self._inside).add(motion)

    @property
    def flow_std(self) -> float:
        return self._all.std

    @property
    def score(self) -> float | None:
        """None with a `reason`."""
        if self.reason is not None:
            return None
        off = self._at_borders.mean - self._inside.mean
        return math.sqrt(self._at_borders.variance + off**2) / self._inside.std

    @property
    def reason(self) -> str | None:
        """Why there is no score."""
        if self._borders is None:
            return "where windows begin is not known"
        if self._at_borders.count == 0:
            return "the video has no border between windows"
        if self._inside.std == 0:
            return "the motion inside windows never changes, or is of fewer than two pairs of frames"
        return None
