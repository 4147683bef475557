"""The training command: `longtake train RECIPE` calls main(argv).

Runs the stages of a recipe in order, each from where it was left, and exports a preset. Knows no stage's insides.
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
from core.model.training import parallel
from core.model.training.clips_export import export_continued
from core.model.training.clips_run import ClipsTrainingRun, find_preset
from core.model.training.export import export_preset
from core.model.training.loop import CheckpointError, check_trained
from core.model.training.recipe import NEEDS, STAGES, Recipe, RecipeError, load_recipe
from core.model.training.sprites_run import TrainingRun
from core.model.training.warm_start import begin_with
from core.service.domain.errors import LongtakeError

_EPILOG = """\
examples:
  longtake train sprites                          all stages, then export to runs/sprites/preset
  longtake train sprites --stage cam --minutes 5  one stage, shorter; the stages before it must have been trained
  longtake train sprites --smoke                  every stage for two steps at toy sizes: does it all run?
                                                  It works in runs/sprites-smoke, apart from the real run
  longtake train sprites --begin-with sprites --stage image --stage video
                                                  these two stages, on from the shipped weights
  longtake train streaming-t2v --clips my-clips   memories of the full-size model on videos of your own
  accelerate launch --multi_gpu --num_processes 4 -m core.model.training.command streaming-t2v --clips my-clips
                                                  the same on four GPUs
  tensorboard --logdir runs                       losses, learning rates and speed of all stages

Stop it whenever you like: the same command goes on from the last checkpoint with the same data in the same order.
runs/<recipe>/<stage>/ holds last.pt, log.jsonl, TensorBoard's events and samples/. Your own videos need a
captions.jsonl: docs/training.md says how, and what disk and memory it takes.
"""


PRESET = "preset"
"""Where the preset goes, in the working folder."""


def parser() -> argparse.ArgumentParser:
    """Arguments of the command; --help teaches."""
    made = argparse.ArgumentParser(
        prog="longtake train",
        description="Train a preset's weights from a recipe.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("recipe", help="name of a shipped recipe (sprites, streaming-t2v) or path of a TOML file")
    made.add_argument(
        "--clips", type=Path, metavar="FOLDER", help="your videos with captions.jsonl, for a recipe on clips"
    )
    made.add_argument(
        "--begin-with",
        metavar="PRESET",
        help="a preset's name or folder: stages that have no checkpoint yet begin with its weights, not from nothing",
    )
    made.add_argument("--stage", choices=STAGES, action="append", help="only this stage (may be repeated)")
    made.add_argument(
        "--steps", type=positive_int, help="end each stage after so many steps, instead of the recipe's number"
    )
    made.add_argument("--minutes", type=positive_float, help="end each stage after so many minutes of training")
    made.add_argument(
        "--out", type=Path, help="working folder (default runs/<recipe>, runs/<recipe>-smoke with --smoke)"
    )
    made.add_argument("--export", type=Path, metavar="FOLDER", help="where the preset goes (default <out>/preset)")
    made.add_argument("--threads", type=positive_int, help="CPU threads of a single process (default: torch's choice)")
    made.add_argument(
        "--processes", type=positive_int, default=1, help="processes of one thread each that train together"
    )
    made.add_argument("--smoke", action="store_true", help="toy sizes, two steps a stage")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status (2 for a recipe that cannot be used)."""
    made = parser()
    arguments = made.parse_args(argv)
    if arguments.threads and arguments.processes > 1:
        made.error("--threads is for a single process: those of --processes have one thread each")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    try:
        recipe = load_recipe(arguments.recipe)
        recipe = shortened(recipe.smoke() if arguments.smoke else recipe, arguments.steps, arguments.minutes)
        recipe = recipe if arguments.clips is None else recipe.on_clips(arguments.clips)
        # Toy networks of a smoke run fit no checkpoint of a real one, and the other way round.
        folder = arguments.out or Path("runs") / (f"{recipe.name}-smoke" if arguments.smoke else recipe.name)
        if arguments.begin_with is not None:
            begin(recipe, arguments.begin_with, chosen_stages(recipe, arguments.stage), folder)
        check(recipe, arguments.stage, folder, arguments.processes, arguments.export or folder / PRESET)
        work = partial(run, recipe, arguments.stage, folder, arguments.export)
        parallel.launch(work, arguments.processes, named=(RecipeError, CheckpointError, LongtakeError))
    except (RecipeError, CheckpointError) as error:
        sys.stderr.write(f"longtake train: {error}\n")
        return 2
    except LongtakeError as error:
        sys.stderr.write(f"longtake train: {error.with_fix}\n")
        return 2
    return 0


