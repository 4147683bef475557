"""Samplers: from noise to a clean sample by calling a denoiser along a schedule.

Pure functions over what they are given: the denoiser already carries guidance and conditions, randomness comes from a
noise source, and progress or cancellation go through one callback. They know no network, no shape and no device.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from core.model.sampling.config import SamplerName, Spacing
from core.model.sampling.schedules import NoiseSchedule, solver_timesteps, spaced_timesteps

Denoiser = Callable[[Tensor, int], Tensor]
"""(noisy sample, timestep) -> prediction of the schedule's kind (epsilon or v), same shape."""

NoiseSource = Callable[[], Tensor]
"""Next standard normal draw, of the sample's shape and device."""

OnStep = Callable[[int, int], None]
"""Called before each step with (step, steps), from 0. What it raises ends the sampling."""

_ALMOST_ZERO_SIGNAL = 2.0**-24
"""Stands for alpha_bar = 0 where a logarithm or a quotient needs a number (zero terminal SNR)."""


@dataclass(frozen=True)
class SamplingPlan:
    """Which sampler and where it steps."""

    sampler: SamplerName
    num_steps: int
    eta: float = 0.0
    """Share of fresh noise per step: 0 is deterministic, 1 is ancestral. DDIM only."""
    spacing: Spacing = "leading"
    offset: int = 0
    """Added to every timestep of leading spacing."""

    def timesteps(self, schedule: NoiseSchedule) -> tuple[int, ...]:
        """Descending timesteps, one per denoiser call, no two alike. Raises ValueError for more than there are."""
        place = spaced_timesteps if self.sampler == "ddim" else solver_timesteps
        return place(self.spacing, self.num_steps, schedule.num_train_timesteps, self.offset)


def sample(
    plan: SamplingPlan, denoise: Denoiser, x: Tensor, schedule: NoiseSchedule, noise: NoiseSource, on_step: OnStep
) -> Tensor:
    """Run the plan's sampler from `x` (standard normal noise) to a clean sample."""
    timesteps = plan.timesteps(schedule)
    if plan.sampler == "ddim":
        return ddim(denoise, x, schedule, timesteps, eta=plan.eta, noise=noise, on_step=on_step)
    return dpm_solver_pp(denoise, x, schedule, timesteps, on_step=on_step)


def ddim(
    denoise: Denoiser,
    x: Tensor,
    schedule: NoiseSchedule,
    timesteps: tuple[int, ...],
    *,
    eta: float,
    noise: NoiseSource,
    on_step: OnStep,
) -> Tensor:
    """DDIM (Song et al. 2021, equations 12 and 16). With eta > 0 noise is drawn at every step, also the last."""
    signals = [schedule.signal_at(t) for t in timesteps] + [schedule.signal_after_last()]
    for step, (signal, next_signal) in enumerate(pairwise(signals)):
        on_step(step, len(timesteps))
        clean, epsilon = split_prediction(schedule, x, denoise(x, timesteps[step]), signal)
        deviation = eta * ((1 - next_signal) / (1 - signal) * (1 - signal / next_signal)) ** 0.5
        # Without signal (zero terminal SNR) all noise is fresh and rounding may leave less than nothing of the old.
        kept_noise = (1 - next_signal - deviation**2).clamp(min=0.0)
        x = next_signal**0.5 * clean + kept_noise**0.5 * epsilon
        if eta > 0:
            x = x + deviation * noise()
    return x


def dpm_solver_pp(
    denoise: Denoiser, x: Tensor, schedule: NoiseSchedule, timesteps: tuple[int, ...], *, on_step: OnStep
) -> Tensor:
    """DPM-Solver++(2M), midpoint, deterministic (Lu et al. 2022, algorithm 2).

    The last step lands on the clean sample.
    """
    signals = [schedule.signal_at(t).clamp(min=_ALMOST_ZERO_SIGNAL) for t in timesteps]
    log_snrs = [0.5 * torch.log(signal / (1 - signal)) for signal in signals]
    last_clean = torch.zeros_like(x)
    for step, signal in enumerate(signals):
        on_step(step, len(timesteps))
        clean, _ = split_prediction(schedule, x, denoise(x, timesteps[step]), signal)
        if step == len(signals) - 1:
            return clean
        gain = log_snrs[step + 1] - log_snrs[step]
        target = clean
        # Levels below _ALMOST_ZERO_SIGNAL count as one: between them nothing moves and no slope can be told.
        if step > 0 and log_snrs[step] > log_snrs[step - 1]:
            target = clean + 0.5 * gain / (log_snrs[step] - log_snrs[step - 1]) * (clean - last_clean)
        next_signal = signals[step + 1]
        x = ((1 - next_signal) / (1 - signal)) ** 0.5 * x - next_signal**0.5 * torch.expm1(-gain) * target
        last_clean = clean
    return x


def split_prediction(schedule: NoiseSchedule, x: Tensor, prediction: Tensor, signal: Tensor) -> tuple[Tensor, Tensor]:
    """Clean sample and noise that `x` is made of at alpha_bar `signal`, according to the network's prediction."""
    noise_share = 1 - signal
    if schedule.prediction == "epsilon":
        return (x - noise_share**0.5 * prediction) / signal.clamp(min=_ALMOST_ZERO_SIGNAL) ** 0.5, prediction
    return (
        signal**0.5 * x - noise_share**0.5 * prediction,
        signal**0.5 * prediction + noise_share**0.5 * x,
    )
