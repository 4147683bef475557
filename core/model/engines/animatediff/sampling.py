"""Noise of long videos by FreeNoise (Qiu et al. 2024, arXiv 2310.15169), and frames that a window repeats.

Shapes: C latent channels, F frames, H, W latent rows and columns.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class NoiseRule:
    """How the initial noise of later frames follows from that of earlier ones."""

    context_length: int
    context_stride: int
    shuffled: bool
    """Whether later frames have the noise of earlier ones; else each has its own."""

    def first(self, shape_1CFHW: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Noise [1, C, F, H, W] of a window without a past, float32, on the CPU; drawn as the library draws it."""
        return self._shuffle(torch.randn(shape_1CFHW, generator=generator), generator)

    def next(self, past_1CFHW: Tensor, num_frames: int, generator: torch.Generator) -> Tensor:
        """The noise of the last `context_length` frames, followed by that of `num_frames` new ones, on the CPU."""
        batch, channels, _, height, width = past_1CFHW.shape
        shape = (batch, channels, num_frames, height, width)
        new = past_1CFHW.new_zeros(shape) if self.shuffled else torch.randn(shape, generator=generator)
        return self._shuffle(torch.cat([past_1CFHW, new], dim=2), generator)

    def _shuffle(self, noise_1CFHW: Tensor, generator: torch.Generator) -> Tensor:
        """Equation 7: after the first context a stride has the noise of the one a context before, in random order."""
        frames, stride = noise_1CFHW.shape[2], self.context_stride
        for begin in range(self.context_length, frames if self.shuffled else 0, stride):
            order = torch.randperm(stride, generator=generator) + begin - self.context_length
            noise_1CFHW[:, :, begin : begin + stride] = noise_1CFHW[:, :, order]
        return noise_1CFHW


@dataclass(frozen=True)
class RepeatedFrames:
    """The first frames of a window, which the one before has made: they stay what they are at every step.

    New frames attend to them while both are denoised (the replacement method of Ho et al. 2022, arXiv 2204.03458,
    section 3.1), with the noise from which they were made.
    """

    scheduler: Any
    """Its timesteps are set."""
    latents_1CFHW: Tensor
    noise_1CFHW: Tensor

    def begin(self, noise_1CFHW: Tensor) -> Tensor:
        """A window's initial latents: its noise, with the repeated frames noised to the first timestep."""
        return self._put(noise_1CFHW, self._at(0))

    def after_step(self, step: int, latents_1CFHW: Tensor) -> Tensor:
        """A window's latents after this step, with the repeated frames at the next timestep; at the end as they are."""
        is_last = step + 1 == len(self.scheduler.timesteps)
        return self._put(latents_1CFHW, self.latents_1CFHW if is_last else self._at(step + 1))

    def _at(self, step: int) -> Tensor:
        timestep = self.scheduler.timesteps[step : step + 1]
        noised: Tensor = self.scheduler.add_noise(self.latents_1CFHW, self.noise_1CFHW, timestep)
        return noised

    def _put(self, latents_1CFHW: Tensor, frames_1CFHW: Tensor) -> Tensor:
        rest = latents_1CFHW[:, :, frames_1CFHW.shape[2] :]
        return torch.cat([frames_1CFHW.to(rest.dtype), rest], dim=2)
