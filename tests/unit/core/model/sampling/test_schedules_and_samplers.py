"""Schedules and samplers against diffusers' schedulers and against distributions with a known answer."""

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from torch import Tensor

from core.model.sampling.guidance import guide, num_halves
from core.model.sampling.noise import draw_frames_first, restored, seeded, seeded_for, state_of
from core.model.sampling.samplers import SamplingPlan, sample
from core.model.sampling.schedules import (
    NoiseSchedule,
    make_schedule,
    schedule_from_config,
    solver_timesteps,
    spaced_timesteps,
)
from core.service.domain.engine import ignore_step

STABLE: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
}
SHAPE = (1, 4, 3, 5, 5)
diffusers_solver_warns = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")
"""diffusers' DPM-Solver hands a tensor to numpy in a way numpy deprecates; the warning is not ours."""


def no_noise() -> Tensor:
    """For samplers that must not draw."""
    raise AssertionError("a deterministic sampler drew noise")


def bent(x: Tensor, timestep: int) -> Tensor:
    """A formula in place of a network."""
    return torch.tanh(x * (1 + timestep / 1000)) * 0.9


WHOLE_STRIDES = [n for n in range(1, 1001) if 1000 % n == 0]
SPACINGS = ["leading", "trailing", "linspace"]


def timesteps_of_diffusers(spacing: Any, num_steps: int) -> tuple[int, ...]:
    theirs = DDIMScheduler(**STABLE, timestep_spacing=spacing, steps_offset=1)
    theirs.set_timesteps(num_steps)
    return tuple(theirs.timesteps.tolist())


def solver_timesteps_of_diffusers(spacing: Any, num_steps: int) -> tuple[int, ...]:
    solver = DPMSolverMultistepScheduler(**STABLE, timestep_spacing=spacing, steps_offset=1)
    solver.set_timesteps(num_steps)
    return tuple(solver.timesteps.tolist())


@pytest.mark.parametrize("num_steps", [n for n in WHOLE_STRIDES if n < 1000])
def test_timesteps_in_whole_strides_are_those_of_diffusers(num_steps: int) -> None:
    assert spaced_timesteps("leading", num_steps, 1000, 1) == timesteps_of_diffusers("leading", num_steps)


@pytest.mark.parametrize("spacing", ["trailing", "linspace"])
@pytest.mark.parametrize("num_steps", [2, 4, 7, 30, 50, 60, 999, 1000])
def test_timesteps_in_other_spacings_are_those_of_diffusers(spacing: Any, num_steps: int) -> None:
    assert spaced_timesteps(spacing, num_steps, 1000, 1) == timesteps_of_diffusers(spacing, num_steps)


@diffusers_solver_warns
@pytest.mark.parametrize(
    ("spacing", "num_steps"),
    [
        *(("leading", n - 1) for n in WHOLE_STRIDES if 1 < n < 1000),
        *(("trailing", n) for n in (1, 4, 7, 30, 50, 999, 1000)),
        *(("linspace", n) for n in (1, 4, 7, 25, 30, 50, 60, 999)),
    ],
)
def test_timesteps_of_the_solver_are_those_of_diffusers(spacing: Any, num_steps: int) -> None:
    assert solver_timesteps(spacing, num_steps, 1000, 1) == solver_timesteps_of_diffusers(spacing, num_steps)


@pytest.mark.parametrize("place", [spaced_timesteps, solver_timesteps])
@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("offset", [0, 1])
def test_every_number_of_steps_goes_down_from_the_top_without_a_repeat(place: Any, spacing: Any, offset: int) -> None:
    for num_steps in range(1, 1001):
        timesteps = place(spacing, num_steps, 1000, offset)
        assert len(timesteps) == num_steps
        assert all(after < before for before, after in pairwise(timesteps)), num_steps
        assert timesteps[-1] >= 0
        strides = num_steps + (place is solver_timesteps and num_steps < 1000)
        highest = min(999, 1000 - math.ceil(1000 / strides) + offset) if spacing == "leading" else 999
        assert timesteps[0] == highest, num_steps


@pytest.mark.parametrize(("num_steps", "first"), [(60, 983), (334, 997), (600, 998), (999, 998)])
def test_leading_steps_that_do_not_divide_the_timesteps_begin_one_stride_below_the_top(
    num_steps: int, first: int
) -> None:
    assert spaced_timesteps("leading", num_steps, 1000)[0] == first


