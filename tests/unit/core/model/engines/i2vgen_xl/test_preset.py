"""The preset of the engine `i2vgen_xl`: what requests may have, with and without an image model."""

from __future__ import annotations

from core.model.engines.i2vgen_xl.preset import I2vgenXlPreset
from core.service.engines.definition import read_preset
from core.service.engines.preset import PipelineDownload
from core.service.settings import SHIPPED_PRESETS_DIR, Settings


def shipped() -> I2vgenXlPreset:
    preset = read_preset(SHIPPED_PRESETS_DIR / "i2vgen-xl")
    assert isinstance(preset, I2vgenXlPreset)
    return preset


def test_the_shipped_preset_is_as_published() -> None:
    preset = shipped()

    assert (preset.height, preset.width, preset.window_frames, preset.conditioning_fps) == (704, 1280, 16, 16)
    assert (preset.num_inference_steps, preset.guidance_scale) == (50, 9.0)
    assert isinstance(preset.download, PipelineDownload)
    assert preset.card is not None
    assert preset.card.licence == "MIT"


def test_a_request_has_a_prompt_and_an_image() -> None:
    takes = shipped().capabilities

    assert (takes.prompt, takes.image, takes.needs_input) == ("required", True, True)
    assert takes.prompt_changes
    assert takes.endless
    assert takes.reseeds


def test_with_an_image_model_the_prompt_is_enough() -> None:
    assert not shipped().configured(Settings(image_model="org/pictures")).capabilities.needs_input
