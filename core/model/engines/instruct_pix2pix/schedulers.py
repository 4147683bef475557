"""The samplers of editors, with exactly as many timesteps as steps were asked for."""

from typing import Any

from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_euler_ancestral_discrete import EulerAncestralDiscreteScheduler

from core.model.sampling.exact_steps import ExactSteps


class ExactDDIM(ExactSteps, DDIMScheduler):
    """Deterministic."""


class ExactEulerAncestral(ExactSteps, EulerAncestralDiscreteScheduler):
    """With noise in each step; published for InstructPix2Pix."""


SCHEDULERS: dict[str, Any] = {"DDIMScheduler": ExactDDIM, "EulerAncestralDiscreteScheduler": ExactEulerAncestral}
"""By the names in scheduler_config.json."""
