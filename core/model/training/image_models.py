"""Networks and frames of an image recipe, built on demand: as they start, or with the weights of trained stages.

Autoencoder, text encoder and first weights are those of a preset of the sprites world.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TypeVar

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import nn
from transformers import CLIPTextModel

from core.model.networks.builders import build_text_encoder, build_vae
from core.model.presets.files import load_module, read_tokenizer, read_weights
from core.model.training.clips_run import find_preset
from core.model.training.loop import parallel
from core.model.training.loop.checkpoints import is_trained, load_averaged
from core.model.training.recipe import ImageNetworks, PictureData, Recipe
from core.model.training.sprites.picture_bank import PictureBank, build_picture_bank
from core.model.training.sprites.recolouring import instruction_words
from core.model.training.sprites.word_tokenizer import build_tokenizer
from core.model.training.stages.base import sprites_text_encoder
from core.model.training.stages.controlnet import edges_controlnet
from core.model.training.stages.editor import editor_text_weights, editor_unet, editor_weights
from core.model.training.stages.image2d import image_unet, spatial_weights

ModuleT = TypeVar("ModuleT", bound=nn.Module)


class ImageModels:
    """The networks and frames of one recipe in one working folder. Cached parts are shared by all stages."""

    def __init__(self, recipe: Recipe, folder: Path) -> None:
        """Everything is placed on this process' device. Raises RecipeError, LongtakeError for a preset that is none."""
        assert isinstance(recipe.networks, ImageNetworks)
        assert isinstance(recipe.data, PictureData)
        self.recipe = recipe
        self.data = recipe.data
        self.folder = folder
        self.device = parallel.join().device
        self.shared = recipe.networks.preset
        self.weights = find_preset(self.shared).weights
        self.tokenizer = read_tokenizer(self.weights)
        self.edit_tokenizer = build_tokenizer(instruction_words())

    def has_trained(self, stage: str) -> bool:
        """Whether the stage has a checkpoint."""
        return is_trained(self.folder / stage)

    @cached_property
    def vae(self) -> AutoencoderKL:
        return load_module(self.weights / "vae", build_vae, self.device)

    @cached_property
    def text_encoder(self) -> CLIPTextModel:
        return load_module(self.weights / "text_encoder", build_text_encoder, self.device)

    @cached_property
    def bank(self) -> PictureBank:
        """The frames, encoded once."""
        path = self.folder / "pictures.safetensors"
        return build_picture_bank(self.vae, self.recipe.seed, self.data.pictures, self.data.two_sprites_share, path)

    @cached_property
    def unet(self) -> UNet2DConditionModel:
        """The trained image UNet, frozen. Raises StageNotTrained."""
        unet = self.first_unet()
        load_averaged(self.folder / "image2d", {"unet": unet})
        return _frozen(unet)

    @cached_property
    def controlnet(self) -> ControlNetModel:
        """The trained ControlNet, frozen. Raises StageNotTrained."""
        controlnet = self.first_controlnet()
        load_averaged(self.folder / "controlnet", {"controlnet": controlnet})
        return _frozen(controlnet)

    @cached_property
    def editor(self) -> tuple[UNet2DConditionModel, CLIPTextModel]:
        """The trained editor and its text encoder, frozen. Raises StageNotTrained."""
        unet, text_encoder = self.first_editor()
        load_averaged(self.folder / "editor", {"unet": unet, "text_encoder": text_encoder})
        return _frozen(unet), _frozen(text_encoder)

    def first_unet(self) -> UNet2DConditionModel:
        """The image UNet with the spatial layers of the preset's video UNet."""
        unet = image_unet()
        unet.load_state_dict(spatial_weights(unet, read_weights(self.weights / "unet", torch.device("cpu"))))
        return unet.to(self.device)

    def first_controlnet(self) -> ControlNetModel:
        """The ControlNet at step 0."""
        torch.manual_seed(self.recipe.seed)
        return edges_controlnet(self.unet).to(self.device)

    def first_editor(self) -> tuple[UNet2DConditionModel, CLIPTextModel]:
        """The editor at step 0, and its text encoder."""
        torch.manual_seed(self.recipe.seed)
        unet = editor_unet()
        unet.load_state_dict(editor_weights(unet, self.first_unet().state_dict()))
        text_encoder = sprites_text_encoder(self.edit_tokenizer.get_vocab_size())
        known, ids = self.text_encoder.state_dict(), self.tokenizer.get_vocab()
        text_encoder.load_state_dict(editor_text_weights(text_encoder, self.edit_tokenizer, known, ids))
        return unet.to(self.device), text_encoder.to(self.device)


def _frozen(module: ModuleT) -> ModuleT:
    module.requires_grad_(False)
    return module.eval()
