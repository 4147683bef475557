"""The suites `ablations` and `history-noise`: memories trained alike but for one thing, and what it does to videos.

Trains the variants around a base that `longtake train` has made, lets each make the same videos, and says which of the
paper's orderings come out. Knows variants and figures by name.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from core.model.checksums import file_sha256
from core.model.engines.streaming_t2v.preset import StreamingPreset
from core.model.evaluation.ablation_report import Comparison, Figure, Ordering
from core.model.evaluation.hard_cuts import NOT_MEASURED, can_count_cuts
from core.model.evaluation.measurements import Measured, Measurer
from core.model.evaluation.progress import progress_bar
from core.model.evaluation.report import write_sheet
from core.model.evaluation.sprites_suite import suite_orders
from core.model.evaluation.upper_bound import AutoencoderStudio
from core.model.evaluation.videos import EngineStudio, Studio, fulfil
from core.model.evaluation.vision_tower import Tower
from core.model.training.ablation import CONDITIONINGS, HISTORY_NOISES, Ablation, Budget, Variant, train_variants
from core.model.training.loop import CheckpointError
from core.model.training.recipe import Recipe, RecipeError, load_recipe
from core.model.training.samples import engine_around
from core.model.training.sprites_config import preset_facts
from core.service.domain.schema import DEFAULT_PROFILE

_FOLDER = "ablations"
"""Of all studies: they share variants."""
TRUE_CLIPS, TRUE_CLIPS_LABEL = "true-clips", "true clips, autoencoder only"
_CUTS = Figure("hard cuts", "hard cuts per video", lambda m: None if m.cuts is None else float(m.cuts), "lower")
_SEAMS = Figure("seams", "step across window borders over step inside", lambda m: m.video.window_seam_ratio, "lower")
_IDENTITY = Figure("identity", "likeness of last chunk and anchor (own tower)", lambda m: m.tower.anchor_likeness)
_DISTANCE = Figure(
    "distance", "distance of last chunk and anchor (own tower)", lambda m: m.tower.anchor_distance, "lower"
)
_TEXTURE = Figure("texture", "texture kept (correlation)", lambda m: m.video.texture_kept)
_OBJECTS = Figure("objects", "right objects in the last chunk's frames", lambda m: m.video.right_objects_at_end)
FIGURES = (
    _CUTS,
    _SEAMS,
    Figure("warp error", "motion-aware warp error, block flow", lambda m: m.flow.motion_aware_warp_error, "lower"),
    Figure("motion", "motion kept (last chunk over first)", lambda m: m.video.motion_kept),
    _TEXTURE,
    Figure("background", "background kept (correlation)", lambda m: m.video.background_kept),
    _IDENTITY,
    _DISTANCE,
    _OBJECTS,
)
_PAPERS = (
    Ordering("cam", "concat", _CUTS, "the paper: 0.03 against 0.24 cuts"),
    Ordering("cam", "add", _CUTS, "the paper: 0.03 against 0.284 cuts"),
    Ordering("concat", "add", _CUTS, "the paper: 0.24 against 0.284 cuts"),
    Ordering("cam", "concat", _SEAMS, "beside the paper's cuts"),
    Ordering("cam", "add", _SEAMS, "beside the paper's cuts"),
    Ordering("cam", "none", _SEAMS, "not in the paper: is the past read at all?"),
    Ordering("cam-apm", "cam", _IDENTITY, "the paper: re-identification 94.95 against 93.42"),
    Ordering("cam-apm", "cam", _TEXTURE, "beside the paper's re-identification"),
    Ordering("cam-apm", "cam", _DISTANCE, "the paper: LPIPS 0.151 against 0.192"),
)
_NOISE = (
    Ordering("cam-apm", "noise-0", _TEXTURE, "does it lower drift?"),
    Ordering("cam-apm", "noise-0", _OBJECTS, "does it lower drift?"),
)
_WITHOUT_LPIPS = (
    "LPIPS and re-identification need weights that are not here: the distance and the likeness to the anchor are the"
    " preset's own vision tower's. The warp error has MAWE's form with block matching at 64x64 in place of RAFT."
)


@dataclass(frozen=True)
class Study:
    """Variants that are compared."""

    title: str
    variants: Sequence[Variant]
    orderings: Sequence[Ordering]
    prompts: int
    frames: int


STUDIES: Mapping[str, Study] = {
    "ablations": Study("Short- and long-term memory", CONDITIONINGS, _PAPERS, 20, 96),
    "history-noise": Study("History noise", HISTORY_NOISES, _NOISE, 10, 240),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of these suites alone."""
    group = parser.add_argument_group(
        "suites `ablations` and `history-noise`", "train variants of the memories around a base, then compare them"
    )
    group.add_argument(
        "--work", type=Path, help="working folder of `longtake train` with its stages clip, vae, video and sight"
    )
    group.add_argument("--recipe", default="sprites", help="the recipe trained there (default: %(default)s)")
    group.add_argument(
        "--train-steps", type=int, default=300, help="training steps of every variant (default: %(default)s)"
    )
    group.add_argument("--smoke", action="store_true", help="the folder was made by `longtake train --smoke`")


