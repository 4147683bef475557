"""The contact sheet shows every frame at its place; the thumbnail is a JPEG of the right size."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from core.service.video.contact_sheet import contact_sheet, spritesheet, thumbnail
from tests.helpers.pictures import numbered_frames

LABELS = ["chunk 0\nframes 0-15\nfrom 0.0 s", "chunk 1\nframes 16-16\nfrom 2.0 s"]
TITLE = "a red circle moving left over a striped background"


def plain_frames(count: int, height: int = 64, width: int = 64) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Frames of one colour each; no two frames of a chunk and no part of the paper share it."""
    frames_THWC = np.zeros((count, height, width, 3), np.uint8)
    for number in range(count):
        frames_THWC[number] = (200, number * 10, 77)
    return frames_THWC


def area_of(sheet: Image.Image, colour: tuple[int, int, int]) -> tuple[int, int, int, int] | None:
    """Left, top, right, bottom of what has this colour."""
    mask_HW = (np.asarray(sheet) == colour).all(axis=2)
    return Image.fromarray(mask_HW).getbbox()


def test_the_frames_of_a_row_stand_side_by_side_enlarged_by_a_whole_number() -> None:
    sheet = contact_sheet([plain_frames(16)], LABELS[:1], title=TITLE)

    areas = [area_of(sheet, (200, number * 10, 77)) for number in range(16)]
    assert all(area is not None and (area[2] - area[0], area[3] - area[1]) == (128, 128) for area in areas)
    lefts = [area[0] for area in areas if area is not None]
    assert lefts == sorted(lefts)


def test_every_chunk_has_a_row_also_the_last_short_one() -> None:
    one = contact_sheet([numbered_frames(16)], LABELS[:1], title=TITLE)
    two = contact_sheet([numbered_frames(16), plain_frames(1)], LABELS, title=TITLE)

    assert two.width == one.width
    last = area_of(two, (200, 0, 77))
    assert last is not None
    assert last[1] >= one.height - 40


@pytest.mark.parametrize(("height", "width"), [(64, 64), (32, 96), (256, 256), (720, 1280), (17, 200)])
def test_any_size_of_frame_fits(height: int, width: int) -> None:
    sheet = contact_sheet([np.full((16, height, width, 3), 255, np.uint8)], LABELS[:1], title=TITLE)

    assert 300 < sheet.width < 2600


def test_a_long_title_is_broken_between_words() -> None:
    short = contact_sheet([plain_frames(16)], LABELS[:1], title=TITLE)
    long = contact_sheet([plain_frames(16)], LABELS[:1], title=f"{TITLE} " * 8)

    assert long.width == short.width
    assert long.height > short.height


def test_title_and_labels_leave_ink_on_the_paper() -> None:
    bare = contact_sheet([plain_frames(16)], [""])
    named = contact_sheet([plain_frames(16)], LABELS[:1], title=TITLE, subtitle="seed 7")

    ink = [int((np.asarray(sheet)[:, :150].max(axis=2) > 120).sum()) for sheet in (bare, named)]
    assert ink[0] == 0
    assert ink[1] > 200


def test_a_long_label_is_wrapped_beside_its_row() -> None:
    dark = np.zeros((16, 64, 64, 3), np.uint8)
    long = np.asarray(contact_sheet([dark], [f"\n{TITLE}"]))

    first_cell = int((long == 0).all(axis=2).any(axis=0).argmax())
    assert (long[:, first_cell - 8 :].max(axis=2) < 30).all()


@pytest.mark.parametrize(
    ("height", "width", "size"), [(64, 64, (512, 512)), (720, 1280, (512, 288)), (256, 48, (96, 512))]
)
def test_a_thumbnail_has_at_most_512_pixels_a_side(height: int, width: int, size: tuple[int, int]) -> None:
    picture = Image.open(io.BytesIO(thumbnail(np.full((3, height, width, 3), 90, np.uint8))))

    assert (picture.format, picture.size) == ("JPEG", size)


def test_a_thumbnail_shows_the_middle_frame() -> None:
    frames_THWC = np.zeros((5, 64, 64, 3), np.uint8)
    frames_THWC[2] = (250, 250, 250)

    picture = np.asarray(Image.open(io.BytesIO(thumbnail(frames_THWC))))

    assert picture.min() > 240


@pytest.mark.parametrize(
    ("count", "height", "width", "size"),
    [(16, 64, 64, (1024, 1024)), (3, 64, 64, (768, 256)), (5, 720, 1280, (1024, 288)), (1, 32, 64, (256, 128))],
)
def test_a_spritesheet_has_four_frames_in_a_row(count: int, height: int, width: int, size: tuple[int, int]) -> None:
    picture = Image.open(io.BytesIO(spritesheet([np.full((height, width, 3), 90, np.uint8)] * count)))

    assert (picture.format, picture.size) == ("JPEG", size)


@pytest.mark.parametrize("side", [64, 256, 512])
def test_pictures_of_noise_are_written(side: int) -> None:
    """What an untrained model makes. JPEG files of noise take more bytes than Pillow reserves when it optimizes."""
    noise_THWC = np.random.default_rng(0).integers(0, 256, (4, side, side, 3), np.uint8)

    for picture in (thumbnail(noise_THWC), spritesheet(list(noise_THWC))):
        assert np.asarray(Image.open(io.BytesIO(picture))).std() > 20
