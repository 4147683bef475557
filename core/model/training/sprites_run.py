"""Everything a recipe's stages need, built on demand: networks at the recipe's sizes, with what earlier stages learnt.

One folder per stage holds its checkpoint; a stage reads the averaged weights of the stages before it from there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_3d_condition import UNet3DConditionModel
from torch import nn
from transformers import CLIPTextModel, CLIPVisionModelWithProjection

from core.model.engines.streaming_t2v.preset import StreamingPreset
from core.model.networks.encoders import ClipImageEncoder, ClipTextEncoder
from core.model.sampling.vae import reconstructed, to_pictures
from core.model.training import captions, data, parallel, samples, sprites
from core.model.training.base_stage import BaseTask, ClipsAndFramesTask, build_text_encoder, build_unet
from core.model.training.clip_stage import ClipTask, build_image_encoder
from core.model.training.decoder_stage import DecoderTask, decoder_parts
from core.model.training.loop import CHECKPOINT, Sampler, Task, load_averaged, train
from core.model.training.memory_stage import CONDITIONING, PAST, WINDOW, Memory, MemoryTask, build_memory
from core.model.training.picture_encoder_stage import SightTask, build_picture_encoder
from core.model.training.recipe import Recipe, SpritesData, SpritesNetworks
from core.model.training.refiner_stage import SCALE, RefinerTask, build_pairs
from core.model.training.sprites_config import preset_facts, refiner_facts
from core.model.training.vae_stage import VaeTask, build_vae

ModuleT = TypeVar("ModuleT", bound=nn.Module)
_SHOWN, _SHOWN_SEED = 2, 11
"""Scenes of a sample; fewer where there are hardly any to train on."""


class TrainingRun:
    """One recipe in one working folder. Parts are built once, seeded by the recipe, and shared by its stages."""

    def __init__(self, recipe: Recipe, folder: Path) -> None:
        """`recipe` must be one of the synthetic world's. Everything is put on the device this process trains on."""
        assert isinstance(recipe.networks, SpritesNetworks)
        assert isinstance(recipe.data, SpritesData)
        self.recipe = recipe
        self.networks = recipe.networks
        self.data = recipe.data
        self.folder = folder
        self.device = parallel.join().device
        self.tokenizer = data.build_tokenizer()

    def run(self, stage: str) -> int:
        """Train a stage from where its checkpoint left it, with samples on the way; returns its steps so far."""
        task = self.task(stage)
        plan, origin = self.recipe.stages[stage].plan, self.recipe.origin(stage)
        return train(task, plan, self.folder / stage, self.sampler(stage, task), origin)

    def task(self, stage: str) -> Task:
        """The stage's task, its networks holding what earlier stages learnt."""
        batch, seed = self.recipe.stages[stage].batch, self.recipe.seed
        if stage == "vae":
            return VaeTask(self.untrained_vae(), seed, batch)
        if stage == "clip":
            return self.untrained_words()
        if stage in ("image", "video"):
            return self._base_task(stage)
        if stage == "sight":
            unet = self.unet
            torch.manual_seed(seed)
            encoder = self._placed(build_picture_encoder(self.networks.picture_channels, unet))
            return SightTask(encoder, unet, self.bank, seed, batch, self.latent_scale)
        if stage == "decoder":
            return DecoderTask(deepcopy(self.vae), self.pairs, seed, batch)
        if stage == "refiner":
            return self._refiner_task(batch)
        return self._memory_task(stage, batch)

    def _base_task(self, stage: str) -> Task:
        unet = self.untrained_unet()

        def task(bank: data.ClipBank, frames: int, batch: int, noisy_share: float) -> BaseTask:
            scale, seed = self.latent_scale, self.recipe.seed
            return BaseTask(unet, self.text_encoder, self.tokenizer, bank, seed, frames, batch, scale, noisy_share)

        stages = self.recipe.stages
        pictures = task(self.pictures, 1, stages["image"].batch, noisy_share=0.6)
        if stage == "image":
            return pictures
        self._load("image", {"unet": unet})
        return ClipsAndFramesTask(task(self.bank, WINDOW, stages["video"].batch, noisy_share=0.5), pictures)

    def _memory_task(self, stage: str, batch: int) -> MemoryTask:
        unet = self.unet
        memory = self.untrained_memory(unet)
        if stage == "cam":
            self._load("sight", {"picture_encoder": memory.cam.picture_encoder})
        else:
            self._load("cam", {"cam": memory.cam, "mergers": memory.mergers})
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
        """Shows what the task's networks can do; None for stages that have nothing to see."""
        show = self._show(task)
        return None if show is None else samples.keeping(self.folder / stage, sprites.FPS, show)

    def _show(self, task: Task) -> Callable[[], list[samples.Row]] | None:
        match task:
            case VaeTask():
                return partial(_reconstructions, task.vae, self._openings())
            case DecoderTask():
                return partial(_reconstructions, task.vae, self._openings(scale=SCALE))
            case ClipsAndFramesTask():
                prompts = [opening.prompt for opening in self._openings()]
                return partial(samples.first_chunks, self.parts, task.clips.unet, prompts)
            case MemoryTask():
                return partial(samples.continued, self.parts, task.unet, task.memory, self._openings())
            case RefinerTask():
                parts = replace(self.parts, vae=self.refiner_vae)
                return partial(samples.refined, parts, task.unet, self._openings(WINDOW + CONDITIONING)[0])
            case _:
                return None

    def _openings(self, num_frames: int = WINDOW, scale: int = 1) -> list[samples.Opening]:
        return held_out_openings(min(_SHOWN, self.data.clips // 2), num_frames, scale)

    @cached_property
    def parts(self) -> samples.Parts:
        """What samples are made with, at the service's settings."""
        return samples.Parts(
            self.scaled_vae,
            ClipTextEncoder(self.tokenizer, self.text_encoder),
            ClipImageEncoder(self.image_encoder),
            StreamingPreset.model_validate(preset_facts() | {"refiner": refiner_facts()}),
        )

    def has_trained(self, stage: str) -> bool:
        """Whether the stage has left a checkpoint."""
        return (self.folder / stage / CHECKPOINT).is_file()

    def untrained_vae(self) -> AutoencoderKL:
        torch.manual_seed(self.recipe.seed)
        return self._placed(build_vae(self.networks.vae_channels))

    def untrained_image_encoder(self) -> CLIPVisionModelWithProjection:
        torch.manual_seed(self.recipe.seed)
        return self._placed(build_image_encoder())

    def untrained_text_encoder(self) -> CLIPTextModel:
        torch.manual_seed(self.recipe.seed)
        return self._placed(build_text_encoder(self.tokenizer.get_vocab_size()))

    def untrained_words(self) -> ClipTask:
        """The contrastive stage at step 0."""
        text_encoder, image_encoder = self.untrained_text_encoder(), self.untrained_image_encoder()
        return ClipTask(text_encoder, image_encoder, self.tokenizer, self.recipe.seed, self.recipe.stages["clip"].batch)

    def untrained_unet(self) -> UNet3DConditionModel:
        torch.manual_seed(self.recipe.seed)
        return self._placed(build_unet(self.networks.unet_channels))

    def untrained_refiner(self) -> UNet3DConditionModel:
        torch.manual_seed(self.recipe.seed)
        return self._placed(build_unet(self.networks.refiner_channels))

    def untrained_memory(self, unet: UNet3DConditionModel) -> Memory:
        torch.manual_seed(self.recipe.seed)
        memory = build_memory(unet, self.networks.picture_channels, self.networks.image_tokens)
        for part in (memory.cam, *memory.conditioning.values()):
            self._placed(part)
        return memory

    @cached_property
    def vae(self) -> AutoencoderKL:
        """The trained autoencoder, frozen."""
        vae = self.untrained_vae()
        self._load("vae", {"vae": vae})
        return _frozen(vae)

    @cached_property
    def scaled_vae(self) -> AutoencoderKL:
        """The same, knowing the scale of its latents."""
        cast("Any", self.vae).register_to_config(scaling_factor=self.latent_scale)
        return self.vae

    @cached_property
    def refiner_vae(self) -> AutoencoderKL:
        """The same with the decoder of refined frames where one was trained; latents mean the same in both."""
        if not self.has_trained("decoder"):
            return self.scaled_vae
        vae = deepcopy(self.scaled_vae).requires_grad_(True)
        self._load("decoder", decoder_parts(vae))
        return _frozen(vae)

    @cached_property
    def unet(self) -> UNet3DConditionModel:
        """The trained base, frozen."""
        unet = self.untrained_unet()
        self._load("video", {"unet": unet})
        return _frozen(unet)

    @cached_property
    def refiner(self) -> UNet3DConditionModel:
        """The trained refiner, frozen."""
        unet = self.untrained_refiner()
        self._load("refiner", {"refiner": unet})
        return _frozen(unet)

    @cached_property
    def text_encoder(self) -> CLIPTextModel:
        """The trained text encoder, frozen."""
        return self.words.text_encoder

    @cached_property
    def image_encoder(self) -> CLIPVisionModelWithProjection:
        """The trained vision tower, frozen."""
        return self.words.image_encoder

    @cached_property
    def words(self) -> ClipTask:
        """What the contrastive stage has learnt, heads included, frozen."""
        task = self.untrained_words()
        self._load("clip", task.modules)
        _frozen(nn.ModuleDict(task.modules))
        return task

    @cached_property
    def memory(self) -> Memory:
        """Trained memories: of the APM stage."""
        memory = self.untrained_memory(self.unet)
        self._load("apm", {"cam": memory.cam, **memory.conditioning})
        return memory

    @cached_property
    def bank(self) -> data.ClipBank:
        """The clips, encoded once."""
        path = self.folder / "bank.safetensors"
        return self._built_bank(0, self.data.clips, PAST + WINDOW, path)

    @cached_property
    def pictures(self) -> data.ClipBank:
        """Single frames of scenes that the clips do not show, encoded once."""
        path = self.folder / "pictures.safetensors"
        return self._built_bank(1, self.data.pictures, 1, path)

    def _built_bank(self, number: int, clips: int, frames: int, path: Path) -> data.ClipBank:
        """The recipe's bank of this number, which no other bank shares a scene with."""
        return data.build_bank(self.vae, self.recipe.seed + number, clips, frames, path, self.data.two_sprites_share)

    @cached_property
    def pairs(self) -> data.ClipBank:
        """True clips at the refined size with their previews, encoded once."""
        path = self.folder / "pairs.safetensors"
        return build_pairs(self.vae, self.recipe.seed, self.data.refiner_clips, path)

    @cached_property
    def latent_scale(self) -> float:
        """Factor that gives the bank's latents a deviation of 1: the autoencoder's scaling_factor."""
        return 1.0 / float(self.bank.latents_ktchw[:500].float().std())

    def _placed(self, module: ModuleT) -> ModuleT:
        module.to(self.device)
        return module

    def _load(self, stage: str, modules: dict[str, nn.Module]) -> None:
        load_averaged(self.folder / stage, modules)


def held_out_openings(count: int, num_frames: int, scale: int) -> list[samples.Opening]:
    """The first frames of scenes that are never trained on, with their prompts."""
    scenes = [sprites.sample_scene(np.random.default_rng((_SHOWN_SEED, index)), "held_out") for index in range(count)]
    return [
        samples.Opening(captions.plain_caption(scene), sprites.render(scene, num_frames, scale=scale))
        for scene in scenes
    ]


def _reconstructions(vae: AutoencoderKL, openings: Sequence[samples.Opening]) -> list[samples.Row]:
    return [
        row
        for opening in openings
        for row in (
            samples.Row(f"{opening.prompt}\noriginal", opening.frames),
            samples.Row("reconstruction", reconstructed(vae, to_pictures(opening.frames))),
        )
    ]


def _frozen(module: ModuleT) -> ModuleT:
    module.requires_grad_(False)
    return module.eval()
