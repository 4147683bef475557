"""Forward warping by optical flow, and the error that remains: as mawe.py of the published code computes them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.metrics.video.metric import FlowHW2
from core.service.domain.engine import FrameHWC

MAWE_CONSTANT = 9.5
"""The constant c of MAWE (arXiv 2403.14773v1), fitted by its authors to RAFT's flow at 720x720."""

_NOTHING = 0
_OPAQUE = 255


@dataclass(frozen=True)
class Warped:
    """A frame after its motion."""

    frame: FrameHWC
    """Holes are black."""
    holes: NDArray[np.bool_]
    """[height, width]: True where no pixel has come to lie."""


def forward_warp(frame: FrameHWC, flow: FlowHW2) -> Warped:
    """Move each pixel of a frame by its flow, to whole places.

    The pixel at (x, y) goes to (x + flow_x, y + flow_y), each rounded, halves to even. Pixels that leave the frame, or
    whose flow is not finite, are dropped. Where several meet, the last in raster order stays.

    `flow`: from this frame to the next. Raises ValueError if it has another size.
    """
    height, width = frame.shape[:2]
    if flow.shape != (height, width, 2):
        raise ValueError(f"The flow's shape is {flow.shape}; a frame of {width}x{height} needs {(height, width, 2)}.")
    # Red, green, blue and "something is here" in one number: one scatter moves all of them.
    pixels = np.full((height, width, 4), _OPAQUE, np.uint8)
    pixels[..., :3] = frame
    # The last place is for what is dropped.
    canvas = np.full(height * width + 1, _NOTHING, np.uint32)
    # numpy assigns in order, so of equal places the last counts.
    canvas[_places(flow)] = pixels.view(np.uint32).ravel()
    moved = canvas[:-1].view(np.uint8).reshape(height, width, 4)
    return Warped(np.ascontiguousarray(moved[..., :3]), moved[..., 3] == _NOTHING)


def _places(flow: FlowHW2) -> NDArray[np.intp]:
    """Where each pixel goes, as an index into the raster; height * width for those that are dropped."""
    height, width = flow.shape[:2]
    x = np.rint(np.arange(width, dtype=np.float32) + flow[..., 0])
    y = np.rint(np.arange(height, dtype=np.float32)[:, None] + flow[..., 1])
    # Compared before they become whole numbers: there is none for NaN, and those of huge floats wrap around.
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    with np.errstate(invalid="ignore"):
        places = y.astype(np.intp) * width + x.astype(np.intp)
    return np.where(inside, places, height * width).ravel()


def pair_error(second: FrameHWC, warped: Warped) -> float:
    """Mean squared difference between a frame and the frame before it, warped: over the pixels that are no hole, and 3
    channels; grey levels squared, 0 to 65025. 0 if all are holes, as published.
    """
    shown = int(warped.holes.size - np.count_nonzero(warped.holes))
    # int16 holds the differences, and float64 the sum of their squares exactly.
    differences = np.subtract(second, warped.frame, dtype=np.int16)
    differences[warped.holes] = 0
    flat = differences.ravel().astype(np.float64)
    return float(flat @ flat) / (3 * shown or flat.size)
