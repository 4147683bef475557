"""Optical flow without a network: of every 8x8 block, the whole-pixel shift by at most 8 pixels each way with the least
squared difference between two frames. And what it says of a video: how much moves, and how well motion explains change.

Figures of this flow compare with one another, not with those of RAFT. Knows frames only.

Shapes: T frames, H, W pixel rows and columns, N = T-1 pairs of neighbouring frames, h, w blocks down and across.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from core.model.evaluation.reader import Frames

Floats = npt.NDArray[np.float32]

_BLOCK = 8
_SEARCH = 8
_LEAST_GAIN = 4.0
"""A block moves a pixel further only for so much less squared difference per pixel, in grey levels: flat ones stand."""
_PAPERS_CONSTANT = 9.5
"""c of MAWE, fitted by its authors to their flow and size; kept so that the form is theirs."""


@dataclass(frozen=True)
class FlowFigures:
    """One video."""

    magnitude: float
    """Mean length of the flow, pixels."""
    warp_error: float
    """Mean squared difference of frames and the moved frames before them, grey levels squared."""

    @property
    def motion_aware_warp_error(self) -> float | None:
        """MAWE's form: what motion does not explain, over how much moves. None where nothing moves."""
        return self.warp_error / (_PAPERS_CONSTANT * self.magnitude) if self.magnitude > 0 else None


def flow_figures(frames_thwc: Frames) -> FlowFigures:
    """Of a whole video: means over all pairs, so that a pair that stands still weighs no more than another."""
    lengths, errors = match_blocks(frames_thwc)
    return FlowFigures(float(lengths.mean()), float(errors.mean()))


def flow_magnitudes(frames_thwc: Frames) -> Floats:
    """Mean length of the flow from each frame to the next [N], pixels."""
    return match_blocks(frames_thwc)[0].mean(axis=(1, 2), dtype=np.float32)


def match_blocks(frames_thwc: Frames) -> tuple[Floats, Floats]:
    """Of every block of every frame but the first: how far it came, pixels, and the mean squared difference left,
    both [N, h, w]. H and W must be multiples of 8.

    Blocks are sought across the picture's edge, too: the sprites world is a torus.
    """
    grey_thw = frames_thwc.astype(np.float32).mean(axis=-1, dtype=np.float32)
    shape = (len(grey_thw) - 1, grey_thw.shape[1] // _BLOCK, grey_thw.shape[2] // _BLOCK)
    best = np.full(shape, np.inf, np.float32)
    lengths, errors = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for length, shift in _shifts():
        moved = np.roll(grey_thw[:-1], shift, axis=(1, 2))
        # The mean over blocks of the frame that is arrived at.
        error = _block_means((moved - grey_thw[1:]) ** 2)
        cost = error + np.float32(_LEAST_GAIN * length)
        better = cost < best
        best = np.where(better, cost, best)
        errors = np.where(better, error, errors)
        lengths = np.where(better, np.float32(length), lengths)
    return lengths, errors


def _shifts() -> list[tuple[float, tuple[int, int]]]:
    """Shifts (rows, columns) with their lengths, the shortest first."""
    reach = range(-_SEARCH, _SEARCH + 1)
    return sorted((float(np.hypot(rows, columns)), (rows, columns)) for rows in reach for columns in reach)


def _block_means(values_thw: Floats) -> Floats:
    """[T, H, W] -> [T, H / 8, W / 8]."""
    frames, height, width = values_thw.shape
    blocks = values_thw.reshape(frames, height // _BLOCK, _BLOCK, width // _BLOCK, _BLOCK)
    return blocks.mean(axis=(2, 4), dtype=np.float32)
