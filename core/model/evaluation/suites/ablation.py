"""The suites `ablations` and `history-noise`: train and compare variants of the memories that differ in one respect.

The variants are trained on a base from `longtake train`, each with several seeds. Each trial makes the same videos, and
the report says which of the paper's results are confirmed. A run can be stopped at any time and continues from there:
trials are finished one after the other, seed by seed, and the report is written after each.

A variant that does not make the windows of StreamingT2V (`last-frame`) is only trained here: its borders and seams are
others than those of this report. `longtake compare` makes and compares its videos.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch

from core.metrics.video.cuts import NOT_MEASURED, can_count_cuts
from core.model.evaluation.generation.progress import progress_bars
from core.model.evaluation.generation.upper_bound import AutoencoderEvaluator
from core.model.evaluation.generation.videos import EngineEvaluator, Evaluator, evaluate_all
from core.model.evaluation.methods.trials import trial_engine
from core.model.evaluation.metrics.measurements import Measured, Measurer
from core.model.evaluation.metrics.vision_tower import VisionTower
from core.model.evaluation.reports.ablation_report import Comparison, VariantResults
from core.model.evaluation.reports.report import write_sheet
from core.model.evaluation.suites.ablation_forecast import Forecast, Pace
from core.model.evaluation.suites.ablation_studies import METRICS, STUDIES, WITHOUT_LPIPS, AblationStudy
from core.model.evaluation.suites.ablation_workspace import AblationWorkspace, Videos
from core.model.training.ablation import (
    BASE,
    Ablation,
    Budget,
    Trial,
    Variant,
    last_loss,
    read_record,
    train_trial,
    trials_of,
)
from core.model.training.loop.checkpoints import CheckpointError
from core.model.training.recipe import RecipeError, load_recipe

_FOLDER = "ablations"
"""Output subfolder of both suites, as they share variants."""
_SEEDS = 3
TRUE_CLIPS, TRUE_CLIPS_LABEL = "true-clips", "true clips, autoencoder only"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of these suites only."""
    group = parser.add_argument_group(
        "suites `ablations` and `history-noise`", "train variants of the memories on a base, then compare them"
    )
    group.add_argument(
        "--work", type=Path, help=f"working folder of `longtake train` with its stages {', '.join(BASE)}"
    )
    group.add_argument("--recipe", default="sprites", help="the recipe trained there (default: %(default)s)")
    group.add_argument(
        "--train-steps", type=int, default=300, help="training steps of every variant and seed (default: %(default)s)"
    )
    group.add_argument(
        "--variants", nargs="+", metavar="NAME", help="only these, for doing the work in parts: none, concat, add, ..."
    )
    group.add_argument(
        "--report", action="store_true", help="train and make nothing: compare what is finished, and list what is not"
    )
    group.add_argument("--smoke", action="store_true", help="the folder was made by `longtake train --smoke`")


def main(arguments: argparse.Namespace) -> int:
    """Train the trials, make their videos, compare; finished ones are not run again. Returns the exit status."""
    study = STUDIES[arguments.suite]
    if (problem := _problem(arguments, study)) is not None:
        sys.stderr.write(f"longtake evaluate: {problem}\n")
        return 2
    try:
        run = _run_of(arguments, study)
        if not arguments.report:
            run.finish(arguments.processes, arguments.threads)
    except (RecipeError, CheckpointError) as error:
        sys.stderr.write(f"longtake evaluate: {error}\n")
        return 2
    if arguments.report or run.makes_videos:
        sys.stdout.write(f"{run.write_report().text()}\n\n{run.report_stem}.md, .json, .png\n")
    return 0


def _problem(arguments: argparse.Namespace, study: AblationStudy) -> str | None:
    """What is wrong with the arguments."""
    if arguments.train_steps < 1 or (arguments.work is None and not arguments.report):
        return f"--suite {arguments.suite} needs --work FOLDER and 1 or more --train-steps"
    known = [variant.name for variant in (*study.variants, *study.on_request)]
    unknown = [name for name in arguments.variants or () if name not in known]
    return f"--variants {unknown[0]}: --suite {arguments.suite} has {', '.join(known)}" if unknown else None


