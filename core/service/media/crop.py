"""Centre crop to an aspect ratio, then one resampling to a preset's size."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from PIL import Image

from core.service.domain.engine import FrameHWC


def crop_and_resize(picture: Image.Image, height: int, width: int, pixel_aspect: Fraction = Fraction(1)) -> FrameHWC:
    """The largest centred crop of `picture` (RGB) with this aspect ratio, resized: uint8 [height, width, 3].

    Shrinking averages the area under each pixel (no aliasing); enlarging is bicubic. `pixel_aspect` is the width of a
    pixel over its height: in old video formats it is not 1.
    """
    box = _middle(picture.width, picture.height, Fraction(width, height) / pixel_aspect)
    shrinks = box[2] - box[0] >= width and box[3] - box[1] >= height
    resampling = Image.Resampling.BOX if shrinks else Image.Resampling.BICUBIC
    return np.asarray(picture.resize((width, height), resampling, box=box), dtype=np.uint8)


def _middle(width: int, height: int, aspect: Fraction) -> tuple[float, float, float, float]:
    """Left, top, right, bottom of the largest centred box with width/height `aspect`."""
    box_width = min(Fraction(width), height * aspect)
    box_height = box_width / aspect
    left, top = (width - box_width) / 2, (height - box_height) / 2
    return float(left), float(top), float(left + box_width), float(top + box_height)
