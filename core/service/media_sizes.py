"""Disk space that input media need on a CPU worker."""

from __future__ import annotations

import math
from collections.abc import Mapping

MEDIA_DISK_KEPT_FREE = 8
"""An eighth of `media_disk_bytes` is reserved for small files."""
SIZES_OF_MEDIA = frozenset({"max_image_bytes", "max_image_pixels", "max_video_bytes"})
"""Settings on which the space depends."""
_FRAMES_BYTES = 16 * 1920 * 1080 * 3
"""Decoded frames of a video at the size of a large preset."""


def largest_media(sizes: Mapping[str, int]) -> int:
    """Size of the largest file with its decoded pixels. `sizes`: settings by name, SIZES_OF_MEDIA among them."""
    image = sizes["max_image_bytes"] + 3 * sizes["max_image_pixels"]
    return max(image, sizes["max_video_bytes"] + _FRAMES_BYTES)


def check_media_disk(disk_bytes: int, sizes: Mapping[str, int]) -> None:
    """Raises ValueError if the largest file does not fit: it would be fetched again and again."""
    needed = math.ceil(largest_media(sizes) * MEDIA_DISK_KEPT_FREE / (MEDIA_DISK_KEPT_FREE - 1))
    if disk_bytes < needed:
        raise ValueError(
            f"{disk_bytes} bytes do not hold the largest image or video allowed; set {needed} or more, or lower "
            "LONGTAKE_MAX_VIDEO_BYTES, LONGTAKE_MAX_IMAGE_BYTES or LONGTAKE_MAX_IMAGE_PIXELS"
        )
