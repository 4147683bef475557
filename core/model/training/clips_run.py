"""Everything that training on one's own clips needs: a preset's networks, its folder of clips, what was learnt.

The networks' sizes are those of the preset's configs, so the published model and a toy train by the same code. One
folder per stage holds its checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_3d_condition import UNet3DConditionModel
from torch import nn
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
from core.model.networks.encoders import ClipPictureReader, ClipTextReader
from core.model.presets.files import load_module, read_json, read_tokenizer
from core.model.presets.fingerprint import weights_digest
from core.model.sampling.vae import decode_frames, to_uint8
from core.model.training import parallel, samples
from core.model.training.clip_cache import ClipCache, Encoders, encode_clips
from core.model.training.clip_files import read_clips
from core.model.training.continuation_stage import NO_DROPOUTS, ContinuationTask, spatial_layers_free
from core.model.training.loop import CHECKPOINT, load_averaged, train
from core.model.training.memory_stage import PAST, WINDOW, Memory
from core.model.training.recipe import ClipsData, PresetNetworks, Recipe, RecipeError
from core.service.admission.catalog import Catalog, PresetFolder
from core.service.domain.frame_rate import MAX_RATE, MIN_RATE
from core.service.settings import Settings

ModuleT = TypeVar("ModuleT", bound=nn.Module)
UNTOUCHED = "first_chunk_unet"
"""The folder of a base that no stage has changed, where `unet` is not it."""
_SHOWN = 2
"""Clips that samples continue."""


class ClipsTrainingRun:
    """One recipe in one working folder, on the device this process trains on."""

    def __init__(self, recipe: Recipe, folder: Path) -> None:
        """Checks the clips' captions and that the preset is there. Raises ClipsError, RecipeError, LongtakeError."""
        assert isinstance(recipe.networks, PresetNetworks)
        assert isinstance(recipe.data, ClipsData)
        self.recipe = recipe
        self.networks = recipe.networks
        self.data = recipe.data
        self.folder = folder
        self._clips = read_clips(recipe.data.folder)
        self.preset = find_preset(recipe.networks.preset)
        self.preset.require_installed()
        self.facts: StreamingPreset = read_preset(self.preset.path).model_copy(
            update={
                "height": recipe.data.height,
                "width": recipe.data.width,
                # Presets have whole rates.
                "fps": min(MAX_RATE, max(MIN_RATE, round(recipe.data.fps))),
            }
        )
        self.device = parallel.join().device
        if self.networks.memory == "new" and "cam" not in recipe.stages:
            raise RecipeError('stages: "apm" with new memories needs the stage "cam" before it')

    def run(self, stage: str) -> int:
        """Train a stage from where its checkpoint left it, with samples on the way; returns its steps so far."""
        task = self.task(stage)
        show = partial(samples.continued, self._parts, task.unet, task.memory, self._openings)
        sampler = samples.keeping(self.folder / stage, self.facts.fps, show)
        plan, origin = self.recipe.stages[stage].plan, self.recipe.origin(stage)
        return train(task, plan, self.folder / stage, sampler, origin)

    def task(self, stage: str) -> ContinuationTask:
        """The stage's task, its networks holding what the stage before learnt."""
        unet = self.untrained_unet()
        memory = self.untrained_memory(unet)
        entry = self.recipe.stages[stage]
        with_anchor = stage == "apm"
        if with_anchor and "cam" in self.recipe.stages:
            load_averaged(self.folder / "cam", {"cam": memory.cam, "mergers": memory.mergers})
        for network in (unet, memory.cam):
            set_gradient_checkpointing(network, self.networks.gradient_checkpointing)
        return ContinuationTask(
            unet,
            self._vae,
            self._image_encoder if with_anchor else None,
            memory,
            self.cache,
            noise_schedule(self.facts),
            self.recipe.seed,
            entry.batch,
            entry.dropouts or NO_DROPOUTS,
        )

    def has_trained(self, stage: str) -> bool:
        """Whether the stage has left a checkpoint."""
        return (self.folder / stage / CHECKPOINT).is_file()

    def trained(self) -> tuple[UNet3DConditionModel, Memory]:
        """The networks after the last stage that was trained. Raises StageMissing."""
        unet = self.untrained_unet()
        memory = self.untrained_memory(unet)
        if self.has_trained("apm"):
            modules = {"cam": memory.cam, **memory.conditioning, "unet": spatial_layers_free(unet)}
            load_averaged(self.folder / "apm", modules)
        else:
            load_averaged(self.folder / "cam", {"cam": memory.cam, "mergers": memory.mergers})
        return unet, memory

    @property
    def preset_folders(self) -> set[Path]:
        """Where the preset that training begins with has its facts and weights; they must not be written over."""
        return {self.preset.path.resolve(), self.preset.weights.resolve()}

    @property
    def refiner_is_there(self) -> bool:
        """Whether the preset has a refiner: an extra of a downloaded one may not have been installed."""
        refiner = self.facts.refiner
        return refiner is not None and (not refiner.in_weights_folder or self.preset.refiner_weights.is_dir())

    def untrained_unet(self) -> UNet3DConditionModel:
        """The base: as untouched as the preset has it for new memories, else what goes with the preset's own."""
        return self._loaded(self.base_folder, build_unet)

    @property
    def base_folder(self) -> str:
        """Where in the weights the base is that the first stage starts from."""
        return self.untouched_folder if self.networks.memory == "new" else "unet"

    @property
    def untouched_folder(self) -> str:
        """Where in the weights the untouched base is."""
        return UNTOUCHED if (self.preset.weights / UNTOUCHED).is_dir() else "unet"

    def untrained_memory(self, unet: UNet3DConditionModel) -> Memory:
        """Memories that start as zero, or the preset's own; their sizes are the preset's."""
        if self.networks.memory == "pretrained":
            cam = load_module(self.preset.weights / "cam", partial(build_cam, unet), self.device)
            parts = load_module(self.preset.weights / "conditioning", partial(build_conditioning, unet), self.device)
        else:
            torch.manual_seed(self.recipe.seed)
            config = read_json(self.preset.weights / "cam" / "config.json")
            cam = CamFeatureExtractor.from_unet(unet, config["picture_channels"], config["num_conditioning_frames"])
            parts = build_conditioning(unet, read_json(self.preset.weights / "conditioning" / "config.json"))
        memory = Memory(
            cam,
            cast("CamMergers", parts["mergers"]),
            cast("ApmMixers", parts["mixers"]),
            cast("TokenExpander", parts["expander"]),
        )
        for part in (memory.cam, *memory.conditioning.values()):
            # Evaluation mode: dropout draws from a state that no checkpoint holds.
            part.to(self.device).requires_grad_(True).eval()
        return memory

    @cached_property
    def cache(self) -> ClipCache:
        """The clips, encoded once. Raises ClipsError."""
        root, encoders = self.folder / "cache", Encoders(self._vae, self._read_texts, self._digest)
        most = encoders.read_texts.max_prompt_tokens
        cut = sum(self.preset.tokenizer.count(clip.caption) > most for clip in self._clips)
        if cut:
            parallel.tell(f"{cut} captions have more than the {most} tokens that are read: their ends are cut off")
        return encode_clips(self._clips, self.data, encoders, root, least_frames=PAST + WINDOW, seed=self.recipe.seed)

    @property
    def _digest(self) -> str:
        return " ".join(weights_digest(self.preset.weights / part) for part in ("vae", "text_encoder"))

    @cached_property
    def _vae(self) -> AutoencoderKL:
        return self._loaded("vae", build_vae)

    @cached_property
    def _image_encoder(self) -> CLIPVisionModelWithProjection:
        return self._loaded("image_encoder", build_image_encoder)

    @cached_property
    def _read_texts(self) -> ClipTextReader:
        """Cuts captions that are longer than the text encoder reads, as the published model's training did."""
        tokenizer = read_tokenizer(self.preset.weights)
        encoder: CLIPTextModel = self._loaded("text_encoder", build_text_encoder)
        reader = ClipTextReader(tokenizer, encoder)
        tokenizer.enable_truncation(reader.num_tokens)
        return reader

    @cached_property
    def _parts(self) -> samples.Parts:
        return samples.Parts(self._vae, self._read_texts, ClipPictureReader(self._image_encoder), self.facts)

    @cached_property
    def _openings(self) -> list[samples.Opening]:
        """The beginnings of the first clips, as the autoencoder shows them."""
        return [
            samples.Opening(
                clip.caption,
                to_uint8(decode_frames(self._vae, self.cache.latents(index)[:PAST].transpose(0, 1).to(self.device))),
            )
            for index, clip in enumerate(self.cache.clips[:_SHOWN])
        ]

    def _loaded(self, part: str, build: Callable[[dict[str, Any]], ModuleT]) -> ModuleT:
        return load_module(self.preset.weights / part, build, self.device)


def find_preset(preset: str) -> PresetFolder:
    """A folder with preset.json, or an installed preset by name. Raises UnknownModel."""
    settings = Settings()
    if (Path(preset) / "preset.json").is_file():
        return PresetFolder(Path(preset), settings)
    return Catalog(settings).get(preset)
