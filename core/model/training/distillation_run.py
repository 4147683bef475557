"""What distillation stages share in all recipes: their task, the adapter it leaves, and the pictures that show it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path

from torch import nn

from core.model.engines.streaming_t2v.loading import noise_schedule
from core.model.engines.streaming_t2v.preset import StreamingPreset
from core.model.networks.adapters import Adapter
from core.model.training import samples
from core.model.training.distilled_base import DISTILLED_WEIGHTS, base_digest, check_base, fits
from core.model.training.distilled_sampling import PART_OF, STAGES_OF, Part, teacher_guidance, with_distilled
from core.model.training.loop.checkpoints import is_trained, load_averaged
from core.model.training.recipe import Recipe
from core.model.training.samples import Opening, Row, SamplingParts
from core.model.training.stage_names import continued_stage
from core.model.training.stages.distillation import DistillationTask, GuidanceTask, ProgressiveTask, StepsGrid
from core.model.training.stages.distilled import Distilled, DistilledWindows


def distillation_task(
    recipe: Recipe, stage: str, folder: Path, distilled: Distilled, preset: StreamingPreset
) -> DistillationTask:
    """A stage's task at step 0. `preset`: its undistilled sampling is the teacher's.

    Raises StageNotTrained if it continues a stage that is not in the working `folder`, RecipeError, CheckpointMismatch.
    """
    few_steps, before = recipe.stages[stage].few_steps, continued_stage(stage)
    adapter, rank = new_adapter(recipe, stage, distilled.network), rank_of(recipe, stage)
    schedule, scale = noise_schedule(preset), teacher_guidance(preset, PART_OF[stage])
    if few_steps is None or before is None:
        return GuidanceTask(distilled, adapter, rank, schedule, scale, recipe.seed)
    load_averaged(folder / before, {"adapter": adapter})
    grid = StepsGrid.trailing(few_steps.steps, few_steps.teacher_steps, schedule.num_train_timesteps)
    teacher = deepcopy(adapter) if few_steps.teacher == "distilled" else scale
    return ProgressiveTask(distilled, adapter, rank, schedule, grid, teacher, recipe.seed)


def new_adapter(recipe: Recipe, stage: str, network: nn.Module) -> Adapter:
    """A stage's adapter for a network, untrained."""
    return Adapter(network, rank_of(recipe, stage), recipe.seed)


def rank_of(recipe: Recipe, stage: str) -> int:
    """The rank of a distillation stage's adapter."""
    rank = recipe.stages[stage].rank
    assert rank is not None, f"{stage} has no rank"
    return rank


def last_trained(recipe: Recipe, folder: Path, part: Part) -> str | None:
    """The stage whose adapter serves a part: the last one in the recipe that has a checkpoint, of these weights."""
    trained = [stage for stage in trained_stages(recipe, folder, part) if fits(folder, stage)]
    return trained[-1] if trained else None


def trained_stages(recipe: Recipe, folder: Path, part: Part) -> list[str]:
    """The stages of a part that are in the recipe and have a checkpoint."""
    return [stage for stage in STAGES_OF[part] if stage in recipe.stages and is_trained(folder / stage)]


def pinned_entries(recipe: Recipe, stage: str, folder: Path, preset: StreamingPreset) -> dict[str, int | str]:
    """What a resumed stage must not change: the recipe's entries, the teacher's guidance and the distilled weights.

    Raises CheckpointMismatch if there is an adapter of other weights, RecipeError.
    """
    check_base(folder, stage)
    part = PART_OF[stage]
    guidance = str(teacher_guidance(preset, part))
    return recipe.pinned(stage) | {"guidance_scale": guidance, DISTILLED_WEIGHTS: base_digest(folder, part)}


def trained_adapter(recipe: Recipe, folder: Path, stage: str, network: nn.Module) -> Adapter:
    """The averaged adapter of a stage. Raises StageNotTrained, CheckpointMismatch."""
    adapter = new_adapter(recipe, stage, network)
    load_averaged(folder / stage, {"adapter": adapter})
    return adapter


def sample_rows(
    recipe: Recipe, stage: str, task: DistillationTask, parts: SamplingParts, openings: Sequence[Opening]
) -> Callable[[], list[Row]]:
    """What the student of a stage makes, in as few steps as it will be served with."""
    parts = replace(parts, preset=with_distilled(parts.preset, recipe, [stage]))
    distilled = task.distilled
    if isinstance(distilled, DistilledWindows):
        return partial(samples.continuations, parts, distilled.unet, distilled.memory, openings)
    return partial(samples.first_chunks, parts, distilled.unet, [opening.prompt for opening in openings])
