"""Rotates and mirrors frames by a video's display matrix.

Phones store the sensor's picture with a matrix for display: a rotation, and for front cameras a reflection.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_MATRIX = struct.Struct("=9i")
"""a b u / c d v / x y w of ISO/IEC 14496-12, section 6.2.2, in native byte order, as FFmpeg gives it."""
_RIGHT_ANGLE_TOLERANCE = math.radians(1)


@dataclass(frozen=True)
class Orientation:
    """One of the eight orientations: transpose first, then mirror and flip."""

    transposed: bool = False
    mirrored: bool = False
    upside_down: bool = False
    exact: bool = True
    """False if the matrix does not rotate by a multiple of 90 degrees; this is the nearest then."""

    def applied(self, picture_HWC: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """`picture_HWC` as it is to be displayed; contiguous."""
        if self.transposed:
            picture_HWC = picture_HWC.swapaxes(0, 1)
        rows, columns = (slice(None, None, -1 if flipped else 1) for flipped in (self.upside_down, self.mirrored))
        return np.ascontiguousarray(picture_HWC[rows, columns])


UPRIGHT = Orientation()


def orientation_of(matrix: bytes | None) -> Orientation:
    """The nearest of the eight orientations; upright without a matrix or with a degenerate one.

    A stored point (x, y) is shown at (a x + c y, b x + d y), y down.
    """
    if matrix is None or len(matrix) < _MATRIX.size:
        return UPRIGHT
    a, b, _, c, d, *_ = _MATRIX.unpack_from(matrix)
    straight, crossed = math.hypot(a, d), math.hypot(b, c)
    if not straight and not crossed:
        return UPRIGHT
    angle = math.atan2(min(straight, crossed), max(straight, crossed))
    exact = angle <= _RIGHT_ANGLE_TOLERANCE
    if crossed > straight:
        return Orientation(True, mirrored=c < 0, upside_down=b < 0, exact=exact)
    return Orientation(False, mirrored=a < 0, upside_down=d < 0, exact=exact)