@pytest.mark.parametrize("place", [spaced_timesteps, solver_timesteps])
def test_more_steps_than_timesteps_are_refused(place: Any) -> None:
    assert place("linspace", 100, 100) == tuple(range(99, -1, -1))
    with pytest.raises(ValueError, match="the schedule has 100 timesteps"):
        place("linspace", 101, 100)


def test_published_timesteps() -> None:
    assert spaced_timesteps("leading", 50, 1000, 1)[:2] + spaced_timesteps("leading", 50, 1000, 1)[-2:] == (
        981,
        961,
        21,
        1,
    )
    assert solver_timesteps("linspace", 50, 1000)[:3] == (999, 979, 959)
    assert solver_timesteps("linspace", 50, 1000)[-2:] == (40, 20)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_ddim_equals_diffusers_bit_for_bit(prediction: Any, eta: float) -> None:
    config: dict[str, Any] = {**STABLE, "set_alpha_to_one": False, "steps_offset": 1, "prediction_type": prediction}
    theirs = DDIMScheduler(**config, clip_sample=False)
    theirs.set_timesteps(10)
    start, generator = torch.randn(SHAPE, generator=seeded(0)), seeded(5)
    expected = start
    for t in theirs.timesteps:
        noise = torch.randn(SHAPE, generator=generator) if eta else None
        prediction_now = bent(expected, int(t))
        expected = theirs.step(prediction_now, int(t), expected, eta=eta, variance_noise=noise, return_dict=False)[0]

    generator = seeded(5)
    plan = SamplingPlan("ddim", 10, eta=eta, offset=1)
    actual = sample(
        plan,
        bent,
        start,
        schedule_from_config(config),
        (lambda: torch.randn(SHAPE, generator=generator)) if eta else no_noise,
        ignore_step,
    )

    assert torch.equal(actual, expected)


@diffusers_solver_warns
@pytest.mark.parametrize(
    ("spacing", "num_steps"), [("leading", n) for n in (1, 3, 9, 49)] + [("linspace", n) for n in (1, 2, 10, 50)]
)
def test_dpm_solver_equals_diffusers(spacing: Any, num_steps: int) -> None:
    theirs = DPMSolverMultistepScheduler(**STABLE, timestep_spacing=spacing)
    theirs.set_timesteps(num_steps)
    start = torch.randn(SHAPE, generator=seeded(0))
    expected = start
    for t in theirs.timesteps:
        expected = theirs.step(bent(expected, int(t)), t, expected, return_dict=False)[0]

    plan = SamplingPlan("dpm_solver_pp", num_steps, spacing=spacing)
    actual = sample(plan, bent, start, schedule_from_config(STABLE), no_noise, ignore_step)

    torch.testing.assert_close(actual, expected, atol=2e-4, rtol=2e-4)


def gaussian_denoiser(schedule: NoiseSchedule, mean: float, deviation: float) -> Any:
    """The exact denoiser of data that is normal with this mean and deviation."""

    def denoise(x: Tensor, timestep: int) -> Tensor:
        signal = schedule.signal_at(timestep)
        variance = signal * deviation**2 + 1 - signal
        clean = mean + signal**0.5 * deviation**2 / variance * (x - signal**0.5 * mean)
        if schedule.prediction == "v_prediction":
            return (signal**0.5 * x - clean) / (1 - signal) ** 0.5
        return (x - signal**0.5 * clean) / (1 - signal) ** 0.5

    return denoise


@pytest.mark.parametrize(
    "plan",
    [
        SamplingPlan("ddim", 200, eta=0.0, spacing="trailing"),
        SamplingPlan("ddim", 500, eta=1.0, spacing="trailing"),
        SamplingPlan("dpm_solver_pp", 50, spacing="trailing"),
    ],
    ids=["ddim", "ddim-ancestral", "dpm-solver"],
)
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_samplers_recover_a_known_normal_distribution(plan: SamplingPlan, prediction: Any) -> None:
    zero_snr = prediction == "v_prediction"
    schedule = make_schedule(prediction=prediction, zero_terminal_snr=zero_snr, final_alpha_cumprod=1.0)
    generator = seeded(3)
    signal = schedule.signal_at(999)  # the marginal at the start, or the end would be biased by what signal is left
    start = 2.0 * signal**0.5 + (signal * 0.25 + 1 - signal) ** 0.5 * torch.randn(20_000, generator=generator)

    result = sample(
        plan,
        gaussian_denoiser(schedule, 2.0, 0.5),
        start,
        schedule,
        lambda: torch.randn(start.shape, generator=generator),
        ignore_step,
    )

    assert result.mean().item() == pytest.approx(2.0, abs=0.03)
    assert result.std().item() == pytest.approx(0.5, abs=0.03)


