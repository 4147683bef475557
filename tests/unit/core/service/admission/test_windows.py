"""Where the windows of each shipped model's videos begin, which is what seam scores are of."""

from __future__ import annotations

import pytest

from core.service.admission.catalog import Catalog, default_spec
from core.service.engines.capabilities import WindowLengths
from core.service.settings import Settings

WINDOWS = {
    "animatediff": None,
    "cogvideox-2b": WindowLengths(first=49, later=40),
    "cogvideox-5b": WindowLengths(first=49, later=40),
    "cogvideox-5b-i2v": WindowLengths(first=49, later=48),
    "i2vgen-xl": WindowLengths(first=16, later=15),
    "instruct-pix2pix": None,
    "modelscope": WindowLengths(first=16, later=8),
    "sparsectrl": WindowLengths(first=16, later=15),
    "sprites": WindowLengths(first=16, later=8),
    "sprites-edit": None,
    "sprites-zero": WindowLengths(first=16, later=16),
    "svd": WindowLengths(first=14, later=13),
    "svd-xt": WindowLengths(first=25, later=24),
    "text2video-zero": WindowLengths(first=16, later=16),
    "text2video-zero-xl": WindowLengths(first=16, later=16),
}


def test_every_shipped_model_is_named_here() -> None:
    assert sorted(WINDOWS) == Catalog(Settings()).names()


@pytest.mark.parametrize("name", WINDOWS)
def test_windows_of_a_video_from_a_prompt_or_a_picture(name: str) -> None:
    preset = Catalog(Settings()).get(name).preset
    assert preset.capabilities.windows_of(default_spec(preset, "a fox", 240, 1)) == WINDOWS[name]


def test_a_video_that_goes_on_has_its_last_chunk_as_the_first_window() -> None:
    preset = Catalog(Settings()).get("cogvideox-5b-i2v").preset
    spec = default_spec(preset, "a fox", 240, 1).model_copy(update={"video": "https://example.com/a.mp4"})
    assert preset.capabilities.windows_of(spec) == WindowLengths(first=16, later=48)
