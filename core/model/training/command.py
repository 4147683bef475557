"""The training command: `longtake train RECIPE` calls main(argv).

Runs the stages of a recipe in order, each continuing from its checkpoint, and exports a preset.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from core.model.arguments import positive_float, positive_int
from core.model.training.clips_export import export_clips_preset
from core.model.training.clips_run import ClipsTrainingRun, find_preset
from core.model.training.image_export import export_image_presets
from core.model.training.image_run import ImageTrainingRun
from core.model.training.loop import parallel
from core.model.training.loop.checkpoints import CheckpointError, require_trained
from core.model.training.recipe import Recipe, RecipeError, load_recipe
from core.model.training.sprites_export import export_preset
from core.model.training.sprites_models import SpritesModels
from core.model.training.sprites_run import SpritesTrainingRun
from core.model.training.stage_names import DISTILLATION_STAGES, MEMORY_STAGES, NEEDS, STAGES
from core.model.training.warm_start import begin_with, check_continued
from core.service.domain.errors import LongtakeError

_EPILOG = """\
examples:
  longtake train sprites                          all stages, then export to runs/sprites/preset
  longtake train sprites --stage cam --minutes 5  one stage, shorter; the stages before it must have been trained
  longtake train sprites --smoke                  every stage for two steps at toy sizes: does it all run?
                                                  It works in runs/sprites-smoke, apart from the real run
  longtake train sprites --begin-with sprites --stage image --stage video
                                                  these two stages, starting from the shipped weights
  longtake train sprites-image --threads 1        image model, ControlNet and editor of the same world, to
                                                  runs/sprites-image/presets
  longtake train streaming-t2v --clips my-clips   memories of the full-size model on your own videos
  longtake train streaming-t2v-distil --clips my-clips --out runs/streaming-t2v
                                                  then their guidance and steps into adapters
  accelerate launch --multi_gpu --num_processes 4 -m core.model.training.command streaming-t2v --clips my-clips
                                                  the same on four GPUs
  tensorboard --logdir runs                       losses, learning rates and speed of all stages

Stop it at any time: the same command continues from the last checkpoint with the same data in the same order.
runs/<recipe>/<stage>/ contains last.pt, log.jsonl, TensorBoard event files and samples/. Your own videos need a
captions.jsonl; docs/training.md describes it, and the disk space and memory needed.
"""

TrainingRun = SpritesTrainingRun | ClipsTrainingRun | ImageTrainingRun
_RUNS = {"sprites": SpritesTrainingRun, "preset": ClipsTrainingRun, "image": ImageTrainingRun}
"""Source of networks -> how they are trained."""

PRESET = "preset"
"""Default subfolder of the exported preset."""
PRESETS = "presets"
"""Default subfolder of the exported presets of an image recipe."""


def build_parser() -> argparse.ArgumentParser:
    """The command's argument parser."""
    parser = argparse.ArgumentParser(
        prog="longtake train",
        description="Train a preset's weights from a recipe.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "recipe",
        help="shipped recipe (sprites, sprites-image, streaming-t2v, streaming-t2v-distil) or path of a TOML file",
    )
    parser.add_argument(
        "--clips", type=Path, metavar="FOLDER", help="your videos with captions.jsonl, for a recipe on clips"
    )
    parser.add_argument(
        "--begin-with",
        metavar="PRESET",
        help="a preset's name or folder: stages without a checkpoint start from its weights, not from scratch",
    )
    parser.add_argument("--stage", choices=STAGES, action="append", help="only this stage (may be repeated)")
    parser.add_argument("--steps", type=positive_int, help="end each stage after this many steps")
    parser.add_argument("--minutes", type=positive_float, help="end each stage after this many minutes of training")
    parser.add_argument(
        "--out", type=Path, help="working folder (default runs/<recipe>, runs/<recipe>-smoke with --smoke)"
    )
    parser.add_argument(
        "--export", type=Path, metavar="FOLDER", help="folder of the exported preset (default <out>/preset)"
    )
    parser.add_argument("--threads", type=positive_int, help="CPU threads of a single process (default: torch's)")
    parser.add_argument(
        "--processes", type=positive_int, default=1, help="CPU processes of one thread each that train together"
    )
    parser.add_argument("--smoke", action="store_true", help="toy sizes, two steps per stage")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status (2 for a recipe or folder that cannot be used)."""
    parser = build_parser()
    arguments = parser.parse_args(argv)
    if arguments.threads and arguments.processes > 1:
        parser.error("--threads is for a single process: with --processes each has one thread")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    try:
        recipe = load_recipe(arguments.recipe)
        recipe = shortened(recipe.smoke() if arguments.smoke else recipe, arguments.steps, arguments.minutes)
        recipe = recipe if arguments.clips is None else recipe.on_clips(arguments.clips)
        # Toy networks of a smoke run do not fit checkpoints of a real one, and vice versa.
        folder = arguments.out or Path("runs") / (f"{recipe.name}-smoke" if arguments.smoke else recipe.name)
        if arguments.begin_with is not None:
            initialise(recipe, arguments.begin_with, chosen_stages(recipe, arguments.stage), folder)
        check(recipe, arguments.stage, folder, arguments.processes, arguments.export or folder / PRESET)
        work = partial(run, recipe, arguments.stage, folder, arguments.export)
        parallel.launch(work, arguments.processes, reraised=(RecipeError, CheckpointError, LongtakeError))
    except (RecipeError, CheckpointError) as error:
        sys.stderr.write(f"longtake train: {error}\n")
        return 2
    except LongtakeError as error:
        sys.stderr.write(f"longtake train: {error.with_fix}\n")
        return 2
    return 0


def shortened(recipe: Recipe, steps: int | None, minutes: float | None) -> Recipe:
    """The recipe with other steps and minutes for all stages, if given."""
    stages = {
        name: replace(
            stage,
            plan=replace(stage.plan, steps=steps or stage.plan.steps, minutes=minutes or stage.plan.minutes),
        )
        for name, stage in recipe.stages.items()
    }
    return replace(recipe, stages=stages)


def initialise(recipe: Recipe, preset: str, chosen: Sequence[str], folder: Path) -> None:
    """Initialise the stages without a checkpoint with a preset's weights. Raises RecipeError, LongtakeError."""
    if recipe.networks.source != "sprites":
        raise RecipeError(f"--begin-with: recipe {recipe.name!r} starts from the preset in its [networks]")
    models, weights = SpritesModels(recipe, folder), find_preset(preset).weights
    check_continued(models, chosen)
    if parallel.rank() == 0:
        stages = ", ".join(begin_with(models, weights, chosen)) or "none, all have checkpoints"
        parallel.print_once(f"stages initialised with the weights of {preset}: {stages}")
    parallel.wait_for_all()


