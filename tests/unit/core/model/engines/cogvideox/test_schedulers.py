"""Every number of steps that a request may have gives as many timesteps, all of training."""

from typing import Any

import pytest
import torch

from core.model.engines.cogvideox.schedulers import SCHEDULERS
from tests.helpers.pipelines_cogvideox import scheduler


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("spacing", ["trailing", "leading", "linspace"])
def test_there_are_as_many_timesteps_as_steps(name: str, spacing: str) -> None:
    made: Any = SCHEDULERS[name].from_config(scheduler().config, timestep_spacing=spacing)

    for steps in range(1, 1001):
        made.set_timesteps(steps)
        assert made.timesteps.shape == (steps,), steps
        assert made.timesteps.min() >= 0, steps


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("steps", [1, 2, 61, 1000])
def test_steps_of_any_number_are_finite(name: str, steps: int) -> None:
    made: Any = SCHEDULERS[name].from_config(scheduler().config, timestep_spacing="trailing")
    made.set_timesteps(steps)
    generator = torch.Generator().manual_seed(0)
    latents, old = torch.randn(2, 3, generator=generator), None

    for index, timestep in enumerate(made.timesteps):
        prediction = torch.randn(2, 3, generator=generator)
        if name == "dpm":
            before = made.timesteps[index - 1] if index else None
            latents, old = made.step(prediction, old, timestep, before, latents, generator=generator)
        else:
            latents = made.step(prediction, timestep, latents, return_dict=False)[0]

    assert torch.isfinite(latents).all()
