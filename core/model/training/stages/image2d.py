"""Stage `image2d`: an image model of single frames, which starts from the spatial layers of the video UNet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import CLIPTextModel

from core.model.training.sprites.picture_bank import PictureBank
from core.model.training.stages import diffusion
from core.model.training.stages.base import TEXT_WIDTH, caption_states, drop_captions

STAGE = 10
_HEAD_WIDTH = 16


def image_unet(
    channels: tuple[int, ...] = (48, 64, 48, 32), in_channels: int = 4, layers: int = 2
) -> UNet2DConditionModel:
    """The untrained image UNet; with two layers its weights have the names and shapes of `sprites_unet`'s spatial ones.

    diffusers' video UNet takes the width of its attention heads, its image UNet their number.
    """
    return cast("Any", UNet2DConditionModel)(
        sample_size=8,
        in_channels=in_channels,
        out_channels=4,
        block_out_channels=channels,
        layers_per_block=layers,
        attention_head_dim=tuple(max(1, width // _HEAD_WIDTH) for width in channels),
        cross_attention_dim=TEXT_WIDTH,
        norm_num_groups=8,
        use_linear_projection=True,
    )


def spatial_weights(unet: UNet2DConditionModel, video_weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a video UNet that the image UNet has, too. Raises KeyError if one is missing."""
    return {name: video_weights[name] for name in unet.state_dict()}


class Image2DTask:
    """Denoise single frames given a caption: v prediction, min-SNR weights, random caption dropout for guidance."""

    stage = STAGE
    """Its number, which seeds the draws."""

    def __init__(
        self,
        unet: UNet2DConditionModel,
        text_encoder: CLIPTextModel,
        tokenizer: Tokenizer,
        bank: PictureBank,
        seed: int,
        batch: int,
        scale: float,
        noisy_share: float = 0.6,
        caption_dropout: float = 0.1,
        unknown_words: float = 0.08,
    ) -> None:
        """`scale` is the scaling factor of the latents; `noisy_share` of the timesteps come from the noisy end."""
        self.unet = unet
        self.text_encoder = text_encoder.requires_grad_(False)
        self.tokenizer = tokenizer
        self.modules: dict[str, nn.Module] = {"unet": unet}
        self.bank = bank
        self.seed = seed
        self.batch = batch
        self.scale = scale
        self.noisy_share = noisy_share
        self.caption_dropout = caption_dropout
        self.unknown_words = unknown_words

    def loss(self, step: int) -> Tensor:
        rng = np.random.default_rng((self.seed, self.stage, step))
        drawn = [self.bank.draw(rng) for _ in range(self.batch)]
        texts = [self.bank.caption(*one, rng) for one in drawn]
        clean_bchw = (self.bank.latents(drawn) * self.scale).to(self.unet.device)
        noisy = diffusion.noised(clean_bchw, rng, self.noisy_share, self.seed * 1_000_003 + step)
        text_bld = caption_states(
            self.text_encoder, self.tokenizer, drop_captions(texts, rng, self.caption_dropout, self.unknown_words)
        )
        return noisy.loss(self._prediction(noisy, text_bld, drawn))

    def _prediction(self, noisy: diffusion.Noised, text_bld: Tensor, drawn: list[tuple[int, str]]) -> Tensor:
        """v of the noisy frames, which are those of `drawn` in the bank."""
        del drawn
        return cast("Any", self.unet)(noisy.latents, noisy.timesteps, encoder_hidden_states=text_bld).sample
