"""Teach CAM's picture encoder to see, before memory is trained: pixels in, the base's first-layer features out.

The encoder starts from nothing while the rest of CAM is a copy of the trained base. Its aim here is the output of the
base's input convolution for the clean latents of the same frame, a language that copy already reads; the CAM stage then
trains it on. A short stage that saves a long one. Knows nothing of denoising.
"""

from __future__ import annotations

import numpy as np
import torch
from diffusers.models.unets.unet_3d_condition import UNet3DConditionModel
from torch import Tensor, nn

from core.model.engines.streaming_t2v.cam import PictureEncoder
from core.model.training import data, sprites
from core.model.training.vae_stage import to_signal

STAGE = 5


def build_picture_encoder(channels: tuple[int, ...], unet: UNet3DConditionModel) -> PictureEncoder:
    """An untrained encoder for this base. The published one starts with a zero output layer; zeros here would only
    delay the regression, and the memory's own zero layers keep the base untouched."""
    encoder = PictureEncoder(channels, unet.conv_in.out_channels)
    nn.init.kaiming_uniform_(encoder.conv_out.weight, a=1.0)
    return encoder


class SightTask:
    """Squared error between the encoder's features of a frame and the base's features of its latents."""

    def __init__(
        self,
        encoder: PictureEncoder,
        unet: UNet3DConditionModel,
        bank: data.ClipBank,
        seed: int,
        batch: int,
        scale: float,
    ) -> None:
        self.encoder = encoder
        self.modules: dict[str, nn.Module] = {"picture_encoder": encoder}
        self.first_layer = unet.conv_in.requires_grad_(False)
        self.bank = bank
        self.seed = seed
        self.batch = batch
        self.scale = scale

    def loss(self, step: int) -> Tensor:
        rng = np.random.default_rng((self.seed, STAGE, step))
        clips = rng.integers(len(self.bank.scenes), size=self.batch)
        frames = rng.integers(self.bank.latents_ktchw.shape[1], size=self.batch)
        drawn = [
            sprites.render(self.bank.scenes[clip], 1, int(frame))[0] for clip, frame in zip(clips, frames, strict=True)
        ]
        latents_nchw = self.bank.latents_ktchw[torch.from_numpy(clips), torch.from_numpy(frames)].float() * self.scale
        device = self.first_layer.weight.device
        with torch.no_grad():
            aim_nchw = self.first_layer(latents_nchw.to(device)).float()
        seen_nchw: Tensor = self.encoder(to_signal(np.stack(drawn)).to(device))
        return ((seen_nchw.float() - aim_nchw) ** 2).mean() / aim_nchw.var()
