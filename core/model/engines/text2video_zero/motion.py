"""The motion field: latents of frame 0, translated evenly from frame to frame (arXiv 2303.13439, section 3.3.1).

Beyond an edge the picture goes on mirrored, so that a video without end always shows something: after twice its width
the view is back where it began.

Shapes: F frames, C channels, H, W latent rows and columns.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_REFERENCE_SIDE = 512
"""Strengths are pixels of a video whose shorter side has so many."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Motion:
    """How far the view moves per frame, in pixels at a shorter side of 512: right (`x`) and down (`y`)."""

    x: float
    y: float
    bilinear: bool = False
    """Whether to interpolate between latents. As published, the nearest is taken."""


def moved(latents_1CHW: Tensor, frames: Sequence[int], motion: Motion) -> Tensor:
    """Latents of frame 0 as the frames with these indices see them, [F, C, H, W].

    At square sizes equal to diffusers' field. At others diffusers moves by a share of each side, so that the direction
    depends on the shape; here it does not.
    """
    height, width = latents_1CHW.shape[-2:]
    scale = min(height, width) / _REFERENCE_SIDE
    rows_FH = _sources(height, [index * motion.y * scale for index in frames], motion)
    columns_FW = _sources(width, [index * motion.x * scale for index in frames], motion)
    if not motion.bilinear:
        return _gathered(latents_1CHW, np.rint(rows_FH), np.rint(columns_FW))
    return _interpolated(latents_1CHW, rows_FH, columns_FW)


def _sources(side: int, shifts: list[float], motion: Motion) -> Floats:
    """Where along an axis each latent of each frame comes from, in [0, side - 1]: [F, side]."""
    # diffusers' grid is half a pixel of 512 off: it decides which of two equally near latents is taken.
    offset = 0.0 if motion.bilinear else -side / (2 * _REFERENCE_SIDE)
    at = np.arange(side)[None] + np.asarray(shifts, np.float64)[:, None] + offset
    around = (at + 0.5) % (2 * side)
    mirrored = np.where(around < side, around, 2 * side - around) - 0.5
    return mirrored.clip(0, side - 1)


def _interpolated(latents_1CHW: Tensor, rows_FH: Floats, columns_FW: Floats) -> Tensor:
    top, left = np.floor(rows_FH), np.floor(columns_FW)
    down = torch.from_numpy(rows_FH - top).to(latents_1CHW)[:, None, :, None]
    right = torch.from_numpy(columns_FW - left).to(latents_1CHW)[:, None, None, :]
    bottom = (top + 1).clip(max=latents_1CHW.shape[-2] - 1)
    beside = (left + 1).clip(max=latents_1CHW.shape[-1] - 1)
    upper = torch.lerp(_gathered(latents_1CHW, top, left), _gathered(latents_1CHW, top, beside), right)
    lower = torch.lerp(_gathered(latents_1CHW, bottom, left), _gathered(latents_1CHW, bottom, beside), right)
    return torch.lerp(upper, lower, down)


def _gathered(latents_1CHW: Tensor, rows_FH: Floats, columns_FW: Floats) -> Tensor:
    """The latents in these whole rows and columns, [F, C, H, W]."""
    rows = torch.from_numpy(rows_FH.astype(np.int64)).to(latents_1CHW.device)
    columns = torch.from_numpy(columns_FW.astype(np.int64)).to(latents_1CHW.device)
    picked_CFHW = latents_1CHW[0][:, rows[:, :, None], columns[:, None, :]]
    return picked_CFHW.transpose(0, 1).contiguous()
