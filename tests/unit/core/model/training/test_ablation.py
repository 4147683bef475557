"""Ablation variants differ in one respect only, and name what their base lacks."""

from dataclasses import replace
from pathlib import Path

import pytest

from core.model.training.ablation import (
    BASE,
    CONDITIONINGS,
    LAST_FRAME,
    WHOLE_ENCODER,
    Ablation,
    Budget,
    Trial,
    dropouts_of,
)
from core.model.training.loop.checkpoints import StageNotTrained
from core.model.training.recipe import load_recipe


def test_all_conditionings_are_trained_with_the_dropouts_of_the_full_method() -> None:
    recipe = load_recipe("sprites")
    dropouts = [dropouts_of(recipe, variant) for variant in (*CONDITIONINGS, WHOLE_ENCODER)]
    assert dropouts == [recipe.stages["apm"].dropouts] * len(dropouts)


def test_image_to_video_begins_with_true_pictures_and_has_the_other_dropouts() -> None:
    recipe = load_recipe("sprites")
    dropouts = recipe.stages["apm"].dropouts
    assert dropouts is not None
    assert dropouts.generated_past > 0
    assert dropouts.history_noise > 0
    assert dropouts_of(recipe, LAST_FRAME) == replace(dropouts, generated_past=0.0)


@pytest.mark.parametrize("missing", BASE)
def test_a_stage_of_the_base_that_is_missing_is_named(tmp_path: Path, missing: str) -> None:
    for stage in BASE:
        (tmp_path / stage).mkdir()
        (tmp_path / stage / "last.pt").touch()
    (tmp_path / missing / "last.pt").unlink()
    ablation = Ablation(load_recipe("sprites").smoke(), tmp_path, tmp_path / "trials", Budget(1, 1))
    with pytest.raises(StageNotTrained, match=f"train the stage '{missing}' first"):
        ablation.check_record(Trial(CONDITIONINGS[1], 3))
