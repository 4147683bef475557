"""Train memories that differ in one thing around the same frozen base, on the same data, for the same number of steps.

A variant is trained in one go: with an anchor, CAM and APM together from the first step. Every variant has the same
seed, batches and learning rate, so all see the same windows in the same order. Knows training_runs; measures nothing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import torch
from torch import Tensor

from core.model.checksums import file_sha256
from core.model.sampling.vae import encode_frames
from core.model.training import parallel
from core.model.training.export import write_json
from core.model.training.loop import CHECKPOINT, CheckpointError, OtherRun, load_averaged, train
from core.model.training.memory_stage import Dropouts, Memory, MemoryTask
from core.model.training.recipe import Recipe
from core.model.training.sprites_run import TrainingRun
from core.model.training.variants import Way, replace_conditioning

BASE = ("clip", "vae", "video", "sight")
"""The stages that a variant is trained around."""
_BASE_FILE = "base.json"


@dataclass(frozen=True)
class Variant:
    """How a window learns what came before it."""

    name: str
    label: str
    way: Way
    with_anchor: bool = False
    history_noise: float | None = None
    """None: as the recipe trains."""

    @property
    def is_trained(self) -> bool:
        """Whether there is anything to train."""
        return self.way != "none"


_BOTH_MEMORIES = Variant("cam-apm", "CAM + APM", "cam", with_anchor=True)
CONDITIONINGS = (
    Variant("none", "no conditioning", "none"),
    Variant("concat", "channel concatenation", "concat"),
    Variant("add", "additive zero-conv", "add"),
    Variant("cam", "CAM", "cam"),
    _BOTH_MEMORIES,
)
"""In the paper's order."""
HISTORY_NOISES = (
    Variant("noise-0", "CAM + APM, history noise 0", "cam", with_anchor=True, history_noise=0.0),
    replace(_BOTH_MEMORIES, label="CAM + APM, history noise of the recipe"),
)


@dataclass(frozen=True)
class Budget:
    """What every variant gets. Samples per step are those of the recipe's stage `cam`, in each process."""

    steps: int
    processes: int

    @property
    def name(self) -> str:
        """For a folder: variants of different budgets never meet."""
        return f"{self.steps}-steps-{self.processes}-processes"


class Ablation:
    """Variants around the trained base of one working folder, each kept in a folder of its own under `folder`."""

    def __init__(self, recipe: Recipe, work: Path, folder: Path, budget: Budget) -> None:
        """`work`: where the recipe's stages clip, vae, video and sight were trained."""
        self.training_run = TrainingRun(recipe, work)
        self.folder = folder
        self.budget = budget

    def is_done(self, variant: Variant) -> bool:
        """Whether nothing is left to train."""
        checkpoint = self.checkpoint(variant)
        if checkpoint is None:
            return True
        return (
            checkpoint.is_file() and torch.load(checkpoint, weights_only=True, mmap=True)["step"] >= self.budget.steps
        )

    def check_base(self, variant: Variant) -> None:
        """Refuse a variant that was trained around another base. Raises loop.OtherRun."""
        kept = self.folder / variant.name / _BASE_FILE
        if kept.is_file() and json.loads(kept.read_text(encoding="utf-8")) != self._base:
            raise OtherRun(f"{kept.parent} was trained around another base: remove it, and it is trained anew")

    @cached_property
    def _base(self) -> dict[str, str]:
        """SHA-256 of the base's checkpoints."""
        return {stage: file_sha256(self.training_run.folder / stage / CHECKPOINT) for stage in BASE}

    def train(self, variant: Variant) -> int:
        """Train from where its checkpoint left it; returns the steps so far. Raises loop.StageMissing."""
        if parallel.rank() == 0:
            write_json(self.folder / variant.name / _BASE_FILE, self._base)
        recipe = self.training_run.recipe
        plan = replace(recipe.stages["cam"].plan, steps=self.budget.steps, minutes=math.inf)
        return train(self.task(variant), plan, self.folder / variant.name, origin=recipe.origin("cam"))

    def task(self, variant: Variant) -> MemoryTask:
        """The variant's task at step 0. Raises loop.StageMissing."""
        training_run = self.training_run
        stage = training_run.recipe.stages["apm" if variant.with_anchor else "cam"]
        dropouts = stage.dropouts or Dropouts()
        if variant.history_noise is not None:
            dropouts = replace(dropouts, history_noise=variant.history_noise)
        return MemoryTask(
            training_run.unet,
            training_run.text_encoder,
            training_run.image_encoder if variant.with_anchor else None,
            training_run.vae,
            training_run.tokenizer,
            self.untrained(variant),
            training_run.bank,
            training_run.recipe.seed,
            training_run.recipe.stages["cam"].batch,
            training_run.latent_scale,
            dropouts,
        )

    def untrained(self, variant: Variant) -> Memory:
        """The variant before its first step; the picture encoder may already see (stage `sight`)."""
        memory = self.training_run.untrained_memory(self.training_run.unet)
        load_averaged(self.training_run.folder / "sight", {"picture_encoder": memory.cam.picture_encoder})
        return replace_conditioning(memory, variant.way, self.training_run.unet, self._encode)

    def trained(self, variant: Variant) -> Memory:
        """The variant with its averaged weights, frozen. Raises loop.StageMissing."""
        task = self.task(variant)
        if variant.is_trained:
            load_averaged(self.folder / variant.name, task.modules)
        for part in (task.memory.cam, *task.memory.conditioning.values()):
            part.requires_grad_(False).eval()
        return task.memory

    def checkpoint(self, variant: Variant) -> Path | None:
        """Its weights; None for one that has none of its own."""
        return self.folder / variant.name / CHECKPOINT if variant.is_trained else None

    def _encode(self, pictures_n3pr: Tensor) -> Tensor:
        """Pictures as the latents that the base samples."""
        return encode_frames(self.training_run.scaled_vae, pictures_n3pr.float()).transpose(0, 1)


def train_variants(recipe: Recipe, work: Path, folder: Path, budget: Budget, variants: Sequence[Variant]) -> None:
    """Train all that are not trained yet, each by all processes together. Raises loop.CheckpointError."""
    # Said here first: a fault in a process that was started is told as a traceback.
    ablation = Ablation(recipe, work, folder, budget)
    for variant in variants:
        ablation.task(variant)
        ablation.check_base(variant)
    for variant in variants:
        if ablation.is_done(variant):
            continue
        parallel.launch(
            partial(_train, recipe, work, folder, budget, variant), budget.processes, named=(CheckpointError,)
        )


def _train(recipe: Recipe, work: Path, folder: Path, budget: Budget, variant: Variant) -> None:
    torch.manual_seed(recipe.seed)
    Ablation(recipe, work, folder, budget).train(variant)
