"""Train a decoder for refined frames: the autoencoder's own, gone on with at twice the size.

The autoencoder has seen frames of the preset's size only. Twice as large, its encoder still tells all there is, but
its decoder takes patterns of twice the period for others, and paints what it never painted. So the refiner gets a
decoder of its own. The encoder stays as it is: latents keep their meaning, and refiner and decoder can be trained in
either order.

Shapes: B frames, C latent channels, T frames of a clip, H, W latent rows and columns, P, R pixel rows and columns.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor, nn

from core.model.training import data, sprites
from core.model.training.refiner_stage import SCALE
from core.model.training.vae_stage import reconstruction_loss, to_signal

STAGE = 9
_LATENT_NOISE = 0.05
"""Deviation added to latents, in shares of their own: what the refiner leaves is never quite what the encoder says."""


def decoder_parts(vae: AutoencoderKL) -> dict[str, nn.Module]:
    """What this stage trains of an autoencoder."""
    return {"decoder": vae.decoder, "post_quant_conv": cast(nn.Module, vae.post_quant_conv)}


class DecoderTask:
    """Single frames at the refined size, from the latents of the true frame."""

    def __init__(self, vae: AutoencoderKL, pairs: data.ClipBank, seed: int, batch: int) -> None:
        """`pairs` comes from `refiner_stage.build_pairs`: its first channels are the true frames' latents."""
        self.vae = vae
        self.modules = decoder_parts(vae)
        for part in self.modules.values():
            part.requires_grad_(True)
        self.pairs = pairs
        self.seed = seed
        self.batch = batch

    def loss(self, step: int) -> Tensor:
        rng = np.random.default_rng((self.seed, STAGE, step))
        num_clips, num_frames = self.pairs.latents_ktchw.shape[:2]
        places = [(int(rng.integers(num_clips)), int(rng.integers(num_frames))) for _ in range(self.batch)]
        frames_b3pr = to_signal(
            np.concatenate([sprites.render(self.pairs.scenes[clip], 1, frame, scale=SCALE) for clip, frame in places])
        )
        latents_bchw = torch.stack([self.pairs.latents_ktchw[place].chunk(2)[0].float() for place in places])
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        noise = _LATENT_NOISE * latents_bchw.std() * torch.randn(latents_bchw.shape, generator=generator)
        decoded = cast("Any", self.vae.decode(cast("Any", (latents_bchw + noise).to(self.vae.device)))).sample.float()
        return reconstruction_loss(decoded, frames_b3pr.to(self.vae.device))