SCHEDULES = {
    "modelscope": make_schedule(),
    "sprites": make_schedule(prediction="v_prediction", zero_terminal_snr=True, final_alpha_cumprod=1.0),
    "linear": make_schedule(beta_kind="linear", beta_start=0.0001, beta_end=0.02, final_alpha_cumprod=1.0),
    "linear-zero-snr": make_schedule(
        beta_kind="linear", beta_start=0.0001, beta_end=0.02, prediction="v_prediction", zero_terminal_snr=True
    ),
}
"""The last one has several levels with less signal than its samplers can tell from none."""


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize(("sampler", "eta"), [("ddim", 1.0), ("dpm_solver_pp", 0.0)])
@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_every_sampler_arrives_at_finite_numbers_at_the_bounds(
    name: str, spacing: Any, sampler: Any, eta: float, scale: float
) -> None:
    schedule, generator = SCHEDULES[name], seeded(2)
    conditional = gaussian_denoiser(schedule, 0.5, 0.5)
    unconditional = gaussian_denoiser(schedule, 0.45, 0.5)

    def denoise(x: Tensor, timestep: int) -> Tensor:
        halves = [unconditional(x, timestep), conditional(x, timestep)][-num_halves(scale) :]
        return guide(torch.cat(halves), scale)

    for num_steps in (1, 2, 3, 60, 999, 1000):
        start = torch.randn((1, 64), generator=generator)
        result = sample(
            SamplingPlan(sampler, num_steps, eta=eta, spacing=spacing, offset=1),
            denoise,
            start,
            schedule,
            lambda: torch.randn((1, 64), generator=generator),
            ignore_step,
        )
        assert result.isfinite().all(), num_steps
        if num_steps >= 60:
            assert result.abs().max() < 10, num_steps


def test_zero_terminal_snr_leaves_no_signal_and_keeps_the_first_timestep() -> None:
    plain, rescaled = make_schedule(), make_schedule(zero_terminal_snr=True)

    assert rescaled.signal_at(999).item() == pytest.approx(0.0, abs=1e-7)
    assert rescaled.signal_at(0).item() == pytest.approx(plain.signal_at(0).item(), rel=1e-5)
    assert (rescaled.alphas_cumprod_T.diff() < 0).all()


@pytest.mark.parametrize("sampler", ["ddim", "dpm_solver_pp"])
def test_callback_runs_before_each_step_and_can_stop(sampler: Any) -> None:
    seen: list[tuple[int, int]] = []

    def stop_at_two(step: int, steps: int) -> None:
        seen.append((step, steps))
        if step == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        sample(
            SamplingPlan(sampler, 5), bent, torch.zeros(SHAPE), make_schedule(), lambda: torch.zeros(SHAPE), stop_at_two
        )

    assert seen == [(0, 5), (1, 5), (2, 5)]


def test_guidance_extrapolates_from_unconditional_to_conditional() -> None:
    halves = torch.tensor([[1.0], [3.0]])

    assert guide(halves, 7.5).item() == 1 + 7.5 * 2
    assert guide(halves[1:], 7.5).item() == 3.0


def test_generator_state_continues_the_stream() -> None:
    generator = seeded(11)
    torch.randn(7, generator=generator)
    state = state_of(generator)
    expected = torch.randn(5, generator=generator)

    assert torch.equal(torch.randn(5, generator=restored(state)), expected)
    assert torch.equal(torch.randn(5, generator=restored(state)), expected)


def test_stages_have_streams_of_their_own_and_always_the_same() -> None:
    first = torch.randint(0, 2**62, (1,), generator=seeded_for(33, "first_chunk")).item()

    assert first == torch.randint(0, 2**62, (1,), generator=seeded_for(33, "first_chunk")).item()
    assert first != torch.randint(0, 2**62, (1,), generator=seeded(33)).item()
    assert first != torch.randint(0, 2**62, (1,), generator=seeded_for(34, "first_chunk")).item()


def test_step_noise_is_drawn_frames_first() -> None:
    drawn = draw_frames_first(seeded(1), (1, 4, 3, 2, 2), torch.device("cpu"))

    assert torch.equal(drawn[0].transpose(0, 1), torch.randn(3, 4, 2, 2, generator=seeded(1)))
