"""Distillation: its targets are those of an independent calculation, and its teacher is the network without adapter."""

import numpy as np
import pytest
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import Tensor, nn

from core.model.networks.adapters import Adapter
from core.model.sampling.schedules import NoiseSchedule, make_schedule
from core.model.training.stages import diffusion
from core.model.training.stages.distillation import GuidanceTask, ProgressiveTask, StepsGrid, landing_velocity
from core.model.training.stages.distilled import Example

V = make_schedule(prediction="v_prediction", zero_terminal_snr=True, final_alpha_cumprod=1.0)
EPSILON = make_schedule(prediction="epsilon", final_alpha_cumprod=1.0)
SHAPE = (4, 2, 3, 2, 2)  # B, C, F, H, W
RANK = 1


class Pixels:
    """Distilled stand-in: the prediction is a linear map of the channels; conditions shift it."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.network = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 3), nn.Linear(3, 2))
        self.seen: list[tuple[Tensor, Tensor]] = []

    def example(self, step: int, rng: np.random.Generator, generator: torch.Generator) -> Example:
        del step, rng
        clean, noise = (torch.randn(SHAPE, generator=generator) for _ in range(2))
        return Example(clean, noise, self.predict, self.halves)

    def predict(self, noisy: Tensor, timesteps: Tensor) -> Tensor:
        self.seen.append((noisy, timesteps))
        return self.mapped(noisy, timesteps) + 0.5

    def halves(self, noisy: Tensor, timesteps: Tensor) -> Tensor:
        return torch.cat([self.mapped(noisy, timesteps), self.mapped(noisy, timesteps) + 0.5])

    def mapped(self, noisy: Tensor, timesteps: Tensor) -> Tensor:
        out: Tensor = self.network(noisy.movedim(1, -1)).movedim(-1, 1)
        return out + timesteps.view(-1, 1, 1, 1, 1) / 1000


def trained_adapter(network: nn.Module, seed: int) -> Adapter:
    adapter = Adapter(network, RANK)
    torch.manual_seed(seed)
    for parameter in adapter.parameters():
        nn.init.normal_(parameter, std=0.5)
    return adapter


def test_guidance_learns_the_guided_prediction_of_the_network_without_adapter() -> None:
    pixels = Pixels()
    task = GuidanceTask(pixels, Adapter(pixels.network, RANK), RANK, V, 3.0, seed=1)  # pyright: ignore[reportArgumentType] - a stand-in
    # unconditional + 3 * 0.5, where the untrained student predicts unconditional + 0.5
    loss = task.loss(0)
    timesteps = pixels.seen[0][1]
    weights = diffusion.min_snr_weight(V.alphas_cumprod_T[timesteps].clamp(0, 1))
    assert torch.allclose(loss, weights.mean(), rtol=1e-4)


def test_only_the_adapter_gets_gradients() -> None:
    pixels = Pixels()
    task = GuidanceTask(pixels, Adapter(pixels.network, RANK), RANK, V, 3.0, seed=1)  # pyright: ignore[reportArgumentType]
    task.loss(0).backward()
    assert set(task.modules) == {"adapter"}
    assert any(parameter.grad is not None for parameter in task.modules["adapter"].parameters())
    assert all(parameter.grad is None for parameter in pixels.network.parameters())


@pytest.mark.parametrize(("steps", "teacher_steps"), [(4, 8), (4, 16), (2, 6)])
def test_the_students_timesteps_are_those_of_the_serving_sampler(steps: int, teacher_steps: int) -> None:
    grid = StepsGrid.trailing(steps, teacher_steps, 1000)
    scheduler = DDIMScheduler(timestep_spacing="trailing")
    scheduler.set_timesteps(steps)
    assert grid.timesteps_S[:: grid.ratio].tolist() == scheduler.timesteps.tolist()
    assert grid.steps == steps


@pytest.mark.parametrize(("steps", "teacher_steps"), [(4, 6), (4, 3), (8, 4)])
def test_steps_that_a_teacher_does_not_pass_are_refused(steps: int, teacher_steps: int) -> None:
    with pytest.raises(ValueError, match=f"{steps} steps are not among"):
        StepsGrid.trailing(steps, teacher_steps, 1000)


@pytest.mark.parametrize("kind", ["guided", "distilled"])
@pytest.mark.parametrize("schedule", [V, EPSILON])
def test_one_step_of_a_perfect_student_lands_where_the_teachers_steps_do(kind: str, schedule: NoiseSchedule) -> None:
    """The teacher's steps are made by diffusers' DDIMScheduler, one sample at a time."""
    pixels = Pixels()
    grid, adapter = StepsGrid.trailing(4, 8, 1000), trained_adapter(pixels.network, 3)
    teacher = adapter if kind == "distilled" else 2.0
    student = Adapter(pixels.network, RANK)
    task = ProgressiveTask(pixels, student, RANK, schedule, grid, teacher, seed=1)  # pyright: ignore[reportArgumentType]
    loss = float(task.loss(0).detach())
    start, timesteps = pixels.seen[-1]
    assert sorted(timesteps.tolist()) == [249, 499, 749, 999]  # every batch of four covers the grid

    scheduler = DDIMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        prediction_type=schedule.prediction,
        rescale_betas_zero_snr=schedule is V,
        timestep_spacing="trailing",
        clip_sample=False,
    )
    scheduler.set_timesteps(8)
    expected: list[Tensor] = []
    for sample, timestep in zip(start, timesteps.tolist(), strict=True):
        x = sample[None]
        for t in (timestep, timestep - 125):
            at = torch.tensor([t])
            if kind == "guided":
                with task._weights.using(None):  # pyright: ignore[reportPrivateUsage]
                    without, conditional = pixels.halves(x, at).chunk(2)
                    prediction = without + 2.0 * (conditional - without)
            else:
                with task._weights.using(adapter):  # pyright: ignore[reportPrivateUsage]
                    prediction = pixels.predict(x, at)
            x = scheduler.step(prediction.detach(), t, x, eta=0.0, return_dict=False)[0]
        signal, following = scheduler.alphas_cumprod[timestep], _alpha(scheduler, timestep - 250)
        clean = (x - ((1 - following) / (1 - signal)) ** 0.5 * sample) / (
            following**0.5 - (signal * (1 - following) / (1 - signal)) ** 0.5
        )
        expected.append(
            (signal**0.5 * (sample[None] - signal**0.5 * clean) / (1 - signal) ** 0.5 - (1 - signal) ** 0.5 * clean)[0]
        )
    signals = scheduler.alphas_cumprod[timesteps].clamp(0, 1)
    prediction = pixels.predict(start, timesteps).detach()
    if schedule is EPSILON:
        a, s = (root.sqrt().view(-1, 1, 1, 1, 1) for root in (signals, 1 - signals))
        prediction = (prediction - s * start) / a
    assert loss == pytest.approx(float(diffusion.v_loss(prediction, torch.stack(expected), signals)), rel=2e-3)


def _alpha(scheduler: DDIMScheduler, timestep: int) -> Tensor:
    return scheduler.alphas_cumprod[timestep] if timestep >= 0 else torch.tensor(1.0)


def test_from_pure_noise_the_velocity_is_minus_the_clean_sample_and_the_last_step_lands_on_it() -> None:
    start, landed = torch.randn(2, 3), torch.randn(2, 3)
    signal, following = torch.tensor([0.0, 0.4]), torch.tensor([1.0, 1.0])
    velocity = landing_velocity(start, landed, signal, following)
    assert torch.allclose(velocity[0], -landed[0])
    a, s = 0.4**0.5, 0.6**0.5
    assert torch.allclose(a * start[1] - s * velocity[1], landed[1], atol=1e-6)
