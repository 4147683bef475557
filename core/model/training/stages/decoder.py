"""Stage `decoder`: fine-tune the autoencoder's decoder at twice the size, for refined frames.

The autoencoder was trained at the preset's size only. At twice the size its encoder still keeps all information, but
its decoder misreads patterns of twice the period. So the refiner gets its own decoder. The encoder stays frozen:
latents keep their meaning, and refiner and decoder can be trained in either order.

Shapes: B frames, C latent channels, T frames of a clip, H, W latent rows and columns, P, R pixel rows and columns.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor, nn

from core.model.training.sprites.clip_bank import ClipBank
from core.model.training.sprites.encoding import frames_to_tensor
from core.model.training.sprites.rendering import render
from core.model.training.stages.refiner import SCALE
from core.model.training.stages.vae import reconstruction_loss

STAGE = 9
_LATENT_NOISE = 0.05
"""Noise added to latents, relative to their standard deviation: refined latents differ slightly from encoded ones."""


def decoder_parts(vae: AutoencoderKL) -> dict[str, nn.Module]:
    """The parts of an autoencoder that this stage trains, by attribute name."""
    return {"decoder": vae.decoder, "post_quant_conv": cast(nn.Module, vae.post_quant_conv)}


class DecoderTask:
    """Reconstruction of single frames at the refined size from the latents of the true frame."""

    def __init__(self, vae: AutoencoderKL, pairs: ClipBank, seed: int, batch: int) -> None:
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
        indices = [(int(rng.integers(num_clips)), int(rng.integers(num_frames))) for _ in range(self.batch)]
        frames_b3pr = frames_to_tensor(
            np.concatenate([render(self.pairs.scenes[clip], 1, frame, scale=SCALE) for clip, frame in indices])
        )
        latents_bchw = torch.stack([self.pairs.latents_ktchw[index].chunk(2)[0].float() for index in indices])
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        noise = _LATENT_NOISE * latents_bchw.std() * torch.randn(latents_bchw.shape, generator=generator)
        decoded = cast("Any", self.vae.decode(cast("Any", (latents_bchw + noise).to(self.vae.device)))).sample.float()
        return reconstruction_loss(decoded, frames_b3pr.to(self.vae.device))
