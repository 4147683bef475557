"""Train ablation variants: memories that differ in one respect, with the same base, data and number of steps.

A variant is trained in one stage; with an anchor, CAM and APM are trained together from the first step. It is trained
several times, each with another seed: a trial. The seed determines the weights of new layers and the order of samples.
All variants of a seed have the same batches and learning rate, and the same dropouts but for what a variant has of its
own, so they see the same samples in the same order.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import torch
from torch import Tensor

from core.model.checksums import file_sha256
from core.model.sampling.vae import encode_frames
from core.model.training.loop import parallel
from core.model.training.loop.checkpoints import (
    CHECKPOINT,
    CheckpointError,
    CheckpointMismatch,
    load_averaged,
    require_trained,
    trained_parameters,
)
from core.model.training.loop.train import train
from core.model.training.loop.training_log import LOG
from core.model.training.preset_files import write_json
from core.model.training.recipe import Recipe
from core.model.training.sprites_models import SpritesModels
from core.model.training.stages.conditioning_variants import Conditioning, replace_conditioning
from core.model.training.stages.history import CONDITIONING_FRAMES
from core.model.training.stages.memory import Dropouts, Memory, MemoryTask

BASE = ("clip", "tower", "vae", "video", "sight")
"""The stages whose networks all variants share."""
_RECORD = "trial.json"


@dataclass(frozen=True)
class Variant:
    """How windows are conditioned on their history, and what of their training is their own."""

    name: str
    label: str
    conditioning: Conditioning
    with_anchor: bool = False
    history_noise: float | None = None
    """None: the recipe's."""
    generated_past: float | None = None
    """None: the recipe's."""
    conditioning_frames: int = CONDITIONING_FRAMES
    """First frames of a window that repeat the past, which it reads as pictures."""

    @property
    def is_trained(self) -> bool:
        """Whether the variant has weights of its own."""
        return self.conditioning != "none"

    @property
    def has_suite_videos(self) -> bool:
        """Whether the suite makes videos with it: in the windows of StreamingT2V, 8 new frames each."""
        return self.conditioning_frames == CONDITIONING_FRAMES


_BOTH_MEMORIES = Variant("cam-apm", "CAM + APM", "cam", with_anchor=True)
CONDITIONINGS = (
    Variant("none", "no conditioning", "none"),
    Variant("concat", "channel concatenation", "concat"),
    Variant("add", "additive zero-conv", "add"),
    Variant("cam", "CAM", "cam"),
    _BOTH_MEMORIES,
)
"""In the paper's order."""
WHOLE_ENCODER = Variant("concat-encoder", "channel concatenation, whole encoder", "concat-encoder")
"""Concatenation that trains a whole encoder; for comparison."""
LAST_FRAME = Variant("last-frame", "last-frame image-to-video", "last-frame", generated_past=0.0, conditioning_frames=1)
"""Reads the last frame before a window alone, as trained image-to-video models do; for `longtake compare`.

It has no generated past. Image-to-video is trained on clips that begin with their picture. One frame that the network
has made 15 frames after the last true one is elsewhere than the true clip, so it may learn to leave its picture; with
the recipe's share its videos had more cuts. The history noise stays: it is SVD's noise augmentation.
"""
HISTORY_NOISES = (
    Variant("noise-0", "CAM + APM, history noise 0", "cam", with_anchor=True, history_noise=0.0),
    replace(_BOTH_MEMORIES, label="CAM + APM, history noise of the recipe"),
)


@dataclass(frozen=True)
class Trial:
    """A variant trained with one seed. A variant without weights of its own has one trial, with seed None."""

    variant: Variant
    seed: int | None

    @property
    def name(self) -> str:
        """Folder name."""
        return self.variant.name if self.seed is None else f"{self.variant.name}-seed-{self.seed}"

    @property
    def label(self) -> str:
        """For people."""
        return self.variant.label if self.seed is None else f"{self.variant.label}, seed {self.seed}"


def trials_of(variants: Sequence[Variant], seeds: Sequence[int]) -> list[Trial]:
    """All trials, seed by seed: a run that is stopped early can already compare all variants."""
    untrained = [Trial(variant, None) for variant in variants if not variant.is_trained]
    return untrained + [Trial(variant, seed) for seed in seeds for variant in variants if variant.is_trained]


@dataclass(frozen=True)
class Budget:
    """Training budget of every trial. The batch size per process is that of the recipe's stage `cam`."""

    steps: int
    processes: int

    @property
    def name(self) -> str:
        """Folder name: trials with different budgets are kept apart."""
        return f"{self.steps}-steps-{self.processes}-processes"


@dataclass(frozen=True)
class TrialRecord:
    """What a trial's folder says of it."""

    base: dict[str, str]
    """SHA-256 of the base's checkpoints, by stage."""
    trained_weights: int
    own: dict[str, float | None] | None = None
    """What the variant had of its own; None in folders of earlier versions, where that never changed."""