def check(recipe: Recipe, stages: Sequence[str] | None, folder: Path, processes: int, target: Path) -> None:
    """Check all that can be checked before processes start. Raises RecipeError, CheckpointError, LongtakeError."""
    check_stages(recipe, stages)
    check_precision(recipe, processes)
    check_predecessors(recipe, chosen_stages(recipe, stages), folder)
    # Checks the captions of the user's clips, and the preset that training starts from.
    training_run = training_run_of(recipe, folder)
    if isinstance(training_run, ClipsTrainingRun) and target.resolve() in training_run.preset_folders:
        raise RecipeError(f"--export {target}: training starts from the preset in it; choose another folder")


def chosen_stages(recipe: Recipe, stages: Sequence[str] | None) -> list[str]:
    """The requested stages, or all, in training order."""
    return [stage for stage in recipe.stage_names if stages is None or stage in stages]


def run(recipe: Recipe, stages: Sequence[str] | None, folder: Path, export: Path | None) -> None:
    """Train the requested stages in order; export a preset if that completed or changed one, or if asked to."""
    training_run = training_run_of(recipe, folder)
    chosen = chosen_stages(recipe, stages)
    for stage in chosen:
        parallel.print_once(f"{stage}: training")
        steps = training_run.run(stage)
        parallel.print_once(f"{stage}: {steps} steps done")
    if isinstance(training_run, ImageTrainingRun):
        target = export or folder / PRESETS
        names = export_image_presets(training_run, target)
        parallel.print_once(f"presets written to {target}: {', '.join(names) or 'none yet'}")
    elif export is not None or is_complete(training_run, chosen[-1]):
        target = export or folder / PRESET
        write_preset(training_run, target)
        parallel.print_once(f"preset written to {target}")


def is_complete(training_run: SpritesTrainingRun | ClipsTrainingRun, last_stage: str) -> bool:
    """Whether training `last_stage` completed or changed a preset."""
    # Without either the recipe distils the memories of a preset.
    needed = [stage for stage in MEMORY_STAGES if stage in training_run.recipe.stages][-1:]
    completing = (*needed, "decoder", "refiner", *DISTILLATION_STAGES)
    return last_stage in completing and all(training_run.has_trained(stage) for stage in needed)


def training_run_of(recipe: Recipe, folder: Path) -> TrainingRun:
    """The training run for the recipe's source of networks and data."""
    return _RUNS[recipe.networks.source](recipe, folder)


def write_preset(training_run: SpritesTrainingRun | ClipsTrainingRun, folder: Path) -> None:
    """Export the preset. A collective operation; the first process writes."""
    if isinstance(training_run, SpritesTrainingRun):
        export_preset(training_run, folder)
    elif parallel.rank() == 0:
        export_clips_preset(training_run, folder)


def check_stages(recipe: Recipe, stages: Sequence[str] | None) -> None:
    """Raises RecipeError for stages that the recipe does not have."""
    unknown = [stage for stage in stages or () if stage not in recipe.stages]
    if unknown:
        raise RecipeError(f"--stage {unknown[0]}: recipe {recipe.name!r} has {', '.join(recipe.stage_names)}")


def check_predecessors(recipe: Recipe, chosen: Sequence[str], folder: Path) -> None:
    """Raises StageNotTrained if a chosen stage needs one that is neither trained nor chosen before it."""
    for number, stage in enumerate(chosen):
        for needed in NEEDS[stage]:
            if needed in recipe.stages and needed not in chosen[:number]:
                require_trained(folder / needed)


def check_precision(recipe: Recipe, processes: int) -> None:
    """Raises RecipeError for a precision that the device does not support."""
    on_cpu = processes > 1 or parallel.join().device.type == "cpu"
    for name, stage in recipe.stages.items():
        if stage.plan.mixed_precision == "fp16" and on_cpu:
            raise RecipeError(f'[stages.{name}] mixed_precision: "fp16" needs a GPU; use "bf16" or "no"')


if __name__ == "__main__":
    sys.exit(main())
