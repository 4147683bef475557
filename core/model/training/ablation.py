"""Train ablation variants: memories that differ in one respect, with the same base, data and number of steps.

A variant is trained in one stage; with an anchor, CAM and APM are trained together from the first step. All variants
have the same seed, batches and learning rate, so all see the same samples in the same order.
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
from core.model.training.loop import parallel
from core.model.training.loop.checkpoints import CHECKPOINT, CheckpointError, CheckpointMismatch, load_averaged
from core.model.training.loop.train import train
from core.model.training.preset_files import write_json
from core.model.training.recipe import Recipe
from core.model.training.sprites_models import SpritesModels
from core.model.training.stages.conditioning_variants import Conditioning, replace_conditioning
from core.model.training.stages.memory import Dropouts, Memory, MemoryTask

BASE = ("clip", "vae", "video", "sight")
"""The stages whose networks all variants share."""
_BASE_FILE = "base.json"


@dataclass(frozen=True)
class Variant:
    """How windows are conditioned on their history, and with how much history noise they are trained."""

    name: str
    label: str
    conditioning: Conditioning
    with_anchor: bool = False
    history_noise: float | None = None
    """None: the recipe's."""

    @property
    def is_trained(self) -> bool:
        """Whether the variant has weights of its own."""
        return self.conditioning != "none"


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
    """Training budget of every variant. The batch size per process is that of the recipe's stage `cam`."""

    steps: int
    processes: int

    @property
    def name(self) -> str:
        """Folder name: variants with different budgets are kept apart."""
        return f"{self.steps}-steps-{self.processes}-processes"


class Ablation:
    """Variants on the trained base of one working folder, each in its own subfolder of `folder`."""

    def __init__(self, recipe: Recipe, work: Path, folder: Path, budget: Budget) -> None:
        """`work` is the working folder in which the recipe's stages clip, vae, video and sight were trained."""
        self.models = SpritesModels(recipe, work)
        self.folder = folder
        self.budget = budget

    def is_done(self, variant: Variant) -> bool:
        """Whether the variant has used up its budget."""
        checkpoint = self.checkpoint(variant)
        if checkpoint is None:
            return True
        return (
            checkpoint.is_file() and torch.load(checkpoint, weights_only=True, mmap=True)["step"] >= self.budget.steps
        )

    def check_base(self, variant: Variant) -> None:
        """Raises CheckpointMismatch if the variant was trained on another base."""
        kept = self.folder / variant.name / _BASE_FILE
        if kept.is_file() and json.loads(kept.read_text(encoding="utf-8")) != self._base:
            raise CheckpointMismatch(f"{kept.parent} was trained on another base: remove it to train it again")

    @cached_property
    def _base(self) -> dict[str, str]:
        """SHA-256 of the base's checkpoints."""
        return {stage: file_sha256(self.models.folder / stage / CHECKPOINT) for stage in BASE}

    def train(self, variant: Variant) -> int:
        """Train the variant, continuing from its checkpoint; returns the total steps. Raises StageNotTrained."""
        if parallel.rank() == 0:
            write_json(self.folder / variant.name / _BASE_FILE, self._base)
        recipe = self.models.recipe
        plan = replace(recipe.stages["cam"].plan, steps=self.budget.steps, minutes=math.inf)
        return train(self.task(variant), plan, self.folder / variant.name, pinned=recipe.pinned("cam"))

    def task(self, variant: Variant) -> MemoryTask:
        """The variant's task at step 0. Raises StageNotTrained."""
        models = self.models
        stage = models.recipe.stages["apm" if variant.with_anchor else "cam"]
        dropouts = stage.dropouts or Dropouts()
        if variant.history_noise is not None:
            dropouts = replace(dropouts, history_noise=variant.history_noise)
        return MemoryTask(
            models.unet,
            models.text_encoder,
            models.image_encoder if variant.with_anchor else None,
            models.vae,
            models.tokenizer,
            self.untrained(variant),
            models.bank,
            models.recipe.seed,
            models.recipe.stages["cam"].batch,
            models.latent_scale,
            dropouts,
        )

    def untrained(self, variant: Variant) -> Memory:
        """The variant at step 0, with the picture encoder of the stage `sight`."""
        memory = self.models.new_memory()
        load_averaged(self.models.folder / "sight", {"picture_encoder": memory.cam.picture_encoder})
        return replace_conditioning(memory, variant.conditioning, self.models.unet, self._encode)

    def trained(self, variant: Variant) -> Memory:
        """The variant with its averaged weights, frozen. Raises StageNotTrained."""
        task = self.task(variant)
        if variant.is_trained:
            load_averaged(self.folder / variant.name, task.modules)
        for part in (task.memory.cam, *task.memory.conditioning.values()):
            part.requires_grad_(False).eval()
        return task.memory

    def checkpoint(self, variant: Variant) -> Path | None:
        """Path of its checkpoint; None for a variant without weights of its own."""
        return self.folder / variant.name / CHECKPOINT if variant.is_trained else None

    def _encode(self, pictures_n3pr: Tensor) -> Tensor:
        """Pictures [N, 3, P, R] in [-1, 1] -> scaled latents [N, C, H, W]."""
        return encode_frames(self.models.scaled_vae, pictures_n3pr.float()).transpose(0, 1)


def train_variants(recipe: Recipe, work: Path, folder: Path, budget: Budget, variants: Sequence[Variant]) -> None:
    """Train the variants that are not trained yet, each in all processes together. Raises CheckpointError."""
    # Checked here first, before processes are started.
    ablation = Ablation(recipe, work, folder, budget)
    for variant in variants:
        ablation.task(variant)
        ablation.check_base(variant)
    for variant in variants:
        if ablation.is_done(variant):
            continue
        parallel.launch(
            partial(_train, recipe, work, folder, budget, variant), budget.processes, reraised=(CheckpointError,)
        )


def _train(recipe: Recipe, work: Path, folder: Path, budget: Budget, variant: Variant) -> None:
    torch.manual_seed(recipe.seed)
    Ablation(recipe, work, folder, budget).train(variant)
