"""Train the refiner: clips of the world at twice the size, denoised from where a refinement really stands.

SDEdit alone asks for a plain denoiser of true frames: at its start the noise hides what the preview lacks. At the low
strength that a factor of two needs it does not hide it all, and what is left of the preview leads the network where it
has never been. So it trains on pairs, and the clean side is the true one. A refinement from deviation s0 whose
predictions are right stands, at deviation s, at true + (s / s0)^2 (given - true) and noise of deviation s: the steps of
the solver keep exactly that share of what was given (solver.advance). That is the input here, and the v whose clean
prediction is the true frame is the target; without a difference between the two it is the plain denoiser's.

Knows the world and the autoencoder; knows no windows: a clip is as long as one.

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
from core.model.training import data, diffusion, sprites
from core.model.training.base_stage import caption_states, drop_captions
from core.model.training.vae_stage import to_signal
from core.service.domain.frame_plan import REFINEMENT_WINDOW_FRAMES
from core.service.domain.schema import NOISE_LEVELS

STAGE = 8
SCALE = 2
SIDE = SCALE * sprites.SIZE
STRENGTH = 0.4
"""The highest level trained: noise of 1.9 deviations. The published 0.6 (4.2) is for previews enlarged nearly three
times."""


class RefinerTask:
    """True clips from those a refinement stands at: v prediction, min-SNR weights, captions dropped now and then."""

    def __init__(
        self,
        unet: UNet3DConditionModel,
        text_encoder: CLIPTextModel,
        tokenizer: Tokenizer,
        pairs: data.ClipBank,
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
        # A prompt stays the same for all windows of a video, so none of them says that it comes later.
        pairs_btchw, captions = self.pairs.batch(rng, self.batch, REFINEMENT_WINDOW_FRAMES, say_later=False)
        true_bcthw, given_bcthw = (pairs_btchw.transpose(1, 2) * self.scale).to(self.unet.device).chunk(2, dim=1)
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        noise_bcthw = torch.randn(true_bcthw.shape, generator=generator).to(true_bcthw)
        levels, starts = (moments.to(true_bcthw.device) for moments in random_levels(rng, self.batch))
        sigma, start = (self.sigmas.to(true_bcthw)[moments] for moments in (levels, starts))
        noisy_bcthw, target_bcthw = on_the_way(true_bcthw, given_bcthw, noise_bcthw, sigma, start)
        texts = drop_captions(captions, rng, self.caption_dropout, 0.08)
        text_bld = caption_states(self.text_encoder, self.tokenizer, texts)
        prediction = cast("Any", self.unet)(noisy_bcthw, levels, encoder_hidden_states=text_bld).sample
        return diffusion.v_loss(prediction, target_bcthw, 1 - sigma**2)


def random_levels(rng: np.random.Generator, size: int) -> tuple[Tensor, Tensor]:
    """Levels [size], stratified over all below the strength, and of each the level its refinement started from.

    Requests may ask for less strength: starts reach down to half of it, and never below the level itself.
    """
    top = round(STRENGTH * NOISE_LEVELS)
    levels = ((np.arange(size) + rng.random(size)) / size * top).astype(np.int64)
    starts = rng.integers(np.maximum(levels, top // 2), top)
    return torch.from_numpy(levels), torch.from_numpy(starts)


def on_the_way(true: Tensor, given: Tensor, noise: Tensor, sigma: Tensor, start_sigma: Tensor) -> tuple[Tensor, Tensor]:
    """Where a refinement of `given` stands at `sigma` [B], begun at `start_sigma` [B], and the v that leads to `true`.

    Both have the shape of `true`. With s = sigma / alpha and d = given - true the first is
    alpha (true + (s / s0)^2 d) + sigma noise, hence v = alpha noise - sigma (true - d / s0^2): finite at every level.
    """
    sigma, start_sigma = (values.view(-1, *[1] * (true.ndim - 1)) for values in (sigma, start_sigma))
    alpha, missing = (1 - sigma**2).sqrt(), given - true
    # 1 / s0^2
    kept = (1 - start_sigma**2) / start_sigma**2
    noisy = alpha * true + sigma**2 / alpha * kept * missing + sigma * noise
    return noisy, alpha * noise - sigma * (true - kept * missing)


def build_pairs(vae: nn.Module, seed: int, clips: int, path: Path) -> data.ClipBank:
    """Clips of a window's length, kept in `path`: channels of the true latents, then of the enlarged preview's."""
    facts = data.bank_facts(vae, seed, clips, REFINEMENT_WINDOW_FRAMES) | {"side": str(SIDE)}
    return data.kept_bank(data.bank_scenes(seed, clips), lambda scene: latent_pair(vae, scene), facts, path)


def latent_pair(vae: nn.Module, scene: sprites.Scene) -> Tensor:
    """Latents [T, 2C, H, W] of a scene: drawn at the refined size, and as the service enlarges its preview."""
    true_tchw = data.encode_frames(vae, to_signal(sprites.render(scene, REFINEMENT_WINDOW_FRAMES, scale=SCALE)))
    preview = _as_decoded(vae, sprites.render(scene, REFINEMENT_WINDOW_FRAMES))
    given_tchw = data.encode_frames(vae, enlarged(preview, SIDE, SIDE))
    return torch.cat([true_tchw, given_tchw], dim=1)


def _as_decoded(vae: nn.Module, frames: sprites.Pixels) -> sprites.Pixels:
    """Frames as the autoencoder shows them: no preview is sharper."""
    latents = data.encode_frames(vae, to_signal(frames))
    device = data.device_of(vae)
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16):
        decoded = cast("Tensor", cast("Any", vae).decode(latents.to(device)).sample)
    return to_uint8(clamped(decoded.float() * 0.5 + 0.5))
