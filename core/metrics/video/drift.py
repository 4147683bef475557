"""Drift of colour, contrast and sharpness from a video's first quarter to its last; repeated frames. numpy only."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from core.metrics.video.frames import shape_like_before
from core.metrics.video.metric import Curve
from core.metrics.video.trend import Trend, difference, doublings
from core.service.domain.engine import FrameHWC

LumaHW = NDArray[np.float32]
"""Brightness 0.299 R + 0.587 G + 0.114 B (Rec. 601), 0 to 255."""

DUPLICATE_DIFFERENCE = 0.001
"""Mean absolute difference of two frames, of the range, up to which they are the same to viewers: the noise that
FFmpeg's filter freezedetect tolerates unless told otherwise."""
SHARPNESS_FLOOR = 1.0
"""Grey levels squared: what is below counts as this much in drift and slope. Rounding to whole grey levels alone makes
20 / 12 = 1.7 (the sum of the Laplacian's squared weights times the variance of the rounding)."""
_LEAST_SIDE = 3


class Drift:
    """Last quarter against first, as means over the frames of each, and the slope over all frames.

    Of each frame, at its own size:
    - saturation: mean over pixels of (max - min) / max of R, G, B, 0 for black (HSV, Smith 1978); 0 to 1.
    - contrast: standard deviation of the luma over 255 (RMS contrast, Peli 1990); 0 to 0.5.
    - sharpness: variance of the luma's Laplacian with 4 neighbours over the pixels that have them (Pech-Pacheco et al.
      2000), grey levels squared; from 0. Noise counts as sharpness.

    Values:
    - `saturation_drift`, `contrast_drift`: last quarter minus first; -1 to 1, -0.5 to 0.5.
    - `sharpness_drift`: log2 of last quarter over first, either at least SHARPNESS_FLOOR: 0 for no drift, 1 for twice
      the sharpness, -1 for half. None if both are below.
    - `saturation_slope`, `contrast_slope`: least-squares slope, per 100 frames.
    - `sharpness_slope`: that of log2 of sharpness, likewise: doublings per 100 frames. None where there is no drift.
    - `duplicate_ratio`: share of the frames after the first that differ from the frame before by at most
      DUPLICATE_DIFFERENCE; 0 to 1.

    A drift is 0 for a video that stays as it is; a dissolve into another scene is drift, too.
    """

    def __init__(self) -> None:
        self._before: FrameHWC | None = None
        self._saturation, self._contrast, self._sharpness, self._log_sharpness = Trend(), Trend(), Trend(), Trend()
        self._duplicates = Trend(first=1)

    def add(self, frame: FrameHWC) -> None:
        """Raises ValueError if its size is not that of the frames before."""
        shape_like_before(frame, None if self._before is None else self._before.shape)
        luma = luma_of(frame)
        self._saturation.add(saturation(frame))
        self._contrast.add(float(luma.std(dtype=np.float64)) / 255)
        sharp = sharpness(luma)
        self._sharpness.add(sharp)
        self._log_sharpness.add(math.log2(max(sharp, SHARPNESS_FLOOR)))
        if self._before is not None:
            self._duplicates.add(float(_mean_difference(self._before, frame) <= DUPLICATE_DIFFERENCE * 255))
        # The caller may reuse its array for the next frame.
        self._before = frame.copy()

    def values(self) -> Mapping[str, float | int | None]:
        sharpness_drift = doublings(self._sharpness.quarters(), SHARPNESS_FLOOR)
        return {
            "saturation_drift": difference(self._saturation.quarters()),
            "saturation_slope": self._saturation.slope(),
            "contrast_drift": difference(self._contrast.quarters()),
            "contrast_slope": self._contrast.slope(),
            "sharpness_drift": sharpness_drift,
            "sharpness_slope": None if sharpness_drift is None else self._log_sharpness.slope(),
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
        if self._before is None or sharp is None:
            return ["Drift and repeated frames need a video of two frames or more."]
        if min(self._before.shape[:2]) < _LEAST_SIDE:
            return ["Sharpness needs frames of 3x3 pixels or more."]
        if max(sharp) < SHARPNESS_FLOOR:
            return ["There is no sharpness drift: the frames of the first quarter and of the last are flat."]
        if min(sharp) < SHARPNESS_FLOOR:
            where = "first" if sharp[0] < SHARPNESS_FLOOR else "last"
            return [f"The frames of the {where} quarter are flat: sharpness drift takes them as {SHARPNESS_FLOOR:g}."]
        return []


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
    if min(luma.shape) < _LEAST_SIDE:
        return 0.0
    middle = luma[1:-1, 1:-1]
    laplacian = luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:] - 4 * middle
    return float(laplacian.var(dtype=np.float64))


def _mean_difference(first: FrameHWC, second: FrameHWC) -> float:
    """Mean absolute difference, grey levels."""
    return float(np.abs(np.subtract(second, first, dtype=np.int16)).mean(dtype=np.float64))