def _run_of(arguments: argparse.Namespace, study: AblationStudy) -> AblationRun:
    """The run that the arguments describe. Raises RecipeError."""
    recipe = load_recipe(arguments.recipe)
    workspace = AblationWorkspace(
        recipe.smoke() if arguments.smoke else recipe,
        arguments.out / _FOLDER,
        Budget(arguments.train_steps, arguments.processes),
        Videos(arguments.prompts or study.prompts, arguments.frames or study.frames),
        arguments.work,
        arguments.smoke,
    )
    seeds = workspace.seeds(arguments.seeds or _SEEDS)
    return AblationRun(workspace, study, arguments.suite, seeds, study.chosen(arguments.variants))


class AblationRun:
    """The trials of one study that are to be finished, and its report."""

    def __init__(
        self,
        workspace: AblationWorkspace,
        study: AblationStudy,
        name: str,
        seeds: Sequence[int],
        chosen: Sequence[Variant],
    ) -> None:
        """`chosen` variants are trained; the report is of all variants of the study."""
        self.workspace = workspace
        self.study = study
        self.seeds = seeds
        self.chosen = chosen
        self.report_stem = workspace.folder / f"{name}-{workspace.videos.frames}"

    @property
    def makes_videos(self) -> bool:
        """Whether the suite makes videos with any of the chosen variants; others are only trained."""
        return any(variant.has_suite_videos for variant in self.chosen)

    def finish(self, processes: int, threads: int) -> None:
        """Train and measure every chosen trial that is not finished, or only train it. Raises CheckpointError."""
        workspace = self.workspace
        ablation = workspace.ablation
        trials = trials_of(self.chosen, self.seeds)
        for trial in trials:
            ablation.check_record(trial)
        left = [trial for trial in trials if not self._is_finished(ablation, trial)]
        # Before any process is started: a missing stage is reported here.
        for trial in trials_of(self.chosen, self.seeds[:1]):
            ablation.task(trial)
        forecast = self._forecast(ablation, left)
        sys.stderr.write(f"{forecast.text()}\n")
        if self.makes_videos and workspace.figures(TRUE_CLIPS) is None:
            self._make(TRUE_CLIPS, TRUE_CLIPS_LABEL, partial(load_true_clips, workspace, threads), processes)
        for trial in left:
            ablation.record(trial)
            self._train(ablation, trial, forecast)
            if not trial.variant.has_suite_videos:
                continue
            began, missing = time.monotonic(), self._videos_left(trial)
            self._make(trial.name, trial.label, partial(load_trial_evaluator, workspace, trial, threads), processes)
            forecast.videos.add(missing, time.monotonic() - began)
            self.write_report()
            sys.stderr.write(f"{trial.label} is finished; {forecast.text()}\n")
        for trial in trials:
            if not trial.variant.has_suite_videos:
                sys.stderr.write(
                    f"{trial.label} is trained; `longtake compare --trials {ablation.folder}` makes its videos\n"
                )

    def _is_finished(self, ablation: Ablation, trial: Trial) -> bool:
        return self._has(trial.name) if trial.variant.has_suite_videos else ablation.is_done(trial)

    def _forecast(self, ablation: Ablation, left: Sequence[Trial]) -> Forecast:
        trainings = sum(1 - ablation.steps_done(trial) / ablation.budget.steps for trial in left)
        return Forecast(Pace(trainings), Pace(sum(self._videos_left(trial) for trial in left)))

    def _videos_left(self, trial: Trial) -> int:
        if not trial.variant.has_suite_videos:
            return 0
        return self.workspace.videos.prompts - self.workspace.videos_made(trial.name)

    def _train(self, ablation: Ablation, trial: Trial, forecast: Forecast) -> None:
        if ablation.is_done(trial):
            return
        began, share = time.monotonic(), 1 - ablation.steps_done(trial) / ablation.budget.steps
        assert self.workspace.work is not None, "only a report needs no base"
        train_trial(self.workspace.recipe, self.workspace.work, ablation.folder, ablation.budget, trial)
        forecast.trainings.add(share, time.monotonic() - began)

    def _make(self, name: str, label: str, load_evaluator: Callable[[], Evaluator], processes: int) -> None:
        """Make and measure the videos of a trial, and keep their figures."""
        requests = self.workspace.requests(name)
        with progress_bars() as add_bar:
            measured = evaluate_all(load_evaluator, requests, add_bar(label, len(requests)), processes)
        if name != TRUE_CLIPS:
            write_sheet(requests, label, requests[0].stem.parent.with_suffix(".png"))
        self.workspace.store(name, measured)

    def write_report(self) -> Comparison:
        """Compare all trials of the study that are finished; writes and returns the comparison."""
        comparison = self._comparison()
        comparison.write(self.report_stem.parent, self.report_stem.name)
        return comparison

    def _comparison(self) -> Comparison:
        videos, steps = self.workspace.videos, self.workspace.budget.steps
        on_request = [v for v in self.study.on_request if v in self.chosen or self._results(v).by_seed]
        everything = [variant for variant in (*self.study.variants, *on_request) if variant.has_suite_videos]
        results = {variant.name: self._results(variant) for variant in everything}
        true_clips = self.workspace.figures(TRUE_CLIPS)
        if true_clips is not None:
            results[TRUE_CLIPS] = VariantResults(TRUE_CLIPS_LABEL, {self.seeds[0]: true_clips})
        one_seed = any(variant.is_trained and len(results[variant.name].by_seed) == 1 for variant in everything)
        notes = ["With one seed an interval does not include the variance of training."] if one_seed else []
        seeds = f"{len(self.seeds)} seed{'s' if len(self.seeds) > 1 else ''}"
        return Comparison(
            title=(
                f"{self.study.title}: {seeds}, {videos.prompts} held-out prompts, {videos.frames} frames,"
                f" {steps} training steps each"
            ),
            variants=results,
            metrics=METRICS,
            expectations=self.study.expectations,
            notes=[*([] if can_count_cuts() else [NOT_MEASURED]), *notes, WITHOUT_LPIPS],
            missing=[self._missing(trial) for trial in trials_of(everything, self.seeds) if not self._has(trial.name)]
            + ([] if true_clips is not None else [TRUE_CLIPS_LABEL]),
        )

    def _has(self, name: str) -> bool:
        return self.workspace.figures(name) is not None

    def _missing(self, trial: Trial) -> str:
        return f"{trial.label} ({self.workspace.videos_made(trial.name)} of {self.workspace.videos.prompts} videos)"

    def _results(self, variant: Variant) -> VariantResults:
        """The variant's finished trials."""
        folder, by_seed = self.workspace.folder, dict[int, list[Measured]]()
        trials = {seed: Trial(variant, seed if variant.is_trained else None) for seed in self.seeds}
        for seed, trial in trials.items():
            if (figures := self.workspace.figures(trial.name)) is not None:
                by_seed[seed] = figures
        records = [record for trial in trials.values() if (record := read_record(folder, trial)) is not None]
        losses = [loss for seed in by_seed if (loss := last_loss(folder, trials[seed])) is not None]
        return VariantResults(
            variant.label,
            by_seed,
            records[0].trained_weights if records else None,
            sum(losses) / len(losses) if losses else None,
        )


def load_trial_evaluator(workspace: AblationWorkspace, trial: Trial, threads: int) -> Evaluator:
    """An evaluator with an engine that uses the trial's conditioning."""
    torch.set_num_threads(threads)
    ablation = workspace.ablation
    return EngineEvaluator(trial_engine(ablation, trial, workspace.preset), _measurer(ablation))


def load_true_clips(workspace: AblationWorkspace, threads: int) -> Evaluator:
    """An evaluator of true clips: the best possible figures."""
    torch.set_num_threads(threads)
    ablation = workspace.ablation
    return AutoencoderEvaluator(ablation.models.scaled_vae, _measurer(ablation))


def _measurer(ablation: Ablation) -> Measurer:
    return Measurer(VisionTower(ablation.models.image_encoder, ablation.models.contrastive))
