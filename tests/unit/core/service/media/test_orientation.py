"""Display matrices other than the eight exact ones: the nearest is used. test_media_kinds.py has the eight."""

from __future__ import annotations

import math
import struct

import numpy as np
import pytest

from core.service.media.orientation import UPRIGHT, Orientation, orientation_of


def matrix(degrees: float, scale: float = 1.0, *, mirrored: bool = False) -> bytes:
    """Turns clockwise; mirrors first."""
    cosine, sine = (scale * part(math.radians(degrees)) for part in (math.cos, math.sin))
    flip = -1 if mirrored else 1
    parts = (flip * cosine, flip * sine, 0, -sine, cosine, 0, 0, 0, 0)
    return struct.pack("=9i", *(round(part * 65536) for part in parts[:8]), 1 << 30)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("quarter", [0, 90, 180, 270])
@pytest.mark.parametrize("off_by", [-44, -20, 20, 44])
def test_the_nearest_quarter_turn_is_taken(quarter: int, off_by: int, mirrored: bool) -> None:
    exact = orientation_of(matrix(quarter, mirrored=mirrored))
    rounded = orientation_of(matrix(quarter + off_by, mirrored=mirrored))
    assert exact.exact
    assert not rounded.exact
    seen = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    assert (exact.applied(seen) == rounded.applied(seen)).all()


def test_a_turn_of_less_than_a_degree_is_none() -> None:
    assert orientation_of(matrix(0.5)) == UPRIGHT


def test_scale_does_not_matter() -> None:
    assert orientation_of(matrix(90, 0.25)) == orientation_of(matrix(90)) == Orientation(transposed=True, mirrored=True)


@pytest.mark.parametrize("given", [None, b"", bytes(36), b"\x00" * 35])
def test_a_matrix_that_shows_nothing_is_none(given: bytes | None) -> None:
    assert orientation_of(given) == UPRIGHT