def shortened(recipe: Recipe, steps: int | None, minutes: float | None) -> Recipe:
    """The recipe with every stage's end replaced where asked."""
    stages = {
        name: replace(
            stage,
            plan=replace(stage.plan, steps=steps or stage.plan.steps, minutes=minutes or stage.plan.minutes),
        )
        for name, stage in recipe.stages.items()
    }
    return replace(recipe, stages=stages)


def begin(recipe: Recipe, preset: str, chosen: Sequence[str], folder: Path) -> None:
    """Let the stages that have no checkpoint begin with a preset's weights. Raises RecipeError, LongtakeError."""
    if recipe.networks.source != "sprites":
        raise RecipeError(f"--begin-with: recipe {recipe.name!r} begins with the preset that its [networks] names")
    training_run, weights = TrainingRun(recipe, folder), find_preset(preset).weights
    if parallel.rank() == 0:
        begun = begin_with(training_run, weights, chosen)
        parallel.tell(f"with the weights of {preset} begin: {', '.join(begun) or 'no stages, all have been begun'}")
    parallel.wait_for_all()


def check(recipe: Recipe, stages: Sequence[str] | None, folder: Path, processes: int, target: Path) -> None:
    """Refuse what cannot be trained, here, before any process is started. Raises what `main` tells."""
    check_stages(recipe, stages)
    check_precision(recipe, processes)
    check_predecessors(recipe, chosen_stages(recipe, stages), folder)
    # Reads the captions of one's own clips, and finds the preset that training begins with.
    training_run = training_run_of(recipe, folder)
    if isinstance(training_run, ClipsTrainingRun) and target.resolve() in training_run.preset_folders:
        raise RecipeError(f"--export {target}: training begins with the preset there; choose another folder")


def chosen_stages(recipe: Recipe, stages: Sequence[str] | None) -> list[str]:
    """The stages asked for, or all, in the recipe's order."""
    return [stage for stage in recipe.stage_names if stages is None or stage in stages]


def run(recipe: Recipe, stages: Sequence[str] | None, folder: Path, export: Path | None) -> None:
    """Train the stages asked for, in the recipe's order; export where that made or changed a whole preset."""
    training_run = training_run_of(recipe, folder)
    chosen = chosen_stages(recipe, stages)
    for stage in chosen:
        parallel.tell(f"{stage}: training")
        steps = training_run.run(stage)
        parallel.tell(f"{stage}: {steps} steps done")
    last_needed = "apm" if "apm" in recipe.stages else "cam"
    is_whole = chosen[-1] in (last_needed, "decoder", "refiner") and training_run.has_trained(last_needed)
    if is_whole or export is not None:
        target = export or folder / PRESET
        write_preset(training_run, target)
        parallel.tell(f"preset written to {target}")


def training_run_of(recipe: Recipe, folder: Path) -> TrainingRun | ClipsTrainingRun:
    """The networks and data that the recipe names."""
    return TrainingRun(recipe, folder) if recipe.networks.source == "sprites" else ClipsTrainingRun(recipe, folder)


def write_preset(training_run: TrainingRun | ClipsTrainingRun, folder: Path) -> None:
    """The preset of what was trained, written by the first of the processes that come here."""
    if isinstance(training_run, TrainingRun):
        export_preset(training_run, folder)
    elif parallel.rank() == 0:
        export_continued(training_run, folder)


def check_stages(recipe: Recipe, stages: Sequence[str] | None) -> None:
    """Refuse stages that the recipe does not have. Raises RecipeError."""
    unknown = [stage for stage in stages or () if stage not in recipe.stages]
    if unknown:
        raise RecipeError(f"--stage {unknown[0]}: recipe {recipe.name!r} has {', '.join(recipe.stage_names)}")


def check_predecessors(recipe: Recipe, chosen: Sequence[str], folder: Path) -> None:
    """Refuse stages that build on one neither trained nor chosen. Raises StageMissing."""
    for number, stage in enumerate(chosen):
        for needed in NEEDS[stage]:
            if needed in recipe.stages and needed not in chosen[:number]:
                check_trained(folder / needed)


def check_precision(recipe: Recipe, processes: int) -> None:
    """Refuse what the device cannot compute in. Raises RecipeError."""
    on_cpu = processes > 1 or parallel.join().device.type == "cpu"
    for name, stage in recipe.stages.items():
        if stage.plan.mixed_precision == "fp16" and on_cpu:
            raise RecipeError(f'[stages.{name}] mixed_precision: "fp16" needs a GPU; use "bf16" or "no"')


if __name__ == "__main__":
    sys.exit(main())
