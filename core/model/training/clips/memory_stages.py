"""Stages `cam` and `apm` on the user's own clips: train the memories of a preset as published (StreamingT2V, arXiv
2403.14773).

A sample is 32 frames of one clip. The network denoises frames 17-32 (counted from 1), conditioned on frames 17-24 as
pictures and, with APM, on an anchor frame drawn from the first 16. CAM is trained on a frozen base; then CAM and APM
together with the base's spatial layers, its temporal layers frozen (StreamingT2V's released configuration). The
objective is the base's own, noise or v, without loss weights. Memories are zero-initialised: at step 0 the prediction
equals the base's bit for bit, except for networks whose deepest level is a single pixel.
"""

from __future__ import annotations

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_3d_condition import UNet3DConditionModel
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPVisionModelWithProjection

from core.model.engines.streaming_t2v.network import predict_noise
from core.model.sampling.schedules import NoiseSchedule
from core.model.sampling.vae import scaling_factor
from core.model.training.clips.clip_cache import ClipCache
from core.model.training.stages import diffusion, history
from core.model.training.stages.history import HISTORY_FRAMES, WINDOW_FRAMES
from core.model.training.stages.memory import Dropouts, Memory

STAGE = 10
NO_DROPOUTS = Dropouts()
"""As published."""
_TEMPORAL = ("transformer_in", "temp_attentions", "temp_convs")


class ClipsMemoryTask:
    """Denoise a window given its history, on cached clips."""

    def __init__(
        self,
        unet: UNet3DConditionModel,
        vae: AutoencoderKL,
        image_encoder: CLIPVisionModelWithProjection | None,
        memory: Memory,
        cache: ClipCache,
        schedule: NoiseSchedule,
        seed: int,
        batch: int,
        dropouts: Dropouts = NO_DROPOUTS,
    ) -> None:
        """Without `image_encoder` only CAM is trained. Injects APM's attention layers into `unet`."""
        self.unet = unet.requires_grad_(False)
        self.vae = vae
        self.image_encoder = image_encoder
        self.memory = memory
        self.cache = cache
        self.prediction = schedule.prediction
        self.signal_T = schedule.alphas_cumprod_T
        self.seed = seed
        self.batch = batch
        self.dropouts = dropouts
        memory.mixers.layers_of(unet).inject()
        self.modules: dict[str, nn.Module] = {"cam": memory.cam, "mergers": memory.mergers}
        if image_encoder is not None:
            self.modules |= {"mixers": memory.mixers, "expander": memory.expander, "unet": train_spatial_layers(unet)}

    def loss(self, step: int) -> Tensor:
        rng = np.random.default_rng((self.seed, STAGE, step))
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        sample = self.cache.batch(step, self.batch, HISTORY_FRAMES + WINDOW_FRAMES, rng, self.dropouts.caption)
        device = self.unet.device
        clean_BCFHW = sample.latents_BTCHW[:, HISTORY_FRAMES:].transpose(1, 2).contiguous().to(device)
        noise_BCFHW = torch.randn(clean_BCFHW.shape, generator=generator).to(device)
        timesteps_B = torch.from_numpy(rng.integers(len(self.signal_T), size=self.batch))
        signal_B = self.signal_T[timesteps_B].to(device)
        noisy_BCFHW, velocity_BCFHW = diffusion.noisy_and_target(clean_BCFHW, noise_BCFHW, signal_B)
        conditioning_end = HISTORY_FRAMES + self.memory.cam.num_conditioning_frames
        conditioning_end = HISTORY_FRAMES + self.memory.cam.num_conditioning_frames
        prediction_BCFHW = predict_noise(
            self.unet,
            self.memory.cam,
            self.memory.mergers,
            noisy_BCFHW,
            timesteps_B.to(device),
            sample.text_states_BLD.to(device),
            self.image_tokens(sample.latents_BTCHW, rng, generator),
            self.history_pictures(sample.latents_BTCHW[:, HISTORY_FRAMES:conditioning_end], generator),
        )
        target_BCFHW = noise_BCFHW if self.prediction == "epsilon" else velocity_BCFHW
        return functional.mse_loss(prediction_BCFHW.float(), target_BCFHW)

    def history_pictures(self, latents_BTCHW: Tensor, generator: torch.Generator) -> Tensor:
        """Scaled latents -> pictures [B, T, 3, P, R] in [-1, 1], decoded after adding history noise."""
        scale = scaling_factor(self.vae)
        return history.history_pictures(self.vae, latents_BTCHW / scale, scale, self.dropouts.history_noise, generator)

    def image_tokens(
        self, latents_BTCHW: Tensor, rng: np.random.Generator, generator: torch.Generator
    ) -> Tensor | None:
        """Tokens [B, K, D] of an anchor drawn from the first HISTORY_FRAMES frames; None if CAM is trained alone."""
        if self.image_encoder is None:
            return None
        anchors = history.draw_anchors(latents_BTCHW[:, :HISTORY_FRAMES], rng)
        pictures_B3PR = self.history_pictures(anchors, generator)[:, 0]
        return history.image_tokens(self.image_encoder, self.memory.expander, pictures_B3PR, self.dropouts.anchor, rng)


def train_spatial_layers(unet: UNet3DConditionModel) -> UNet3DConditionModel:
    """Freeze the temporal layers and unfreeze all others, in place; returns `unet`."""
    for name, weight in unet.named_parameters():
        weight.requires_grad_(not any(part in name.split(".") for part in _TEMPORAL))
    return unet
