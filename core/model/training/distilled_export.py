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
from core.model.training.distillation_run import last_trained, trained_adapter
from core.model.training.distilled_sampling import Part, distilled_sampling, teacher_sampling
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
    that `content` names and that still fit; other parts that it calls distilled are sampled without. Raises
    RecipeError, CheckpointMismatch.
    """
    shutil.rmtree(folder / ADAPTERS_FOLDER, ignore_errors=True)
    preset = StreamingPreset.model_validate(content)
    changes: dict[str, PresetSampling] = {}
    for part, name in _FILES.items():
        stage, target = last_trained(recipe, working, part), folder / ADAPTERS_FOLDER / name
        was_distilled = any(getattr(profile, part).distilled for profile in preset.profiles.values())
        if stage is not None:
            target.parent.mkdir(parents=True, exist_ok=True)
            save_weights(trained_adapter(recipe, working, stage, network_of(part)), target)
            changes[part] = distilled_sampling(recipe, stage, teacher_sampling(preset, part))
        elif kept and part in kept and was_distilled:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(kept[part], target)
        elif was_distilled:
            changes[part] = teacher_sampling(preset, part)
    written = {part: sampling.model_dump(mode="json", exclude_defaults=True) for part, sampling in changes.items()}
    profiles = content["profiles"]
    return content | {"profiles": profiles | {DEFAULT_PROFILE: profiles[DEFAULT_PROFILE] | written}}
