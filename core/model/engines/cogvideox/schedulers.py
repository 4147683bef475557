"""CogVideoX's two samplers, with exactly as many timesteps as steps were asked for."""

from diffusers.schedulers.scheduling_ddim_cogvideox import CogVideoXDDIMScheduler
from diffusers.schedulers.scheduling_dpm_cogvideox import CogVideoXDPMScheduler

from core.model.sampling.exact_steps import ExactSteps


class DDIMScheduler(ExactSteps, CogVideoXDDIMScheduler):
    """Deterministic; published for the 2B model."""


class DPMScheduler(ExactSteps, CogVideoXDPMScheduler):
    """DPM-Solver++ with noise in each step; published for the 5B models."""


SCHEDULERS = {"ddim": DDIMScheduler, "dpm": DPMScheduler}
BY_DIFFUSERS_NAME = {"CogVideoXDDIMScheduler": "ddim", "CogVideoXDPMScheduler": "dpm"}
"""Names in scheduler_config.json."""
