"""Export adapters: distilled/ of a preset, and the default profile that samples with them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from core.model.engines.streaming_t2v.preset import (
    ADAPTERS_FOLDER,
    FIRST_CHUNK_ADAPTER,
    WINDOWS_ADAPTER,
    PresetSampling,
    StreamingPreset,
)
from core.model.training.distillation_run import last_trained, trained_adapter, trained_stages
from core.model.training.distilled_base import fits, other_weights
from core.model.training.distilled_sampling import Part, distilled_sampling, part_of, teacher_sampling
from core.model.training.loop import parallel
from core.model.training.preset_files import save_weights
from core.model.training.recipe import Recipe
from core.service.domain.schema import DEFAULT_PROFILE

_FILES: Mapping[Part, str] = {"windows": WINDOWS_ADAPTER, "first_chunk": FIRST_CHUNK_ADAPTER}


def export_adapters(
    recipe: Recipe,
    working: Path,
    folder: Path,
    content: dict[str, Any],
    network_of: Callable[[Part], nn.Module],
    kept: Mapping[Part, Path] | None = None,
) -> dict[str, Any]:
    """Write `folder`/distilled/ with the adapters in the `working` folder; returns the preset.json that uses them.

    `content`: preset.json without them. `network_of`: the undistilled networks of a part. `kept`: files of adapters
    that `content` names and that still fit; other parts that a profile calls distilled are sampled without.
    An adapter of weights that were trained since is left out, with a printed line. Raises RecipeError,
    CheckpointMismatch.
    """
    shutil.rmtree(folder / ADAPTERS_FOLDER, ignore_errors=True)
    preset = StreamingPreset.model_validate(content)
    profiles: dict[str, dict[str, Any]] = dict(content["profiles"])

    def sample_with(name: str, part: Part, sampling: PresetSampling) -> None:
        profiles[name] = profiles[name] | {part: sampling.model_dump(mode="json", exclude_defaults=True)}

    for part, name in _FILES.items():
        stage, target = last_trained(recipe, working, part), folder / ADAPTERS_FOLDER / name
        for left_out in trained_stages(recipe, working, part):
            if not fits(working, left_out):
                fix = f"remove {working / left_out} and train the stage {left_out} again"
                parallel.print_once(f"{other_weights(working, left_out)}: not exported; {fix}")
        distilled = [key for key, profile in preset.profiles.items() if part_of(profile, part).distilled]
        if stage is not None:
            target.parent.mkdir(parents=True, exist_ok=True)
            save_weights(trained_adapter(recipe, working, stage, network_of(part)), target)
            sample_with(DEFAULT_PROFILE, part, distilled_sampling(recipe, stage, teacher_sampling(preset, part)))
        elif kept and part in kept and distilled:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(kept[part], target)
        else:
            for key in distilled:
                sample_with(key, part, teacher_sampling(preset, part))
    return content | {"profiles": profiles}
