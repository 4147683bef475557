"""Stage `refiner`: train the refiner on clips at twice the size, with inputs from the trajectory of a real refinement.

SDEdit (Meng et al. 2022) assumes a plain denoiser of true frames: at its starting noise level the noise hides the
preview's faults. At the low strength that a factor of two needs some of them stay visible, and a plain denoiser has
never seen them. So this stage trains on pairs of a true clip and its enlarged preview. If all predictions are right, a
refinement that started at noise level s0 is, at level s, at true + (s / s0)^2 (preview - true) plus noise of deviation
s: the solver keeps exactly that share of the preview (solver.advance). That is the network's input; the target is the v
whose clean prediction is the true frame. If preview and true clip are equal, this is the usual denoising objective.

A clip is as long as one refinement window.

Shapes: B clips, C latent channels, T frames, H, W latent rows and columns.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from diffusers.models.unets.unet_3d_condition import UNet3DConditionModel
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import CLIPTextModel

from core.model.refinement.codec import enlarged
from core.model.refinement.schedule import vid2vid_sigmas
from core.model.sampling.finite import clamped
from core.model.sampling.vae import to_uint8
from core.model.training.sprites import world
from core.model.training.sprites.clip_bank import ClipBank, bank_key, bank_scenes, cached_bank
from core.model.training.sprites.encoding import device_of, frames_to_tensor, unscaled_latents
from core.model.training.sprites.rendering import render
from core.model.training.stages import diffusion
from core.model.training.stages.base import caption_states, drop_captions
from core.service.domain.engine import FramesTHWC
from core.service.domain.frame_plan import REFINEMENT_WINDOW_FRAMES
from core.service.domain.schema import NOISE_LEVELS

STAGE = 8
SCALE = 2
SIDE = SCALE * world.SIZE
STRENGTH = 0.4
"""Highest strength trained: noise of 1.9 standard deviations. The published 0.6 (4.2) is for previews enlarged nearly
three times."""


class RefinerTask:
    """Predict true clips from points of a refinement's trajectory: v prediction, min-SNR weights, caption dropout."""

    def __init__(
        self,
        unet: UNet3DConditionModel,
        text_encoder: CLIPTextModel,
        tokenizer: Tokenizer,
        pairs: ClipBank,
        seed: int,
        batch: int,
        scale: float,
        caption_dropout: float = 0.1,
    ) -> None:
        """`pairs` comes from `build_pairs`."""
        self.unet = unet
        self.text_encoder = text_encoder.requires_grad_(False)
        self.tokenizer = tokenizer
        self.modules: dict[str, nn.Module] = {"refiner": unet}
        self.pairs = pairs
        self.seed = seed
        self.batch = batch
        self.scale = scale
        self.caption_dropout = caption_dropout
        self.sigmas = vid2vid_sigmas()

    def loss(self, step: int) -> Tensor:
        rng = np.random.default_rng((self.seed, STAGE, step))
        # A prompt stays the same for all windows of a video, so captions do not mark later windows.
        pairs_btchw, captions = self.pairs.batch(rng, self.batch, REFINEMENT_WINDOW_FRAMES, mark_later=False)
        true_bcthw, preview_bcthw = (pairs_btchw.transpose(1, 2) * self.scale).to(self.unet.device).chunk(2, dim=1)
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        noise_bcthw = torch.randn(true_bcthw.shape, generator=generator).to(true_bcthw)
        levels, starts = (drawn.to(true_bcthw.device) for drawn in random_levels(rng, self.batch))
        sigma, start = (self.sigmas.to(true_bcthw)[drawn] for drawn in (levels, starts))
        noisy_bcthw, target_bcthw = on_trajectory(true_bcthw, preview_bcthw, noise_bcthw, sigma, start)
        texts = drop_captions(captions, rng, self.caption_dropout, 0.08)
        text_bld = caption_states(self.text_encoder, self.tokenizer, texts)
        prediction = cast("Any", self.unet)(noisy_bcthw, levels, encoder_hidden_states=text_bld).sample
        return diffusion.v_loss(prediction, target_bcthw, 1 - sigma**2)


def random_levels(rng: np.random.Generator, size: int) -> tuple[Tensor, Tensor]:
    """Noise levels [size], stratified over all below STRENGTH, and the level at which each refinement started.

    Requests may ask for less strength: starts go down to half of STRENGTH, but never below the level itself.
    """
    top = round(STRENGTH * NOISE_LEVELS)
    levels = ((np.arange(size) + rng.random(size)) / size * top).astype(np.int64)
    starts = rng.integers(np.maximum(levels, top // 2), top)
    return torch.from_numpy(levels), torch.from_numpy(starts)


def on_trajectory(
    true: Tensor, preview: Tensor, noise: Tensor, sigma: Tensor, start_sigma: Tensor
) -> tuple[Tensor, Tensor]:
    """The state at `sigma` [B] of a refinement that started at `start_sigma` [B], and the v target; shapes as `true`.

    With s = sigma / alpha and d = preview - true the state is alpha (true + (s / s0)^2 d) + sigma noise, and
    v = alpha noise - sigma (true - d / s0^2), which is finite at every level.
    """
    sigma, start_sigma = (values.view(-1, *[1] * (true.ndim - 1)) for values in (sigma, start_sigma))
    alpha, difference = (1 - sigma**2).sqrt(), preview - true
    # 1 / s0^2
    factor = (1 - start_sigma**2) / start_sigma**2
    noisy = alpha * true + sigma**2 / alpha * factor * difference + sigma * noise
    return noisy, alpha * noise - sigma * (true - factor * difference)


def build_pairs(vae: nn.Module, seed: int, clips: int, path: Path) -> ClipBank:
    """Clips of a refinement window's length, cached in `path`: [K, T, 2C, H, W], true latents then preview latents."""
    key = bank_key(vae, seed, clips, REFINEMENT_WINDOW_FRAMES) | {"side": str(SIDE)}
    return cached_bank(bank_scenes(seed, clips), lambda scene: latent_pair(vae, scene), key, path)


def latent_pair(vae: nn.Module, scene: world.Scene) -> Tensor:
    """Latents [T, 2C, H, W] of a scene: rendered at the refined size, and of its preview as the service enlarges it."""
    true_tchw = unscaled_latents(vae, frames_to_tensor(render(scene, REFINEMENT_WINDOW_FRAMES, scale=SCALE)))
    preview = _reconstructed(vae, render(scene, REFINEMENT_WINDOW_FRAMES))
    preview_tchw = unscaled_latents(vae, enlarged(preview, SIDE, SIDE))
    return torch.cat([true_tchw, preview_tchw], dim=1)


def _reconstructed(vae: nn.Module, frames: FramesTHWC) -> FramesTHWC:
    """Frames encoded and decoded: no preview is sharper than that."""
    latents = unscaled_latents(vae, frames_to_tensor(frames))
    device = device_of(vae)
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16):
        decoded = cast("Tensor", cast("Any", vae).decode(latents.to(device)).sample)
    return to_uint8(clamped(decoded.float() * 0.5 + 0.5))
