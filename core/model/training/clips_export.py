"""Write what was learnt from one's own clips as a preset of its own, complete, in half precision.

What no stage changes is copied from the preset that the training began with. Trains nothing.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from torch import nn

from core.model.presets.files import read_json
from core.model.training.clips_run import UNTOUCHED, ClipsTrainingRun
from core.model.training.export import save_weights, write_json
from core.service.admission.refine_request import possible_sizes
from core.service.domain.frame_rate import shown_frame_rate
from core.service.engines.preset import Preset
from core.service.engines.refiner import REFINER_FOLDER

_UNCHANGED = ("vae", "text_encoder", "image_encoder", "tokenizer", REFINER_FOLDER)


def export_continued(training_run: ClipsTrainingRun, folder: Path) -> None:
    """Write the preset into `folder`; parts already there are replaced. Raises StageMissing."""
    unet, memory = training_run.trained()
    weights = training_run.preset.weights
    for part in _UNCHANGED:
        _copy(weights / part, folder / part)
    if training_run.has_trained("apm"):
        _save(unet, weights / training_run.untouched_folder, folder / "unet")
        _copy(weights / training_run.untouched_folder, folder / UNTOUCHED)
    else:
        _copy(weights / training_run.base_folder, folder / "unet")
        shutil.rmtree(folder / UNTOUCHED, ignore_errors=True)
    _save(memory.cam, weights / "cam", folder / "cam")
    _save(nn.ModuleDict(memory.conditioning), weights / "conditioning", folder / "conditioning")
    write_json(folder / "preset.json", _facts(training_run))


def _facts(training_run: ClipsTrainingRun) -> dict[str, Any]:
    """preset.json of the preset that training began with, under the recipe's name, size and rate, weights beside it."""
    facts = read_json(training_run.preset.path / "preset.json")
    facts.pop("download", None)
    given, own = facts.pop("refiner", None), training_run.facts
    size = _refined_size(own) if training_run.refiner_is_there else None
    if size is not None:
        facts["refiner"] = given | size
    return facts | {
        "name": training_run.recipe.name,
        "description": f"Trained from {own.name} on {len(training_run.cache.clips)} clips of {own.width}x{own.height}.",
        "height": own.height,
        "width": own.width,
        "fps": shown_frame_rate(own.fps),
    }


def _refined_size(facts: Preset) -> dict[str, int] | None:
    """The size nearest to the refiner's own that has the proportion of the clips; None where they are too large."""
    assert facts.refiner is not None
    own = facts.refiner.width * facts.refiner.height
    sizes = [
        (width, height)
        for width, height in possible_sizes(facts, facts.refiner)
        if width * facts.height == height * facts.width and height >= facts.height
    ]
    if not sizes:
        return None
    width, height = min(sizes, key=lambda size: abs(size[0] * size[1] - own))
    return {"height": height, "width": width}


def _copy(source: Path, target: Path) -> None:
    """Replace a part; where the source has none, none is left."""
    shutil.rmtree(target, ignore_errors=True)
    if source.is_dir():
        shutil.copytree(source, target)


def _save(module: nn.Module, like: Path, target: Path) -> None:
    """A part's weights under the config that it was built from."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    shutil.copy(like / "config.json", target / "config.json")
    save_weights(module, target / "model.safetensors")
