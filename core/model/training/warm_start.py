"""Begin the stages of a recipe with the weights of a preset, instead of from nothing.

A stage that begins so has a checkpoint of no steps in its folder. Knows which weights of a preset are which stage's;
trains nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import TypeVar

from torch import nn

from core.model.presets.files import read_weights
from core.model.training.decoder_stage import decoder_parts
from core.model.training.loop import CHECKPOINT, begin_stage
from core.model.training.recipe import RecipeError
from core.model.training.sprites_run import TrainingRun
from core.service.engines.refiner import REFINER_FOLDER

_GOES_ON_FROM = {"video": "image", "apm": "cam"}
"""Stages that train on what another one has trained."""
ModuleT = TypeVar("ModuleT", bound=nn.Module)


def begin_with(training_run: TrainingRun, preset: Path, chosen: Sequence[str]) -> list[str]:
    """Give stages without a checkpoint the weights in a preset's folder; returns the names of those that got some.

    A preset holds nothing of the stage `sight`, and of `decoder` and `refiner` only where it has a refiner. A chosen
    stage that goes on from another chosen one is left to begin with what that one learns. Raises RecipeError where
    weights do not fit the recipe's networks, PresetError where a file is missing or damaged.
    """
    begun: list[str] = []
    # All are read before any is written: a preset that does not fit leaves nothing behind.
    for stage, modules in list(_stages_of(training_run, preset)):
        goes_on = stage in chosen and _GOES_ON_FROM.get(stage) in chosen
        if goes_on or (training_run.folder / stage / CHECKPOINT).exists():
            continue
        begin_stage(training_run.folder / stage, modules)
        begun.append(stage)
    return begun


def _stages_of(training_run: TrainingRun, preset: Path) -> Iterator[tuple[str, Mapping[str, nn.Module]]]:
    """Stages with what they train, holding the preset's weights."""
    words = training_run.untrained_words()
    _filled(words.text_encoder, preset / "text_encoder")
    _filled(words.image_encoder, preset / "image_encoder")
    _filled(words.heads, preset)
    yield "clip", words.modules
    vae = _filled(training_run.untrained_vae(), preset / "vae")
    yield "vae", {"vae": vae}
    unet = _filled(training_run.untrained_unet(), preset / "unet")
    yield "image", {"unet": unet}
    yield "video", {"unet": unet}
    memory = training_run.untrained_memory(unet)
    _filled(memory.cam, preset / "cam")
    _filled(nn.ModuleDict(memory.conditioning), preset / "conditioning")
    yield "cam", {"cam": memory.cam, "mergers": memory.mergers}
    yield "apm", {"cam": memory.cam, **memory.conditioning}
    refiner = preset / REFINER_FOLDER
    if (refiner / "vae").is_dir():
        parts = decoder_parts(deepcopy(vae))
        _filled(nn.ModuleDict(parts), refiner / "vae")
        yield "decoder", parts
    if (refiner / "unet").is_dir():
        yield "refiner", {"refiner": _filled(training_run.untrained_refiner(), refiner / "unet")}


def _filled(module: ModuleT, folder: Path) -> ModuleT:
    """The module with the weights of a folder's files."""
    weights = read_weights(folder, next(module.parameters()).device)
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip()
        raise RecipeError(f"--begin-with: {folder} has weights of other networks than the recipe: {first}") from error
    return module
