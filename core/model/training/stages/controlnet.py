"""Stage `controlnet`: a ControlNet for the edges of frames, on the frozen image UNet whose encoder it starts from."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import CLIPTextModel

from core.model.training.sprites.picture_bank import PictureBank
from core.model.training.stages import diffusion
from core.model.training.stages.base import caption_states, drop_captions

STAGE = 11
_EMBEDDING_CHANNELS = (8, 16, 24, 32)
"""Of the layers that bring a picture to the size of latents: three halvings."""


def edges_controlnet(unet: UNet2DConditionModel) -> ControlNetModel:
    """A ControlNet with the weights of the UNet's encoder, and connections of zeros: it changes nothing yet."""
    return ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=_EMBEDDING_CHANNELS)


class ControlNetTask:
    """Denoise frames given their edges. Captions are often dropped: then only the edges tell what is where."""

    def __init__(
        self,
        controlnet: ControlNetModel,
        unet: UNet2DConditionModel,
        text_encoder: CLIPTextModel,
        tokenizer: Tokenizer,
        bank: PictureBank,
        seed: int,
        batch: int,
        scale: float,
        noisy_share: float = 0.5,
        caption_dropout: float = 0.3,
        unknown_words: float = 0.08,
    ) -> None:
        """`scale` is the scaling factor of the latents; `noisy_share` of the timesteps come from the noisy end."""
        self.controlnet = controlnet
        self.unet = unet.requires_grad_(False)
        self.text_encoder = text_encoder.requires_grad_(False)
        self.tokenizer = tokenizer
        self.modules: dict[str, nn.Module] = {"controlnet": controlnet}
        self.bank = bank
        self.seed = seed
        self.batch = batch
        self.scale = scale
        self.noisy_share = noisy_share
        self.caption_dropout = caption_dropout
        self.unknown_words = unknown_words

    def loss(self, step: int) -> Tensor:
        rng = np.random.default_rng((self.seed, STAGE, step))
        drawn = [self.bank.draw(rng) for _ in range(self.batch)]
        texts = [self.bank.caption(*one, rng) for one in drawn]
        clean_bchw = (self.bank.latents(drawn) * self.scale).to(self.unet.device)
        noisy = diffusion.noised(clean_bchw, rng, self.noisy_share, self.seed * 1_000_003 + step)
        text_bld = caption_states(
            self.text_encoder, self.tokenizer, drop_captions(texts, rng, self.caption_dropout, self.unknown_words)
        )
        edges_b3pr = self.bank.edges(drawn).to(clean_bchw)
        down, middle = cast("Any", self.controlnet)(
            noisy.latents, noisy.timesteps, text_bld, controlnet_cond=edges_b3pr, return_dict=False
        )
        prediction = cast("Any", self.unet)(
            noisy.latents,
            noisy.timesteps,
            encoder_hidden_states=text_bld,
            down_block_additional_residuals=down,
            mid_block_additional_residual=middle,
        ).sample
        return noisy.loss(prediction)
