"""What distillation trains on: batches of clips with their conditions, and the networks that predict them.

Windows are distilled into CAM and APM (mergers, mixers, expander), first chunks into the base UNet. The synthetic world
and the user's clips differ in where a batch comes from only.

Shapes: B samples, T frames, C latent channels, F frames of a window, H, W latent rows and columns, L text tokens,
D text width, I image embedding width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from diffusers.models.unets.unet_3d_condition import UNet3DConditionModel
from torch import Tensor, nn
from transformers import CLIPVisionModelWithProjection

from core.model.engines.streaming_t2v.network import predict_noise
from core.model.networks.base_network import predict_base
from core.model.networks.cross_attention import SharedTextLayers
from core.model.training.stages import history
from core.model.training.stages.history import HISTORY_FRAMES, WINDOW_FRAMES
from core.model.training.stages.memory import Dropouts, Memory

Batches = Callable[[int, int, np.random.Generator], tuple[Tensor, Tensor]]
"""(step, frames T, rng) -> scaled latents [B, T, C, H, W] of clips, and text states [B, L, D] of their captions."""

Predict = Callable[[Tensor, Tensor], Tensor]
"""(noisy latents [B, C, F, H, W], timesteps [B]) -> predictions."""


@dataclass(frozen=True)
class Example:
    """A batch: clean latents, noise, and the predictions of the networks under its conditions."""

    clean_BCFHW: Tensor
    noise_BCFHW: Tensor
    predict: Predict
    """Under the conditions only: [B, C, F, H, W]."""
    predict_halves: Predict
    """Without the conditions, then with them, as guidance takes them: [2B, C, F, H, W]."""


class DistilledFirstChunks:
    """First chunks, made by the base UNet from a text."""

    def __init__(self, unet: UNet3DConditionModel, batches: Batches, unconditional_1LD: Tensor) -> None:
        """Injects text layers into `unet` whose frames share one text. `unconditional_1LD`: the negative prompt's."""
        self.unet = unet
        SharedTextLayers(unet).inject()
        self.network: nn.Module = unet
        self._batches = batches
        self._unconditional_1LD = unconditional_1LD

    def example(self, step: int, rng: np.random.Generator, generator: torch.Generator) -> Example:
        """The batch of a step, which seeds `rng` and `generator`."""
        latents_BTCHW, text_BLD = self._batches(step, WINDOW_FRAMES, rng)
        clean, noise = _clean_and_noise(latents_BTCHW, generator, self.unet.device)
        texts_BLD = text_BLD.to(clean.device)
        both_BLD = _halves(self._unconditional_1LD.to(clean.device), texts_BLD)
        return Example(
            clean,
            noise,
            lambda noisy, timesteps: predict_base(self.unet, noisy, timesteps, texts_BLD),
            lambda noisy, timesteps: predict_base(self.unet, noisy, timesteps, both_BLD),
        )


class DistilledWindows:
    """Windows, made by the base UNet with CAM and APM from a text, the last frames before and an anchor frame."""

    def __init__(
        self,
        unet: UNet3DConditionModel,
        memory: Memory,
        vae: nn.Module,
        image_encoder: CLIPVisionModelWithProjection,
        batches: Batches,
        unconditional_1LD: Tensor,
        scale: float,
        dropouts: Dropouts,
    ) -> None:
        """Freezes `unet` and injects APM's attention layers into it. `scale`: the scaling factor of the latents."""
        self.unet = unet.requires_grad_(False)
        self.memory = memory
        memory.mixers.layers_of(unet).inject()
        self.network: nn.Module = memory.adapted
        self._vae = vae
        self._image_encoder = image_encoder
        self._batches = batches
        self._unconditional_1LD = unconditional_1LD
        self._scale = scale
        self._dropouts = dropouts

    def example(self, step: int, rng: np.random.Generator, generator: torch.Generator) -> Example:
        """The batch of a step, which seeds `rng` and `generator`."""
        latents_BTCHW, text_BLD = self._batches(step, HISTORY_FRAMES + WINDOW_FRAMES, rng)
        clean, noise = _clean_and_noise(latents_BTCHW[:, HISTORY_FRAMES:], generator, self.unet.device)
        conditioning_end = HISTORY_FRAMES + self.memory.cam.num_conditioning_frames
        pictures = self._pictures(latents_BTCHW[:, HISTORY_FRAMES:conditioning_end], generator)
        anchors_BI = self._anchors(latents_BTCHW[:, :HISTORY_FRAMES], rng, generator)
        texts_BLD = text_BLD.to(clean.device)
        both_BLD = _halves(self._unconditional_1LD.to(clean.device), texts_BLD)
        both_BI = _halves(self._grey_1I(pictures), anchors_BI)

        def predict(noisy: Tensor, timesteps: Tensor, texts: Tensor, anchors: Tensor) -> Tensor:
            cam, mergers, tokens = self.memory.cam, self.memory.mergers, self.memory.expander(anchors)
            return predict_noise(self.unet, cam, mergers, noisy, timesteps, texts, tokens, pictures)

        return Example(
            clean,
            noise,
            lambda noisy, timesteps: predict(noisy, timesteps, texts_BLD, anchors_BI),
            lambda noisy, timesteps: predict(noisy, timesteps, both_BLD, both_BI),
        )

    def _pictures(self, latents_BTCHW: Tensor, generator: torch.Generator) -> Tensor:
        noise, scale = self._dropouts.history_noise, self._scale
        return history.history_pictures(self._vae, latents_BTCHW / scale, scale, noise, generator)

    def _anchors(self, latents_BTCHW: Tensor, rng: np.random.Generator, generator: torch.Generator) -> Tensor:
        pictures_B3PR = self._pictures(history.draw_anchors(latents_BTCHW, rng), generator)[:, 0]
        return history.anchor_embeddings(self._image_encoder, pictures_B3PR, self._dropouts.anchor, rng)

    def _grey_1I(self, pictures: Tensor) -> Tensor:
        """The mid-grey picture's embedding: the anchor of the unconditional half."""
        grey_13PR = torch.zeros_like(pictures[:1, 0])
        return history.anchor_embeddings(self._image_encoder, grey_13PR, 0.0, np.random.default_rng(0))


Distilled = DistilledFirstChunks | DistilledWindows
"""What is distilled: `network`, whose weights get an adapter, and `example`, the batch of a step."""


def _clean_and_noise(latents_BTCHW: Tensor, generator: torch.Generator, device: torch.device) -> tuple[Tensor, Tensor]:
    """Latents and noise, both [B, C, T, H, W] on the device."""
    clean_BCTHW = latents_BTCHW.transpose(1, 2).contiguous()
    noise_BCTHW = torch.randn(clean_BCTHW.shape, generator=generator)
    return clean_BCTHW.to(device), noise_BCTHW.to(device)


def _halves(unconditional: Tensor, conditional: Tensor) -> Tensor:
    """[1, ...] and [B, ...] -> [2B, ...]."""
    return torch.cat([unconditional.expand_as(conditional), conditional])
