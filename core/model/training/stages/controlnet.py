"""Stage `controlnet`: a ControlNet for the edges of frames, on the frozen image UNet whose encoder it starts from."""

from __future__ import annotations

from typing import Any, cast

from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from tokenizers import Tokenizer
from torch import Tensor
from transformers import CLIPTextModel

from core.model.training.sprites.picture_bank import PictureBank
from core.model.training.stages import diffusion
from core.model.training.stages.image2d import Image2DTask

STAGE = 11
_EMBEDDING_CHANNELS = (8, 16, 24, 32)
"""Of the layers that bring a picture to the size of latents: three halvings."""


def edges_controlnet(unet: UNet2DConditionModel) -> ControlNetModel:
    """A ControlNet with the weights of the UNet's encoder, and connections of zeros: it changes nothing yet."""
    return ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=_EMBEDDING_CHANNELS)


class ControlNetTask(Image2DTask):
    """Denoise frames given their edges. Captions are often dropped: then only the edges tell what is where."""

    stage = STAGE

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
    ) -> None:
        """`scale` is the scaling factor of the latents; `noisy_share` of the timesteps come from the noisy end."""
        frozen = unet.requires_grad_(False)
        super().__init__(
            frozen, text_encoder, tokenizer, bank, seed, batch, scale, noisy_share, caption_dropout=caption_dropout
        )
        self.controlnet = controlnet
        self.modules = {"controlnet": controlnet}

    def _prediction(self, noisy: diffusion.Noised, text_bld: Tensor, drawn: list[tuple[int, str]]) -> Tensor:
        edges_b3pr = self.bank.edges(drawn).to(noisy.latents)
        down, middle = cast("Any", self.controlnet)(
            noisy.latents, noisy.timesteps, text_bld, controlnet_cond=edges_b3pr, return_dict=False
        )
        return cast("Any", self.unet)(
            noisy.latents,
            noisy.timesteps,
            encoder_hidden_states=text_bld,
            down_block_additional_residuals=down,
            mid_block_additional_residual=middle,
        ).sample
