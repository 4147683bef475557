"""Networks and data of a `sprites` recipe, built on demand: untrained, or with the weights of trained stages.

Each stage has a folder with its checkpoint; later stages read the averaged weights from there.
"""

from __future__ import annotations

from copy import deepcopy
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_3d_condition import UNet3DConditionModel
from torch import nn
from transformers import CLIPTextModel, CLIPVisionModelWithProjection

from core.model.engines.streaming_t2v.preset import StreamingPreset
from core.model.networks.encoders import ClipImageEncoder, ClipTextEncoder
from core.model.training.loop import parallel
from core.model.training.loop.checkpoints import is_trained, load_averaged
from core.model.training.recipe import Recipe, SpritesData, SpritesNetworks
from core.model.training.samples import SamplingParts
from core.model.training.sprites.clip_bank import ClipBank, build_bank
from core.model.training.sprites.word_tokenizer import build_tokenizer
from core.model.training.sprites_preset import preset_config, refiner_config
from core.model.training.stages.base import sprites_text_encoder, sprites_unet
from core.model.training.stages.contrastive import ContrastiveTask, sprites_image_encoder
from core.model.training.stages.decoder import decoder_parts
from core.model.training.stages.history import HISTORY_FRAMES, WINDOW_FRAMES
from core.model.training.stages.memory import Memory, sprites_memory
from core.model.training.stages.refiner import build_pairs
from core.model.training.stages.tower import TowerTask
from core.model.training.stages.vae import sprites_vae

ModuleT = TypeVar("ModuleT", bound=nn.Module)


