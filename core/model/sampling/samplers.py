"""Samplers: from noise to a clean sample, calling a denoiser at the timesteps of a schedule.

Pure functions: the denoiser includes guidance and conditioning, randomness comes from a noise source, and one callback
reports progress and can cancel. Tensors may have any shape and device.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from core.model.sampling.config import SamplerName, Spacing
from core.model.sampling.schedules import NoiseSchedule, solver_timesteps, spaced_timesteps
from core.service.domain.engine import OnStep

Denoiser = Callable[[Tensor, int], Tensor]
"""(noisy sample, timestep) -> prediction of the schedule's kind (epsilon or v), same shape."""

NoiseSource = Callable[[], Tensor]
"""Draws standard normal noise of the sample's shape, on its device."""

_ALMOST_ZERO_SIGNAL = 2.0**-24
"""Replaces alpha_bar = 0 (zero terminal SNR) in logarithms and quotients."""


@dataclass(frozen=True)
class SamplingPlan:
    """A sampler and its timesteps."""

    sampler: SamplerName
    num_steps: int
    eta: float = 0.0
    """Noise added per step: 0 is deterministic, 1 is ancestral. DDIM only."""
    spacing: Spacing = "leading"
    offset: int = 0
    """diffusers' `steps_offset`: added to every timestep of leading spacing."""

    def timesteps(self, schedule: NoiseSchedule) -> tuple[int, ...]:
        """Distinct timesteps, descending, one per denoiser call. Raises ValueError if there are too few."""
        space = spaced_timesteps if self.sampler == "ddim" else solver_timesteps
        return space(self.spacing, self.num_steps, schedule.num_train_timesteps, self.offset)


def sample(
    plan: SamplingPlan, denoise: Denoiser, x: Tensor, schedule: NoiseSchedule, noise: NoiseSource, on_step: OnStep
) -> Tensor:
    """Run the plan's sampler from standard normal noise `x` to a clean sample.

    `on_step` is called before each step; what it raises ends the sampling.
    """
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
    """DDIM (Song et al. 2021, equations 12 and 16). With eta > 0, noise is drawn at every step including the last."""
    signals = [schedule.signal_at(t) for t in timesteps] + [schedule.signal_after_last()]
    for step, (signal, next_signal) in enumerate(pairwise(signals)):
        on_step(step, len(timesteps))
        clean, epsilon = split_prediction(schedule, x, denoise(x, timesteps[step]), signal)
        deviation = eta * ((1 - next_signal) / (1 - signal) * (1 - signal / next_signal)) ** 0.5
        # At zero terminal SNR all noise is new; rounding could make this negative.
        kept_noise = (1 - next_signal - deviation**2).clamp(min=0.0)
        x = next_signal**0.5 * clean + kept_noise**0.5 * epsilon
        if eta > 0:
            x = x + deviation * noise()
    return x


def dpm_solver_pp(
    denoise: Denoiser, x: Tensor, schedule: NoiseSchedule, timesteps: tuple[int, ...], *, on_step: OnStep
) -> Tensor:
    """DPM-Solver++(2M), midpoint, deterministic (Lu et al. 2022, algorithm 2).

    The last step returns the predicted clean sample.
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
        # Levels below _ALMOST_ZERO_SIGNAL are clamped to the same value: there is no slope between them.
        if step > 0 and log_snrs[step] > log_snrs[step - 1]:
            target = clean + 0.5 * gain / (log_snrs[step] - log_snrs[step - 1]) * (clean - last_clean)
        next_signal = signals[step + 1]
        x = ((1 - next_signal) / (1 - signal)) ** 0.5 * x - next_signal**0.5 * torch.expm1(-gain) * target
        last_clean = clean
    return x


def split_prediction(schedule: NoiseSchedule, x: Tensor, prediction: Tensor, signal: Tensor) -> tuple[Tensor, Tensor]:
    """Clean sample and noise predicted for a noisy sample `x` at alpha_bar `signal`, each of the shape of `x`."""
    noise_share = 1 - signal
    if schedule.prediction == "epsilon":
        return (x - noise_share**0.5 * prediction) / signal.clamp(min=_ALMOST_ZERO_SIGNAL) ** 0.5, prediction
    return (
        signal**0.5 * x - noise_share**0.5 * prediction,
        signal**0.5 * prediction + noise_share**0.5 * x,
    )
