"""Train the picture autoencoder: single frames of the world in, 8x8 latents of 4 channels, frames out."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as functional
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor

from core.model.sampling.vae import to_pictures
from core.model.training import sprites

STAGE = 1


def build_vae(channels: tuple[int, ...] = (24, 32, 64, 64)) -> AutoencoderKL:
    """Build the untrained autoencoder: factor 8, 4 latent channels."""
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
        sample_size=sprites.SIZE,
    )


def to_signal(frames: np.ndarray[Any, np.dtype[np.uint8]]) -> Tensor:
    """uint8 [N, H, W, 3] -> float [N, 3, H, W] in [-1, 1], channel by channel in memory."""
    return to_pictures(frames).contiguous()


def frame_batch(seed: int, step: int, size: int) -> Tensor:
    """Fresh single frames for one step, [size, 3, 64, 64] in [-1, 1]; the same (seed, step) gives the same frames."""
    rng = np.random.default_rng((seed, STAGE, step))
    frames = [sprites.render(sprites.sample_scene(rng), 1, int(rng.integers(200)))[0] for _ in range(size)]
    return to_signal(np.stack(frames))


class VaeTask:
    """Reconstruction in L1 of pixels and of their differences, and a light KL term."""

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
    """L1 of pixels plus half the L1 of horizontal and vertical differences, which keeps outlines crisp."""
    error = decoded_nchw - frames_nchw
    edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    return functional.l1_loss(decoded_nchw, frames_nchw) + 0.5 * edges
