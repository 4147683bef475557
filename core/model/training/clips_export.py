"""Write what was learnt from one's own clips as a preset of its own, complete, in half precision.

What no stage changes is copied from the preset that the training began with. Trains nothing.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from torch import nn

from core.model.presets.files import read_json
from core.model.training.clips_workshop import UNTOUCHED, ClipsWorkshop
from core.model.training.export import save_weights, write_json
from core.service.catalog import REFINER_FOLDER

_UNCHANGED = ("vae", "text_encoder", "image_encoder", "tokenizer", REFINER_FOLDER)


def export_continued(workshop: ClipsWorkshop, folder: Path) -> None:
    """Write the preset into `folder`; parts already there are replaced. Raises StageMissing."""
    unet, memory = workshop.trained()
    weights = workshop.preset.weights
    for part in _UNCHANGED:
        if (weights / part).is_dir():
            _copy(weights / part, folder / part)
    if workshop.has_trained("apm"):
        _save(unet, weights / workshop.untouched_folder, folder / "unet")
        _copy(weights / workshop.untouched_folder, folder / UNTOUCHED)
    else:
        _copy(weights / workshop.base_folder, folder / "unet")
    _save(memory.cam, weights / "cam", folder / "cam")
    _save(nn.ModuleDict(memory.conditioning), weights / "conditioning", folder / "conditioning")
    write_json(folder / "preset.json", _facts(workshop))


def _facts(workshop: ClipsWorkshop) -> dict[str, Any]:
    """preset.json of the preset that training began with, under the recipe's name and size, its weights beside it."""
    facts = read_json(workshop.preset.path / "preset.json")
    facts.pop("download", None)
    data = workshop.data
    trained_on = f"Trained from {facts['name']} on {len(workshop.cache.clips)} clips of {data.width}x{data.height}."
    own = {"name": workshop.recipe.name, "description": trained_on, "height": data.height, "width": data.width}
    return facts | own


def _copy(source: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)


def _save(module: nn.Module, like: Path, target: Path) -> None:
    """A part's weights under the config that it was built from."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    shutil.copy(like / "config.json", target / "config.json")
    save_weights(module, target / "model.safetensors")
