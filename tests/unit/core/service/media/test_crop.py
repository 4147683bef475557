"""Images are cropped around the centre and resampled without aliasing."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from core.service.media.crop import crop_and_resize


def stripes(widths: dict[int, int], height: int) -> Image.Image:
    """Columns of grey: brightness -> how many."""
    row = np.concatenate([np.full(width, grey, np.uint8) for grey, width in widths.items()])
    return Image.fromarray(np.broadcast_to(row[None, :, None], (height, len(row), 3)).copy())


def greys(frame: NDArray[np.uint8]) -> list[int]:
    return [int(value) for value in frame[0, :, 0]]


def test_a_picture_of_the_right_size_is_left_as_it_is() -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (8, 12, 3), dtype=np.uint8)
    assert np.array_equal(crop_and_resize(Image.fromarray(pixels), 8, 12), pixels)


def test_the_sides_of_a_wide_picture_are_cut_alike() -> None:
    assert greys(crop_and_resize(stripes({10: 4, 20: 4, 30: 4}, 4), 4, 4)) == [20] * 4


def test_top_and_bottom_of_a_tall_picture_are_cut_alike() -> None:
    tall = stripes({10: 4, 20: 4, 30: 4}, 4).transpose(Image.Transpose.ROTATE_270)
    assert np.unique(crop_and_resize(tall, 4, 4)).tolist() == [20]


def test_shrinking_takes_the_mean_of_each_area() -> None:
    fine = Image.fromarray(np.tile(np.array([[0, 200], [200, 0]], np.uint8)[..., None], (8, 8, 3)))
    assert np.unique(crop_and_resize(fine, 8, 8)).tolist() == [100]


def test_enlarging_is_smooth() -> None:
    enlarged = greys(crop_and_resize(stripes({50: 2, 200: 2}, 4), 16, 16))
    assert len(set(enlarged)) > 6
    assert max(np.diff(enlarged)) < 50


def test_pixels_that_are_not_square_count_as_wide_as_they_are_shown() -> None:
    assert greys(crop_and_resize(stripes({10: 8, 20: 16, 30: 8}, 32), 8, 8, Fraction(2))) == [20] * 8
    assert set(greys(crop_and_resize(stripes({10: 2, 20: 4, 30: 2}, 8), 4, 8, Fraction(2)))) == {10, 20, 30}
