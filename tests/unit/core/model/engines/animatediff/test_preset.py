"""preset.json of the engine animatediff: what it may say, and what the shipped one says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

import core.model.presets
from core.model.engines.animatediff.preset import AnimateDiffParameters, AnimateDiffPreset
from core.service.engines.definition import read_preset
from tests.helpers.animation import PRESET

SHIPPED = Path(core.model.presets.__path__[0]) / "animatediff"


def preset(**changed: Any) -> AnimateDiffPreset:
    return AnimateDiffPreset.model_validate({**PRESET, "name": "tiny", "engine": "animatediff", **changed})


def test_by_default_windows_of_64_frames_repeat_12() -> None:
    assert (preset().window_frames, preset().overlap_frames) == (64, 12)


@pytest.mark.parametrize(
    "wrong", [{"context_stride": 16}, {"window_frames": 62}, {"window_frames": 16, "context_length": 24}]
)
def test_contexts_that_do_not_fill_a_window_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValidationError, match="context_stride"):
        preset(**wrong)


@pytest.mark.parametrize("wrong", [{"height": 20}, {"size": {"multiple_of": 4, "min_side": 16, "max_pixels": 4096}}])
def test_sizes_that_are_no_whole_latents_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="multiples of 8"):
        preset(**wrong)


def test_a_job_may_have_no_end_and_change_its_prompt_seed_and_size() -> None:
    can = preset().capabilities

    assert can.endless
    assert can.prompt_changes
    assert can.reseeds
    assert can.size is not None
    assert (can.image, can.video, can.control) == (False, "no", ())


def test_the_shipped_preset_has_every_file_and_tells_what_a_user_must_know() -> None:
    shipped = read_preset(SHIPPED)

    assert isinstance(shipped, AnimateDiffPreset)
    assert shipped.card is not None
    assert shipped.download is not None
    assert [one.into for one in getattr(shipped.download, "repositories", ())] == ["", "vae", "motion_adapter"]


def test_noise_has_two_kinds() -> None:
    assert AnimateDiffParameters().noise == "shuffled"
    with pytest.raises(ValidationError):
        AnimateDiffParameters.model_validate({"noise": "white"})
