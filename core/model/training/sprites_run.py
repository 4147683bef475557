"""Train the stages of a `sprites` recipe: each stage's task, with the weights of earlier stages, and its samples."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from functools import partial

import torch

from core.model.training import samples
from core.model.training.distillation_run import distillation_task, pinned_entries, sample_rows
from core.model.training.loop.train import Sampler, Task, train
from core.model.training.sprites import world
from core.model.training.sprites.clip_bank import ClipBank
from core.model.training.sprites_distillation import SpritesDistillation
from core.model.training.sprites_models import SpritesModels
from core.model.training.sprites_samples import held_out_openings, reconstructions
from core.model.training.stage_names import DISTILLATION_STAGES
from core.model.training.stages.base import BaseTask, ClipsAndFramesTask
from core.model.training.stages.decoder import DecoderTask
from core.model.training.stages.distillation import DistillationTask
from core.model.training.stages.history import CONDITIONING_FRAMES, WINDOW_FRAMES
from core.model.training.stages.memory import MemoryTask
from core.model.training.stages.picture_encoder import PictureEncoderTask, build_picture_encoder
from core.model.training.stages.refiner import SCALE, RefinerTask
from core.model.training.stages.vae import VaeTask

_MAX_SAMPLES = 2
"""Scenes shown in a sample; fewer if there are hardly any clips."""


class SpritesTrainingRun(SpritesModels):
    """One recipe in one working folder, trained stage by stage."""

    def run(self, stage: str) -> int:
        """Train a stage, continuing from its checkpoint, and write samples; returns the total steps done."""
        plan, pinned = self.recipe.stages[stage].plan, self.recipe.pinned(stage)
        if stage in DISTILLATION_STAGES:
            pinned = pinned_entries(self.recipe, stage, self.folder, self.sampling_parts.preset)
        task = self.task(stage)
        return train(task, plan, self.folder / stage, self.sampler(stage, task), pinned)

    def task(self, stage: str) -> Task:
        """The stage's task at step 0, with the weights of earlier stages."""
        batch, seed = self.recipe.stages[stage].batch, self.recipe.seed
        if stage == "vae":
            return VaeTask(self.untrained_vae(), seed, batch)
        if stage == "clip":
            return self.untrained_contrastive()
        if stage == "tower":
            contrastive = self.untrained_contrastive()
            self.load("clip", contrastive.modules)
            return self.tower_task(contrastive)
        if stage in ("image", "video"):
            return self._base_task(stage)
        if stage == "sight":
            unet = self.unet
            torch.manual_seed(seed)
            encoder = self.placed(build_picture_encoder(self.networks.picture_channels, unet))
            return PictureEncoderTask(encoder, unet, self.bank, seed, batch, self.latent_scale)
        if stage == "decoder":
            return DecoderTask(deepcopy(self.vae), self.pairs, seed, batch)
        if stage == "refiner":
            return self._refiner_task(batch)
        if stage in DISTILLATION_STAGES:
            distilled = SpritesDistillation(self).distilled(stage)
            return distillation_task(self.recipe, stage, self.folder, distilled, self.sampling_parts.preset)
        return self._memory_task(stage, batch)

    def _base_task(self, stage: str) -> Task:
        unet = self.untrained_unet()

        def task(bank: ClipBank, frames: int, batch: int, noisy_share: float) -> BaseTask:
            scale, seed = self.latent_scale, self.recipe.seed
            return BaseTask(unet, self.text_encoder, self.tokenizer, bank, seed, frames, batch, scale, noisy_share)

        stages = self.recipe.stages
        pictures = task(self.pictures, 1, stages["image"].batch, noisy_share=0.6)
        if stage == "image":
            return pictures
        self.load("image", {"unet": unet})
        return ClipsAndFramesTask(task(self.bank, WINDOW_FRAMES, stages["video"].batch, noisy_share=0.5), pictures)

    def _memory_task(self, stage: str, batch: int) -> MemoryTask:
        unet = self.unet
        memory = self.untrained_memory(unet)
        if stage == "cam":
            self.load("sight", {"picture_encoder": memory.cam.picture_encoder})
        else:
            self.load("cam", {"cam": memory.cam, "mergers": memory.mergers})
        return MemoryTask(
            unet,
            self.text_encoder,
            self.image_encoder if stage == "apm" else None,
            self.vae,
            self.tokenizer,
            memory,
            self.bank,
            self.recipe.seed,
            batch,
            self.latent_scale,
            self.recipe.stages[stage].dropouts,
        )

    def _refiner_task(self, batch: int) -> RefinerTask:
        unet, scale = self.untrained_refiner(), self.latent_scale
        return RefinerTask(unet, self.text_encoder, self.tokenizer, self.pairs, self.recipe.seed, batch, scale)

    def sampler(self, stage: str, task: Task) -> Sampler | None:
        """Writes samples of the task's networks; None for stages without pictures to show."""
        make_rows = self._sample_rows(stage, task)
        return None if make_rows is None else samples.file_sampler(self.folder / stage, world.FPS, make_rows)

    def _sample_rows(self, stage: str, task: Task) -> Callable[[], list[samples.Row]] | None:
        match task:
            case VaeTask():
                return partial(reconstructions, task.vae, self._openings())
            case DecoderTask():
                return partial(reconstructions, task.vae, self._openings(scale=SCALE))
            case ClipsAndFramesTask():
                prompts = [opening.prompt for opening in self._openings()]
                return partial(samples.first_chunks, self.sampling_parts, task.clips.unet, prompts)
            case MemoryTask():
                return partial(samples.continuations, self.sampling_parts, task.unet, task.memory, self._openings())
            case DistillationTask():
                return sample_rows(self.recipe, stage, task, self.sampling_parts, self._openings())
            case RefinerTask():
                parts = replace(self.sampling_parts, vae=self.refiner_vae)
                return partial(
                    samples.refinement, parts, task.unet, self._openings(WINDOW_FRAMES + CONDITIONING_FRAMES)[0]
                )
            case _:
                return None

    def _openings(self, num_frames: int = WINDOW_FRAMES, scale: int = 1) -> list[samples.Opening]:
        return held_out_openings(min(_MAX_SAMPLES, self.data.clips // 2), num_frames, scale)
