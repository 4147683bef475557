"""Adapters of weights that were trained since are neither continued nor exported; a teacher guides every step."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from core.model.engines.streaming_t2v.preset import StreamingPreset
from core.model.training.distillation_run import last_trained, pinned_entries
from core.model.training.distilled_export import export_adapters
from core.model.training.distilled_sampling import teacher_guidance
from core.model.training.loop.checkpoints import CheckpointMismatch, write_checkpoint
from core.model.training.recipe import RecipeError, load_recipe
from core.model.training.sprites_preset import preset_config

RECIPE = load_recipe("sprites")
PRESET = StreamingPreset.model_validate(preset_config())


def checkpoint(folder: Path, stage: str, value: float, **content: Any) -> None:
    (folder / stage).mkdir(exist_ok=True)
    write_checkpoint(folder / stage, {"average": [torch.tensor(value), torch.ones(2, 3)], **content})


def distilled(folder: Path, stage: str) -> None:
    checkpoint(folder, stage, 0.0, origin=pinned_entries(RECIPE, stage, folder, PRESET))


@pytest.fixture
def working(tmp_path: Path) -> Path:
    """With a base, memories, and a stage of distillation each for windows and first chunks."""
    folder = tmp_path / "working"
    folder.mkdir()
    for stage in ("video", "cam", "apm"):
        checkpoint(folder, stage, 1.0)
    for stage in ("window_guidance", "first_chunk_guidance"):
        distilled(folder, stage)
    return folder


def test_adapters_of_the_same_weights_are_continued_and_served(working: Path) -> None:
    checkpoint(working, "apm", 1.0, spent=5.0)
    pinned_entries(RECIPE, "window_guidance", working, PRESET)
    assert last_trained(RECIPE, working, "windows") == "window_guidance"


def test_memories_trained_since_leave_only_the_adapter_of_first_chunks(working: Path) -> None:
    checkpoint(working, "apm", 2.0)
    with pytest.raises(CheckpointMismatch, match=r"video or apm was trained since: remove .*window_guidance to distil"):
        pinned_entries(RECIPE, "window_guidance", working, PRESET)
    pinned_entries(RECIPE, "first_chunk_guidance", working, PRESET)
    assert last_trained(RECIPE, working, "windows") is None
    assert last_trained(RECIPE, working, "first_chunk") == "first_chunk_guidance"


def test_an_adapter_of_other_weights_does_not_hide_a_new_one(working: Path) -> None:
    distilled(working, "window_steps")
    checkpoint(working, "video", 2.0)
    shutil.rmtree(working / "window_guidance")
    distilled(working, "window_guidance")
    assert last_trained(RECIPE, working, "windows") == "window_guidance"


def test_an_adapter_of_other_weights_is_left_out_of_the_export_and_named(
    working: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint(working, "video", 2.0)
    content = preset_config()
    written = export_adapters(RECIPE, working, tmp_path / "preset", content, lambda _part: torch.nn.Linear(2, 2))
    assert written == content
    assert not (tmp_path / "preset" / "distilled").exists()
    printed = capsys.readouterr().out
    assert "window_guidance/last.pt was distilled from other weights" in printed
    assert "train the stage first_chunk_guidance again" in printed


def with_windows(names: tuple[str, ...], **changes: object) -> dict[str, Any]:
    content = preset_config()
    for name in names:
        profile = content["profiles"][name]
        content["profiles"][name] = profile | {"windows": profile["windows"] | changes}
    return content


def test_every_profile_that_is_distilled_is_rewritten_without_an_adapter(tmp_path: Path) -> None:
    content = with_windows(("reference",), distilled=True, guidance_scale=1.0)
    written = StreamingPreset.model_validate(
        export_adapters(RECIPE, tmp_path, tmp_path / "preset", content, lambda _part: torch.nn.Linear(2, 2))
    )
    assert not any(profile.windows.distilled for profile in written.profiles.values())


def test_a_teacher_that_guides_some_steps_only_is_refused() -> None:
    preset = StreamingPreset.model_validate(with_windows(("fast", "reference"), guidance_interval=[0.2, 0.8]))
    with pytest.raises(RecipeError, match="guidance_interval for its windows, which distillation cannot learn"):
        teacher_guidance(preset, "windows")


def test_pinned_entries_have_the_names_of_the_recipe(working: Path) -> None:
    pinned = pinned_entries(RECIPE, "window_steps", working, PRESET)
    assert {"rank", "few_steps.steps", "few_steps.teacher_steps", "guidance_scale"} <= set(pinned)
    assert pinned["guidance_scale"] == str(teacher_guidance(PRESET, "windows"))
