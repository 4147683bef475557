"""Stages `cam` and `apm` of `sprites`: train short-term memory (CAM), then CAM and long-term memory (APM) together.

A sample is 32 frames of one clip. The network denoises frames 17-32 (counted from 1), conditioned on frames 17-24 as
pictures and, with APM, on an anchor frame drawn from the first 16. The base UNet, the text encoder and the image
encoder are frozen. All added layers are zero-initialised, so at step 0 the prediction equals the base's bit for bit;
except for networks whose deepest level is a single pixel, where the memory layout of features, and so the order of
sums, may differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, cast

import numpy as np
import torch
from diffusers.models.unets.unet_3d_condition import UNet3DConditionModel
from pydantic import Field
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPVisionModelWithProjection

from core.model.engines.streaming_t2v.apm import ApmMixers, TokenExpander
from core.model.engines.streaming_t2v.cam import CamFeatureExtractor, CamMergers
from core.model.engines.streaming_t2v.network import predict_noise
from core.model.training.sprites.clip_bank import ClipBank
from core.model.training.sprites.word_tokenizer import MAX_TOKENS
from core.model.training.stages import diffusion, history
from core.model.training.stages.base import caption_states, drop_captions, without_dropout
from core.model.training.stages.contrastive import PICTURE_WIDTH
from core.model.training.stages.history import CONDITIONING_FRAMES, HISTORY_FRAMES, WINDOW_FRAMES
from core.model.training.stages.picture_encoder import build_picture_encoder

STAGE = 3
IMAGE_TOKENS = 8
PICTURE_CHANNELS = (16, 32, 48, 64)

Probability = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True)
class Memory:
    """The networks added to a base UNet."""

    cam: CamFeatureExtractor
    mergers: CamMergers
    mixers: ApmMixers
    expander: TokenExpander

    @property
    def conditioning(self) -> dict[str, nn.Module]:
        """The parts stored in a preset's folder `conditioning/`."""
        return {"mergers": self.mergers, "mixers": self.mixers, "expander": self.expander}

    @property
    def adapted(self) -> nn.ModuleDict:
        """All parts as one network, to which distillation adds an adapter."""
        return nn.ModuleDict({"cam": self.cam, **self.conditioning})


def sprites_memory(
    unet: UNet3DConditionModel, picture_channels: tuple[int, ...] = PICTURE_CHANNELS, image_tokens: int = IMAGE_TOKENS
) -> Memory:
    """Untrained CAM and APM for a trained base; CAM starts as a copy of the base's encoder half."""
    width = int(cast("Any", unet.config).cross_attention_dim)
    cam = without_dropout(CamFeatureExtractor.from_unet(unet, picture_channels, CONDITIONING_FRAMES))
    # The published picture encoder is zero-initialised like the mergers. Zero mergers are enough to leave the base
    # unchanged, and this encoder may be pretrained (stage `sight`).
    cam.picture_encoder = build_picture_encoder(picture_channels, unet)
    mixers = ApmMixers.for_unet(unet, MAX_TOKENS, image_tokens)
    return Memory(
        cam=cam,
        mergers=CamMergers.for_unet(dict(unet.config)),
        mixers=mixers,
        expander=TokenExpander(PICTURE_WIDTH, 2 * PICTURE_WIDTH, image_tokens, width),
    )


@dataclass(frozen=True)
class Dropouts:
    """Probabilities of dropping a condition, and the strength of history noise; all are 0 unless a recipe sets them."""

    caption: Probability = 0.0
    anchor: Probability = 0.0
    history_noise: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Maximum noise added to the history's latents before decoding, in standard deviations of the latents: the history
    of a long video is generated, not perfect."""


class MemoryTask:
    """Denoise a window given its history: v prediction, min-SNR weights."""

    def __init__(
        self,
        unet: UNet3DConditionModel,
        text_encoder: CLIPTextModel,
        image_encoder: CLIPVisionModelWithProjection | None,
        vae: nn.Module,
        tokenizer: Tokenizer,
        memory: Memory,
        bank: ClipBank,
        seed: int,
        batch: int,
        scale: float,
        dropouts: Dropouts | None = None,
    ) -> None:
        """Without `image_encoder` only CAM is trained. Injects APM's attention layers into `unet`.

        `scale` is the scaling factor of the latents.
        """
        for frozen in (unet, text_encoder, vae, image_encoder):
            if frozen is not None:
                frozen.requires_grad_(False)
        self.unet = unet
        self.text_encoder = text_encoder
        self.image_encoder = image_encoder
        self.vae = vae
        self.tokenizer = tokenizer
        self.memory = memory
        self.bank = bank
        self.seed = seed
        self.batch = batch
        self.scale = scale
        self.dropouts = dropouts or Dropouts()
        self.alphas_cumprod_T = diffusion.alphas_cumprod()
        self.layers = memory.mixers.layers_of(unet).inject()
        self.modules: dict[str, nn.Module] = {"cam": memory.cam, "mergers": memory.mergers}
        if image_encoder is not None:
            self.modules |= {"mixers": memory.mixers, "expander": memory.expander}

    def loss(self, step: int) -> Tensor:
        rng = np.random.default_rng((self.seed, STAGE, step))
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        # A prompt stays the same for all windows of a video, so captions do not mark later windows.
        latents_btchw, captions = self.bank.batch(
            rng, self.batch, HISTORY_FRAMES + WINDOW_FRAMES, from_start=0.3, mark_later=False
        )
        clean_bcthw = (latents_btchw[:, HISTORY_FRAMES:].transpose(1, 2).contiguous() * self.scale).to(self.unet.device)
        noise_bcthw = torch.randn(clean_bcthw.shape, generator=generator).to(clean_bcthw)
        timesteps = diffusion.random_timesteps(rng, self.batch, noisy_share=0.3).to(clean_bcthw.device)
        alphas_b = self.alphas_cumprod_T.to(clean_bcthw)[timesteps]
        noisy_bcthw, target_bcthw = diffusion.noisy_and_target(clean_bcthw, noise_bcthw, alphas_b)
        texts = drop_captions(captions, rng, self.dropouts.caption, 0.08)
        prediction = predict_noise(
            self.unet,
            self.memory.cam,
            self.memory.mergers,
            noisy_bcthw,
            timesteps,
            caption_states(self.text_encoder, self.tokenizer, texts),
            self.image_tokens(latents_btchw, rng, generator),
            self.history_pictures(latents_btchw[:, HISTORY_FRAMES : HISTORY_FRAMES + CONDITIONING_FRAMES], generator),
        )
        return diffusion.v_loss(prediction, target_bcthw, alphas_b)

    def history_pictures(self, latents_btchw: Tensor, generator: torch.Generator) -> Tensor:
        """Unscaled latents -> pictures [B, T, 3, 64, 64] in [-1, 1], decoded after adding history noise."""
        return history.history_pictures(self.vae, latents_btchw, self.scale, self.dropouts.history_noise, generator)

    def image_tokens(
        self, latents_btchw: Tensor, rng: np.random.Generator, generator: torch.Generator
    ) -> Tensor | None:
        """Tokens [B, K, width] of an anchor drawn from the history; None if CAM is trained alone."""
        if self.image_encoder is None:
            return None
        anchors_b1chw = history.draw_anchors(latents_btchw[:, :HISTORY_FRAMES], rng)
        pictures_b3pr = self.history_pictures(anchors_b1chw, generator)[:, 0]
        return history.image_tokens(self.image_encoder, self.memory.expander, pictures_b3pr, self.dropouts.anchor, rng)