class SpritesModels:
    """The networks and clip banks of one recipe in one working folder. Cached parts are shared by all stages."""

    def __init__(self, recipe: Recipe, folder: Path) -> None:
        """`recipe` must train on the synthetic world. Everything is placed on this process' device."""
        assert isinstance(recipe.networks, SpritesNetworks)
        assert isinstance(recipe.data, SpritesData)
        self.recipe = recipe
        self.networks = recipe.networks
        self.data = recipe.data
        self.folder = folder
        self.device = parallel.join().device
        self.tokenizer = build_tokenizer()

    @cached_property
    def sampling_parts(self) -> SamplingParts:
        """The parts that samples need, with the preset's sampling config."""
        return SamplingParts(
            self.scaled_vae,
            ClipTextEncoder(self.tokenizer, self.text_encoder),
            ClipImageEncoder(self.image_encoder),
            StreamingPreset.model_validate(preset_config() | {"refiner": refiner_config()}),
        )

    def has_trained(self, stage: str) -> bool:
        """Whether the stage has a checkpoint."""
        return is_trained(self.folder / stage)

    def untrained_vae(self) -> AutoencoderKL:
        torch.manual_seed(self.recipe.seed)
        return self.placed(sprites_vae(self.networks.vae_channels))

    def untrained_image_encoder(self) -> CLIPVisionModelWithProjection:
        torch.manual_seed(self.recipe.seed)
        return self.placed(sprites_image_encoder())

    def untrained_text_encoder(self) -> CLIPTextModel:
        torch.manual_seed(self.recipe.seed)
        return self.placed(sprites_text_encoder(self.tokenizer.get_vocab_size()))

    def untrained_contrastive(self) -> ContrastiveTask:
        """The contrastive stage at step 0."""
        text_encoder, image_encoder = self.untrained_text_encoder(), self.untrained_image_encoder()
        return ContrastiveTask(
            text_encoder, image_encoder, self.tokenizer, self.recipe.seed, self.recipe.stages["clip"].batch
        )

    def tower_task(self, contrastive: ContrastiveTask) -> TowerTask:
        """The stage that trains the image encoder of `contrastive` further."""
        return TowerTask(contrastive, self.recipe.seed, self.recipe.stages["tower"].batch)

    def untrained_unet(self) -> UNet3DConditionModel:
        torch.manual_seed(self.recipe.seed)
        return self.placed(sprites_unet(self.networks.unet_channels))

    def untrained_refiner(self) -> UNet3DConditionModel:
        torch.manual_seed(self.recipe.seed)
        return self.placed(sprites_unet(self.networks.refiner_channels))

    def untrained_memory(self, unet: UNet3DConditionModel, seed: int | None = None) -> Memory:
        """CAM and APM at step 0, initialised from `seed` (default: the recipe's)."""
        torch.manual_seed(self.recipe.seed if seed is None else seed)
        memory = sprites_memory(unet, self.networks.picture_channels, self.networks.image_tokens)
        for part in (memory.cam, *memory.conditioning.values()):
            self.placed(part)
        return memory

    @cached_property
    def vae(self) -> AutoencoderKL:
        """The trained autoencoder, frozen."""
        vae = self.untrained_vae()
        self.load("vae", {"vae": vae})
        return _frozen(vae)

    @cached_property
    def scaled_vae(self) -> AutoencoderKL:
        """The same, with the scaling factor in its config."""
        cast("Any", self.vae).register_to_config(scaling_factor=self.latent_scale)
        return self.vae

    @cached_property
    def refiner_vae(self) -> AutoencoderKL:
        """The same with the decoder for refined frames if one was trained; the encoder is unchanged."""
        if not self.has_trained("decoder"):
            return self.scaled_vae
        vae = deepcopy(self.scaled_vae).requires_grad_(True)
        self.load("decoder", decoder_parts(vae))
        return _frozen(vae)

    @cached_property
    def unet(self) -> UNet3DConditionModel:
        """The trained base, frozen."""
        unet = self.untrained_unet()
        self.load("video", {"unet": unet})
        return _frozen(unet)

    @cached_property
    def refiner(self) -> UNet3DConditionModel:
        """The trained refiner, frozen."""
        unet = self.untrained_refiner()
        self.load("refiner", {"refiner": unet})
        return _frozen(unet)

    @cached_property
    def text_encoder(self) -> CLIPTextModel:
        """The trained text encoder, frozen."""
        return self.contrastive.text_encoder

    @cached_property
    def image_encoder(self) -> CLIPVisionModelWithProjection:
        """The trained image encoder, frozen."""
        return self.contrastive.image_encoder

    @cached_property
    def contrastive(self) -> ContrastiveTask:
        """The trained networks of the contrastive stages, heads included, frozen."""
        task = self.untrained_contrastive()
        if self.has_trained("tower"):
            self.load("tower", self.tower_task(task).modules)
        else:
            self.load("clip", task.modules)
        _frozen(nn.ModuleDict(task.modules))
        return task

    @cached_property
    def memory(self) -> Memory:
        """CAM and APM as trained by the stage `apm`."""
        memory = self.untrained_memory(self.unet)
        self.load("apm", {"cam": memory.cam, **memory.conditioning})
        return memory

    @cached_property
    def bank(self) -> ClipBank:
        """The clips, encoded once."""
        path = self.folder / "bank.safetensors"
        return self._built_bank(0, self.data.clips, HISTORY_FRAMES + WINDOW_FRAMES, path)

    @cached_property
    def pictures(self) -> ClipBank:
        """Single frames of other scenes than the clips', encoded once."""
        path = self.folder / "pictures.safetensors"
        return self._built_bank(1, self.data.pictures, 1, path)

    def _built_bank(self, number: int, clips: int, frames: int, path: Path) -> ClipBank:
        """The recipe's bank of this number; banks share no scenes."""
        return build_bank(self.vae, self.recipe.seed + number, clips, frames, path, self.data.two_sprites_share)

    @cached_property
    def pairs(self) -> ClipBank:
        """True clips at the refined size with their previews, encoded once."""
        path = self.folder / "pairs.safetensors"
        return build_pairs(self.vae, self.recipe.seed, self.data.refiner_clips, path)

    @cached_property
    def latent_scale(self) -> float:
        """The autoencoder's scaling_factor: it gives the bank's latents a standard deviation of 1."""
        return 1.0 / float(self.bank.latents_ktchw[:500].float().std())

    def placed(self, module: ModuleT) -> ModuleT:
        module.to(self.device)
        return module

    def load(self, stage: str, modules: dict[str, nn.Module]) -> None:
        load_averaged(self.folder / stage, modules)


def _frozen(module: ModuleT) -> ModuleT:
    module.requires_grad_(False)
    return module.eval()
