"""Images become upright RGB; what is too large, moving or damaged is refused before it costs anything."""

from __future__ import annotations

import io
import tracemalloc
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.service.engine import FrameHWC
from core.service.errors import MediaError, MediaTooLarge, MediaTypeRefused, MediaUnreadable
from core.service.media.image import decode_image
from tests.helpers.clips import picture, png_bomb

ROTATE_TO_SHOW = 6
"""EXIF orientation: turn by 90 degrees clockwise in order to show."""


def decoded(data: bytes, folder: Path, max_pixels: int = 1_000_000) -> FrameHWC:
    (folder / "given").write_bytes(data)
    return decode_image(folder / "given", max_pixels)


@pytest.mark.parametrize(("name", "tolerance"), [("PNG", 0), ("JPEG", 3), ("WEBP", 3)])
def test_each_format_is_decoded(tmp_path: Path, name: str, tolerance: int) -> None:
    frame = decoded(picture((200, 100, 50), format=name), tmp_path)
    assert (frame.shape, frame.dtype) == ((20, 40, 3), np.uint8)
    assert np.abs(frame.astype(int) - [200, 100, 50]).max() <= tolerance


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = ROTATE_TO_SHOW
    upper_white = Image.new("RGB", (40, 20))
    upper_white.paste((255, 255, 255), (0, 0, 40, 10))
    buffer = io.BytesIO()
    upper_white.save(buffer, format="JPEG", exif=exif)
    frame = decoded(buffer.getvalue(), tmp_path)
    assert frame.shape == (40, 20, 3)
    assert frame[:, :8].mean() < 10
    assert frame[:, 12:].mean() > 245


@pytest.mark.parametrize(("mode", "colour"), [("RGBA", (255, 0, 0, 0)), ("LA", (0, 0))])
def test_transparency_lies_over_white(tmp_path: Path, mode: str, colour: tuple[int, ...]) -> None:
    assert np.unique(decoded(picture(colour, mode), tmp_path)).tolist() == [255]


def test_half_transparent_black_over_white_is_grey(tmp_path: Path) -> None:
    assert abs(int(decoded(picture((0, 0, 0, 128), "RGBA"), tmp_path)[0, 0, 0]) - 127) <= 1


def test_sixteen_bit_greys_keep_their_brightness(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.full((4, 4), 0x8000, dtype=np.uint16)).save(buffer, format="PNG")
    assert np.unique(decoded(buffer.getvalue(), tmp_path)).tolist() == [128]


def test_too_many_pixels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MediaTooLarge, match="40 x 20 pixels; 799 are allowed"):
        decoded(picture((1, 2, 3)), tmp_path, max_pixels=799)


@pytest.mark.parametrize("side", [8_000, 12_000, 60_000])
def test_a_decompression_bomb_costs_no_memory(tmp_path: Path, side: int) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(MediaTooLarge):
            decoded(png_bomb(side), tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 30_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["PNG", "WEBP"])
def test_animations_are_refused(tmp_path: Path, name: str) -> None:
    more = [Image.new("RGB", (40, 20), (0, 0, 9))]
    with pytest.raises(MediaTypeRefused, match="animation"):
        decoded(picture((1, 2, 3), format=name, save_all=True, append_images=more), tmp_path)


@pytest.mark.parametrize("name", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("part", [0.3, 0.9])
def test_files_that_are_cut_off_are_refused(tmp_path: Path, name: str, part: float) -> None:
    rng = np.random.default_rng(1)
    buffer = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(buffer, format=name)
    with pytest.raises(MediaUnreadable):
        decoded(buffer.getvalue()[: int(len(buffer.getvalue()) * part)], tmp_path)


@pytest.mark.parametrize("name", ["PNG", "JPEG", "WEBP"])
def test_damaged_files_are_read_or_refused_by_name(tmp_path: Path, name: str) -> None:
    rng = np.random.default_rng(2)
    whole = picture((200, 100, 50), "RGB", format=name)
    for _ in range(150):
        damaged = bytearray(whole)
        for position in rng.integers(0, len(whole), 3):
            damaged[position] = rng.integers(0, 256)
        with suppress(MediaError):
            assert decoded(bytes(damaged), tmp_path).shape[2] == 3


def test_other_formats_are_not_even_tried(tmp_path: Path) -> None:
    with pytest.raises(MediaUnreadable):
        decoded(picture((1, 2, 3), format="TIFF"), tmp_path)
