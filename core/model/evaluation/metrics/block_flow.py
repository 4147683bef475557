"""Optical flow by block matching, without a network, and figures computed from it.

For every 8x8 block: the whole-pixel shift by at most 8 pixels each way with the smallest squared difference between
two frames. Figures of this flow compare with one another, not with those of RAFT.

Shapes: T frames, H, W pixel rows and columns, N = T-1 pairs of neighbouring frames, h, w blocks down and across.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from core.service.domain.engine import FramesTHWC

Floats = npt.NDArray[np.float32]

_BLOCK = 8
_SEARCH = 8
_COST_PER_PIXEL = 4.0
"""Mean squared difference, in grey levels squared, that a shift by one more pixel must save: flat blocks stay still."""
_MAWE_CONSTANT = 9.5
"""The constant c of MAWE (arXiv 2403.14773), fitted by its authors to their flow and frame size."""


@dataclass(frozen=True)
class FlowFigures:
    """One video."""

    magnitude: float
    """Mean length of the flow, pixels."""
    warp_error: float
    """Mean squared difference of each frame and the warped frame before it, grey levels squared."""

    @property
    def motion_aware_warp_error(self) -> float | None:
        """MAWE: the warp error relative to the amount of motion. None if nothing moves."""
        return self.warp_error / (_MAWE_CONSTANT * self.magnitude) if self.magnitude > 0 else None


def flow_figures(frames_thwc: FramesTHWC) -> FlowFigures:
    """Figures of a whole video: means over all pairs of neighbouring frames."""
    lengths, errors = match_blocks(frames_thwc)
    return FlowFigures(float(lengths.mean()), float(errors.mean()))


def flow_magnitudes(frames_thwc: FramesTHWC) -> Floats:
    """Mean length of the flow from each frame to the next [N], pixels."""
    return match_blocks(frames_thwc)[0].mean(axis=(1, 2), dtype=np.float32)


def match_blocks(frames_thwc: FramesTHWC) -> tuple[Floats, Floats]:
    """For every block of every frame but the first: length of its shift in pixels, and the remaining mean squared
    difference, both [N, h, w]. H and W must be multiples of 8.

    Blocks are also searched across the frame's edges, as the sprites world is a torus.
    """
    grey_thw = frames_thwc.astype(np.float32).mean(axis=-1, dtype=np.float32)
    shape = (len(grey_thw) - 1, grey_thw.shape[1] // _BLOCK, grey_thw.shape[2] // _BLOCK)
    best = np.full(shape, np.inf, np.float32)
    lengths, errors = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for length, shift in _shifts():
        moved = np.roll(grey_thw[:-1], shift, axis=(1, 2))
        # Blocks are those of the second frame.
        error = _block_means((moved - grey_thw[1:]) ** 2)
        cost = error + np.float32(_COST_PER_PIXEL * length)
        better = cost < best
        best = np.where(better, cost, best)
        errors = np.where(better, error, errors)
        lengths = np.where(better, np.float32(length), lengths)
    return lengths, errors


def _shifts() -> list[tuple[float, tuple[int, int]]]:
    """(length, (rows, columns)) of all shifts, the shortest first."""
    reach = range(-_SEARCH, _SEARCH + 1)
    return sorted((float(np.hypot(rows, columns)), (rows, columns)) for rows in reach for columns in reach)


def _block_means(values_thw: Floats) -> Floats:
    """[T, H, W] -> [T, H / 8, W / 8]."""
    frames, height, width = values_thw.shape
    blocks = values_thw.reshape(frames, height // _BLOCK, _BLOCK, width // _BLOCK, _BLOCK)
    return blocks.mean(axis=(2, 4), dtype=np.float32)
