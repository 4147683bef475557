"""Noise schedules of diffusion models, and the timesteps that samplers use.

alpha_bar(t) is the share of signal variance left at training timestep t (Ho et al. 2020); low timesteps are almost
clean, high ones almost noise.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from core.model.sampling.config import BetaKind, Prediction, Spacing


@dataclass(frozen=True)
class NoiseSchedule:
    """alpha_bar of every training timestep [T] (float32, CPU), and the kind of prediction."""

    alphas_cumprod_T: Tensor
    prediction: Prediction = "epsilon"
    final_alpha_cumprod: float | None = None
    """alpha_bar after DDIM's last step; None: alpha_bar of timestep 0, which is slightly noisy (as published)."""

    @property
    def num_train_timesteps(self) -> int:
        """Number of training timesteps, T."""
        return self.alphas_cumprod_T.shape[0]

    def signal_at(self, timestep: int) -> Tensor:
        """alpha_bar at a timestep, a scalar tensor in [0, 1]; 0 only at the last timestep with zero terminal SNR."""
        return self.alphas_cumprod_T[timestep]

    def signal_after_last(self) -> Tensor:
        """alpha_bar after DDIM's last step, a scalar tensor."""
        if self.final_alpha_cumprod is None:
            return self.alphas_cumprod_T[0]
        return torch.tensor(self.final_alpha_cumprod)


def betas(kind: BetaKind, start: float, end: float, num_train_timesteps: int) -> Tensor:
    """Noise variance added per training timestep, [T] float32."""
    if kind == "linear":
        return torch.linspace(start, end, num_train_timesteps, dtype=torch.float32)
    return torch.linspace(start**0.5, end**0.5, num_train_timesteps, dtype=torch.float32) ** 2


def rescale_to_zero_terminal_snr(betas_T: Tensor) -> Tensor:
    """Betas [T] rescaled so that alpha_bar is 0 at the last timestep (Lin et al. 2023, algorithm 1)."""
    root_T = (1.0 - betas_T).cumprod(0).sqrt()
    first, last = root_T[0].clone(), root_T[-1].clone()
    root_T = (root_T - last) * first / (first - last)
    alphas_cumprod_T = root_T**2
    ratios = alphas_cumprod_T[1:] / alphas_cumprod_T[:-1]
    return 1 - torch.cat([alphas_cumprod_T[:1], ratios])


def make_schedule(
    *,
    beta_kind: BetaKind = "scaled_linear",
    beta_start: float = 0.00085,
    beta_end: float = 0.012,
    num_train_timesteps: int = 1000,
    prediction: Prediction = "epsilon",
    zero_terminal_snr: bool = False,
    final_alpha_cumprod: float | None = None,
) -> NoiseSchedule:
    """A schedule from beta constants; the defaults are those of Stable Diffusion and ModelScope."""
    betas_T = betas(beta_kind, beta_start, beta_end, num_train_timesteps)
    if zero_terminal_snr:
        betas_T = rescale_to_zero_terminal_snr(betas_T)
    return NoiseSchedule((1.0 - betas_T).cumprod(0), prediction, final_alpha_cumprod)


def schedule_from_config(config: Mapping[str, Any]) -> NoiseSchedule:
    """A schedule from a diffusers scheduler config; missing keys have the defaults of DDIMScheduler."""
    return make_schedule(
        beta_kind=config.get("beta_schedule", "linear"),
        beta_start=config.get("beta_start", 0.0001),
        beta_end=config.get("beta_end", 0.02),
        num_train_timesteps=config.get("num_train_timesteps", 1000),
        prediction=config.get("prediction_type", "epsilon"),
        zero_terminal_snr=config.get("rescale_betas_zero_snr", False),
        final_alpha_cumprod=1.0 if config.get("set_alpha_to_one", True) else None,
    )


def spaced_timesteps(spacing: Spacing, num_steps: int, num_train_timesteps: int, offset: int = 0) -> tuple[int, ...]:
    """`num_steps` distinct timesteps, descending, by DDIM's rule (Lin et al. 2023, table 2).

    leading: from T minus one stride (T / num_steps) down to 0, plus `offset` as far as it stays below T;
    trailing: from T-1 down in even strides; linspace: T-1 to 0. Raises ValueError unless 1 <= num_steps <= T.

    Differs from diffusers, which rounds the stride of leading spacing down: 60 steps of 1000 then start at 944 and 600
    steps at 599, although the sample is pure noise. Step counts that divide T give the same timesteps.
    """
    if not 1 <= num_steps <= num_train_timesteps:
        raise ValueError(f"{num_steps} steps: the schedule has {num_train_timesteps} timesteps")
    last = num_train_timesteps - 1
    if spacing == "leading":
        rising = [index * num_train_timesteps // num_steps for index in range(num_steps)]
        shift = min(offset, last - rising[-1])
        return tuple(timestep + shift for timestep in reversed(rising))
    if spacing == "trailing":
        stride = num_train_timesteps / num_steps
        return tuple(round(num_train_timesteps - index * stride) - 1 for index in range(num_steps))
    if num_steps == 1:
        return (last,)  # linspace would return 0
    # numpy's linspace and rounding break ties as diffusers does.
    return tuple(int(t) for t in np.linspace(0, last, num_steps).round()[::-1])


def solver_timesteps(spacing: Spacing, num_steps: int, num_train_timesteps: int, offset: int = 0) -> tuple[int, ...]:
    """`num_steps` distinct timesteps, descending, for solvers whose last step goes to the clean sample (DPM-Solver).

    `spaced_timesteps` of one step more, without the lowest; unchanged for trailing spacing or if T has no step more.
    Raises ValueError as `spaced_timesteps` does.
    """
    if spacing == "trailing" or num_steps >= num_train_timesteps:
        return spaced_timesteps(spacing, num_steps, num_train_timesteps, offset)
    return spaced_timesteps(spacing, num_steps + 1, num_train_timesteps, offset)[:-1]
