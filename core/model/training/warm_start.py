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
from core.model.training.distilled_base import DISTILLED_WEIGHTS, base_digest
from core.model.training.distilled_sampling import PART_OF, Part
from core.model.training.loop.checkpoints import write_initial_checkpoint
from core.model.training.recipe import RecipeError
from core.model.training.sprites_models import SpritesModels
from core.model.training.stage_names import continued_stage
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
_BASE_OF: dict[Part, set[str]] = {"windows": {"video", "apm"}, "first_chunk": {"video"}}
"""The stages whose networks the adapter of a part belongs to."""
ModuleT = TypeVar("ModuleT", bound=nn.Module)


def begin_with(models: SpritesModels, preset: Path, chosen: Sequence[str]) -> list[str]:
    """Initialise stages without a checkpoint from a preset's folder of weights; returns the names of these stages.

    A preset has no weights of the stage `sight`, and those of `decoder` and `refiner` only if it has a refiner. Its
    adapters are those of the *_steps stages, initialised only together with the networks that they belong to, and not
    if the *_guidance stage, which always begins anew, is chosen. A chosen stage that continues another chosen one is
    not initialised. Raises RecipeError if weights do not fit the recipe's networks, PresetError if a file is missing or
    damaged.
    """
    initialised: list[str] = []
    # All are read before any is written, so a preset that does not fit leaves nothing behind.
    for stage, modules in list(_stage_modules(models, preset)):
        if models.has_trained(stage):
            continue
        origin: dict[str, int | str] = {}
        if stage in PART_OF:
            # An adapter belongs to the preset's networks, and is replaced by what a chosen *_guidance stage learns.
            if not _BASE_OF[PART_OF[stage]] <= set(initialised) or _CONTINUES[stage] in chosen:
                continue
            origin[DISTILLED_WEIGHTS] = base_digest(models.folder, PART_OF[stage])
        elif stage in chosen and _CONTINUES.get(stage) in chosen:
            continue
        write_initial_checkpoint(models.folder / stage, modules, origin)
        initialised.append(stage)
    return initialised


def check_continued(models: SpritesModels, chosen: Sequence[str]) -> None:
    """Raises RecipeError for a chosen *_steps stage without its *_guidance stage, which no preset has."""
    for stage in chosen:
        before = continued_stage(stage)
        if before is not None and before not in chosen and not models.has_trained(before):
            raise RecipeError(f"--begin-with: no preset has the stage {before}, which {stage} continues: choose both")


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
        _load(nn.ModuleDict(parts), refiner / "vae", rest=preset / "vae")
        yield "decoder", parts
    if (refiner / "unet").is_dir():
        yield "refiner", {"refiner": _load(models.untrained_refiner(), refiner / "unet")}


def _load(module: ModuleT, folder: Path, rest: Path | None = None) -> ModuleT:
    """The module with the weights of a folder; `rest` as in `read_weights`. Raises RecipeError, PresetError."""
    _load_weights(module, read_weights(folder, next(module.parameters()).device, rest=rest), folder)
    return module


def _load_weights(module: nn.Module, weights: Mapping[str, Tensor], path: Path) -> None:
    """Load the weights read from `path`. Raises RecipeError."""
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip()
        raise RecipeError(f"--begin-with: the weights in {path} do not fit the recipe's networks: {first}") from error
