"""Export a preset trained on the user's own clips: complete, in half precision.

Parts that no stage trains are copied from the preset that training started from.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from torch import nn

from core.model.engines.streaming_t2v.preset import ADAPTERS_FOLDER, FIRST_CHUNK_ADAPTER, WINDOWS_ADAPTER
from core.model.presets.files import read_json
from core.model.training.clips_run import ORIGINAL_BASE, ClipsTrainingRun
from core.model.training.distilled_export import export_adapters
from core.model.training.distilled_sampling import Part
from core.model.training.preset_files import save_weights, write_json
from core.service.admission.refine_request import possible_sizes
from core.service.domain.frame_rate import frame_rate_json
from core.service.engines.preset import Preset
from core.service.engines.refiner import REFINER_FOLDER

_UNCHANGED = ("vae", "text_encoder", "image_encoder", "tokenizer", REFINER_FOLDER)


def export_clips_preset(training_run: ClipsTrainingRun, folder: Path) -> None:
    """Write the preset to `folder`; existing parts are replaced. Raises StageNotTrained."""
    unet, memory = training_run.trained()
    weights = training_run.preset_folder.weights
    for part in _UNCHANGED:
        _copy(weights / part, folder / part)
    if training_run.has_trained("apm"):
        _save(unet, weights / training_run.original_base_folder, folder / "unet")
        _copy(weights / training_run.original_base_folder, folder / ORIGINAL_BASE)
    else:
        _copy(weights / training_run.base_folder, folder / "unet")
        shutil.rmtree(folder / ORIGINAL_BASE, ignore_errors=True)
    _save(memory.cam, weights / "cam", folder / "cam")
    _save(nn.ModuleDict(memory.conditioning), weights / "conditioning", folder / "conditioning")

    def network_of(part: Part) -> nn.Module:
        return memory.adapted if part == "windows" else training_run.original_unet()

    # The original base is never trained, so its adapter fits on.
    kept: dict[Part, Path] = {"first_chunk": weights / ADAPTERS_FOLDER / FIRST_CHUNK_ADAPTER}
    if training_run.keeps_memory:
        kept["windows"] = weights / ADAPTERS_FOLDER / WINDOWS_ADAPTER
    content, recipe = _preset_json(training_run), training_run.recipe
    write_json(folder / "preset.json", export_adapters(recipe, training_run.folder, folder, content, network_of, kept))


def _preset_json(training_run: ClipsTrainingRun) -> dict[str, Any]:
    """preset.json of the preset that training started from, with the recipe's name, size and frame rate."""
    content = read_json(training_run.preset_folder.path / "preset.json")
    # The weights are in the exported folder.
    content.pop("download", None)
    refiner, preset = content.pop("refiner", None), training_run.preset
    size = _refined_size(preset) if training_run.has_refiner else None
    if size is not None:
        content["refiner"] = refiner | size
    num_clips = len(training_run.cache.clips)
    return content | {
        "name": training_run.recipe.name,
        "description": f"Trained from {preset.name} on {num_clips} clips of {preset.width}x{preset.height}.",
        "height": preset.height,
        "width": preset.width,
        "fps": frame_rate_json(preset.fps),
    }


def _refined_size(preset: Preset) -> dict[str, int] | None:
    """The possible size nearest to the refiner's own with the clips' aspect ratio; None if the clips are too large."""
    assert preset.refiner is not None
    num_pixels = preset.refiner.width * preset.refiner.height
    sizes = [
        (width, height)
        for width, height in possible_sizes(preset, preset.refiner)
        if width * preset.height == height * preset.width and height >= preset.height
    ]
    if not sizes:
        return None
    width, height = min(sizes, key=lambda size: abs(size[0] * size[1] - num_pixels))
    return {"height": height, "width": width}


def _copy(source: Path, target: Path) -> None:
    """Replace a part; remove it if the source has none."""
    shutil.rmtree(target, ignore_errors=True)
    if source.is_dir():
        shutil.copytree(source, target)


def _save(module: nn.Module, source: Path, target: Path) -> None:
    """Write a part's weights beside the config of the part `source` that it was built from."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    shutil.copy(source / "config.json", target / "config.json")
    save_weights(module, target / "model.safetensors")
