"""CogVideoX's two samplers, with exactly as many timesteps as steps were asked for."""

from typing import Any

import torch
from diffusers.schedulers.scheduling_ddim_cogvideox import CogVideoXDDIMScheduler
from diffusers.schedulers.scheduling_dpm_cogvideox import CogVideoXDPMScheduler


class _ExactSteps:
    """With trailing timesteps, diffusers' own make one too many for 61 steps and 62 other numbers, by rounding.

    The surplus one is -1, which means the last timestep of training: it would turn the finished latents into noise.
    """

    def set_timesteps(self, num_inference_steps: int, device: str | torch.device | None = None) -> None:
        untyped: Any = super()
        untyped.set_timesteps(num_inference_steps, device)
        self.timesteps = self.timesteps[:num_inference_steps]


class DDIMScheduler(_ExactSteps, CogVideoXDDIMScheduler):
    """Deterministic; published for the 2B model."""


class DPMScheduler(_ExactSteps, CogVideoXDPMScheduler):
    """DPM-Solver++ with noise in each step; published for the 5B models."""


SCHEDULERS = {"ddim": DDIMScheduler, "dpm": DPMScheduler}
BY_DIFFUSERS_NAME = {"CogVideoXDDIMScheduler": "ddim", "CogVideoXDPMScheduler": "dpm"}
"""Names in scheduler_config.json."""
