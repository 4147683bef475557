"""Images become upright RGB; too large, animated or damaged ones are refused before decoding."""

from __future__ import annotations

import io
import struct
import tracemalloc
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.service.domain.engine import FrameHWC
from core.service.domain.errors import MediaError, MediaTooLarge, MediaTypeRefused, MediaUnreadable
from core.service.domain.schema import JobWarning
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


DISPLAY_P3 = ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407))
"""X, Y, Z of red, green and blue under D50, as phones embed them."""
P3_TO_SRGB = np.array([[1.2249, -0.2247, 0.0], [-0.0420, 1.0419, 0.0], [-0.0197, -0.0786, 1.0979]])


def profile(primaries: tuple[tuple[float, float, float], ...] = DISPLAY_P3) -> bytes:
    """An ICC profile of these primaries with gamma 2.2 (ICC.1:2001-04)."""

    def xyz(values: tuple[float, float, float]) -> bytes:
        return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(value * 65536) for value in values))

    gamma = b"curv\0\0\0\0" + struct.pack(">IHxx", 1, round(2.2 * 256))
    tags = {b"wtpt": xyz((0.9642, 1.0, 0.8249))}
    tags |= {name + b"XYZ": xyz(of) for name, of in zip((b"r", b"g", b"b"), primaries, strict=True)}
    tags |= {name + b"TRC": gamma for name in (b"r", b"g", b"b")}
    start, index, data = 132 + 12 * len(tags), b"", b""
    for name, content in tags.items():
        index += name + struct.pack(">II", start + len(data), len(content))
        data += content
    header = struct.pack(">I4sI4s4s4s", start + len(data), b"\0" * 4, 0x02400000, b"mntr", b"RGB ", b"XYZ ")
    header += bytes(12) + b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + index + data


@pytest.mark.parametrize("name", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_an_embedded_profile_is_applied(tmp_path: Path, name: str, mode: str) -> None:
    if (name, mode) == ("JPEG", "RGBA"):
        mode = "RGB"
    colour = (200, 100, 50, 255)[: len(mode)]
    frame = decoded(picture(colour, mode, format=name, icc_profile=profile()), tmp_path)
    light = P3_TO_SRGB @ ((np.array([200, 100, 50]) / 255) ** 2.2)
    expected = 255 * (1.055 * light ** (1 / 2.4) - 0.055)
    assert np.abs(frame[10, 20] - expected).max() <= 4
    assert np.abs(expected - [200, 100, 50]).max() > 10


def test_a_profile_that_cannot_be_read_is_left_out_and_said_so(tmp_path: Path) -> None:
    (tmp_path / "given").write_bytes(picture((200, 100, 50), icc_profile=b"no profile"))
    warnings = list[JobWarning]()
    frame = decode_image(tmp_path / "given", 1000, warn=warnings.append)
    assert frame[0, 0].tolist() == [200, 100, 50]
    assert [(warning.code, warning.field) for warning in warnings] == [("colour_profile_ignored", "image")]


@pytest.mark.parametrize("name", ["PNG", "JPEG", "WEBP"])
def test_damaged_exif_says_nothing(tmp_path: Path, name: str) -> None:
    assert decoded(picture((9, 9, 9), format=name, exif=b"Exif\0\0garbage"), tmp_path).shape == (20, 40, 3)
