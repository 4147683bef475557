"""Distillation stages: an adapter learns to do in one prediction what its teacher does in several.

`*_guidance`: the teacher's guided prediction, two halves, from one conditional prediction (Meng et al. 2022, arXiv
2210.03142, stage one, for one guidance scale). `*_steps`: several DDIM steps of the teacher in one, on the few
timesteps that will be served (progressive distillation, Salimans and Ho 2022, arXiv 2202.00512; one round instead of
one for each halving). The networks are frozen; teacher and student are the same ones with different adapters.

Shapes: B samples, C latent channels, F frames, H, W latent rows and columns.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from core.model.networks.adapters import AdaptedWeights, Adapter
from core.model.sampling.guidance import guide
from core.model.sampling.samplers import split_prediction
from core.model.sampling.schedules import NoiseSchedule, spaced_timesteps
from core.model.training.stages import diffusion
from core.model.training.stages.distilled import Distilled, Example

STAGE = 20
_NOISY_SHARE = 0.3

TeacherKind = Literal["guided", "distilled"]


class DistillationTask(ABC):
    """What both kinds share: the student's adapter on frozen networks, and the example of a step."""

    def __init__(self, distilled: Distilled, adapter: Adapter, rank: int, schedule: NoiseSchedule, seed: int) -> None:
        """The networks of `distilled` read their weights with `adapter` from now on."""
        self.distilled = distilled
        self.schedule = schedule
        self.modules: dict[str, nn.Module] = {"adapter": adapter}
        self._weights = AdaptedWeights(distilled.network, rank)
        self._weights.use(adapter)
        self._seed = seed

    @abstractmethod
    def loss(self, step: int) -> Tensor:
        """Scalar loss of one step."""

    def _example(self, step: int) -> tuple[Example, np.random.Generator]:
        rng = np.random.default_rng((self._seed, STAGE, step))
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + step)
        return self.distilled.example(step, rng, generator), rng

    def _signal(self, timesteps: Tensor, like: Tensor) -> Tensor:
        """alpha_bar [B] at timesteps [B]. Rounding may leave the last value slightly off 0."""
        return self.schedule.alphas_cumprod_T[timesteps].clamp(0.0, 1.0).to(like)


class GuidanceTask(DistillationTask):
    """The conditional prediction learns to equal the guided one, at any timestep."""

    def __init__(
        self,
        distilled: Distilled,
        adapter: Adapter,
        rank: int,
        schedule: NoiseSchedule,
        guidance_scale: float,
        seed: int,
    ) -> None:
        """`guidance_scale`: the teacher's."""
        super().__init__(distilled, adapter, rank, schedule, seed)
        self.guidance_scale = guidance_scale

    def loss(self, step: int) -> Tensor:
        example, rng = self._example(step)
        clean = example.clean_BCFHW
        timesteps = diffusion.random_timesteps(rng, len(clean), _NOISY_SHARE)
        signal_B = self._signal(timesteps, clean)
        noisy, _ = diffusion.noisy_and_target(clean, example.noise_BCFHW, signal_B)
        timesteps = timesteps.to(clean.device)
        with torch.no_grad(), self._weights.using(None):
            target = guide(example.predict_halves(noisy, timesteps).float(), self.guidance_scale)
        prediction = example.predict(noisy, timesteps)
        if self.schedule.prediction == "epsilon":
            return functional.mse_loss(prediction.float(), target)
        return diffusion.v_loss(prediction, target, signal_B)


@dataclass(frozen=True)
class StepsGrid:
    """The student's timesteps, and the teacher's between them."""

    timesteps_S: Tensor
    """The teacher's, descending; every `ratio`-th is one of the student's."""
    ratio: int

    @classmethod
    def trailing(cls, steps: int, teacher_steps: int, num_train_timesteps: int) -> StepsGrid:
        """Trailing spacing. Raises ValueError if some student's timestep is none of the teacher's."""
        ratio, rest = divmod(teacher_steps, steps)
        teacher = spaced_timesteps("trailing", teacher_steps, num_train_timesteps)
        if rest or teacher[::ratio] != spaced_timesteps("trailing", steps, num_train_timesteps):
            raise ValueError(f"the timesteps of {steps} steps are not among those of {teacher_steps}")
        return cls(torch.tensor(teacher), ratio)

    @property
    def steps(self) -> int:
        """Steps of the student."""
        return len(self.timesteps_S) // self.ratio


