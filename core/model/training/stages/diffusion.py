"""What the denoising stages share: the noise schedule, the v objective and its loss weights.

The schedule is the one in the preset's config: scaled_linear betas, rescaled to zero terminal SNR.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from core.model.sampling.schedules import NoiseSchedule, make_schedule

TRAIN_STEPS = 1000
BETA_START = 0.00085
BETA_END = 0.012


def noise_schedule() -> NoiseSchedule:
    """The schedule as the preset's samplers use it: v prediction, zero terminal SNR."""
    return make_schedule(
        beta_start=BETA_START,
        beta_end=BETA_END,
        zero_terminal_snr=True,
        prediction="v_prediction",
        final_alpha_cumprod=1.0,
    )


def alphas_cumprod() -> Tensor:
    """Cumulative signal variances [1000] of the schedule; 0 at the last timestep."""
    # Rounding may leave the last value slightly off 0.
    return noise_schedule().alphas_cumprod_T.clamp(0.0, 1.0)


def noisy_and_target(clean: Tensor, noise: Tensor, alphas_cumprod: Tensor) -> tuple[Tensor, Tensor]:
    """The noisy tensor at cumulative signal variance `alphas_cumprod` [B], and the v target; shapes as `clean`.

    Source: v prediction of Salimans and Ho 2022, appendix D.
    """
    a = alphas_cumprod.sqrt().view(-1, *[1] * (clean.ndim - 1))
    s = (1 - alphas_cumprod).sqrt().view(-1, *[1] * (clean.ndim - 1))
    return a * clean + s * noise, a * noise - s * clean


def min_snr_weight(alphas_cumprod: Tensor, gamma: float = 5.0) -> Tensor:
    """Loss weight of v prediction at cumulative signal variance [B]: min(SNR + 1, gamma) / (SNR + 1), in (0, 1].

    Min-SNR (Hang et al. 2023) reduces the weight of almost clean inputs, where the loss is only about details. Its
    published form also fades out very noisy inputs, where this world's colour, position and direction are decided; this
    form keeps their weight at 1.
    """
    total = 1 / (1 - alphas_cumprod).clamp_min(1e-8)
    return total.clamp(max=gamma) / total


def random_timesteps(rng: np.random.Generator, size: int, noisy_share: float = 0.0, noisy_from: float = 0.8) -> Tensor:
    """Stratified timesteps [size] in 0..999: every batch covers the whole range evenly.

    A share `noisy_share` is drawn from the noisy end [noisy_from, 1) of the range, where only the text helps.
    """
    positions = (np.arange(size) + rng.random(size)) / size
    noisy = rng.random(size) < noisy_share
    positions = np.where(noisy, noisy_from + (1 - noisy_from) * rng.random(size), positions)
    return torch.from_numpy(np.minimum((positions * TRAIN_STEPS).astype(np.int64), TRAIN_STEPS - 1))


def v_loss(prediction: Tensor, target: Tensor, alphas_cumprod: Tensor) -> Tensor:
    """Mean squared error in float32, weighted by `min_snr_weight`; scalar."""
    error = (prediction.float() - target) ** 2
    return (error.flatten(1).mean(1) * min_snr_weight(alphas_cumprod)).mean()


@dataclass(frozen=True)
class Noised:
    """Noisy latents [B, ...] at their timesteps [B], with the v target."""

    latents: Tensor
    timesteps: Tensor
    target: Tensor
    alphas_cumprod: Tensor

    def loss(self, prediction: Tensor) -> Tensor:
        """`v_loss` of a prediction."""
        return v_loss(prediction, self.target, self.alphas_cumprod)


def noised(clean: Tensor, rng: np.random.Generator, noisy_share: float, noise_seed: int) -> Noised:
    """Clean latents [B, ...] with noise of `random_timesteps`."""
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(noise_seed)).to(clean)
    timesteps = random_timesteps(rng, len(clean), noisy_share).to(clean.device)
    alphas_b = alphas_cumprod().to(clean)[timesteps]
    noisy, target = noisy_and_target(clean, noise, alphas_b)
    return Noised(noisy, timesteps, target, alphas_b)
