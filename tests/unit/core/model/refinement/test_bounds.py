"""Every strength, number of steps and guidance that a request may have refines to finite numbers."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from core.model.refinement.schedule import refinement_schedule, vid2vid_sigmas
from core.model.refinement.solver import rescaled_guidance
from core.model.refinement.windows import Refiner, refine_in_lockstep, refine_streaming
from core.model.sampling.schedules import Prediction, make_schedule
from core.service.domain.engine import ignore_step
from core.service.domain.frame_plan import refinement_windows

TABLES = {
    "vid2vid": vid2vid_sigmas(),
    "modelscope": (1 - make_schedule().alphas_cumprod_T).sqrt(),
    "zero-snr": (1 - make_schedule(zero_terminal_snr=True).alphas_cumprod_T).sqrt(),
    "linear-zero-snr": (
        1 - make_schedule(beta_kind="linear", beta_end=0.02, beta_start=0.0001, zero_terminal_snr=True).alphas_cumprod_T
    ).sqrt(),
}
"""The last one has several levels with less signal than the solver can tell from none."""

PREDICTIONS: dict[str, Prediction] = {"modelscope": "epsilon"}
"""What the networks of these tables predict, where that is not v."""


@pytest.mark.parametrize("name", ["vid2vid", "modelscope", "zero-snr"])
@pytest.mark.parametrize("strength", [0.002, 0.003, 0.01, 0.1, 0.6, 0.999, 1.0])
def test_every_number_of_steps_goes_down_from_the_strength_without_a_repeat(name: str, strength: float) -> None:
    levels = round(strength * 1000)
    for num_steps in range(1, levels):
        schedule = refinement_schedule(TABLES[name], strength, num_steps)
        assert schedule.timesteps[0] == levels - 1
        assert all(after < before for before, after in pairwise(schedule.timesteps)), num_steps
        assert schedule.timesteps[-1] >= 0
        assert schedule.deviations_S.isfinite().all()
        assert (schedule.deviations_S.diff() < 0).all(), num_steps


def refiner_of(sigmas_T: Tensor, prediction: Prediction, strength: float, num_steps: int, scale: float) -> Refiner:
    """The exact denoiser of normal data, guided from a mean of 0 to one of 0.05."""
    generator = torch.Generator().manual_seed(4)

    def predicted(x: Tensor, sigma: Tensor, mean: float) -> Tensor:
        alpha, variance = (1 - sigma**2).clamp(min=0).sqrt(), 0.25
        clean = mean + alpha * variance / (alpha**2 * variance + sigma**2) * (x - alpha * mean)
        return (alpha * x - clean) / sigma if prediction == "v_prediction" else (x - alpha * clean) / sigma

    def predict(windows: Sequence[Tensor], timestep: int) -> list[Tensor]:
        sigma = sigmas_T[timestep]
        return [rescaled_guidance(predicted(x, sigma, 0.0), predicted(x, sigma, 0.05), scale, 0.2) for x in windows]

    def noise(frames: range, step: int) -> Tensor:
        del step
        return torch.randn((1, 1, len(frames), 1, 1), generator=generator)

    schedule = refinement_schedule(sigmas_T, strength, num_steps)
    return Refiner(predict, schedule, noise, lambda step, window: (step + window) % 9, prediction)


BOUNDS = [(0.002, 1), (0.1, 1), (0.1, 99), (0.6, 599), (1.0, 1), (1.0, 2), (1.0, 999)]
"""Strength and steps: the least and the most of each, and what limits the other."""


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize(("strength", "num_steps"), BOUNDS)
@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_both_schedules_arrive_at_finite_numbers_at_the_bounds(
    name: str, strength: float, num_steps: int, scale: float
) -> None:
    prediction = PREDICTIONS.get(name, "v_prediction")
    clean, windows = torch.linspace(-1, 1, 25).reshape(1, 1, 25, 1, 1), refinement_windows(25)
    for refine in (refine_in_lockstep, refine_streaming):
        refined = refine(refiner_of(TABLES[name], prediction, strength, num_steps, scale), clean, windows, ignore_step)
        assert refined.isfinite().all()
