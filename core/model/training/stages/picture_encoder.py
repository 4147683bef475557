"""Stage `sight`: pretrain CAM's picture encoder, from pixels to the features of the base's first layer.

The encoder is untrained while the rest of CAM is a copy of the trained base. Its regression target is the output of the
base's input convolution for the clean latents of the same frame, which that copy already understands. The stage `cam`
trains it further; this short stage shortens that long one.
"""

from __future__ import annotations

import numpy as np
import torch
from diffusers.models.unets.unet_3d_condition import UNet3DConditionModel
from torch import Tensor, nn

from core.model.engines.streaming_t2v.cam import PictureEncoder
from core.model.training.sprites.clip_bank import ClipBank
from core.model.training.sprites.encoding import frames_to_tensor
from core.model.training.sprites.rendering import render

STAGE = 5


def build_picture_encoder(channels: tuple[int, ...], unet: UNet3DConditionModel) -> PictureEncoder:
    """An untrained encoder for this base. The published one starts with a zero output layer; here that would only
    delay the regression, and CAM's zero-initialised mergers keep the base's output unchanged anyway."""
    encoder = PictureEncoder(channels, unet.conv_in.out_channels)
    nn.init.kaiming_uniform_(encoder.conv_out.weight, a=1.0)
    return encoder


class PictureEncoderTask:
    """Squared error between the encoder's features of a frame and the base's features of its latents, relative to their
    variance."""

    def __init__(
        self,
        encoder: PictureEncoder,
        unet: UNet3DConditionModel,
        bank: ClipBank,
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
        rendered = [render(self.bank.scenes[clip], 1, int(frame))[0] for clip, frame in zip(clips, frames, strict=True)]
        latents_nchw = self.bank.latents_ktchw[torch.from_numpy(clips), torch.from_numpy(frames)].float() * self.scale
        device = self.first_layer.weight.device
        with torch.no_grad():
            target_nchw = self.first_layer(latents_nchw.to(device)).float()
        features_nchw: Tensor = self.encoder(frames_to_tensor(np.stack(rendered)).to(device))
        return ((features_nchw.float() - target_nchw) ** 2).mean() / target_nchw.var()
