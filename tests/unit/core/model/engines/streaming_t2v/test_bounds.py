"""The smallest possible network with the fewest and the most steps and guidance that requests may have."""

from typing import Any

import pytest
import torch
from torch import Tensor

from core.model.engines.streaming_t2v.network import StreamingNetwork
from core.model.engines.streaming_t2v.sampling import (
    SamplingConfig,
    VideoContext,
    base_denoiser,
    sample_latents,
    window_denoiser,
)
from core.model.sampling.guidance import num_halves
from core.model.sampling.noise import seeded
from core.model.sampling.samplers import SamplingPlan
from core.model.sampling.schedules import NoiseSchedule, make_schedule
from core.service.domain.engine import ignore_step

CPU = torch.device("cpu")
PUBLISHED = make_schedule()
SPRITES = make_schedule(prediction="v_prediction", zero_terminal_snr=True, final_alpha_cumprod=1.0)
PRESETS: dict[str, tuple[dict[str, Any], NoiseSchedule]] = {
    "modelscope reference": ({"sampler": "ddim", "eta": 1.0, "offset": 1}, PUBLISHED),
    "modelscope fast": ({"sampler": "dpm_solver_pp", "spacing": "linspace", "offset": 1}, PUBLISHED),
    "sprites": ({"sampler": "ddim", "spacing": "trailing"}, SPRITES),
}
"""How the shipped presets sample."""


def rand(*shape: int) -> Tensor:
    return torch.randn(shape, generator=seeded(1))


@torch.inference_mode()
@pytest.mark.parametrize("scale", [1.0, 30.0])
@pytest.mark.parametrize("num_steps", [1, 2])
@pytest.mark.parametrize(("plan", "schedule"), PRESETS.values(), ids=PRESETS)
def test_windows_are_finite_with_the_fewest_steps(
    two_level_network: StreamingNetwork, plan: dict[str, Any], schedule: NoiseSchedule, num_steps: int, scale: float
) -> None:
    net, text = two_level_network, rand(2, 6, 12)[-num_halves(scale) :]
    config = SamplingConfig(SamplingPlan(num_steps=num_steps, **plan), schedule, scale)
    context = VideoContext(net.precompute(text, rand(2, 3, 12)[-num_halves(scale) :]), text)

    denoise = window_denoiser(net, context, rand(8, 3, 16, 16), config)

    assert sample_latents(denoise, config, (1, 4, 8, 2, 2), CPU, seeded(3), ignore_step).isfinite().all()


@torch.inference_mode()
def test_the_network_is_finite_with_the_most_steps_and_guidance(two_level_network: StreamingNetwork) -> None:
    """One frame of one latent in the base UNet: what a step costs here is Python. Other samplers take as many steps
    with a function in place of the network, in sampling/test_schedules_and_samplers.py."""
    net, text, (plan, schedule) = two_level_network, rand(2, 6, 12), PRESETS["modelscope reference"]
    config, seen = SamplingConfig(SamplingPlan(num_steps=1000, **plan), schedule, 30.0), list[int]()

    denoise = base_denoiser(net, VideoContext(net.precompute(text, None), text), config)
    latents = sample_latents(denoise, config, (1, 4, 1, 2, 2), CPU, seeded(3), lambda step, _steps: seen.append(step))

    assert latents.isfinite().all()
    assert seen == list(range(1000))
