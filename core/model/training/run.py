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

from core.model.training import parallel
from core.model.training.export import export_preset
from core.model.training.loop import StageMissing
from core.model.training.recipe import STAGES, Recipe, RecipeError, load_recipe
from core.model.training.workshop import Workshop

_EPILOG = """\
examples:
  longtake train sprites                          all stages, then export to runs/sprites/preset
  longtake train sprites --stage cam --minutes 5  one stage, shorter; the stages before it must have been trained
  longtake train sprites --smoke                  every stage for two steps at toy sizes: does it all run?

Stop it whenever you like: a checkpoint is at most two minutes old, and the same command goes on from there with the
same data in the same order. runs/<recipe>/<stage>/log.jsonl holds the losses.
"""


def parser() -> argparse.ArgumentParser:
    """Arguments of the command; --help teaches."""
    made = argparse.ArgumentParser(
        prog="longtake train",
        description="Train a preset's weights from a recipe.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("recipe", help="name of a shipped recipe (sprites) or path of a TOML file")
    made.add_argument("--stage", choices=STAGES, action="append", help="only this stage (may be repeated)")
    made.add_argument("--steps", type=int, help="end each stage after so many steps, instead of the recipe's number")
    made.add_argument("--minutes", type=float, help="end each stage after so many minutes of training")
    made.add_argument("--out", type=Path, help="working folder (default runs/<recipe>)")
    made.add_argument("--export", type=Path, metavar="FOLDER", help="where the preset goes (default <out>/preset)")
    made.add_argument("--threads", type=int, help="CPU threads of a single process (default: torch's choice)")
    made.add_argument("--processes", type=int, default=1, help="processes of one thread each that train together")
    made.add_argument("--smoke", action="store_true", help="toy sizes, two steps a stage")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status (2 for a recipe that cannot be used)."""
    arguments = parser().parse_args(argv)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    try:
        recipe = shortened(load_recipe(arguments.recipe), arguments.steps, arguments.minutes)
        recipe = recipe.smoke() if arguments.smoke else recipe
        folder = arguments.out or Path("runs") / recipe.name
        work = partial(run, recipe, arguments.stage, folder, arguments.export)
        parallel.launch(work, arguments.processes)
    except (RecipeError, StageMissing) as error:
        sys.stderr.write(f"longtake train: {error}\n")
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


def run(recipe: Recipe, stages: Sequence[str] | None, folder: Path, export: Path | None) -> None:
    """Train the stages asked for, in the recipe's order; export where that made or changed a whole preset."""
    check_precision(recipe)
    workshop = Workshop(recipe, folder)
    chosen = [stage for stage in recipe.stage_names if stages is None or stage in stages]
    for stage in chosen:
        tell(f"{stage}: training")
        steps = workshop.run(stage)
        tell(f"{stage}: {steps} steps done")
    is_whole = chosen[-1] in ("apm", "refiner") and workshop.has_trained("apm")
    if parallel.rank() == 0 and (is_whole or export is not None):
        target = export or folder / "preset"
        export_preset(workshop, target)
        tell(f"preset written to {target}")


def check_precision(recipe: Recipe) -> None:
    """Refuse what the device cannot compute in. Raises RecipeError."""
    device = parallel.join().device
    for name, stage in recipe.stages.items():
        if stage.plan.mixed_precision == "fp16" and device.type == "cpu":
            raise RecipeError(f'[stages.{name}] mixed_precision: "fp16" needs a GPU; use "bf16" or "no"')


def tell(line: str) -> None:
    """Say something once, however many processes train."""
    if parallel.rank() == 0:
        sys.stdout.write(line + "\n")


if __name__ == "__main__":
    sys.exit(main())
