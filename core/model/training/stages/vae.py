"""Stage `vae`: train the autoencoder on single frames of the synthetic world; 8x8 latents of 4 channels."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as functional
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor

from core.model.training.sprites import world
from core.model.training.sprites.encoding import frames_to_tensor
from core.model.training.sprites.rendering import render
from core.model.training.sprites.scene_sampling import sample_scene

STAGE = 1


def sprites_vae(channels: tuple[int, ...] = (24, 32, 64, 64)) -> AutoencoderKL:
    """The untrained autoencoder: downsampling by 8, 4 latent channels."""
    # diffusers annotates these tuples as having one element.
    return cast("Any", AutoencoderKL)(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * len(channels),
        up_block_types=("UpDecoderBlock2D",) * len(channels),
        block_out_channels=channels,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=world.SIZE,
    )


def frame_batch(seed: int, step: int, size: int) -> Tensor:
    """New single frames for one step, [size, 3, 64, 64] in [-1, 1]; determined by (seed, step)."""
    rng = np.random.default_rng((seed, STAGE, step))
    frames = [render(sample_scene(rng), 1, int(rng.integers(200)))[0] for _ in range(size)]
    return frames_to_tensor(np.stack(frames))


class VaeTask:
    """L1 reconstruction of pixels and of their differences, and a small KL term."""

    def __init__(self, vae: AutoencoderKL, seed: int, batch: int = 24, kl_weight: float = 2e-4) -> None:
        self.vae = vae
        self.modules = {"vae": vae}
        self.seed = seed
        self.batch = batch
        self.kl_weight = kl_weight

    def loss(self, step: int) -> Tensor:
        frames_nchw = frame_batch(self.seed, step, self.batch).to(self.vae.device)
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        posterior = cast("Any", self.vae.encode(frames_nchw)).latent_dist
        latents = posterior.sample(generator)
        decoded_nchw = cast("Any", self.vae.decode(latents)).sample.float()
        mean, log_variance = posterior.mean.float(), posterior.logvar.float()
        divergence = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).mean()
        return reconstruction_loss(decoded_nchw, frames_nchw) + self.kl_weight * divergence


def reconstruction_loss(decoded_nchw: Tensor, frames_nchw: Tensor) -> Tensor:
    """L1 of pixels plus half the L1 of horizontal and vertical differences, which keeps outlines sharp; scalar."""
    error = decoded_nchw - frames_nchw
    edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    return functional.l1_loss(decoded_nchw, frames_nchw) + 0.5 * edges
