"""Ablation trials as compared methods: other ways to condition a window on its history, trained with one budget."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from diffusers.models.unets.unet_3d_condition import UNet3DConditionModel

from core.metrics.video.seams import WINDOW_BORDERS
from core.model.checksums import file_sha256
from core.model.engines.streaming_t2v.engine import StreamingT2VEngine
from core.model.engines.streaming_t2v.preset import StreamingPreset
from core.model.evaluation.methods.method import MethodError, MethodFacts
from core.model.evaluation.methods.presets import PresetMethod
from core.model.presets.fingerprint import machine_description
from core.model.training.ablation import CONDITIONINGS, Ablation, Budget, Trial, Variant, read_record
from core.model.training.loop.checkpoints import CheckpointError
from core.model.training.recipe import RecipeError, load_recipe
from core.model.training.samples import SamplingParts, engine_for
from core.model.training.sprites_preset import preset_config
from core.model.training.stages.memory import Memory
from core.service.domain.schema import Profile

_VARIANTS = {variant.name: variant for variant in CONDITIONINGS}
_BUDGET = re.compile(r"(\d+)-steps-(\d+)-processes")


@dataclass(frozen=True)
class TrialFiles:
    """Where a trial is, and on what it was trained."""

    work: Path | None
    """Working folder of `longtake train` with the base."""
    folder: Path | None
    """Folder of all trials of one budget: out/evaluation/ablations/300-steps-2-processes."""
    recipe: str
    seed: int | None
    """Of the trial's training; None: the recipe's."""
    smoke: bool = False
    """Whether the folders were made with --smoke."""


def trial_facts(name: str, variant: str, title: str) -> MethodFacts:
    """Facts of a method that is an ablation trial."""
    source = f"ablation trial {variant} (arXiv 2403.14773), trained by longtake evaluate"
    return MethodFacts(name, title, "all 16 frames", source, WINDOW_BORDERS, "a trial's")


def load_trial_method(facts: MethodFacts, variant: str, files: TrialFiles, profile: Profile) -> PresetMethod:
    """The trial's engine. Raises MethodError, which says what to run, if it is not there or not fully trained."""
    trial = load_trial(facts.name, _VARIANTS[variant], files)
    engine = engine_for(trial.parts, trial.unet, trial.memory, trial.fingerprint)
    return PresetMethod(facts, engine, trial.parts.preset, profile)


@dataclass(frozen=True)
class LoadedTrial:
    """A trial's networks around its base."""

    parts: SamplingParts
    unet: UNet3DConditionModel
    memory: Memory
    fingerprint: str


def load_trial(method: str, variant: Variant, files: TrialFiles) -> LoadedTrial:
    """The networks of the trial that a method is. Raises MethodError, which says what to run, if it is not there or not
    fully trained."""
    if files.work is None or files.folder is None:
        raise MethodError(
            f"{method} is an ablation trial: it needs the folder of its base and that of the trials",
            fix=f"train them with `{_command(variant.name, files)}` and name both folders",
        )
    try:
        recipe = load_recipe(files.recipe)
        budget = _budget_of(files.folder)
        ablation = Ablation(recipe.smoke() if files.smoke else recipe, files.work, files.folder, budget)
        trial = Trial(variant, recipe.seed if files.seed is None else files.seed)
        if not ablation.is_done(trial):
            done = f"has {ablation.steps_done(trial)} of {budget.steps} training steps"
            raise MethodError(f"{files.folder / trial.name} {done}", fix=f"run `{_command(variant.name, files)}`")
        ablation.check_record(trial)
        preset = StreamingPreset.model_validate(preset_config())
        line = f"{_weights_line(ablation, trial)}; {_surroundings(ablation, trial, preset)}"
        return _loaded(ablation, trial, preset, line)
    except (CheckpointError, RecipeError) as error:
        raise MethodError(f"{method}: {error}", fix=f"run `{_command(variant.name, files)}`") from error


def trial_engine(ablation: Ablation, trial: Trial, preset: StreamingPreset) -> StreamingT2VEngine:
    """An engine that uses the trial's conditioning, sampled as `preset` says. Raises CheckpointError."""
    loaded = _loaded(ablation, trial, preset, _weights_line(ablation, trial))
    return engine_for(loaded.parts, loaded.unet, loaded.memory, loaded.fingerprint)


def _loaded(ablation: Ablation, trial: Trial, preset: StreamingPreset, fingerprint: str) -> LoadedTrial:
    models, memory = ablation.models, ablation.trained(trial)
    return LoadedTrial(replace(models.sampling_parts, preset=preset), models.unet, memory, fingerprint)


def _weights_line(ablation: Ablation, trial: Trial) -> str:
    weights = [ablation.models.folder / "video" / "last.pt", ablation.checkpoint(trial)]
    return " ".join([trial.name, *(file_sha256(file)[:12] for file in weights if file is not None)])


def _surroundings(ablation: Ablation, trial: Trial, preset: StreamingPreset) -> str:
    """What else decides the frames: all stages of the base, the preset, machine and libraries."""
    record = read_record(ablation.folder, trial)
    base = _digest({} if record is None else record.base)
    machine = machine_description(ablation.models.device)
    return f"base {base}; preset {_digest(preset.model_dump(mode='json'))}; {machine}"


def _digest(content: Mapping[str, Any]) -> str:
    """First 8 hex digits of SHA-256."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]


def _budget_of(folder: Path) -> Budget:
    """The budget in the folder's name. Raises MethodError."""
    found = _BUDGET.fullmatch(folder.name)
    if found is None:
        fix = "name one such as out/evaluation/ablations/300-steps-2-processes"
        raise MethodError(f"{folder} is no folder of trials of one budget", fix=fix)
    return Budget(int(found[1]), int(found[2]))


def _command(variant: str, files: TrialFiles) -> str:
    """What trains the trial, and makes the videos of those that the suite's own report has. The recipe's seed is the
    first that the suite trains."""
    seeds = "" if files.seed is not None else " --seeds 1"
    parts = [f"longtake evaluate --suite ablations --work {files.work or 'runs/sprites'} --variants {variant}{seeds}"]
    found = None if files.folder is None else _BUDGET.fullmatch(files.folder.name)
    if files.folder is None or found is None:
        return f"{parts[0]} --processes 2"
    return f"{parts[0]} --train-steps {found[1]} --processes {found[2]} --out {files.folder.parent.parent}"
