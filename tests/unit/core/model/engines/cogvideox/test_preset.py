"""preset.json of CogVideoX: which windows and sizes it may have, and what requests may contain."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from core.model.engines.cogvideox.definition import COGVIDEOX
from core.model.engines.cogvideox.preset import CogVideoXPreset
from core.service.engines.definition import ENGINES, read_preset
from core.service.engines.preset import PipelineDownload
from tests.unit.core.model.engines.cogvideox.conftest import PRESET

PRESETS = Path(__file__).parents[6] / "core" / "model" / "presets"
NAMES = ("cogvideox-2b", "cogvideox-5b", "cogvideox-5b-i2v")


def preset_of(**changes: Any) -> CogVideoXPreset:
    return CogVideoXPreset.model_validate({**PRESET, **changes})


@pytest.mark.parametrize(("frames", "nearest"), [(50, 49), (48, 49), (21, 17), (22, 25), (16, 17), (0, 1), (-4, 1)])
def test_other_windows_than_8_n_plus_1_are_refused_with_the_nearest(frames: int, nearest: int) -> None:
    """21 is 4 n + 1, of which the autoencoder would make 24 frames."""
    with pytest.raises(ValidationError, match=f"{frames} frames are not 8 n \\+ 1; the nearest is {nearest}"):
        preset_of(window_frames=frames)


@pytest.mark.parametrize(("side", "nearest"), [(482, 480), (472, 480), (20, 16)])
def test_a_size_that_is_not_divisible_is_refused_with_the_nearest(side: int, nearest: int) -> None:
    with pytest.raises(ValidationError, match=f"width {side} is not divisible by 16; the nearest is {nearest}"):
        preset_of(width=side)


def test_a_window_makes_new_frames() -> None:
    assert preset_of(window_frames=17, overlap_frames=9).overlap_frames == 9
    with pytest.raises(ValidationError, match="window_frames must be more than the 17 that a window repeats"):
        preset_of(window_frames=17, overlap_frames=17)
    with pytest.raises(ValidationError, match="more than the 1 that a window repeats"):
        preset_of(continuation="last_frame", window_frames=1)


def test_sizes_of_requests_are_divisible_too() -> None:
    rule = {"min_side": 16, "max_pixels": 10_000}
    with pytest.raises(ValidationError, match="multiple_of must be a multiple of 16"):
        preset_of(size={**rule, "multiple_of": 8})
    assert preset_of(size={**rule, "multiple_of": 32}).capabilities.size is not None


def test_text_models_repaint_whole_videos_and_image_models_go_on_from_their_end() -> None:
    text, image = (preset_of(continuation=how).capabilities for how in ("overlap", "last_frame"))

    assert (text.image, text.video, text.needs_input, text.length_of_input) == (False, "whole", False, True)
    assert (image.image, image.video, image.needs_input, image.length_of_input) == (True, "last_frames", True, False)
    assert text.endless
    assert image.endless


@pytest.mark.parametrize(
    ("continuation", "has_video", "problem"),
    [
        ("overlap", True, None),
        ("overlap", False, "without a video nothing is repainted: strength would do nothing"),
        ("last_frame", True, "toy repaints no video: strength would do nothing"),
        ("last_frame", False, "toy repaints no video: strength would do nothing"),
    ],
)
def test_a_strength_that_would_do_nothing_is_refused(continuation: str, has_video: bool, problem: str | None) -> None:
    idle = preset_of(continuation=continuation).idle_parameters(has_video=has_video, has_control=False)

    assert idle.get("strength") == problem


@pytest.mark.parametrize("name", NAMES)
def test_shipped_presets_are_as_published(name: str) -> None:
    preset = read_preset(PRESETS / name)

    assert isinstance(preset, CogVideoXPreset)
    assert (preset.width, preset.height, preset.fps, preset.window_frames) == (720, 480, 8, 49)
    assert (preset.max_prompt_tokens, preset.num_inference_steps, preset.guidance_scale) == (225, 50, 6.0)
    assert preset.card is not None
    assert preset.card.licence in {"Apache-2.0", "CogVideoX License"}


@pytest.mark.parametrize("name", NAMES)
def test_shipped_presets_name_every_part_of_the_pipeline(name: str) -> None:
    download = read_preset(PRESETS / name).download
    assert isinstance(download, PipelineDownload)
    files = download.repositories[0].files

    parts = {"scheduler", "text_encoder", "tokenizer", "transformer", "vae"}
    assert {file.partition("/")[0] for file in files} == {*parts, "model_index.json"}
    for shard in (file for file in files if "-of-" in file):
        index = f"{shard.partition('-0')[0]}.safetensors.index.json"
        assert index in files


@pytest.mark.parametrize("strength", [0.0, 1.5, -1.0])
def test_a_strength_outside_of_0_to_1_is_refused(strength: float) -> None:
    with pytest.raises(ValidationError, match="strength"):
        COGVIDEOX.parameters.model_validate({"strength": strength})


def test_the_engine_is_registered() -> None:
    assert ENGINES.get("cogvideox") is COGVIDEOX