def main(arguments: argparse.Namespace) -> int:
    """Train what is not trained, make what is not made, compare. Returns the exit status."""
    study = STUDIES[arguments.suite]
    if arguments.work is None or arguments.train_steps < 1:
        sys.stderr.write(
            f"longtake evaluate: --suite {arguments.suite} needs --work FOLDER and 1 or more --train-steps\n"
        )
        return 2
    try:
        recipe = load_recipe(arguments.recipe)
        recipe = recipe.smoke() if arguments.smoke else recipe
        bench = Bench(
            recipe,
            arguments.work,
            arguments.out / _FOLDER,
            Budget(arguments.train_steps, arguments.processes),
            arguments.smoke,
        )
        sys.stderr.write("training the variants that are not trained yet\n")
        train_variants(recipe, bench.work, bench.variants_folder, bench.budget, study.variants)
    except (RecipeError, CheckpointError) as error:
        sys.stderr.write(f"longtake evaluate: {error}\n")
        return 2
    _compare(bench, study, arguments)
    return 0


@dataclass(frozen=True)
class Bench:
    """Where a study finds its base, and keeps its variants and videos."""

    recipe: Recipe
    work: Path
    out: Path
    budget: Budget
    smoke: bool = False

    @property
    def preset(self) -> StreamingPreset:
        """How the shipped model samples: variants sample so, too; in a smoke test with one step."""
        facts = preset_facts()
        profile = facts["profiles"][DEFAULT_PROFILE]
        if self.smoke:
            facts["profiles"] = {
                DEFAULT_PROFILE: {
                    key: value | {"num_inference_steps": 1} if isinstance(value, dict) else value
                    for key, value in profile.items()
                }
            }
        return StreamingPreset.model_validate(facts)

    @property
    def folder(self) -> Path:
        """Of this budget."""
        return self.out / self.budget.name

    @property
    def variants_folder(self) -> Path:
        """Variants of all studies with this budget."""
        return self.folder / "variants"

    @property
    def ablation(self) -> Ablation:
        """The variants, in this process."""
        return Ablation(self.recipe, self.work, self.variants_folder, self.budget)


def _compare(bench: Bench, study: Study, arguments: argparse.Namespace) -> None:
    """Make and measure every variant's videos; write and print the comparison."""
    prompts, frames = arguments.prompts or study.prompts, arguments.frames or study.frames
    threads: int = arguments.threads
    measured: dict[str, list[Measured]] = {}
    with progress_bar() as advance:

        def run(label: str, open_studio: Callable[[], Studio], folder: Path) -> list[Measured]:
            orders = suite_orders(bench.preset, prompts, frames, folder)
            return fulfil(open_studio, orders, advance(label, len(orders)), arguments.processes)

        for variant in study.variants:
            folder = bench.folder / f"{variant.name}-{frames}"
            measured[variant.name] = run(variant.label, partial(open_variant, bench, variant, threads), folder)
            write_sheet(
                suite_orders(bench.preset, prompts, frames, folder), variant.label, bench.folder / f"{folder.name}.png"
            )
        measured[TRUE_CLIPS] = run(TRUE_CLIPS_LABEL, partial(open_true_clips, bench, threads), bench.folder)
    comparison = Comparison(
        title=f"{study.title}: {prompts} held-out prompts, {frames} frames, {bench.budget.steps} training steps each",
        labels={**{variant.name: variant.label for variant in study.variants}, TRUE_CLIPS: TRUE_CLIPS_LABEL},
        measured=measured,
        figures=FIGURES,
        orderings=study.orderings,
        notes=[*([] if can_count_cuts() else [NOT_MEASURED]), _WITHOUT_LPIPS],
    )
    comparison.write(bench.folder, f"{arguments.suite}-{frames}")
    sys.stdout.write(f"{comparison.text()}\n\n{bench.folder}/{arguments.suite}-{frames}.md, .json, .png\n")


def open_variant(bench: Bench, variant: Variant, threads: int) -> Studio:
    """An engine whose windows are conditioned the variant's way."""
    torch.set_num_threads(threads)
    ablation = bench.ablation
    training_run, memory = ablation.training_run, ablation.trained(variant)
    weights = [training_run.folder / "video" / "last.pt", ablation.checkpoint(variant)]
    line = " ".join([variant.name, *(file_sha256(file)[:12] for file in weights if file is not None)])
    parts = replace(training_run.parts, preset=bench.preset)
    return EngineStudio(engine_around(parts, training_run.unet, memory, line), _measurer(ablation))


def open_true_clips(bench: Bench, threads: int) -> Studio:
    """What the figures are at best."""
    torch.set_num_threads(threads)
    ablation = bench.ablation
    return AutoencoderStudio(ablation.training_run.scaled_vae, _measurer(ablation))


def _measurer(ablation: Ablation) -> Measurer:
    return Measurer(Tower(ablation.training_run.image_encoder, ablation.training_run.words))
