"""Fits pictures to a preset's size: centre crop, then one resampling. Knows no files."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from PIL import Image

from core.service.domain.engine import FrameHWC


def crop_and_resize(picture: Image.Image, height: int, width: int, pixel_aspect: Fraction = Fraction(1)) -> FrameHWC:
    """`picture` (RGB) as height x width pixels, the most of its middle that has this shape.

    Shrinking takes the mean of the area under each pixel (no aliasing), enlarging is bicubic. `pixel_aspect` is the
    width of one of the picture's pixels over its height: those of old video formats are not square.
    """
    box = _middle(picture.width, picture.height, Fraction(width, height) / pixel_aspect)
    shrinks = box[2] - box[0] >= width and box[3] - box[1] >= height
    resampling = Image.Resampling.BOX if shrinks else Image.Resampling.BICUBIC
    return np.asarray(picture.resize((width, height), resampling, box=box), dtype=np.uint8)


def _middle(width: int, height: int, aspect: Fraction) -> tuple[float, float, float, float]:
    """Left, top, right, bottom of the largest box of width/height `aspect` in the middle of a picture."""
    box_width = min(Fraction(width), height * aspect)
    box_height = box_width / aspect
    left, top = (width - box_width) / 2, (height - box_height) / 2
    return float(left), float(top), float(left + box_width), float(top + box_height)
