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
        """The noise of past frames, followed by that of `num_frames` new ones, on the CPU.

        Fewer past frames than a context has are no pool: new ones then draw another.
        """
        batch, channels, past, height, width = past_1CFHW.shape
        shape = (batch, channels, num_frames, height, width)
        if past < self.context_length:
            return torch.cat([past_1CFHW, self.first(shape, generator)], dim=2)
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
    """The first frames of a window, which the one before has made, for the new ones to attend to.

    They begin as the noise that they were made from, so that early steps compute again what they were at these steps:
    DDIM draws nothing. At late steps they are what they are, noised (the replacement of Ho et al. 2022, arXiv
    2204.03458, section 3.1). Between, the share of the latter is that of the signal in the variance.
    """

    scheduler: Any
    """Its timesteps are set."""
    latents_1CFHW: Tensor
    noise_1CFHW: Tensor

    def after_step(self, step: int, latents_1CFHW: Tensor) -> Tensor:
        """A window's latents after this step, with the repeated frames in place of its first ones."""
        frames = self.latents_1CFHW.shape[2]
        computed, rest = latents_1CFHW[:, :, :frames], latents_1CFHW[:, :, frames:]
        return torch.cat([self._mixed(step + 1, computed).to(rest.dtype), rest], dim=2)

    def _mixed(self, step: int, computed_1CFHW: Tensor) -> Tensor:
        if step == len(self.scheduler.timesteps):
            return self.latents_1CFHW
        timestep = self.scheduler.timesteps[step : step + 1]
        noised_1CFHW = self.scheduler.add_noise(self.latents_1CFHW, self.noise_1CFHW, timestep)
        share = self.scheduler.alphas_cumprod.to(timestep.device)[timestep]
        return torch.lerp(computed_1CFHW.float(), noised_1CFHW, share)
