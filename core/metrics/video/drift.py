"""Drift of colour, contrast and sharpness from a video's first quarter to its last; repeated frames. numpy only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from core.metrics.video.frames import shape_like_before
from core.metrics.video.metric import Curve
from core.metrics.video.trend import Trend, difference, relative_change
from core.service.domain.engine import FrameHWC

LumaHW = NDArray[np.float32]
"""Brightness 0.299 R + 0.587 G + 0.114 B (Rec. 601), 0 to 255."""

DUPLICATE_DIFFERENCE = 0.001
"""Mean absolute difference of two frames, of the range, up to which they are the same to viewers: the noise that
FFmpeg's filter freezedetect tolerates unless told otherwise."""


class Drift:
    """Last quarter against first, as means over the frames of each, and the slope over all frames.

    Of each frame, at its own size:
    - saturation: mean over pixels of (max - min) / max of R, G, B, 0 for black (HSV, Smith 1978); 0 to 1.
    - contrast: standard deviation of the luma over 255 (RMS contrast, Peli 1990); 0 to 0.5.
    - sharpness: variance of the luma's Laplacian with 4 neighbours over the pixels that have them (Pech-Pacheco et al.
      2000), grey levels squared; from 0. Noise counts as sharpness.

    Values:
    - `saturation_drift`, `contrast_drift`: last quarter minus first; -1 to 1, -0.5 to 0.5.
    - `sharpness_drift`: last quarter over first, minus 1; from -1. None if the first has none.
    - `saturation_slope`, `contrast_slope`: least-squares slope, per 100 frames.
    - `sharpness_slope`: that of sharpness over its first quarter's mean, per 100 frames.
    - `duplicate_ratio`: share of the frames after the first that differ from the frame before by at most
      DUPLICATE_DIFFERENCE; 0 to 1.

    A drift is 0 for a video that stays as it is; a dissolve into another scene is drift, too.
    """

    def __init__(self) -> None:
        self._before: FrameHWC | None = None
        self._saturation, self._contrast, self._sharpness, self._duplicates = Trend(), Trend(), Trend(), Trend()

    def add(self, frame: FrameHWC) -> None:
        """Raises ValueError if its size is not that of the frames before."""
        shape_like_before(frame, None if self._before is None else self._before.shape)
        luma = luma_of(frame)
        self._saturation.add(saturation(frame))
        self._contrast.add(float(luma.std(dtype=np.float64)) / 255)
        self._sharpness.add(sharpness(luma))
        if self._before is not None:
            self._duplicates.add(float(_mean_difference(self._before, frame) <= DUPLICATE_DIFFERENCE * 255))
        # The caller may reuse its array for the next frame.
        self._before = frame.copy()

    def values(self) -> Mapping[str, float | int | None]:
        sharp = self._sharpness.quarters()
        slope = self._sharpness.slope()
        return {
            "saturation_drift": difference(self._saturation.quarters()),
            "saturation_slope": self._saturation.slope(),
            "contrast_drift": difference(self._contrast.quarters()),
            "contrast_slope": self._contrast.slope(),
            "sharpness_drift": relative_change(sharp),
            "sharpness_slope": slope / sharp[0] if sharp and sharp[0] and slope is not None else None,
            "duplicate_ratio": self._duplicates.mean(),
        }

    def curves(self) -> Mapping[str, Curve]:
        """Of the drifts: saturation, contrast and sharpness themselves, frame by frame."""
        return {
            "saturation_drift": self._saturation.curve(),
            "contrast_drift": self._contrast.curve(),
            "sharpness_drift": self._sharpness.curve(),
            "duplicate_ratio": self._duplicates.curve(),
        }

    def notes(self) -> Sequence[str]:
        sharp = self._sharpness.quarters()
        if sharp is None:
            return ["Drift and repeated frames need a video of two frames or more."]
        return ["Sharpness drift is relative to the first quarter, whose frames are flat."] if sharp[0] == 0 else []


def luma_of(frame: FrameHWC) -> LumaHW:
    """Brightness as Rec. 601 weighs the channels."""
    red, green, blue = (frame[..., channel].astype(np.float32) for channel in range(3))
    return np.asarray(0.299 * red + 0.587 * green + 0.114 * blue, dtype=np.float32)


def saturation(frame: FrameHWC) -> float:
    """Mean HSV saturation, 0 to 1."""
    red, green, blue = frame[..., 0], frame[..., 1], frame[..., 2]
    largest = np.maximum(np.maximum(red, green), blue)
    smallest = np.minimum(np.minimum(red, green), blue)
    shares = (largest - smallest).astype(np.float32) / np.maximum(largest, 1)
    return float(shares.mean(dtype=np.float64))


def sharpness(luma: LumaHW) -> float:
    """Variance of the Laplacian, grey levels squared; 0 for frames below 3x3."""
    if min(luma.shape) < 3:
        return 0.0
    middle = luma[1:-1, 1:-1]
    laplacian = luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:] - 4 * middle
    return float(laplacian.var(dtype=np.float64))


def _mean_difference(first: FrameHWC, second: FrameHWC) -> float:
    """Mean absolute difference, grey levels."""
    return float(np.abs(np.subtract(second, first, dtype=np.int16)).mean(dtype=np.float64))
