"""The refiner compared with golden numbers, and properties of the method."""

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from core.model.refinement.blending import blend, draw_cut
from core.model.refinement.noise import START, cut_generator, shared_noise
from core.model.refinement.schedule import RefinementSchedule, refinement_schedule, vid2vid_sigmas
from core.model.refinement.solver import rescaled_guidance
from core.model.refinement.windows import Refiner, refine_in_lockstep, refine_streaming, refine_window, step_lockstep
from core.service.domain.engine import ignore_step
from core.service.domain.frame_plan import refinement_windows
from tests.golden.randomized_blending import published_start

GOLDEN = Path(__file__).parents[4] / "references" / "randomized_blending.safetensors"
SHAPE_CHW = (2, 3, 2)


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    return load_file(GOLDEN)


def stand_in(parts: Sequence[Tensor], timestep: int) -> list[Tensor]:
    """The golden file's formula denoiser, guided by 7.5 and rescaled by 0.2."""

    def v(x: Tensor, text: float) -> Tensor:
        frame = torch.arange(x.shape[2], dtype=torch.float32).reshape(1, 1, -1, 1, 1)
        drive = torch.tanh(0.6 * x + 0.4 * x.mean(dim=2, keepdim=True))
        return drive * (0.5 + 0.0005 * timestep) + 0.1 * torch.cos(frame) + text

    return [rescaled_guidance(v(x, -0.1), v(x, 0.3), 7.5, 0.2) for x in parts]


def published(golden: dict[str, Tensor]) -> Refiner:
    """A refiner that replays the recorded draws."""

    def noise(frames: range, step: int) -> Tensor:
        whole = golden["draw.noise_all"] if step == START else golden["draw.brownian_noise"][step]
        return whole[:, :, frames.start : frames.stop]

    def cut(step: int, window: int) -> int:
        return int(golden["thresholds"][step, window - 1])

    return Refiner(stand_in, refinement_schedule(vid2vid_sigmas(), 0.6, 30), noise, cut)


def job_refiner(seed: int = 5, num_steps: int = 6) -> Refiner:
    return Refiner(
        stand_in,
        refinement_schedule(vid2vid_sigmas(), 0.6, num_steps),
        shared_noise(seed, SHAPE_CHW),
        lambda step, window: draw_cut(cut_generator(seed, window, step), 8),
    )


def clean_video(num_frames: int) -> Tensor:
    return torch.randn(1, SHAPE_CHW[0], num_frames, *SHAPE_CHW[1:], generator=torch.Generator().manual_seed(1))


def streamed(refiner: Refiner, clean: Tensor) -> Tensor:
    return refine_streaming(refiner, clean, refinement_windows(clean.shape[2]), ignore_step)


def test_the_noise_table_and_steps_are_the_published_ones(golden: dict[str, Tensor]) -> None:
    table = vid2vid_sigmas()
    schedule = refinement_schedule(table, 0.6, 30)

    torch.testing.assert_close(table, golden["noise_schedule_sigmas"], atol=1e-6, rtol=0)
    assert schedule.timesteps == tuple(golden["step_timesteps"].tolist())
    deviations = torch.stack([schedule.deviation(step) for step in range(31)])
    torch.testing.assert_close(deviations, golden["step_sigmas"], atol=1e-4, rtol=1e-5)


def test_lockstep_gives_the_published_latents_from_the_recorded_draws(golden: dict[str, Tensor]) -> None:
    windows = refinement_windows(56)

    refiner = published(golden)
    state = published_start(golden["in.clean_latents"], golden["draw.noise_all"], refiner.schedule)
    for _ in range(refiner.schedule.num_steps):
        state = step_lockstep(refiner, state, windows)

    torch.testing.assert_close(state.x_1CVHW, golden["out.final_latents"], atol=1e-4, rtol=0)


@pytest.mark.parametrize("num_frames", [17, 24, 25, 40, 41, 56, 63])
def test_streaming_refines_every_frame_of_every_length(num_frames: int) -> None:
    refined = streamed(job_refiner(), clean_video(num_frames))
    assert refined.shape == (1, SHAPE_CHW[0], num_frames, *SHAPE_CHW[1:])
    assert torch.isfinite(refined).all()


def test_one_window_is_the_same_in_both_schedules() -> None:
    clean = clean_video(24)
    lockstep = refine_in_lockstep(job_refiner(), clean, refinement_windows(24), ignore_step)
    assert torch.equal(streamed(job_refiner(), clean), lockstep)


def test_frames_that_are_published_are_never_changed_by_the_slid_last_window() -> None:
    clean, refiner = clean_video(41), job_refiner()
    before_last, last = refinement_windows(41)[-2:]
    assert last.num_held == 15
    part = clean[:, :, before_last.first_frame : before_last.end_frame]
    refined, trajectory = refine_window(refiner, part, before_last, None, last.first_frame, ignore_step)

    part = clean[:, :, last.first_frame : last.end_frame]
    again, _ = refine_window(refiner, part, last, trajectory, last.end_frame, ignore_step)

    offset = last.first_frame - before_last.first_frame
    torch.testing.assert_close(again[:, :, : last.num_held], refined[:, :, offset : offset + last.num_held])


def test_a_frames_noise_does_not_depend_on_the_window_that_asks() -> None:
    noise = shared_noise(3, SHAPE_CHW)
    whole, part = noise(range(40), 2), noise(range(16, 40), 2)
    assert torch.equal(whole[:, :, 16:], part)
    assert not torch.equal(noise(range(40), 3), whole)


def test_cuts_are_uniform_and_give_the_stated_probabilities() -> None:
    generator, choices = torch.Generator().manual_seed(0), 9
    draws = Counter(draw_cut(generator, 8) for _ in range(9000))
    assert set(draws) == set(range(choices))
    # Five standard deviations of a count of this size.
    assert all(abs(count - 9000 / choices) < 5 * math.sqrt(9000 / choices) for count in draws.values())
    earlier = sum(count for cut, count in draws.items() if cut >= 3) / 9000
    assert earlier == pytest.approx(1 - 3 / 9, abs=0.03)


def test_blending_averages_nothing() -> None:
    blended = blend(torch.zeros(1, 1, 8, 1, 1), torch.ones(1, 1, 8, 1, 1), 3)
    assert blended.flatten().tolist() == [0, 0, 0, 1, 1, 1, 1, 1]


def test_what_a_step_raises_ends_the_refinement() -> None:
    class Stopped(Exception): ...

    def stop_at_two(step: int, steps: int) -> None:
        del steps
        if step == 2:
            raise Stopped

    with pytest.raises(Stopped):
        refine_in_lockstep(job_refiner(), clean_video(40), refinement_windows(40), stop_at_two)


@pytest.mark.parametrize(("strength", "num_steps"), [(0.0, 5), (1.1, 5), (0.6, 0), (0.01, 30)])
def test_levels_that_do_not_exist_are_refused(strength: float, num_steps: int) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        refinement_schedule(vid2vid_sigmas(), strength, num_steps)


def test_full_strength_starts_from_pure_noise_without_dividing_by_zero() -> None:
    schedule: RefinementSchedule = refinement_schedule(vid2vid_sigmas(), 1.0, 10)
    assert schedule.timesteps[0] == 999
    assert math.isfinite(float(schedule.deviation(0)))
