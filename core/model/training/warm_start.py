"""Initialise the stages of a `sprites` recipe with the weights of a preset.

Such a stage gets a checkpoint of 0 steps in its folder.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import TypeVar

from torch import Tensor, nn

from core.model.engines.streaming_t2v.preset import ADAPTERS_FOLDER, FIRST_CHUNK_ADAPTER, WINDOWS_ADAPTER
from core.model.presets.files import read_file, read_weights
from core.model.training.distillation_run import new_adapter
from core.model.training.loop.checkpoints import write_initial_checkpoint
from core.model.training.recipe import RecipeError
from core.model.training.sprites_models import SpritesModels
from core.model.training.stages.decoder import decoder_parts
from core.service.engines.refiner import REFINER_FOLDER

_CONTINUES = {
    "tower": "clip",
    "video": "image",
    "apm": "cam",
    "window_steps": "window_guidance",
    "first_chunk_steps": "first_chunk_guidance",
}
"""Stages that train the same networks further as another one."""
ModuleT = TypeVar("ModuleT", bound=nn.Module)


def begin_with(models: SpritesModels, preset: Path, chosen: Sequence[str]) -> list[str]:
    """Initialise stages without a checkpoint from a preset's folder of weights; returns the names of these stages.

    A preset has no weights of the stage `sight`, and those of `decoder` and `refiner` only if it has a refiner. Its
    adapters are those of the *_steps stages, their teachers, the *_guidance stages, begin anew. A
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
    yield "video", {"unet": unet}
    memory = models.untrained_memory(unet)
    _load(memory.cam, preset / "cam")
    _load(nn.ModuleDict(memory.conditioning), preset / "conditioning")
    yield "cam", {"cam": memory.cam, "mergers": memory.mergers}
    yield "apm", {"cam": memory.cam, **memory.conditioning}
    for stage, file, network in (
        ("window_steps", WINDOWS_ADAPTER, memory.adapted),
        ("first_chunk_steps", FIRST_CHUNK_ADAPTER, unet),
    ):
        if stage in models.recipe.stages and (preset / ADAPTERS_FOLDER / file).is_file():
            adapter = new_adapter(models.recipe, stage, network)
            path = preset / ADAPTERS_FOLDER / file
            _load_weights(adapter, read_file(path, models.device), path)
            yield stage, {"adapter": adapter}
    refiner = preset / REFINER_FOLDER
    if (refiner / "vae").is_dir():
        parts = decoder_parts(deepcopy(vae))
        _load(nn.ModuleDict(parts), refiner / "vae")
        yield "decoder", parts
    if (refiner / "unet").is_dir():
        yield "refiner", {"refiner": _load(models.untrained_refiner(), refiner / "unet")}


def _load(module: ModuleT, folder: Path) -> ModuleT:
    """The module with the weights of a folder. Raises RecipeError, PresetError."""
    _load_weights(module, read_weights(folder, next(module.parameters()).device), folder)
    return module


def _load_weights(module: nn.Module, weights: Mapping[str, Tensor], path: Path) -> None:
    """Load the weights read from `path`. Raises RecipeError."""
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip()
        raise RecipeError(f"--begin-with: the weights in {path} do not fit the recipe's networks: {first}") from error
