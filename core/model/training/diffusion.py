"""What the denoising stages share: the noise schedule, the v objective with loss weights.

The schedule is the one the preset declares to samplers (scaled_linear betas, rescaled to zero terminal SNR).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from core.model.sampling.schedules import make_schedule

TRAIN_STEPS = 1000
BETA_START = 0.00085
BETA_END = 0.012


def alphas_bar() -> Tensor:
    """Signal variances [1000] that samplers of the preset use: the last timestep holds no signal at all."""
    schedule = make_schedule(beta_start=BETA_START, beta_end=BETA_END, zero_terminal_snr=True)
    # Rounding may leave a trace of signal in the last one.
    return schedule.alphas_cumprod_T.clamp(0.0, 1.0)


def noisy_and_target(clean: Tensor, noise: Tensor, signal: Tensor) -> tuple[Tensor, Tensor]:
    """Mix clean and noise at cumulative signal `signal` [B]; returns the noisy tensor and the v target, same shapes."""
    a = signal.sqrt().view(-1, *[1] * (clean.ndim - 1))
    s = (1 - signal).sqrt().view(-1, *[1] * (clean.ndim - 1))
    return a * clean + s * noise, a * noise - s * clean


def signal_weight(signal: Tensor, gamma: float = 5.0) -> Tensor:
    """Loss weight of v prediction at cumulative signal [B]: min(SNR + 1, gamma) / (SNR + 1), in (0, 1].

    Min-SNR (Hang et al. 2023) tames the almost clean end, where the loss is details only; its published form also fades
    out the noisy end, where this world's colour, place and direction are decided. This form leaves that end at 1.
    """
    total = 1 / (1 - signal).clamp_min(1e-8)
    return total.clamp(max=gamma) / total


def random_timesteps(rng: np.random.Generator, size: int, noisy_share: float = 0.0, noisy_from: float = 0.8) -> Tensor:
    """Stratified timesteps [size] in 0..999: every batch covers the whole range evenly.

    A share of them comes from the noisy end alone, [noisy_from, 1) of the range, where only the text can tell.
    """
    places = (np.arange(size) + rng.random(size)) / size
    noisy = rng.random(size) < noisy_share
    places = np.where(noisy, noisy_from + (1 - noisy_from) * rng.random(size), places)
    return torch.from_numpy(np.minimum((places * TRAIN_STEPS).astype(np.int64), TRAIN_STEPS - 1))


def v_loss(prediction: Tensor, target: Tensor, signal: Tensor) -> Tensor:
    """Weighted mean squared error, computed in float32."""
    error = (prediction.float() - target) ** 2
    return (error.flatten(1).mean(1) * signal_weight(signal)).mean()