class ProgressiveTask(DistillationTask):
    """One step of the student lands where `grid.ratio` DDIM steps of the teacher do."""

    def __init__(
        self,
        distilled: Distilled,
        adapter: Adapter,
        rank: int,
        schedule: NoiseSchedule,
        grid: StepsGrid,
        teacher: Adapter | float,
        seed: int,
    ) -> None:
        """`teacher`: an adapter, unguided, or the guidance scale of the networks without any."""
        super().__init__(distilled, adapter, rank, schedule, seed)
        self.grid = grid
        self.teacher = teacher.requires_grad_(False) if isinstance(teacher, Adapter) else teacher
        signals = [*self._signal(grid.timesteps_S, schedule.alphas_cumprod_T), schedule.signal_after_last()]
        self._signals_S1 = torch.stack(signals).float()
        """Of the teacher's timesteps, and after the last step."""

    def loss(self, step: int) -> Tensor:
        """The velocity's error, weighted as in the other stages: the error of the clean sample times min(SNR + 1, 5).

        The paper found SNR + 1 and its truncated SNR equally good; both keep pure noise, where SNR is 0, in the loss.
        """
        example, rng = self._example(step)
        clean = example.clean_BCFHW
        # Every batch covers the grid as evenly as it can.
        places_B = (torch.arange(len(clean)) + int(rng.integers(self.grid.steps))) % self.grid.steps * self.grid.ratio
        signal_B = self._signals_S1[places_B].to(clean)
        start, _ = diffusion.noisy_and_target(clean, example.noise_BCFHW, signal_B)
        with torch.no_grad():
            landed = self._teach(example, start, places_B)
        next_B = self._signals_S1[places_B + self.grid.ratio].to(clean)
        target = landing_velocity(start, landed, signal_B, next_B)
        prediction = example.predict(start, self.grid.timesteps_S[places_B].to(clean.device)).float()
        velocity = as_velocity(self.schedule, start, prediction, signal_B)
        return diffusion.v_loss(velocity, target, signal_B)

    def _teach(self, example: Example, noisy: Tensor, places_B: Tensor) -> Tensor:
        """The teacher's DDIM steps (eta 0) from its timesteps `places_B` to the student's next ones."""
        for place_B in (places_B + step for step in range(self.grid.ratio)):
            timesteps = self.grid.timesteps_S[place_B].to(noisy.device)
            signal, next_signal = (self._signals_S1[place_B + after].to(noisy).view(-1, 1, 1, 1, 1) for after in (0, 1))
            prediction = self._teacher_prediction(example, noisy, timesteps)
            clean, noise = split_prediction(self.schedule, noisy, prediction, signal)
            noisy = next_signal**0.5 * clean + (1 - next_signal) ** 0.5 * noise
        return noisy

    def _teacher_prediction(self, example: Example, noisy: Tensor, timesteps: Tensor) -> Tensor:
        if isinstance(self.teacher, Adapter):
            with self._weights.using(self.teacher):
                return example.predict(noisy, timesteps).float()
        with self._weights.using(None):
            return guide(example.predict_halves(noisy, timesteps).float(), self.teacher)


def landing_velocity(start: Tensor, landed: Tensor, signal_B: Tensor, next_signal_B: Tensor) -> Tensor:
    """The v with which one DDIM step from `start` at alpha_bar `signal_B` lands on `landed` at `next_signal_B`.

    Salimans and Ho 2022, appendix G: the clean sample that this step would have predicted, and its v.
    """
    a, s, next_a, next_s = (
        root.sqrt().view(-1, *[1] * (start.ndim - 1))
        for root in (signal_B, 1 - signal_B, next_signal_B, 1 - next_signal_B)
    )
    clean = (landed - next_s / s * start) / (next_a - next_s / s * a)
    noise = (start - a * clean) / s
    return a * noise - s * clean


def as_velocity(schedule: NoiseSchedule, noisy: Tensor, prediction: Tensor, signal_B: Tensor) -> Tensor:
    """A prediction of the schedule's kind as v."""
    if schedule.prediction == "v_prediction":
        return prediction
    signal = signal_B.view(-1, *[1] * (noisy.ndim - 1))
    clean, noise = split_prediction(schedule, noisy, prediction, signal)
    return signal**0.5 * noise - (1 - signal) ** 0.5 * clean
