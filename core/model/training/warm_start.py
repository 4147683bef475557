"""Initialise the stages of a `sprites` recipe with the weights of a preset.

Such a stage gets a checkpoint of 0 steps in its folder.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import TypeVar

from torch import nn

from core.model.presets.files import read_weights
from core.model.training.loop.checkpoints import write_initial_checkpoint
from core.model.training.recipe import RecipeError
from core.model.training.sprites_models import SpritesModels
from core.model.training.stages.decoder import decoder_parts
from core.model.training.stages.memory import read_anchors_with
from core.service.engines.refiner import REFINER_FOLDER

_CONTINUES = {"tower": "clip", "video": "image", "apm": "cam"}
"""Stages that train the same networks further as another one."""
ModuleT = TypeVar("ModuleT", bound=nn.Module)


def begin_with(models: SpritesModels, preset: Path, chosen: Sequence[str]) -> list[str]:
    """Initialise stages without a checkpoint from a preset's folder of weights; returns the names of these stages.

    A preset has no weights of the stage `sight`, and those of `decoder` and `refiner` only if it has a refiner. A
    chosen stage that continues another chosen one is not initialised. Raises RecipeError if weights do not fit the
    recipe's networks, PresetError if a file is missing or damaged.
    """
    initialised: list[str] = []
    # All are read before any is written, so a preset that does not fit leaves nothing behind.
    for stage, modules in list(_stage_modules(models, preset)):
        continues = stage in chosen and _CONTINUES.get(stage) in chosen
        if continues or models.has_trained(stage):
            continue
        write_initial_checkpoint(models.folder / stage, modules)
        initialised.append(stage)
    return initialised


def _stage_modules(models: SpritesModels, preset: Path) -> Iterator[tuple[str, Mapping[str, nn.Module]]]:
    """Each stage with the modules it trains, loaded with the preset's weights."""
    contrastive = models.untrained_contrastive()
    _load(contrastive.text_encoder, preset / "text_encoder")
    _load(contrastive.image_encoder, preset / "image_encoder")
    _load(contrastive.heads, preset)
    yield "clip", contrastive.modules
    yield "tower", models.tower_task(contrastive).modules
    vae = _load(models.untrained_vae(), preset / "vae")
    yield "vae", {"vae": vae}
    unet = _load(models.untrained_unet(), preset / "unet")
    yield "image", {"unet": unet}
    memory = models.untrained_memory(unet)
    _load(memory.cam, preset / "cam")
    _load(nn.ModuleDict(memory.conditioning), preset / "conditioning")
    yield "video", {"unet": unet, **read_anchors_with(memory)}
    yield "cam", {"cam": memory.cam, "mergers": memory.mergers}
    yield "apm", {"cam": memory.cam, **memory.conditioning}
    refiner = preset / REFINER_FOLDER
    if (refiner / "vae").is_dir():
        parts = decoder_parts(deepcopy(vae))
        _load(nn.ModuleDict(parts), refiner / "vae")
        yield "decoder", parts
    if (refiner / "unet").is_dir():
        yield "refiner", {"refiner": _load(models.untrained_refiner(), refiner / "unet")}


def _load(module: ModuleT, folder: Path) -> ModuleT:
    """The module with the weights of a folder. Raises RecipeError, PresetError."""
    weights = read_weights(folder, next(module.parameters()).device)
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip()
        raise RecipeError(f"--begin-with: the weights in {folder} do not fit the recipe's networks: {first}") from error
    return module
