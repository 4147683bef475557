"""Samplers of diffusers with exactly as many timesteps as steps were asked for."""

from typing import Any

import torch


class ExactSteps:
    """To be put before a scheduler class of diffusers.

    With trailing timesteps those make one too many for 61 steps and 62 other numbers, by rounding. The surplus one is
    -1, which means the last timestep of training: it would turn the finished latents into noise.
    """

    def set_timesteps(self, num_inference_steps: int, device: str | torch.device | None = None) -> None:
        untyped: Any = super()
        untyped.set_timesteps(num_inference_steps, device)
        self.timesteps = self.timesteps[:num_inference_steps]
        sigmas = getattr(self, "sigmas", None)  # of Euler's; the last one, 0, is that of the finished latents
        if sigmas is not None and len(sigmas) > num_inference_steps + 1:
            self.sigmas = torch.cat([sigmas[:num_inference_steps], sigmas[-1:]])
