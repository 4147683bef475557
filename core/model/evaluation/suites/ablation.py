"""The suites `ablations` and `history-noise`: train and compare variants of the memories that differ in one respect.

The variants are trained on a base from `longtake train`. Each makes the same videos, and the report says which of the
paper's results are confirmed.
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
from core.model.evaluation.generation.progress import progress_bars
from core.model.evaluation.generation.sprites_requests import suite_requests
from core.model.evaluation.generation.upper_bound import AutoencoderEvaluator
from core.model.evaluation.generation.videos import EngineEvaluator, Evaluator, evaluate_all
from core.model.evaluation.metrics.hard_cuts import NOT_MEASURED, can_count_cuts
from core.model.evaluation.metrics.measurements import Measured, Measurer
from core.model.evaluation.metrics.vision_tower import VisionTower
from core.model.evaluation.reports.ablation_report import ComparedMetric, Comparison, Expectation
from core.model.evaluation.reports.report import write_sheet
from core.model.training.ablation import CONDITIONINGS, HISTORY_NOISES, Ablation, Budget, Variant, train_variants
from core.model.training.loop.checkpoints import CheckpointError
from core.model.training.recipe import Recipe, RecipeError, load_recipe
from core.model.training.samples import engine_for
from core.model.training.sprites_preset import preset_config
from core.service.domain.schema import DEFAULT_PROFILE

_FOLDER = "ablations"
"""Output subfolder of both suites, as they share variants."""
TRUE_CLIPS, TRUE_CLIPS_LABEL = "true-clips", "true clips, autoencoder only"
_CUTS = ComparedMetric("hard cuts", "hard cuts per video", lambda m: None if m.cuts is None else float(m.cuts), "lower")
_SEAMS = ComparedMetric(
    "seams", "step across window borders over step inside", lambda m: m.video.window_seam_ratio, "lower"
)
_IDENTITY = ComparedMetric(
    "identity", "likeness of last chunk and anchor (own tower)", lambda m: m.tower.anchor_likeness
)
_DISTANCE = ComparedMetric(
    "distance", "distance of last chunk and anchor (own tower)", lambda m: m.tower.anchor_distance, "lower"
)
_TEXTURE = ComparedMetric("texture", "texture kept (correlation)", lambda m: m.video.texture_kept)
_OBJECTS = ComparedMetric("objects", "right objects in the last chunk's frames", lambda m: m.video.right_objects_at_end)
METRICS = (
    _CUTS,
    _SEAMS,
    ComparedMetric(
        "warp error", "motion-aware warp error, block flow", lambda m: m.flow.motion_aware_warp_error, "lower"
    ),
    ComparedMetric("motion", "motion kept (last chunk over first)", lambda m: m.video.motion_kept),
    _TEXTURE,
    ComparedMetric("background", "background kept (correlation)", lambda m: m.video.background_kept),
    _IDENTITY,
    _DISTANCE,
    _OBJECTS,
)
_PAPER = (
    Expectation("cam", "concat", _CUTS, "the paper: 0.03 against 0.24 cuts"),
    Expectation("cam", "add", _CUTS, "the paper: 0.03 against 0.284 cuts"),
    Expectation("concat", "add", _CUTS, "the paper: 0.24 against 0.284 cuts"),
    Expectation("cam", "concat", _SEAMS, "in addition to the paper's cuts"),
    Expectation("cam", "add", _SEAMS, "in addition to the paper's cuts"),
    Expectation("cam", "none", _SEAMS, "not in the paper: is the history used at all?"),
    Expectation("cam-apm", "cam", _IDENTITY, "the paper: re-identification 94.95 against 93.42"),
    Expectation("cam-apm", "cam", _TEXTURE, "in addition to the paper's re-identification"),
    Expectation("cam-apm", "cam", _DISTANCE, "the paper: LPIPS 0.151 against 0.192"),
)
_NOISE = (
    Expectation("cam-apm", "noise-0", _TEXTURE, "does it reduce drift?"),
    Expectation("cam-apm", "noise-0", _OBJECTS, "does it reduce drift?"),
)
_WITHOUT_LPIPS = (
    "LPIPS and re-identification need weights that are not available: distance and likeness to the anchor are computed"
    " by the preset's own vision tower. The warp error is MAWE with block matching at 64x64 in place of RAFT."
)


@dataclass(frozen=True)
class AblationStudy:
    """Variants that are compared, the expected results, and the default videos."""

    title: str
    variants: Sequence[Variant]
    expectations: Sequence[Expectation]
    prompts: int
    frames: int


STUDIES: Mapping[str, AblationStudy] = {
    "ablations": AblationStudy("Short- and long-term memory", CONDITIONINGS, _PAPER, 20, 96),
    "history-noise": AblationStudy("History noise", HISTORY_NOISES, _NOISE, 10, 240),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of these suites only."""
    group = parser.add_argument_group(
        "suites `ablations` and `history-noise`", "train variants of the memories on a base, then compare them"
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
    """Train the variants, make the videos, compare; finished parts are reused. Returns the exit status."""
    study = STUDIES[arguments.suite]
    if arguments.work is None or arguments.train_steps < 1:
        sys.stderr.write(
            f"longtake evaluate: --suite {arguments.suite} needs --work FOLDER and 1 or more --train-steps\n"
        )
        return 2
    try:
        recipe = load_recipe(arguments.recipe)
        recipe = recipe.smoke() if arguments.smoke else recipe
        workspace = AblationWorkspace(
            recipe,
            arguments.work,
            arguments.out / _FOLDER,
            Budget(arguments.train_steps, arguments.processes),
            arguments.smoke,
        )
        sys.stderr.write("training the variants that are not trained yet\n")
        train_variants(recipe, workspace.work, workspace.variants_folder, workspace.budget, study.variants)
    except (RecipeError, CheckpointError) as error:
        sys.stderr.write(f"longtake evaluate: {error}\n")
        return 2
    _compare(workspace, study, arguments)
    return 0


@dataclass(frozen=True)
class AblationWorkspace:
    """Folders and settings of an ablation study: its base, variants and videos."""

    recipe: Recipe
    work: Path
    out: Path
    budget: Budget
    smoke: bool = False

    @property
    def preset(self) -> StreamingPreset:
        """The sampling config of all variants: the shipped model's; in a smoke test with one step."""
        config = preset_config()
        profile = config["profiles"][DEFAULT_PROFILE]
        if self.smoke:
            config["profiles"] = {
                DEFAULT_PROFILE: {
                    key: value | {"num_inference_steps": 1} if isinstance(value, dict) else value
                    for key, value in profile.items()
                }
            }
        return StreamingPreset.model_validate(config)

    @property
    def folder(self) -> Path:
        """Output folder of this budget."""
        return self.out / self.budget.name

    @property
    def variants_folder(self) -> Path:
        """Checkpoints of the variants with this budget."""
        return self.folder / "variants"

    @property
    def ablation(self) -> Ablation:
        """The variants, loaded in this process."""
        return Ablation(self.recipe, self.work, self.variants_folder, self.budget)


def _compare(workspace: AblationWorkspace, study: AblationStudy, arguments: argparse.Namespace) -> None:
    """Make and measure the videos of all variants; write and print the comparison."""
    prompts, frames = arguments.prompts or study.prompts, arguments.frames or study.frames
    threads: int = arguments.threads
    measured: dict[str, list[Measured]] = {}
    with progress_bars() as add_bar:

        def run(label: str, load_evaluator: Callable[[], Evaluator], folder: Path) -> list[Measured]:
            requests = suite_requests(workspace.preset, prompts, frames, folder)
            return evaluate_all(load_evaluator, requests, add_bar(label, len(requests)), arguments.processes)

        for variant in study.variants:
            folder = workspace.folder / f"{variant.name}-{frames}"
            measured[variant.name] = run(variant.label, partial(load_variant, workspace, variant, threads), folder)
            write_sheet(
                suite_requests(workspace.preset, prompts, frames, folder),
                variant.label,
                workspace.folder / f"{folder.name}.png",
            )
        measured[TRUE_CLIPS] = run(TRUE_CLIPS_LABEL, partial(load_true_clips, workspace, threads), workspace.folder)
    steps = workspace.budget.steps
    comparison = Comparison(
        title=f"{study.title}: {prompts} held-out prompts, {frames} frames, {steps} training steps each",
        labels={**{variant.name: variant.label for variant in study.variants}, TRUE_CLIPS: TRUE_CLIPS_LABEL},
        measured=measured,
        metrics=METRICS,
        expectations=study.expectations,
        notes=[*([] if can_count_cuts() else [NOT_MEASURED]), _WITHOUT_LPIPS],
    )
    comparison.write(workspace.folder, f"{arguments.suite}-{frames}")
    sys.stdout.write(f"{comparison.text()}\n\n{workspace.folder}/{arguments.suite}-{frames}.md, .json, .png\n")


def load_variant(workspace: AblationWorkspace, variant: Variant, threads: int) -> Evaluator:
    """An evaluator with an engine that uses the variant's conditioning."""
    torch.set_num_threads(threads)
    ablation = workspace.ablation
    models, memory = ablation.models, ablation.trained(variant)
    weights = [models.folder / "video" / "last.pt", ablation.checkpoint(variant)]
    fingerprint = " ".join([variant.name, *(file_sha256(file)[:12] for file in weights if file is not None)])
    parts = replace(models.sampling_parts, preset=workspace.preset)
    return EngineEvaluator(engine_for(parts, models.unet, memory, fingerprint), _measurer(ablation))


def load_true_clips(workspace: AblationWorkspace, threads: int) -> Evaluator:
    """An evaluator of true clips: the best possible figures."""
    torch.set_num_threads(threads)
    ablation = workspace.ablation
    return AutoencoderEvaluator(ablation.models.scaled_vae, _measurer(ablation))


def _measurer(ablation: Ablation) -> Measurer:
    return Measurer(VisionTower(ablation.models.image_encoder, ablation.models.contrastive))
