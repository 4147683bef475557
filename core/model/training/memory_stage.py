"""Train short-term memory (CAM), then both memories (CAM and APM), around a frozen base UNet.

A sample is 32 frames of one clip: the network denoises frames 17-32 (counted from 1) given frames 17-24 as pictures
and, with APM, an anchor drawn from the first 16. The base, the text encoder and the vision tower never change;
every added path starts as zero, so at step 0 the prediction is the base's: bit for bit, but for networks whose deepest
level is a single pixel (there the features' memory layout, and so the order of sums, is not settled). Knows nothing of
samplers.
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
from core.model.training import data, diffusion
from core.model.training import history as past
from core.model.training.base_stage import caption_states, drop_captions, without_dropout
from core.model.training.clip_stage import PICTURE_WIDTH
from core.model.training.picture_encoder_stage import build_picture_encoder

STAGE = 3
PAST = 16
"""Frames of a clip before the window; the anchor is one of them."""
WINDOW = 16
CONDITIONING = 8
IMAGE_TOKENS = 8
PICTURE_CHANNELS = (16, 32, 48, 64)

Probability = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True)
class Memory:
    """The parts added to a base UNet."""

    cam: CamFeatureExtractor
    mergers: CamMergers
    mixers: ApmMixers
    expander: TokenExpander

    @property
    def conditioning(self) -> dict[str, nn.Module]:
        """What is stored as `conditioning/`."""
        return {"mergers": self.mergers, "mixers": self.mixers, "expander": self.expander}


def build_memory(
    unet: UNet3DConditionModel, picture_channels: tuple[int, ...] = PICTURE_CHANNELS, image_tokens: int = IMAGE_TOKENS
) -> Memory:
    """Build untrained memories for a trained base; CAM starts as a copy of the base's encoder half."""
    width = int(cast("Any", unet.config).cross_attention_dim)
    cam = without_dropout(CamFeatureExtractor.from_unet(unet, picture_channels, CONDITIONING))
    # The published picture encoder starts at zero like the mergers; the mergers' zero is enough to leave the base
    # untouched, and this one may already see (sight_stage).
    cam.picture_encoder = build_picture_encoder(picture_channels, unet)
    mixers = ApmMixers.for_unet(unet, data.MAX_TOKENS, image_tokens)
    return Memory(
        cam=cam,
        mergers=CamMergers.for_unet(dict(unet.config)),
        mixers=mixers,
        expander=TokenExpander(PICTURE_WIDTH, 2 * PICTURE_WIDTH, image_tokens, width),
    )


@dataclass(frozen=True)
class Dropouts:
    """Shares of samples that lose a condition, and the strength of history noise; all are off unless a recipe asks."""

    caption: Probability = 0.0
    anchor: Probability = 0.0
    history_noise: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Upper end of the noise put on the past's latents before they are decoded, in units of the latents' deviation:
    the past of a long video is generated, not perfect."""


class MemoryTask:
    """Denoise a window given its past. `with_anchor` adds APM to CAM."""

    def __init__(
        self,
        unet: UNet3DConditionModel,
        text_encoder: CLIPTextModel,
        image_encoder: CLIPVisionModelWithProjection | None,
        vae: nn.Module,
        tokenizer: Tokenizer,
        memory: Memory,
        bank: data.ClipBank,
        seed: int,
        batch: int,
        scale: float,
        dropouts: Dropouts | None = None,
    ) -> None:
        """`image_encoder` None trains CAM alone. The unet's text-reading layers are injected here."""
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
        self.signal = diffusion.alphas_bar()
        self.layers = memory.mixers.layers_of(unet).inject()
        self.modules: dict[str, nn.Module] = {"cam": memory.cam, "mergers": memory.mergers}
        if image_encoder is not None:
            self.modules |= {"mixers": memory.mixers, "expander": memory.expander}

    def loss(self, step: int) -> Tensor:
        rng = np.random.default_rng((self.seed, STAGE, step))
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        # A prompt stays the same for all windows of a video, so none of them says that it comes later.
        latents_btchw, captions = self.bank.batch(rng, self.batch, PAST + WINDOW, beginnings=0.3, say_later=False)
        clean_bcthw = (latents_btchw[:, PAST:].transpose(1, 2).contiguous() * self.scale).to(self.unet.device)
        noise_bcthw = torch.randn(clean_bcthw.shape, generator=generator).to(clean_bcthw)
        timesteps = diffusion.random_timesteps(rng, self.batch, noisy_share=0.3).to(clean_bcthw.device)
        signal = self.signal.to(clean_bcthw)[timesteps]
        noisy_bcthw, target_bcthw = diffusion.noisy_and_target(clean_bcthw, noise_bcthw, signal)
        texts = drop_captions(captions, rng, self.dropouts.caption, 0.08)
        prediction = predict_noise(
            self.unet,
            self.memory.cam,
            self.memory.mergers,
            noisy_bcthw,
            timesteps,
            caption_states(self.text_encoder, self.tokenizer, texts),
            self.image_tokens(latents_btchw, rng, generator),
            self.past_pictures(latents_btchw[:, PAST : PAST + CONDITIONING], generator),
        )
        return diffusion.v_loss(prediction, target_bcthw, signal)

    def past_pictures(self, latents_btchw: Tensor, generator: torch.Generator) -> Tensor:
        """Latents of the past -> pictures [B, T, 3, 64, 64] in [-1, 1], decoded from slightly wrong latents."""
        return past.past_pictures(self.vae, latents_btchw, self.scale, self.dropouts.history_noise, generator)

    def image_tokens(
        self, latents_btchw: Tensor, rng: np.random.Generator, generator: torch.Generator
    ) -> Tensor | None:
        """Tokens [B, K, width] of an anchor drawn from the first PAST frames; a grey picture where it is dropped."""
        if self.image_encoder is None:
            return None
        anchors_b1chw = past.drawn_anchors(latents_btchw[:, :PAST], rng)
        pictures_b3pr = self.past_pictures(anchors_b1chw, generator)[:, 0]
        return past.anchor_tokens(self.image_encoder, self.memory.expander, pictures_b3pr, self.dropouts.anchor, rng)
