"""Train a preset's memories on the user's own clips: networks, cached clips, tasks and trained weights.

Network sizes come from the preset's configs, so the published model and a toy model share this code. Each stage has a
folder with its checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_3d_condition import UNet3DConditionModel
from torch import Tensor, nn
from transformers.models.clip.modeling_clip import CLIPTextModel, CLIPVisionModelWithProjection

from core.model.engines.streaming_t2v.apm import ApmMixers, TokenExpander
from core.model.engines.streaming_t2v.cam import CamFeatureExtractor, CamMergers
from core.model.engines.streaming_t2v.loading import noise_schedule
from core.model.engines.streaming_t2v.networks import (
    build_cam,
    build_conditioning,
    build_image_encoder,
    build_text_encoder,
    build_unet,
    build_vae,
)
from core.model.engines.streaming_t2v.preset import StreamingPreset, read_preset
from core.model.networks.blocks import set_gradient_checkpointing
from core.model.networks.encoders import ClipImageEncoder, ClipTextEncoder
from core.model.presets.files import load_module, read_json, read_tokenizer
from core.model.presets.fingerprint import weights_digest
from core.model.sampling.vae import decode_frames, scaling_factor, to_uint8
from core.model.training import samples
from core.model.training.clips.clip_cache import ClipCache, Encoders, encode_clips
from core.model.training.clips.clip_files import read_clips
from core.model.training.clips.memory_stages import NO_DROPOUTS, ClipsMemoryTask, train_spatial_layers
from core.model.training.distillation_run import distillation_task, pinned_entries, sample_rows
from core.model.training.loop import parallel
from core.model.training.loop.checkpoints import is_trained, load_averaged, read_checkpoint
from core.model.training.loop.train import train
from core.model.training.recipe import ClipsData, PresetNetworks, Recipe, RecipeError
from core.model.training.stage_names import DISTILLATION_STAGES, MEMORY_STAGES
from core.model.training.stages.distilled import Distilled, DistilledFirstChunks, DistilledWindows
from core.model.training.stages.history import HISTORY_FRAMES, WINDOW_FRAMES
from core.model.training.stages.memory import Memory
from core.service.admission.catalog import Catalog, PresetFolder
from core.service.domain.frame_rate import MAX_RATE, MIN_RATE
from core.service.settings import Settings

ModuleT = TypeVar("ModuleT", bound=nn.Module)
ORIGINAL_BASE = "first_chunk_unet"
"""Weights folder of the original base, if `unet` holds a fine-tuned one."""
_MAX_SAMPLES = 2
"""Clips that samples continue."""


class ClipsTrainingRun:
    """One recipe in one working folder, on the device this process trains on."""

    def __init__(self, recipe: Recipe, folder: Path) -> None:
        """Checks the captions and that the preset is installed. Raises ClipsError, RecipeError, LongtakeError."""
        assert isinstance(recipe.networks, PresetNetworks)
        assert isinstance(recipe.data, ClipsData)
        self.recipe = recipe
        self.networks = recipe.networks
        self.data = recipe.data
        self.folder = folder
        self._clips = read_clips(recipe.data.folder)
        self.preset_folder = find_preset(recipe.networks.preset)
        self.preset_folder.require_installed()
        self.preset: StreamingPreset = read_preset(self.preset_folder.path).model_copy(
            update={
                "height": recipe.data.height,
                "width": recipe.data.width,
                # Presets have whole rates.
                "fps": min(MAX_RATE, max(MIN_RATE, round(recipe.data.fps))),
            }
        )
        self.device = parallel.join().device
        if self.networks.memory == "new" and "cam" not in recipe.stages:
            raise RecipeError('stages: new memories need the stage "cam"')

    def run(self, stage: str) -> int:
        """Train a stage, continuing from its checkpoint, and write samples; returns the total steps done."""
        plan, pinned = self.recipe.stages[stage].plan, self.recipe.pinned(stage)
        if stage in DISTILLATION_STAGES:
            pinned = pinned_entries(self.recipe, stage, self.folder, self.preset)
            task = distillation_task(self.recipe, stage, self.folder, self._distilled(stage), self.preset)
            make_rows = sample_rows(self.recipe, stage, task, self._sampling_parts, self._openings)
        else:
            task = self.task(stage)
            pinned |= {"memory": self.networks.memory}
            make_rows = partial(samples.continuations, self._sampling_parts, task.unet, task.memory, self._openings)
        sampler = samples.file_sampler(self.folder / stage, self.preset.fps, make_rows)
        return train(task, plan, self.folder / stage, sampler, pinned)

    def task(self, stage: str) -> ClipsMemoryTask:
        """A memory stage's task at step 0, with the weights of the stage before."""
        unet = self.untrained_unet()
        memory = self.untrained_memory(unet)
        entry = self.recipe.stages[stage]
        with_anchor = stage == "apm"
        if with_anchor and "cam" in self.recipe.stages:
            load_averaged(self.folder / "cam", {"cam": memory.cam, "mergers": memory.mergers})
        for network in (unet, memory.cam):
            set_gradient_checkpointing(network, self.networks.gradient_checkpointing)
        return ClipsMemoryTask(
            unet,
            self._vae,
            self._image_encoder if with_anchor else None,
            memory,
            self.cache,
            noise_schedule(self.preset),
            self.recipe.seed,
            entry.batch,
            entry.dropouts or NO_DROPOUTS,
        )

    def _distilled(self, stage: str) -> Distilled:
        """What a stage of distillation trains: the memories after their stages, or the original base. Newly loaded."""
        entry = self.recipe.stages[stage]
        dropouts = entry.dropouts or NO_DROPOUTS

        def batches(step: int, frames: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
            sample = self.cache.batch(step, entry.batch, frames, rng, dropouts.caption)
            return sample.latents_BTCHW, sample.text_states_BLD

        with torch.no_grad():
            unconditional_1LD = self._read_texts([self.preset.negative_prompt])
        if stage.startswith("first_chunk"):
            unet = self.original_unet()
            set_gradient_checkpointing(unet, self.networks.gradient_checkpointing)
            return DistilledFirstChunks(unet, batches, unconditional_1LD)
        unet, memory = self.trained()
        for network in (unet, memory.cam):
            set_gradient_checkpointing(network, self.networks.gradient_checkpointing)
        scale = scaling_factor(self._vae)
        return DistilledWindows(
            unet, memory, self._vae, self._image_encoder, batches, unconditional_1LD, scale, dropouts
        )

    def has_trained(self, stage: str) -> bool:
        """Whether the stage has a checkpoint."""
        return is_trained(self.folder / stage)

    def trained(self) -> tuple[UNet3DConditionModel, Memory]:
        """The networks after the last trained stage. Raises StageNotTrained."""
        unet = self.untrained_unet()
        memory = self.untrained_memory(unet)
        if self.has_trained("apm"):
            modules = {"cam": memory.cam, **memory.conditioning, "unet": train_spatial_layers(unet)}
            load_averaged(self.folder / "apm", modules)
        elif not self.keeps_memory:
            load_averaged(self.folder / "cam", {"cam": memory.cam, "mergers": memory.mergers})
        return unet, memory

    @property
    def keeps_memory(self) -> bool:
        """Whether the memories are the preset's own: the recipe trains none, and none are in the folder."""
        return not set(MEMORY_STAGES) & set(self.recipe.stages) and not any(map(self.has_trained, MEMORY_STAGES))

    @property
    def _weights(self) -> Path:
        return self.preset_folder.weights

    @property
    def preset_folders(self) -> set[Path]:
        """The folders of the preset that training starts from; they must not be overwritten."""
        return {self.preset_folder.path.resolve(), self.preset_folder.weights.resolve()}

    @property
    def has_refiner(self) -> bool:
        """Whether the preset has a refiner that is installed: a downloaded preset's may not be."""
        refiner = self.preset.refiner
        return refiner is not None and (not refiner.in_weights_folder or self.preset_folder.refiner_weights.is_dir())

    def untrained_unet(self) -> UNet3DConditionModel:
        """The base UNet: the original one for new memories, else the one that belongs to the preset's memories."""
        return self._loaded(self.base_folder, build_unet)

    def original_unet(self) -> UNet3DConditionModel:
        """The original base UNet, which makes first chunks."""
        return self._loaded(self.original_base_folder, build_unet)

    @property
    def base_folder(self) -> str:
        """Weights subfolder of the base that the memories were trained on, or are going to be."""
        memory = self.networks.memory
        if not set(MEMORY_STAGES) & set(self.recipe.stages) and not self.keeps_memory:
            # They were trained by another recipe.
            stage = "apm" if self.has_trained("apm") else "cam"
            memory = read_checkpoint(self.folder / stage).get("origin", {}).get("memory", "new")
        return self.original_base_folder if memory == "new" else "unet"

    @property
    def original_base_folder(self) -> str:
        """Weights subfolder of the original base."""
        return ORIGINAL_BASE if (self._weights / ORIGINAL_BASE).is_dir() else "unet"

    def untrained_memory(self, unet: UNet3DConditionModel) -> Memory:
        """Zero-initialised memories, or the preset's own; in both cases with the preset's sizes."""
        if self.networks.memory == "pretrained":
            cam = load_module(self._weights / "cam", partial(build_cam, unet), self.device)
            parts = load_module(self._weights / "conditioning", partial(build_conditioning, unet), self.device)
        else:
            torch.manual_seed(self.recipe.seed)
            config = read_json(self._weights / "cam" / "config.json")
            cam = CamFeatureExtractor.from_unet(unet, config["picture_channels"], config["num_conditioning_frames"])
            parts = build_conditioning(unet, read_json(self._weights / "conditioning" / "config.json"))
        memory = Memory(
            cam,
            cast("CamMergers", parts["mergers"]),
            cast("ApmMixers", parts["mixers"]),
            cast("TokenExpander", parts["expander"]),
        )
        for part in (memory.cam, *memory.conditioning.values()):
            # Evaluation mode: dropout would use random state that no checkpoint stores.
            part.to(self.device).requires_grad_(True).eval()
        return memory

    @cached_property
    def cache(self) -> ClipCache:
        """The clips, encoded once. Raises ClipsError."""
        root, encoders = self.folder / "cache", Encoders(self._vae, self._read_texts, self._digest)
        limit = encoders.encode_texts.max_prompt_tokens
        truncated = sum(self.preset_folder.tokenizer.count(clip.caption) > limit for clip in self._clips)
        if truncated:
            parallel.print_once(f"{truncated} captions have more than {limit} tokens and are truncated")
        return encode_clips(
            self._clips, self.data, encoders, root, least_frames=HISTORY_FRAMES + WINDOW_FRAMES, seed=self.recipe.seed
        )

    @property
    def _digest(self) -> str:
        return " ".join(weights_digest(self._weights / part) for part in ("vae", "text_encoder"))

    @cached_property
    def _vae(self) -> AutoencoderKL:
        return self._loaded("vae", build_vae)

    @cached_property
    def _image_encoder(self) -> CLIPVisionModelWithProjection:
        return self._loaded("image_encoder", build_image_encoder)

    @cached_property
    def _read_texts(self) -> ClipTextEncoder:
        """Truncates long captions, as the published model's training did."""
        tokenizer = read_tokenizer(self._weights)
        encoder: CLIPTextModel = self._loaded("text_encoder", build_text_encoder)
        reader = ClipTextEncoder(tokenizer, encoder)
        tokenizer.enable_truncation(reader.num_tokens)
        return reader

    @cached_property
    def _sampling_parts(self) -> samples.SamplingParts:
        return samples.SamplingParts(self._vae, self._read_texts, ClipImageEncoder(self._image_encoder), self.preset)

    @cached_property
    def _openings(self) -> list[samples.Opening]:
        """The first frames of the first clips, encoded and decoded."""
        return [
            samples.Opening(
                clip.caption,
                to_uint8(
                    decode_frames(self._vae, self.cache.latents(index)[:HISTORY_FRAMES].transpose(0, 1).to(self.device))
                ),
            )
            for index, clip in enumerate(self.cache.clips[:_MAX_SAMPLES])
        ]

    def _loaded(self, part: str, build: Callable[[dict[str, Any]], ModuleT]) -> ModuleT:
        return load_module(self._weights / part, build, self.device)


def find_preset(name_or_folder: str) -> PresetFolder:
    """A folder with preset.json, or an installed preset by name. Raises UnknownModel."""
    settings = Settings()
    if (Path(name_or_folder) / "preset.json").is_file():
        return PresetFolder(Path(name_or_folder), settings)
    return Catalog(settings).get(name_or_folder)
