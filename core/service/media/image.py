"""Decodes an image file to an upright RGB picture with Pillow, after checking its size."""

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
"""Formats in which further pictures are an animation; in a JPEG they are previews and depth maps."""
_BACKGROUND = (255, 255, 255, 255)
"""Background of transparent pixels: white, as on a page; on black, dark text would vanish."""

_PROFILED_MODES = frozenset({"RGB", "RGBA", "CMYK", "L"})
"""Modes that colour profiles are applied to; palettes are rarely of another gamut than sRGB."""

_PILLOW_ERRORS = (OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, struct.error, zlib.error)
"""Raised by Pillow on damaged files; UnidentifiedImageError is an OSError."""


def decode_image(path: Path, max_pixels: int, *, warn: Warn = ignore_warning) -> FrameHWC:
    """The picture of a PNG, JPEG or WebP file: uint8 [height, width, 3], sRGB, upright by EXIF, composited over white.

    Raises MediaTooLarge (from the header, before decoding), MediaTypeRefused for animations, MediaUnreadable for a
    damaged or truncated file. `warn` receives `colour_profile_ignored` for an unreadable colour profile.
    """
    with _translated_errors(max_pixels), Image.open(path, formats=_FORMATS) as image:
        if image.width * image.height > max_pixels:
            raise _too_large(f"{image.width} x {image.height}", max_pixels)
        if image.format in _ANIMATED_FORMATS and getattr(image, "n_frames", 1) > 1:
            raise MediaTypeRefused("the image is an animation", fix="give a still image, or a video in `video`")
        image.load()
        return np.asarray(_over_white(_upright(_in_srgb(_eight_bit(image), warn))), dtype=np.uint8)


def _eight_bit(image: Image.Image) -> Image.Image:
    """Convert 16-bit grey to 8-bit; Pillow would clip it. 16-bit colours are read as 8-bit already."""
    if not image.mode.startswith("I"):
        return image
    grey = Image.fromarray((np.asarray(image, dtype=np.int64) >> 8).clip(0, 255).astype(np.uint8))
    grey.info = image.info
    return grey


def _in_srgb(image: Image.Image, warn: Warn) -> Image.Image:
    """Apply the embedded profile: phones use Display P3 and printers CMYK, whose colours are wrong without it."""
    profile: bytes | None = image.info.get("icc_profile")
    if not profile or image.mode not in _PROFILED_MODES:
        return image
    mode = "RGBA" if image.mode == "RGBA" else "RGB"
    try:
        embedded = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        return ImageCms.profileToProfile(image, embedded, ImageCms.createProfile("sRGB"), outputMode=mode) or image
    except (ImageCms.PyCMSError, *_PILLOW_ERRORS):
        message = "the image's colour profile cannot be read; its colours are taken as sRGB"
        warn(JobWarning(code="colour_profile_ignored", message=message, field=MediaKind.IMAGE))
        return image


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except _PILLOW_ERRORS:  # ignore damaged EXIF; the picture itself is intact
        return image


def _over_white(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, _BACKGROUND), layer).convert("RGB")


@contextmanager
def _translated_errors(max_pixels: int) -> Generator[None]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns about unusual metadata
            yield
    except Image.DecompressionBombError as error:
        raise _too_large("far more", max_pixels) from error
    except _PILLOW_ERRORS as error:
        raise MediaUnreadable("the image is damaged or cut off", fix="give a whole PNG, JPEG or WebP file") from error


def _too_large(pixels: str, max_pixels: int) -> MediaTooLarge:
    return MediaTooLarge(f"the image has {pixels} pixels; {max_pixels} are allowed", fix="scale it down")
