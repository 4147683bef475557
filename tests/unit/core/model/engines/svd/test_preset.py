"""Presets of the engine `svd`: what requests may have, with and without an image model."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.model.engines.svd.definition import SVD
from core.model.engines.svd.preset import SvdParameters, SvdPreset
from core.service.engines.definition import read_preset
from core.service.engines.preset import PipelineDownload
from core.service.settings import SHIPPED_PRESETS_DIR, Settings
from tests.helpers.admission import refusal, spec_of
from tests.helpers.image_video import write_preset

SHIPPED = {"svd": 14, "svd-xt": 25}


def shipped(name: str) -> SvdPreset:
    preset = read_preset(SHIPPED_PRESETS_DIR / name)
    assert isinstance(preset, SvdPreset)
    return preset


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_presets_are_as_published(name: str) -> None:
    preset = shipped(name)

    assert (preset.height, preset.width, preset.window_frames) == (576, 1024, SHIPPED[name])
    assert (preset.num_inference_steps, preset.guidance_scale, preset.conditioning_fps) == (25, 3.0, 7)
    assert isinstance(preset.download, PipelineDownload)
    assert preset.card is not None
    assert preset.card.licence


def test_without_an_image_model_a_request_has_an_image_and_no_prompt() -> None:
    takes = shipped("svd").capabilities

    assert (takes.prompt, takes.image, takes.needs_input) == ("no", True, True)
    assert "negative_prompt" not in takes.fields
    assert takes.endless
    assert takes.reseeds
    assert not takes.prompt_changes


def test_with_an_image_model_a_prompt_can_stand_for_the_image() -> None:
    preset = shipped("svd").configured(Settings(image_model="org/pictures"))

    assert (preset.capabilities.prompt, preset.capabilities.needs_input) == ("without_image", False)
    assert "negative_prompt" in preset.capabilities.fields
    assert isinstance(preset, SvdPreset)
    assert preset.image_model == "org/pictures"


def test_steps_are_bounded_by_what_the_scheduler_takes() -> None:
    assert shipped("svd").effective_limits.max_inference_steps == 500


@pytest.mark.parametrize(
    "wrong", [{"motion_bucket_id": 0}, {"motion_bucket_id": 256}, {"noise_aug_strength": 1.1}, {"unknown": 1}], ids=str
)
def test_parameters_out_of_bounds_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        SVD.parameters.model_validate(wrong)


def test_parameters_default_to_the_library_s() -> None:
    assert SvdParameters().model_dump() == {"motion_bucket_id": 127, "noise_aug_strength": 0.02}


def test_a_prompt_alone_is_admitted_only_where_an_image_model_is_configured(tmp_path: Path) -> None:
    write_preset(tmp_path / "toy", "svd", lambda folder: folder.mkdir())
    without = Settings(presets_dir=tmp_path, default_model="toy")

    spec = spec_of(without.model_copy(update={"image_model": "org/pictures"}), parameters={"motion_bucket_id": 200})

    assert spec.parameters == {"motion_bucket_id": 200, "noise_aug_strength": 0.02}
    assert (spec.image, spec.num_inference_steps, spec.guidance_scale) == (None, 2, 3.0)
    assert refusal(without).field == "prompt"
    assert refusal(without, prompt=None).field == "image"
