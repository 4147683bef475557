"""An image file to one upright RGB picture, by Pillow, measured before it is decoded. Knows no preset."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageOps

from core.service.domain.engine import FrameHWC
from core.service.domain.errors import MediaTooLarge, MediaTypeRefused, MediaUnreadable
from core.service.domain.media_types import MediaKind
from core.service.domain.schema import JobWarning
from core.service.media.decoded import Warn, ignore_warning

_FORMATS = ("PNG", "JPEG", "WEBP")
_ANIMATED_FORMATS = frozenset({"PNG", "WEBP"})
"""Formats whose further pictures are an animation. Those of a JPEG are previews and depth maps of the first."""
_BACKGROUND = (255, 255, 255, 255)
"""What shows through transparent pixels: white, as on a page. On black, dark lettering would vanish."""

_PROFILED_MODES = frozenset({"RGB", "RGBA", "CMYK", "L"})
"""What colour profiles are applied to; palettes are rarely of another gamut than sRGB."""

_PILLOW_ERRORS = (OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, struct.error, zlib.error)
"""What Pillow's readers raise on damaged files; UnidentifiedImageError is an OSError."""


def decode_image(path: Path, max_pixels: int, *, warn: Warn = ignore_warning) -> FrameHWC:
    """The picture in a PNG, JPEG or WebP file in sRGB, turned upright as its EXIF says, transparency over white.

    Raises MediaTooLarge (by its header, nothing is decoded), MediaTypeRefused for animations, MediaUnreadable where
    the file is damaged or cut off. `warn` hears of a colour profile that cannot be read: `colour_profile_ignored`.
    """
    with _named_errors(max_pixels), Image.open(path, formats=_FORMATS) as image:
        if image.width * image.height > max_pixels:
            raise _too_large(f"{image.width} x {image.height}", max_pixels)
        if image.format in _ANIMATED_FORMATS and getattr(image, "n_frames", 1) > 1:
            raise MediaTypeRefused("the image is an animation", fix="give a still image, or a video in `video`")
        image.load()
        return np.asarray(_over_white(_upright(_in_srgb(_eight_bit(image), warn))), dtype=np.uint8)


def _eight_bit(image: Image.Image) -> Image.Image:
    """16-bit greys as 8-bit ones; Pillow itself would clip them. 16-bit colours are read as 8-bit already."""
    if not image.mode.startswith("I"):
        return image
    grey = Image.fromarray((np.asarray(image, dtype=np.int64) >> 8).clip(0, 255).astype(np.uint8))
    grey.info = image.info
    return grey


def _in_srgb(image: Image.Image, warn: Warn) -> Image.Image:
    """Phones embed Display P3, printers CMYK: without their profile colours come out pale, or wrong."""
    profile: bytes | None = image.info.get("icc_profile")
    if not profile or image.mode not in _PROFILED_MODES:
        return image
    mode = "RGBA" if image.mode == "RGBA" else "RGB"
    try:
        given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        return ImageCms.profileToProfile(image, given, ImageCms.createProfile("sRGB"), outputMode=mode) or image
    except (ImageCms.PyCMSError, *_PILLOW_ERRORS):
        message = "the image's colour profile cannot be read; its colours are taken as sRGB"
        warn(JobWarning(code="colour_profile_ignored", message=message, field=MediaKind.IMAGE))
        return image


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except _PILLOW_ERRORS:  # damaged EXIF says nothing; the picture itself is whole
        return image


def _over_white(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, _BACKGROUND), layer).convert("RGB")


@contextmanager
def _named_errors(max_pixels: int) -> Generator[None]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's remarks about odd metadata are nobody's business
            yield
    except Image.DecompressionBombError as error:
        raise _too_large("far more", max_pixels) from error
    except _PILLOW_ERRORS as error:
        raise MediaUnreadable("the image is damaged or cut off", fix="give a whole PNG, JPEG or WebP file") from error


def _too_large(pixels: str, max_pixels: int) -> MediaTooLarge:
    return MediaTooLarge(f"the image has {pixels} pixels; {max_pixels} are allowed", fix="scale it down")
