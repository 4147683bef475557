"""Stages `cam` and `apm` of `sprites`: train short-term memory (CAM), then CAM and long-term memory (APM) together.

A sample is 32 frames of one clip. The network denoises frames 17-32 (counted from 1), conditioned on frames 17-24 as
pictures and, with APM, on an anchor frame drawn from the first 16. The base UNet, the text encoder and the image
encoder are frozen. The layers that add memory to the base start at zero, so at step 0 the prediction equals the base's
bit for bit; except for networks whose deepest level is a single pixel, where the memory layout of features, and so the
order of sums, may differ.
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

from core.model.engines.streaming_t2v.apm import ApmMixer, ApmMixers, TokenExpander
from core.model.engines.streaming_t2v.cam import CamFeatureExtractor, CamMergers
from core.model.engines.streaming_t2v.network import predict_noise
from core.model.sampling.samplers import SamplingPlan, sample
from core.model.training.sprites.clip_bank import ClipBank
from core.model.training.sprites.word_tokenizer import MAX_TOKENS
from core.model.training.stages import diffusion, history
from core.model.training.stages.base import caption_states, drop_captions, without_dropout
from core.model.training.stages.contrastive import PICTURE_WIDTH
from core.model.training.stages.history import CONDITIONING_FRAMES, HISTORY_FRAMES, WINDOW_FRAMES
from core.model.training.stages.picture_encoder import build_picture_encoder
from core.service.domain.engine import ignore_step

STAGE = 3
IMAGE_TOKENS = 8
PICTURE_CHANNELS = (16, 32, 48, 64)
_MATCHING_GAIN = 2.0
"""Of queries and of keys at the beginning: attention then has a clear maximum where features agree."""
ALPHA_RATE = 10.0
"""Learning-rate factor of the mixers' alphas: single numbers that start at zero, in front of whole layers."""
APM_RATE = 3.0
"""Learning-rate factor of APM's other weights: they are new, beside a CAM that its own stage has trained."""
PICTURE_RATE = 0.1
"""Learning-rate factor of CAM's picture encoder, which the stage `sight` has trained: Adam takes steps of full size for
gradients that are mostly noise, and the encoder forgets more of the pictures than it learns here."""
_PAST_STEPS = 4
"""Denoising steps of a generated past."""

_PAST_PLAN = SamplingPlan("ddim", _PAST_STEPS, spacing="trailing")

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
        mergers=matching_frames(CamMergers.for_unet(dict(unet.config))),
        mixers=mixers,
        expander=TokenExpander(PICTURE_WIDTH, 2 * PICTURE_WIDTH, image_tokens, width),
    )


def matching_frames(mergers: CamMergers) -> CamMergers:
    """Let every merger's attention begin as a comparison of features, in place; returns `mergers`.

    CAM begins as a copy of the base's encoder, so frame i of a window is most like CAM's frame i: with identities as
    projections it reads that frame from the first step on. Random projections first have to find it. The output
    projection stays zero, so nothing changes at step 0.
    """
    with torch.no_grad():
        for merger in cast("list[Any]", [*mergers.skips, mergers.mid]):
            layer = merger.attention
            for projection, gain in (
                (merger.proj_in, 1.0),
                (layer.to_q, _MATCHING_GAIN),
                (layer.to_k, _MATCHING_GAIN),
                (layer.to_v, 1.0),
                (layer.to_out[0], 1.0),
            ):
                nn.init.eye_(projection.weight).mul_(gain)
                if projection.bias is not None:
                    projection.bias.zero_()
    return mergers


@dataclass(frozen=True)
class Dropouts:
    """Probabilities of dropping or replacing a condition, and the strength of history noise; all are 0 unless a recipe
    sets them."""

    caption: Probability = 0.0
    anchor: Probability = 0.0
    history_noise: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Maximum noise added to the history's latents before decoding, in standard deviations of the latents: the history
    of a long video is generated, not perfect."""
    generated_past: Probability = 0.0
    """Share of windows whose conditioning frames the network in training has generated, so that it learns to come back
    from its own errors."""


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
        conditioning_frames: int = CONDITIONING_FRAMES,
    ) -> None:
        """Without `image_encoder` only CAM is trained. Injects APM's attention layers into `unet`.

        `scale` is the scaling factor of the latents. `conditioning_frames`: how many of the window's first frames
        `memory` reads as pictures.
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
        self.conditioning_frames = conditioning_frames
        self.rate_factors = {
            **dict.fromkeys((*memory.mixers.parameters(), *memory.expander.parameters()), APM_RATE),
            **{mixer.alpha: ALPHA_RATE for mixer in cast("list[ApmMixer]", list(memory.mixers.mixers))},
            **dict.fromkeys(memory.cam.picture_encoder.parameters(), PICTURE_RATE),
        }
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
        text_bld = caption_states(self.text_encoder, self.tokenizer, texts)
        tokens_bkd = self.image_tokens(latents_btchw, rng, generator)
        past_btchw = latents_btchw[:, HISTORY_FRAMES : HISTORY_FRAMES + self.conditioning_frames]
        generated = torch.from_numpy(np.flatnonzero(rng.random(self.batch) < self.dropouts.generated_past))
        if len(generated):
            past_btchw = past_btchw.clone()
            past_btchw[generated] = self.generated_past(
                latents_btchw[generated],
                text_bld[generated],
                None if tokens_bkd is None else tokens_bkd[generated],
                generator,
            )
        pictures = self.history_pictures(past_btchw, generator)
        prediction = self.predict(noisy_bcthw, timesteps, text_bld, tokens_bkd, pictures)
        return diffusion.v_loss(prediction, target_bcthw, alphas_b)

    def predict(
        self,
        noisy_bcthw: Tensor,
        timestep: Tensor,
        text_bld: Tensor,
        tokens_bkd: Tensor | None,
        pictures_bt3pr: Tensor,
    ) -> Tensor:
        """The networks' v prediction, [B, C, T, H, W]; `timestep` is a scalar or [B]."""
        parts = (self.unet, self.memory.cam, self.memory.mergers)
        return predict_noise(*parts, noisy_bcthw, timestep, text_bld, tokens_bkd, pictures_bt3pr)

    @torch.no_grad()
    def generated_past(
        self, latents_btchw: Tensor, text_bld: Tensor, tokens_bkd: Tensor | None, generator: torch.Generator
    ) -> Tensor:
        """A window's conditioning frames [B, G, C, H, W] as the networks continue the true frames before: the last G of
        the window before, as in a long video. Unscaled latents. Few steps, without guidance."""
        start = HISTORY_FRAMES + self.conditioning_frames - WINDOW_FRAMES
        pictures = self.history_pictures(latents_btchw[:, start : start + self.conditioning_frames], generator)
        window_btchw = latents_btchw[:, start : start + WINDOW_FRAMES]
        noise_bcthw = torch.randn(window_btchw.transpose(1, 2).shape, generator=generator).to(self.unet.device)

        def denoise(x: Tensor, timestep: int) -> Tensor:
            moment = torch.tensor(timestep, device=x.device)
            return self.predict(x, moment, text_bld, tokens_bkd, pictures).float()

        made_bcthw = sample(
            _PAST_PLAN, denoise, noise_bcthw, diffusion.noise_schedule(), lambda: noise_bcthw, ignore_step
        )
        made_btchw = made_bcthw[:, :, -self.conditioning_frames :].transpose(1, 2) / self.scale
        return made_btchw.to(latents_btchw)

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
