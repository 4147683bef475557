"""preset.json of the engine sparsectrl: what it may say, and what the shipped one says."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

import core.model.presets
from core.model.engines.sparsectrl.preset import SparseCtrlParameters, SparseCtrlPreset
from core.service.engines.definition import read_preset
from tests.helpers.animation import PRESET

SHIPPED = Path(core.model.presets.__path__[0]) / "sparsectrl"


def test_a_job_may_begin_with_an_image_and_have_no_end() -> None:
    can = SparseCtrlPreset.model_validate({**PRESET, "name": "tiny", "engine": "sparsectrl"}).capabilities

    assert can.image
    assert can.endless
    assert can.prompt_changes
    assert can.reseeds
    assert can.size is not None
    assert (can.prompt, can.video, can.control) == ("required", "no", ())


def test_the_shipped_preset_has_every_file_and_tells_what_a_user_must_know() -> None:
    shipped = read_preset(SHIPPED)

    assert isinstance(shipped, SparseCtrlPreset)
    assert shipped.card is not None
    assert [one.into for one in getattr(shipped.download, "repositories", ())] == [
        "",
        "vae",
        "motion_adapter",
        "controlnet/rgb",
    ]


@pytest.mark.parametrize("wrong", [-0.1, 2.1])
def test_the_conditioning_scale_has_bounds(wrong: float) -> None:
    with pytest.raises(ValidationError):
        SparseCtrlParameters(conditioning_scale=wrong)