class Ablation:
    """Trials on the trained base of one working folder, each in its own subfolder of `folder`."""

    def __init__(self, recipe: Recipe, work: Path, folder: Path, budget: Budget) -> None:
        """`work` is the working folder in which the recipe's stages of BASE were trained."""
        self.models = SpritesModels(recipe, work)
        self.folder = folder
        self.budget = budget

    def is_done(self, trial: Trial) -> bool:
        """Whether the trial has used up its budget."""
        return self.steps_done(trial) >= self.budget.steps

    def steps_done(self, trial: Trial) -> int:
        """Training steps of its checkpoint; a variant without weights of its own has all of them."""
        checkpoint = self.checkpoint(trial)
        if checkpoint is None:
            return self.budget.steps
        return int(torch.load(checkpoint, weights_only=True, mmap=True)["step"]) if checkpoint.is_file() else 0

    def check_record(self, trial: Trial) -> None:
        """Raises StageNotTrained, and CheckpointMismatch if the trial was made on another base, or as another variant
        of this name."""
        base, record, folder = self._base, read_record(self.folder, trial), self.folder / trial.name
        if record is not None and record.base != base:
            raise CheckpointMismatch(f"{folder} was trained on another base: remove it to train it again")
        if record is not None and record.own not in (None, _own(trial.variant)):
            raise CheckpointMismatch(f"{folder} was trained in another way: remove it to train it again")

    def record(self, trial: Trial) -> None:
        """Write what its folder says of the trial. Raises StageNotTrained."""
        modules = self.task(trial).modules
        trained_weights = sum(weight.numel() for weight in trained_parameters(modules))
        record = TrialRecord(self._base, trained_weights, _own(trial.variant))
        write_json(self.folder / trial.name / _RECORD, asdict(record))

    @cached_property
    def _base(self) -> dict[str, str]:
        """SHA-256 of the base's checkpoints. Raises StageNotTrained."""
        for stage in BASE:
            require_trained(self.models.folder / stage)
        return {stage: file_sha256(self.models.folder / stage / CHECKPOINT) for stage in BASE}

    def train(self, trial: Trial) -> int:
        """Train the trial, continuing from its checkpoint; returns the total steps. Raises StageNotTrained."""
        assert trial.seed is not None, "a variant without weights of its own is not trained"
        recipe = self.models.recipe
        plan = replace(recipe.stages["cam"].plan, steps=self.budget.steps, minutes=math.inf)
        pinned = recipe.pinned("cam") | {"seed": trial.seed}
        return train(self.task(trial), plan, self.folder / trial.name, pinned=pinned)

    def task(self, trial: Trial) -> MemoryTask:
        """The trial's task at step 0. Raises StageNotTrained."""
        models, variant = self.models, trial.variant
        return MemoryTask(
            models.unet,
            models.text_encoder,
            models.image_encoder if variant.with_anchor else None,
            models.vae,
            models.tokenizer,
            self.untrained(trial),
            models.bank,
            models.recipe.seed if trial.seed is None else trial.seed,
            models.recipe.stages["cam"].batch,
            models.latent_scale,
            dropouts_of(models.recipe, variant),
            variant.conditioning_frames,
        )

    def untrained(self, trial: Trial) -> Memory:
        """The trial at step 0, with the picture encoder of the stage `sight`."""
        memory = self.models.untrained_memory(self.models.unet, trial.seed)
        load_averaged(self.models.folder / "sight", {"picture_encoder": memory.cam.picture_encoder})
        return replace_conditioning(memory, trial.variant.conditioning, self.models.unet, self._encode)

    def trained(self, trial: Trial) -> Memory:
        """The trial with its averaged weights, frozen. Raises StageNotTrained."""
        task = self.task(trial)
        if trial.variant.is_trained:
            load_averaged(self.folder / trial.name, task.modules)
        for part in (task.memory.cam, *task.memory.conditioning.values()):
            part.requires_grad_(False).eval()
        return task.memory

    def checkpoint(self, trial: Trial) -> Path | None:
        """Path of its checkpoint; None for a variant without weights of its own."""
        return self.folder / trial.name / CHECKPOINT if trial.variant.is_trained else None

    def _encode(self, pictures_n3pr: Tensor) -> Tensor:
        """Pictures [N, 3, P, R] in [-1, 1] -> scaled latents [N, C, H, W]."""
        return encode_frames(self.models.scaled_vae, pictures_n3pr.float()).transpose(0, 1)


def _own(variant: Variant) -> dict[str, float | None]:
    """What a variant has of its own in its training; None: the recipe's."""
    return {
        "history_noise": variant.history_noise,
        "generated_past": variant.generated_past,
        "conditioning_frames": variant.conditioning_frames,
    }


def dropouts_of(recipe: Recipe, variant: Variant) -> Dropouts:
    """Those of the stage `apm` for every variant, or they would differ in more than their conditioning; without an
    anchor its part has no effect. Only history noise and generated past may be the variant's own."""
    own = {"history_noise": variant.history_noise, "generated_past": variant.generated_past}
    dropouts = recipe.stages["apm"].dropouts or Dropouts()
    return replace(dropouts, **{name: value for name, value in own.items() if value is not None})


def read_record(folder: Path, trial: Trial) -> TrialRecord | None:
    """What the trial's subfolder says of it; None if it was not begun."""
    file = folder / trial.name / _RECORD
    return TrialRecord(**json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else None


def last_loss(folder: Path, trial: Trial) -> float | None:
    """Mean loss of the trial's last logged steps; None if it was not trained."""
    log = folder / trial.name / LOG
    lines = log.read_text(encoding="utf-8").splitlines() if log.is_file() else []
    return float(json.loads(lines[-1])["loss"]) if lines else None


def train_trial(recipe: Recipe, work: Path, folder: Path, budget: Budget, trial: Trial) -> None:
    """Train a trial in all processes together, continuing from its checkpoint. Raises CheckpointError."""
    parallel.launch(partial(_train, recipe, work, folder, budget, trial), budget.processes, reraised=(CheckpointError,))


def _train(recipe: Recipe, work: Path, folder: Path, budget: Budget, trial: Trial) -> None:
    assert trial.seed is not None, "a variant without weights of its own is not trained"
    torch.manual_seed(trial.seed)
    Ablation(recipe, work, folder, budget).train(trial)
